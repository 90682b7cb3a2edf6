//! Runs that an earlier session left unfinished, where the setting is to ask about them.

use super::modal;
use crate::app::actions::{Action, Settlement};
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::{GRID, TEXT_SMALL, TEXT_TITLE};
use crate::app::widgets::{card, duration_text, hint, row, strong};
use crate::engine::RunId;
use bevy_egui::egui::{Context, RichText, Ui};

/// Draws the question, while runs rest.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(history) = panel
        .history
        .filter(|history| !history.unfinished.is_empty())
    else {
        return;
    };
    let theme = panel.theme;
    let closed = modal(ctx, theme, "unfinished", 460.0, |ui| {
        ui.label(strong("Runs that were not finished", TEXT_TITLE));
        hint(
            ui,
            theme,
            "Nothing of them is lost. What backends still do for them is taken over when they go on.",
        );
        ui.add_space(GRID);
        for run_id in &history.unfinished {
            one(ui, panel, *run_id);
        }
    });
    if closed {
        for run_id in &history.unfinished {
            panel.act(Action::Settle {
                run_id: *run_id,
                settlement: Settlement::Leave,
            });
        }
    }
}

fn one(ui: &mut Ui, panel: &mut PanelContext<'_>, run_id: RunId) {
    let theme = panel.theme;
    let runs = panel.runs;
    let view = runs.views.get(&run_id);
    card(theme).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let name = view.map_or("A run", |view| view.project_name.as_str());
        ui.label(strong(name, 13.5));
        if let Some(view) = view {
            let ago = panel.now_ms.saturating_sub(view.started_ms);
            let words = format!(
                "{} · begun {} ago",
                summary::counts_text(&view.counts),
                duration_text(ago)
            );
            ui.label(RichText::new(words).size(TEXT_SMALL).color(theme.dim));
        }
        row(ui, |ui| {
            for (icon, words, settlement) in [
                (icons::PLAY, "Go on", Settlement::Resume),
                (icons::PAUSE, "Keep paused", Settlement::Pause),
                (icons::STOP, "Call off", Settlement::Cancel),
                (icons::CLOCK, "Later", Settlement::Leave),
            ] {
                if ui.button(format!("{icon}  {words}")).clicked() {
                    panel.act(Action::Settle { run_id, settlement });
                }
            }
        });
    });
    ui.add_space(GRID);
}
