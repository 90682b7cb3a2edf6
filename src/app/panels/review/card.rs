//! One item that waits, as a card.

use super::{FOOT, begin_again, rate};
use crate::app::icons;
use crate::app::review::{AskedItem, Mark, ReviewDesk};
use crate::app::shell::PanelContext;
use crate::app::theme::{RADIUS_CARD, TEXT_SMALL, Theme};
use crate::app::thumbnails::{Thumbnail, ThumbnailSize};
use crate::app::widgets::{at_right, icon_button, row};
use crate::engine::MAX_RATING;
use crate::project::NodeId;
use bevy_egui::egui::{
    self, Align2, Color32, CornerRadius, FontId, Pos2, Rect, RichText, Sense, Stroke, StrokeKind,
    Ui, Vec2,
};

/// One item: picture, label, stars, buttons.
pub(super) fn card(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    item: &AskedItem<'_>,
    node_id: Option<NodeId>,
    rect: Rect,
) {
    let theme = panel.theme;
    let mark = desk.mark(item.item_id);
    let is_current = desk.current == Some(item.item_id);
    let id = ui.id().with(("review", item.item_id.uuid()));
    let picture = Rect::from_min_size(rect.min, Vec2::new(rect.width(), rect.height() - FOOT));
    let response = ui.interact(picture, id, Sense::click());
    ui.painter()
        .rect_filled(rect, CornerRadius::same(RADIUS_CARD), theme.surface_card);
    shown(ui, panel, item, picture.shrink(4.0), ThumbnailSize::Small);
    let (border, width) = match mark {
        Some(Mark::Pick) => (theme.ok, 2.0),
        Some(Mark::Reject) => (theme.error, 2.0),
        None if is_current => (theme.accent, 2.0),
        None if response.hovered() => (theme.faint, 1.0),
        None => (theme.line, 1.0),
    };
    if mark == Some(Mark::Reject) {
        ui.painter().rect_filled(
            picture.shrink(4.0),
            CornerRadius::same(4),
            theme.surface_canvas.gamma_multiply(0.72),
        );
    }
    ui.painter().rect_stroke(
        rect,
        CornerRadius::same(RADIUS_CARD),
        Stroke::new(width, border),
        StrokeKind::Inside,
    );
    if is_current && mark.is_some() {
        ui.painter().rect_stroke(
            rect.expand(2.0),
            CornerRadius::same(RADIUS_CARD + 2),
            Stroke::new(1.0, theme.accent),
            StrokeKind::Outside,
        );
    }
    badge(ui, theme, mark, picture);
    if is_current && std::mem::take(&mut desk.follows_keys) {
        ui.scroll_to_rect(rect, None);
    }
    if response.double_clicked() {
        desk.current = Some(item.item_id);
        desk.is_close = true;
        desk.take_click_back(item.item_id);
    } else if response.clicked() {
        desk.current = Some(item.item_id);
        desk.click(item.item_id);
    }
    let foot = Rect::from_min_max(
        Pos2::new(rect.left() + 8.0, picture.bottom()),
        Pos2::new(rect.right() - 4.0, rect.bottom() - 4.0),
    );
    // A child of its own: the row of cards is as high as it was allocated.
    let ui = &mut ui.new_child(egui::UiBuilder::new().max_rect(foot).id_salt(id));
    ui.spacing_mut().item_spacing = Vec2::new(2.0, 2.0);
    let label = if item.label.is_empty() {
        "single item"
    } else {
        item.label
    };
    ui.add(egui::Label::new(RichText::new(label).size(TEXT_SMALL).color(theme.dim)).truncate())
        .on_hover_text(label);
    row(ui, |ui| {
        stars(ui, panel, item, 13.0);
        at_right(ui, |ui| buttons(ui, panel, desk, item, node_id.is_some()));
    });
}

/// Pick, reject and make again, laid out from the right.
pub(super) fn buttons(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    item: &AskedItem<'_>,
    can_be_made_again: bool,
) {
    let theme = panel.theme;
    let toggle =
        |ui: &mut Ui, desk: &mut ReviewDesk, mark, icon: &str, color: Color32, tip: &str| {
            let is_on = desk.mark(item.item_id) == Some(mark);
            let color = if is_on { color } else { theme.dim };
            let button = egui::Button::new(RichText::new(icon).size(15.0).color(color))
                .frame_when_inactive(false)
                .min_size(Vec2::splat(24.0));
            let response = ui.add(button);
            response.widget_info(|| {
                egui::WidgetInfo::selected(egui::WidgetType::Button, true, is_on, tip)
            });
            if response.on_hover_text(tip).clicked() {
                desk.current = Some(item.item_id);
                desk.toggle(item.item_id, mark);
            }
        };
    if can_be_made_again
        && icon_button(ui, theme, icons::ARROWS_CLOCKWISE, "Make it again…  R").clicked()
    {
        begin_again(panel, desk, item);
    }
    toggle(
        ui,
        desk,
        Mark::Reject,
        icons::X_CIRCLE,
        theme.error,
        "Reject  X",
    );
    toggle(
        ui,
        desk,
        Mark::Pick,
        icons::CHECK_CIRCLE,
        theme.ok,
        "Pick  P",
    );
}

/// Five stars to click.
pub(super) fn stars(ui: &mut Ui, panel: &mut PanelContext<'_>, item: &AskedItem<'_>, size: f32) {
    let theme = panel.theme;
    let rating = item.rating.unwrap_or(0);
    for star in 1..=MAX_RATING {
        let (icon, color) = if star <= rating {
            ("★", theme.warn)
        } else {
            ("☆", theme.dim)
        };
        let font = FontId::proportional(size);
        let label = egui::Label::new(RichText::new(icon).font(font).color(color));
        let response = ui.add(label.sense(Sense::click()).selectable(false));
        let tip = format!("{star} of {MAX_RATING}");
        response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Button, true, &tip));
        if response
            .on_hover_cursor(egui::CursorIcon::PointingHand)
            .on_hover_text(tip)
            .clicked()
        {
            rate(panel, item, star);
        }
    }
}

/// The mark, in the corner of the picture: never by colour alone.
pub(super) fn badge(ui: &Ui, theme: &Theme, mark: Option<Mark>, picture: Rect) {
    let (icon, color, words) = match mark {
        None => return,
        Some(Mark::Pick) => (icons::CHECK, theme.ok, "picked"),
        Some(Mark::Reject) => (icons::X, theme.error, "rejected"),
    };
    let painter = ui.painter();
    let galley = painter.layout_no_wrap(
        format!("{icon} {words}"),
        FontId::proportional(TEXT_SMALL),
        color,
    );
    let at = picture.left_top() + Vec2::splat(10.0);
    let behind = Rect::from_min_size(at, galley.size()).expand2(Vec2::new(6.0, 3.0));
    painter.rect_filled(behind, CornerRadius::same(6), theme.surface_panel);
    painter.galley(at, galley, color);
}

/// What an item shows, in a rectangle: its first picture, words, or what kind of file it is.
pub(super) fn shown(
    ui: &Ui,
    panel: &mut PanelContext<'_>,
    item: &AskedItem<'_>,
    rect: Rect,
    size: ThumbnailSize,
) {
    let theme = panel.theme;
    let painter = ui.painter_at(rect);
    let words = |text: String, color: Color32| {
        let galley = painter.layout(
            text,
            FontId::proportional(12.5),
            color,
            (rect.width() - 16.0).max(20.0),
        );
        let size = galley.size().min(rect.size() - Vec2::splat(16.0));
        painter.galley(rect.center() - size / 2.0, galley, color);
    };
    if let Some(text) = item.words() {
        words(text, theme.text);
        return;
    }
    let artifacts = item.artifacts();
    let Some(artifact) = artifacts.first() else {
        words("What it shows was not recorded".to_owned(), theme.dim);
        return;
    };
    let thumbnail = match panel.files {
        Some(files) => panel
            .thumbnails
            .request(artifact.hash, size, || (files.0)(artifact)),
        None => Thumbnail::Loading,
    };
    match thumbnail {
        Thumbnail::Ready(texture) => {
            let [width, height] = texture.size();
            let full = Vec2::new(width as f32, height as f32);
            let scale = (rect.width() / full.x).min(rect.height() / full.y);
            let at = Rect::from_center_size(rect.center(), full * scale);
            let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
            painter.image(texture.id(), at, whole, Color32::WHITE);
        }
        Thumbnail::Loading => {
            painter.text(
                rect.center(),
                Align2::CENTER_CENTER,
                icons::HOURGLASS,
                FontId::proportional(20.0),
                theme.faint,
            );
        }
        Thumbnail::Unreadable(_) => {
            painter.text(
                rect.center(),
                Align2::CENTER_CENTER,
                icons::of_data_type(artifact.data_type),
                FontId::proportional(32.0),
                theme.dim,
            );
        }
    }
    if artifacts.len() > 1 {
        let galley = painter.layout_no_wrap(
            format!("{} {}", icons::STACK, artifacts.len()),
            FontId::proportional(TEXT_SMALL),
            theme.text,
        );
        let at = rect.right_bottom() - galley.size() - Vec2::splat(8.0);
        let behind = Rect::from_min_size(at, galley.size()).expand2(Vec2::new(6.0, 3.0));
        painter.rect_filled(behind, CornerRadius::same(6), theme.surface_panel);
        painter.galley(at, galley, theme.text);
    }
}
