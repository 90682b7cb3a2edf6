//! What waits for a person: pictures to pick, reject, rate or have made again.

mod close;
mod questions;

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::review::{Again, Asked, AskedBy, AskedItem, Mark, ReviewDesk, asked, maker};
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, RADIUS_CARD, TEXT_SMALL, Theme};
use crate::app::thumbnails::{Thumbnail, ThumbnailSize};
use crate::app::widgets::{
    at_right, caption, duration_text, hint, icon_button, primary, row, strong,
};
use crate::engine::{MAX_RATING, ReviewAnswer, ReviewVerdict, RunCommand, RunWish};
use crate::project::{NodeId, NodeKind};
use bevy_egui::egui::{
    self, Align2, Color32, CornerRadius, FontId, Key, Pos2, Rect, RichText, ScrollArea, Sense,
    Stroke, StrokeKind, Ui, Vec2,
};

/// Sides of a picture in points: smallest, largest, first.
const SIDES: (f32, f32, f32) = (172.0, 480.0, 216.0);
/// Other runs that are offered.
const OTHER_RUNS: usize = 4;
/// Height below a picture for its label and buttons.
const FOOT: f32 = 58.0;

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let mut desk = std::mem::take(&mut panel.state.review);
    desk.follow(panel.runs);
    if desk.side < SIDES.0 {
        desk.side = SIDES.2;
    }
    let (runs, document) = (panel.runs, panel.document);
    let groups = runs
        .shown_view()
        .map(|view| asked(view, document.project()))
        .unwrap_or_default();
    let questions = runs
        .shown_view()
        .map(|view| crate::app::review::questions(view, document.project()))
        .unwrap_or_default();
    elsewhere(ui, panel);
    if !questions.is_empty() {
        let height = if groups.is_empty() {
            f32::INFINITY
        } else {
            ui.available_height() * 0.45
        };
        ScrollArea::vertical()
            .id_salt("questions")
            .max_height(height)
            .auto_shrink([false, true])
            .show(ui, |ui| questions::show(ui, panel, &mut desk, &questions));
    }
    if !groups.is_empty() {
        reviews(ui, panel, &mut desk, &groups);
    } else if questions.is_empty() {
        nothing(ui, panel);
    }
    panel.state.review = desk;
}

/// Other runs of the project that wait, too.
fn elsewhere(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let runs = panel.runs;
    let project_id = panel.document.project().id;
    for (run_id, waiting) in runs.waiting_elsewhere(project_id).take(OTHER_RUNS) {
        row(ui, |ui| {
            let ago = runs
                .views
                .get(&run_id)
                .map_or(0, |view| panel.now_ms.saturating_sub(view.started_ms));
            let items = if waiting == 1 {
                "item waits"
            } else {
                "items wait"
            };
            let words = format!(
                "{} {waiting} {items} in a run begun {} ago",
                icons::EYE,
                duration_text(ago)
            );
            ui.label(RichText::new(words).color(theme.warn));
            if ui.button("Show").clicked() {
                panel.act(Action::ShowRun(run_id));
            }
        });
    }
}

/// What Review nodes hold.
fn reviews(ui: &mut Ui, panel: &mut PanelContext<'_>, desk: &mut ReviewDesk, groups: &[Asked<'_>]) {
    let order: Vec<AskedItem<'_>> = groups
        .iter()
        .flat_map(|group| group.items.iter().copied())
        .collect();
    // A whole card is seen also where the panel is low.
    let low = (ui.available_height() - ABOVE_CARDS - FOOT).max(SIDES.0);
    let side = desk.side.min(low);
    let columns = columns(ui.available_width(), side);
    if desk.current.is_none() {
        desk.current = order.first().map(|item| item.item_id);
    }
    keys(ui, panel, desk, &order, columns);
    bar(ui, panel, desk, &order);
    ui.add_space(GRID);
    let current = order
        .iter()
        .find(|item| Some(item.item_id) == desk.current)
        .filter(|_| desk.is_close);
    if let Some(item) = current {
        close::show(ui, panel, desk, item, &order);
    } else {
        grid(ui, panel, desk, groups, (columns, side));
    }
}

fn nothing(ui: &mut Ui, panel: &PanelContext<'_>) {
    let theme = panel.theme;
    ui.add_space(6.0 * GRID);
    ui.vertical_centered(|ui| {
        ui.label(RichText::new(icons::EYE).size(30.0).color(theme.accent));
        let title = if panel.waiting_for_person() > 0 {
            "Nothing waits in this run"
        } else {
            "Nothing waits for you"
        };
        ui.label(strong(title, 15.0));
        hint(
            ui,
            theme,
            "Put a Review node behind a workflow: each of its items waits here until you pick or reject it, and no backend is held meanwhile.",
        );
    });
}

/// Below this width the bar has two lines, points.
const ONE_LINE: f32 = 640.0;
/// Height of what lies above the first line of cards, points.
const ABOVE_CARDS: f32 = 120.0;
/// How much larger than wished cards become at most, so that a line has no empty end.
const WIDENED_MOST: f32 = 1.3;

/// Cards side by side.
fn columns(width: f32, side: f32) -> usize {
    (((width + 2.0 * GRID) / (side + 2.0 * GRID)) as usize).max(1)
}

/// How many wait, what is marked, and the button that sends the marks; in two lines where there is no room for one.
fn bar(ui: &mut Ui, panel: &mut PanelContext<'_>, desk: &mut ReviewDesk, order: &[AskedItem<'_>]) {
    let theme = panel.theme;
    let is_narrow = ui.available_width() < ONE_LINE;
    row(ui, |ui| {
        let words = match order.len() {
            1 => "1 item waits for you".to_owned(),
            count => format!("{count} items wait for you"),
        };
        ui.label(strong(words, 14.0));
        ui.add_space(GRID);
        if !is_narrow {
            mark_buttons(ui, desk, order);
        }
        at_right(ui, |ui| {
            send_button(ui, panel, desk);
            if !is_narrow && ui.available_width() > 160.0 {
                size_slider(ui, desk);
            }
        });
    });
    if is_narrow {
        row(ui, |ui| {
            mark_buttons(ui, desk, order);
            at_right(ui, |ui| size_slider(ui, desk));
        });
    }
    hint(
        ui,
        theme,
        "Click or P pick · X reject · 1 to 5 rate · R make again · Space or double click look closely · arrows move · Enter answer",
    );
}

fn mark_buttons(ui: &mut Ui, desk: &mut ReviewDesk, order: &[AskedItem<'_>]) {
    if ui.button("Pick all").clicked() {
        desk.mark_all(order.iter().map(|item| item.item_id), Some(Mark::Pick));
    }
    let rest = order
        .iter()
        .map(|item| item.item_id)
        .filter(|item_id| desk.mark(*item_id).is_none())
        .collect::<Vec<_>>();
    if ui
        .add_enabled(!rest.is_empty(), egui::Button::new("Reject the rest"))
        .on_hover_text("Marks everything that is not picked")
        .clicked()
    {
        desk.mark_all(rest, Some(Mark::Reject));
    }
    let has_marks = desk.count(Mark::Pick) + desk.count(Mark::Reject) > 0;
    if ui
        .add_enabled(has_marks, egui::Button::new("Clear"))
        .clicked()
    {
        desk.mark_all(order.iter().map(|item| item.item_id), None);
    }
}

fn send_button(ui: &mut Ui, panel: &mut PanelContext<'_>, desk: &mut ReviewDesk) {
    let (picked, rejected) = (desk.count(Mark::Pick), desk.count(Mark::Reject));
    let words = match (picked, rejected) {
        (0, 0) => "Answer".to_owned(),
        (picked, 0) => format!("Answer: {picked} picked"),
        (0, rejected) => format!("Answer: {rejected} rejected"),
        (picked, rejected) => format!("Answer: {picked} picked, {rejected} rejected"),
    };
    let has_marks = picked + rejected > 0;
    let send = primary(ui, panel.theme, has_marks, words, Vec2::new(0.0, 28.0))
        .on_hover_text("What is not marked goes on waiting  Enter")
        .on_disabled_hover_text("Mark something first: P picks, X rejects");
    if send.clicked() {
        // Keys are for the pictures again.
        send.surrender_focus();
        answer(panel, desk);
    }
}

fn size_slider(ui: &mut Ui, desk: &mut ReviewDesk) {
    ui.spacing_mut().slider_width = 90.0;
    ui.add(egui::Slider::new(&mut desk.side, SIDES.0..=SIDES.1).show_value(false))
        .on_hover_text("Size of the pictures");
}

/// Sends the marks.
fn answer(panel: &mut PanelContext<'_>, desk: &mut ReviewDesk) {
    let answers = desk.take_answers();
    if let Some(run_id) = panel.runs.shown.filter(|_| !answers.is_empty()) {
        panel.command(RunCommand::wish(run_id, RunWish::Review(answers)));
    }
}

fn rate(panel: &mut PanelContext<'_>, item: &AskedItem<'_>, rating: u8) {
    // The same star again takes the rating away.
    let rating = if item.rating == Some(rating) {
        0
    } else {
        rating
    };
    if let Some(run_id) = panel.runs.shown {
        panel.command(RunCommand::wish(
            run_id,
            RunWish::Review(vec![ReviewAnswer {
                item_id: item.item_id,
                verdict: ReviewVerdict::Rate(rating),
            }]),
        ));
    }
}

/// The keys, while the pointer is over the panel and nothing is typed into.
fn keys(
    ui: &Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    order: &[AskedItem<'_>],
    columns: usize,
) {
    let ctx = ui.ctx();
    if panel.dialogs.any_open() || ctx.text_edit_focused() || !ui.ui_contains_pointer() {
        return;
    }
    let pressed = |key| ctx.input_mut(|input| input.consume_key(egui::Modifiers::NONE, key));
    let place = order
        .iter()
        .position(|item| Some(item.item_id) == desk.current);
    let step = if desk.is_close { 1 } else { columns };
    let last = order.len().saturating_sub(1);
    let moved = if pressed(Key::ArrowRight) {
        Some(place.map_or(0, |at| (at + 1).min(last)))
    } else if pressed(Key::ArrowLeft) {
        Some(place.map_or(0, |at| at.saturating_sub(1)))
    } else if pressed(Key::ArrowDown) {
        Some(place.map_or(0, |at| (at + step).min(last)))
    } else if pressed(Key::ArrowUp) {
        Some(place.map_or(0, |at| at.saturating_sub(step)))
    } else {
        None
    };
    if let Some(item) = moved.and_then(|at| order.get(at)) {
        desk.current = Some(item.item_id);
        desk.follows_keys = true;
    }
    if pressed(Key::Enter) {
        answer(panel, desk);
    }
    if desk.is_close && pressed(Key::Escape) {
        desk.is_close = false;
    }
    let Some(item) = place.and_then(|at| order.get(at)) else {
        return;
    };
    if pressed(Key::Space) {
        desk.is_close = !desk.is_close;
    }
    for (key, mark) in [(Key::P, Mark::Pick), (Key::X, Mark::Reject)] {
        if pressed(key) {
            desk.toggle(item.item_id, mark);
            // On to the next one, as when culling photographs.
            if let Some(next) = place.and_then(|at| order.get(at + 1))
                && desk.mark(item.item_id).is_some()
            {
                desk.current = Some(next.item_id);
                desk.follows_keys = true;
            }
        }
    }
    if pressed(Key::R) {
        begin_again(panel, desk, item);
    }
    let stars = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5];
    for (rating, key) in (1..=MAX_RATING).zip(stars) {
        if pressed(key) {
            rate(panel, item, rating);
        }
    }
}

/// Opens the question of what to change, if a workflow made what the item shows.
fn begin_again(panel: &mut PanelContext<'_>, desk: &mut ReviewDesk, item: &AskedItem<'_>) {
    let node_id = panel
        .runs
        .shown_view()
        .and_then(|view| view.items.get(&item.item_id))
        .map(|item| item.node_id);
    if let Some((node, _)) = node_id.and_then(|id| maker(panel.document.project(), id)) {
        desk.current = Some(item.item_id);
        panel.dialogs.make_again = Some(Again {
            item_id: item.item_id,
            asked_by: AskedBy::Review,
            maker: node.id,
            changed: Vec::new(),
        });
    }
}

/// Everything that waits, node by node.
fn grid(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    groups: &[Asked<'_>],
    (columns, side): (usize, f32),
) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing = Vec2::splat(2.0 * GRID);
        // The cards of a full line share the whole width.
        let gaps = 2.0 * GRID * (columns - 1) as f32;
        let side = ((ui.available_width() - gaps) / columns as f32).min(side * WIDENED_MOST);
        for group in groups {
            let (title, question) = match group.node {
                Some(node) => match &node.kind {
                    NodeKind::Review(review) => (node.title.as_str(), review.question.as_str()),
                    _ => (node.title.as_str(), ""),
                },
                None => ("A removed node", ""),
            };
            caption(ui, panel.theme, title);
            if !question.is_empty() {
                ui.label(strong(question, 13.5));
            }
            let node_id = group.node.map(|node| node.id);
            for line in group.items.chunks(columns) {
                let size = Vec2::new(ui.available_width(), side + FOOT);
                let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
                let holds_current = line.iter().any(|item| Some(item.item_id) == desk.current);
                if !ui.is_rect_visible(rect) && !holds_current {
                    continue;
                }
                for (column, item) in line.iter().enumerate() {
                    let left = rect.left() + column as f32 * (side + 2.0 * GRID);
                    let at =
                        Rect::from_min_size(Pos2::new(left, rect.top()), Vec2::new(side, size.y));
                    card(ui, panel, desk, item, node_id, at);
                }
            }
        }
    });
}

/// One item: picture, label, stars, buttons.
fn card(
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
fn buttons(
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
fn stars(ui: &mut Ui, panel: &mut PanelContext<'_>, item: &AskedItem<'_>, size: f32) {
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
fn badge(ui: &Ui, theme: &Theme, mark: Option<Mark>, picture: Rect) {
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
fn shown(
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
