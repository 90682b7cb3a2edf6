//! Every run of the database, newest first: state, counts, when. A click shows it on the canvas.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::{GRID, TEXT_SMALL, Theme};
use crate::app::widgets::{age_text, at_right, bar, card, hint, link, row, strong};
use crate::engine::fold::RunView;
use crate::engine::{RunId, RunState};
use crate::project::ProjectId;
use bevy_egui::egui::{self, RichText, ScrollArea, Sense, Stroke, Ui};
use std::collections::BTreeMap;

/// Rows drawn; more than these are counted.
const ROWS: usize = 300;

/// A run as a row.
struct RunRow<'a> {
    run_id: RunId,
    project_id: Option<ProjectId>,
    name: &'a str,
    state: RunState,
    started_ms: u64,
    /// Counts, once its events were read.
    view: Option<&'a RunView>,
}

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let open_id = panel.document.project().id;
    let all = rows(panel);
    let elsewhere = all
        .iter()
        .filter(|run| run.project_id != Some(open_id))
        .count();
    let mut chosen = None;
    let mut all_projects = panel.state.all_projects;
    if elsewhere > 0 {
        row(ui, |ui| {
            ui.selectable_value(&mut all_projects, false, "This project");
            ui.selectable_value(
                &mut all_projects,
                true,
                format!("All projects · {}", all.len()),
            );
        });
        ui.add_space(GRID);
    }
    let wanted: Vec<&RunRow<'_>> = all
        .iter()
        .filter(|run| all_projects || run.project_id == Some(open_id))
        .collect();
    if wanted.is_empty() {
        none_yet(ui, theme);
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for run in wanted.iter().take(ROWS) {
            if let Some(action) = run_row(ui, panel, run, open_id) {
                chosen = Some(action);
            }
        }
        if wanted.len() > ROWS {
            let words = format!(
                "and {} older ones; `comfyui-orchestrator runs list` shows all",
                wanted.len() - ROWS
            );
            hint(ui, theme, &words);
        }
    });
    panel.state.all_projects = all_projects;
    if let Some(action) = chosen {
        panel.act(action);
    }
}

/// What the database has, and on top of it what this session knows better.
fn rows<'a>(panel: &PanelContext<'a>) -> Vec<RunRow<'a>> {
    let mut found: BTreeMap<RunId, RunRow<'a>> = BTreeMap::new();
    for run in panel.history.iter().flat_map(|history| &history.runs) {
        found.insert(
            run.run_id,
            RunRow {
                run_id: run.run_id,
                project_id: Some(run.project_id),
                name: &run.name,
                state: run.state,
                started_ms: run.created_ms,
                view: None,
            },
        );
    }
    for (run_id, view) in &panel.runs.views {
        if view.project_id.is_none() {
            // Its beginning is being read.
            continue;
        }
        found.insert(
            *run_id,
            RunRow {
                run_id: *run_id,
                project_id: view.project_id,
                name: &view.project_name,
                state: summary::state(view),
                started_ms: view.started_ms,
                view: Some(view),
            },
        );
    }
    found.into_values().rev().collect()
}

fn none_yet(ui: &mut Ui, theme: &Theme) {
    ui.add_space(6.0 * GRID);
    ui.vertical_centered(|ui| {
        ui.label(RichText::new(icons::CLOCK).size(30.0).color(theme.accent));
        ui.label(strong("No run yet", 15.0));
        hint(
            ui,
            theme,
            "Press Run, and every run of this project shows up here with its state and its items, also after a restart.",
        );
    });
}

/// Draws a run; gives what a click on it asks for.
fn run_row(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    run: &RunRow<'_>,
    open_id: ProjectId,
) -> Option<Action> {
    let theme = panel.theme;
    let is_ours = run.project_id == Some(open_id);
    let color = summary::run_state_color(theme, run.state);
    let frame = card(theme);
    let frame = if panel.runs.shown == Some(run.run_id) {
        frame.stroke(Stroke::new(1.0, theme.accent))
    } else {
        frame
    };
    let mut is_opened = false;
    let drawn = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        row(ui, |ui| {
            ui.label(
                RichText::new(icons::of_run_state(run.state))
                    .size(16.0)
                    .color(color),
            );
            ui.label(strong(icons::run_state_word(run.state), 13.0).color(color));
            at_right(ui, |ui| {
                let ago = panel.now_ms.saturating_sub(run.started_ms);
                ui.label(
                    RichText::new(format!("{} ago", age_text(ago)))
                        .size(TEXT_SMALL)
                        .color(theme.dim),
                );
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    ui.add(egui::Label::new(RichText::new(run.name).color(theme.text)).truncate());
                });
            });
        });
        let is_reading = panel
            .history
            .is_some_and(|history| history.is_reading(run.run_id));
        let words = match run.view {
            Some(view) => summary::counts_text(&view.counts),
            None if is_reading => "is being read…".to_owned(),
            None if is_ours => "Click to show it on the canvas".to_owned(),
            None => "A run of another project".to_owned(),
        };
        row(ui, |ui| {
            ui.label(RichText::new(words).size(TEXT_SMALL).color(theme.dim));
            if !is_ours {
                at_right(ui, |ui| {
                    is_opened = link(ui, theme, "Open its project")
                        .on_hover_text("To see this run on its canvas")
                        .clicked();
                });
            }
        });
        if let Some(view) = run.view {
            bar(ui, theme, view.fraction(), color, 4.0);
        }
    });
    if !is_ours {
        return is_opened.then_some(Action::OpenProjectOfRun(run.run_id));
    }
    let shown = ui
        .interact(
            drawn.response.rect,
            egui::Id::new(("run", run.run_id.uuid())),
            Sense::click(),
        )
        .on_hover_cursor(egui::CursorIcon::PointingHand);
    shown.clicked().then_some(Action::ShowRun(run.run_id))
}
