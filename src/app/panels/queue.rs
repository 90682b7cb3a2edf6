//! What is being worked on and what waits, in a table.

use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary::{self, ItemRow};
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::{bar, hint, icon_button};
use crate::engine::{ItemState, RunCommand};
use bevy_egui::egui::{self, RichText, ScrollArea, Ui, Vec2};

/// Height of a row in points.
const ROW_HEIGHT: f32 = 26.0;

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let runs = panel.runs;
    let Some(view) = runs.shown_view() else {
        hint(
            ui,
            theme,
            "Nothing is queued. Press Run, and the items show up here as they become ready.",
        );
        return;
    };
    let rows: Vec<ItemRow<'_>> = summary::items(runs, view, |item| {
        !item.state.is_ended() || item.state == ItemState::Failed
    });
    if rows.is_empty() {
        hint(
            ui,
            theme,
            "Every item of this run has ended. Finished items are in the properties of their node.",
        );
        return;
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical()
        .auto_shrink(false)
        .show_rows(ui, ROW_HEIGHT, rows.len(), |ui, range| {
            for item in rows.get(range).unwrap_or_default() {
                queue_row(ui, panel, item);
            }
        });
}

fn queue_row(ui: &mut Ui, panel: &mut PanelContext<'_>, item: &ItemRow<'_>) {
    let theme = panel.theme;
    let color = theme.item_state_color(item.view.state);
    let width = ui.available_width();
    let title = panel
        .document
        .project()
        .nodes
        .get(&item.view.node_id)
        .map_or("removed node", |node| node.title.as_str());
    ui.horizontal(|ui| {
        ui.set_height(ROW_HEIGHT);
        let cell = |ui: &mut Ui, width: f32, text: RichText| {
            ui.add_sized(
                Vec2::new(width, 18.0),
                egui::Label::new(text).truncate().halign(egui::Align::LEFT),
            );
        };
        cell(
            ui,
            92.0,
            RichText::new(format!(
                "{} {}",
                icons::of_item_state(item.view.state),
                icons::item_state_word(item.view.state)
            ))
            .size(12.0)
            .color(color),
        );
        cell(
            ui,
            (width * 0.18).max(90.0),
            RichText::new(title).size(12.5),
        );
        cell(
            ui,
            (width * 0.22).max(90.0),
            RichText::new(item.title())
                .size(TEXT_SMALL)
                .color(theme.dim),
        );
        let place = item
            .backend_id()
            .map_or_else(String::new, |id| panel.backends.name_of(id));
        cell(
            ui,
            (width * 0.14).max(80.0),
            RichText::new(place).size(TEXT_SMALL).color(theme.dim),
        );
        let activity = item.reason.map(str::to_owned).or_else(|| {
            panel
                .live
                .progress
                .get(&item.item_id)
                .map(|progress| progress.activity.clone())
        });
        let fraction = panel
            .live
            .progress
            .get(&item.item_id)
            .map(|progress| progress.fraction);
        if let (Some(fraction), false) = (fraction, item.view.state.is_ended()) {
            ui.allocate_ui(Vec2::new(80.0, 6.0), |ui| {
                bar(ui, theme, fraction, theme.accent, 4.0)
            });
        }
        let left = (ui.available_width() - 36.0).max(20.0);
        cell(
            ui,
            left,
            RichText::new(activity.unwrap_or_default())
                .size(TEXT_SMALL)
                .color(theme.dim),
        );
        if !item.view.state.is_ended()
            && let Some(run_id) = panel.runs.shown
            && icon_button(ui, theme, icons::X, "Call this item off").clicked()
        {
            panel.command(RunCommand::CancelItem {
                run_id,
                item_id: item.item_id,
            });
        }
    });
}
