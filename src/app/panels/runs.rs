//! Every run of this session: state, counts, when. A click shows it on the canvas.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{at_right, bar, card, duration_text, hint, row, strong};
use bevy_egui::egui::{self, RichText, ScrollArea, Sense, Stroke, Ui};

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    if panel.runs.views.is_empty() {
        ui.add_space(6.0 * GRID);
        ui.vertical_centered(|ui| {
            ui.label(RichText::new(icons::CLOCK).size(30.0).color(theme.accent));
            ui.label(strong("No run yet", 15.0));
            hint(
                ui,
                theme,
                "Press Run, and every run shows up here with its state and its items.",
            );
        });
        return;
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let runs = panel.runs;
        for (run_id, view) in runs.views.iter().rev() {
            let shown = runs.shown == Some(*run_id);
            let state = summary::state(view);
            let color = summary::run_state_color(theme, state);
            let frame = card(theme);
            let frame = if shown {
                frame.stroke(Stroke::new(1.0, theme.accent))
            } else {
                frame
            };
            let response = frame.show(ui, |ui| {
                ui.set_width(ui.available_width());
                row(ui, |ui| {
                    ui.label(
                        RichText::new(icons::of_run_state(state))
                            .size(16.0)
                            .color(color),
                    );
                    ui.label(strong(icons::run_state_word(state), 13.0).color(color));
                    ui.label(RichText::new(&view.project_name).color(theme.text));
                    at_right(ui, |ui| {
                        let ago = panel.now_ms.saturating_sub(view.started_ms);
                        ui.label(
                            RichText::new(format!("{} ago", duration_text(ago)))
                                .size(TEXT_SMALL)
                                .color(theme.dim),
                        );
                    });
                });
                ui.label(
                    RichText::new(summary::counts_text(&view.counts))
                        .size(TEXT_SMALL)
                        .color(theme.dim),
                );
                bar(ui, theme, view.fraction(), color, 4.0);
            });
            let response = ui
                .interact(
                    response.response.rect,
                    egui::Id::new(("run", run_id.uuid())),
                    Sense::click(),
                )
                .on_hover_cursor(egui::CursorIcon::PointingHand);
            if response.clicked() {
                panel.act(Action::ShowRun(*run_id));
            }
        }
    });
}
