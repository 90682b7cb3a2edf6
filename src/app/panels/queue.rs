//! What is being worked on and what waits, in a table.

use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary::{self, ItemRow};
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::{bar, duration_text, hint, icon_button};
use crate::engine::{ItemState, RunCommand, RunWish};
use bevy_egui::egui::{
    self, Align, Layout, Pos2, Rect, RichText, ScrollArea, Sense, Ui, UiBuilder, Vec2,
};

/// Height of a row in points.
const ROW_HEIGHT: f32 = 26.0;
/// Space between two columns in points.
const GAP: f32 = 8.0;

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
    let (rect, _) = ui.allocate_exact_size(Vec2::new(width, ROW_HEIGHT), Sense::hover());
    let mut left = rect.left();
    let mut cell = |ui: &mut Ui, width: f32, text: RichText| {
        let at = Rect::from_min_size(Pos2::new(left, rect.top()), Vec2::new(width, ROW_HEIGHT));
        left += width + GAP;
        let mut cell = ui.new_child(
            UiBuilder::new()
                .max_rect(at)
                .layout(Layout::left_to_right(Align::Center)),
        );
        cell.add(egui::Label::new(text).truncate());
    };
    let words = format!(
        "{} {}",
        icons::of_item_state(item.view.state),
        icons::item_state_word(item.view.state)
    );
    cell(ui, 104.0, RichText::new(words).size(12.0).color(color));
    cell(
        ui,
        (width * 0.18).max(90.0),
        RichText::new(title).size(12.5),
    );
    let small = |words: &str| RichText::new(words).size(TEXT_SMALL).color(theme.dim);
    cell(ui, (width * 0.22).max(90.0), small(item.title()));
    let place = item
        .backend_id()
        .map_or_else(String::new, |id| panel.backends.name_of(id));
    cell(ui, (width * 0.14).max(80.0), small(&place));
    let progress = panel.live.progress.get(&item.item_id);
    if let (Some(progress), false) = (progress, item.view.state.is_ended()) {
        let at = Rect::from_min_size(Pos2::new(left, rect.center().y - 2.0), Vec2::new(80.0, 4.0));
        let mut place = ui.new_child(UiBuilder::new().max_rect(at));
        bar(&mut place, theme, progress.fraction, theme.accent, 4.0);
    }
    let activity_left = left + 80.0 + GAP;
    let button = Rect::from_min_size(
        Pos2::new(rect.right() - ROW_HEIGHT - 4.0, rect.top()),
        Vec2::splat(ROW_HEIGHT),
    );
    let mut activity = item
        .reason
        .or_else(|| progress.map(|progress| progress.activity.as_str()))
        .or_else(|| summary::waits_because(panel.runs.shown_view()?, panel.live, item))
        .unwrap_or_default()
        .to_owned();
    if let Some(view) = panel.runs.shown_view()
        && let Some(end_ms) = summary::item_end_ms(view, panel.live, item)
        && end_ms > panel.now_ms
    {
        let separator = if activity.is_empty() { "" } else { " · " };
        let left = duration_text(end_ms - panel.now_ms);
        activity = format!("{activity}{separator}done in about {left}");
    }
    let at = Rect::from_min_max(
        Pos2::new(activity_left, rect.top()),
        Pos2::new((button.left() - GAP).max(activity_left), rect.bottom()),
    );
    let mut words = ui.new_child(
        UiBuilder::new()
            .max_rect(at)
            .layout(Layout::left_to_right(Align::Center)),
    );
    words.add(egui::Label::new(small(&activity)).truncate());
    if !item.view.state.is_ended()
        && let Some(run_id) = panel.runs.shown
    {
        let mut place = ui.new_child(UiBuilder::new().max_rect(button));
        if icon_button(&mut place, theme, icons::X, "Call this item off").clicked() {
            panel.command(RunCommand::wish(run_id, RunWish::CancelItem(item.item_id)));
        }
    }
}
