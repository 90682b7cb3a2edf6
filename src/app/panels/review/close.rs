//! One item of a Review as large as the panel.

use super::card::{badge, buttons, shown, stars};
use crate::app::icons;
use crate::app::review::{AskedItem, ReviewDesk};
use crate::app::shell::PanelContext;
use crate::app::thumbnails::ThumbnailSize;
use crate::app::widgets::{at_right, icon_button, row, strong};
use bevy_egui::egui::{Align, CornerRadius, Layout, Rect, RichText, Sense, Ui, UiBuilder, Vec2};

/// Height of the line below the picture.
const FOOT: f32 = 34.0;

/// Draws the item. A double click goes back to all of them.
pub(super) fn show(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    item: &AskedItem<'_>,
    order: &[AskedItem<'_>],
) {
    let theme = panel.theme;
    let size = (ui.available_size() - Vec2::new(0.0, FOOT + 8.0)).max(Vec2::splat(60.0));
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    ui.painter()
        .rect_filled(rect, CornerRadius::same(6), theme.surface_canvas);
    shown(ui, panel, item, rect, ThumbnailSize::Large);
    badge(ui, theme, desk.mark(item.item_id), rect);
    if response.double_clicked() {
        desk.is_close = false;
    }
    let place = order
        .iter()
        .position(|one| one.item_id == item.item_id)
        .unwrap_or_default();
    let foot = Rect::from_min_size(
        rect.left_bottom() + Vec2::new(0.0, 4.0),
        Vec2::new(rect.width(), FOOT),
    );
    let mut foot = ui.new_child(UiBuilder::new().max_rect(foot));
    row(&mut foot, |ui| {
        if icon_button(ui, theme, icons::LAYOUT, "All items  Esc").clicked() {
            desk.is_close = false;
        }
        for (icon, tip, next) in [
            (icons::CARET_LEFT, "Previous", place.checked_sub(1)),
            (icons::CARET_RIGHT, "Next", Some(place + 1)),
        ] {
            let next = next.and_then(|at| order.get(at));
            ui.add_enabled_ui(next.is_some(), |ui| {
                if icon_button(ui, theme, icon, tip).clicked()
                    && let Some(next) = next
                {
                    desk.current = Some(next.item_id);
                }
            });
        }
        ui.label(RichText::new(format!("{} of {}", place + 1, order.len())).color(theme.dim));
        ui.label(strong(item.label, 13.0));
        at_right(ui, |ui| {
            buttons(ui, panel, desk, item, true);
            ui.add_space(8.0);
            let width = 5.0 * 22.0;
            ui.allocate_ui_with_layout(
                Vec2::new(width, 28.0),
                Layout::left_to_right(Align::Center),
                |ui| stars(ui, panel, item, 16.0),
            );
        });
    });
}
