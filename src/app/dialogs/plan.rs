//! What a run would do before it does it: what is there already, what will be made, and why.

use super::modal;
use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL, TEXT_TITLE};
use crate::app::widgets::{at_right, bar, hint, primary, row, strong};
use crate::engine::{DryNode, DryProblem, DryRun, RunId};
use bevy_egui::egui::{Context, Label, RichText, Ui, Vec2};

/// Problems shown; more are counted.
const PROBLEMS: usize = 8;

/// The answer to "what would run?", or the wait for it.
#[derive(Debug)]
pub struct PlanDialog {
    /// Which question it is the answer to.
    pub plan_id: RunId,
    /// The answer, once it is there.
    pub answer: Option<Result<DryRun, Vec<DryProblem>>>,
}

/// Draws the dialog, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(dialog) = panel.dialogs.plan.take() else {
        return;
    };
    let theme = panel.theme;
    let mut run = false;
    let mut close = false;
    let closed = modal(ctx, theme, "plan", 460.0, |ui| {
        let can_run = match &dialog.answer {
            None => {
                ui.label(strong("What would run", TEXT_TITLE));
                hint(ui, theme, "Comparing with what was made before…");
                false
            }
            Some(Ok(found)) => {
                found_rows(ui, panel, found);
                true
            }
            Some(Err(problems)) => {
                ui.label(strong("The project cannot run yet", TEXT_TITLE));
                ui.add_space(GRID);
                for (_, problem) in problems.iter().take(PROBLEMS) {
                    let words = RichText::new(format!("{} {problem}", icons::WARNING_CIRCLE));
                    ui.add(Label::new(words.color(theme.error)).wrap().selectable(true));
                }
                if problems.len() > PROBLEMS {
                    hint(
                        ui,
                        theme,
                        &format!("and {} more", problems.len() - PROBLEMS),
                    );
                }
                false
            }
        };
        ui.add_space(2.0 * GRID);
        row(ui, |ui| {
            at_right(ui, |ui| {
                let words = format!("{} Run", icons::PLAY);
                run = primary(ui, theme, can_run, words, Vec2::new(0.0, 28.0)).clicked();
                close = ui.button("Close").clicked();
            });
        });
    });
    if run {
        panel.act(Action::Run);
    } else if !close && !closed {
        panel.dialogs.plan = Some(dialog);
    }
}

fn found_rows(ui: &mut Ui, panel: &mut PanelContext<'_>, found: &DryRun) {
    let theme = panel.theme;
    let most = found
        .to_run
        .most
        .map(|most| found.cached + most + found.cannot_run);
    let words = if found.nodes.is_empty() {
        "No workflow runs in this project".to_owned()
    } else if found.to_run.is_none() && found.cannot_run == 0 && found.cached > 0 {
        format!(
            "All {} are there already: no backend is needed",
            found.cached
        )
    } else {
        found.words()
    };
    ui.label(strong(words, TEXT_TITLE));
    if let Some(all) = most.filter(|all| *all > 0) {
        bar(ui, theme, found.cached as f32 / all as f32, theme.ok, 5.0);
    }
    ui.add_space(GRID);
    for node in &found.nodes {
        node_row(ui, panel, node);
    }
    hint(
        ui,
        theme,
        "Compared by the prompt, the content of its files and the models. Whether a node uses earlier results is in its properties.",
    );
}

fn node_row(ui: &mut Ui, panel: &mut PanelContext<'_>, node: &DryNode) {
    let theme = panel.theme;
    row(ui, |ui| {
        let (icon, color) = if !node.cannot_run.is_empty() {
            (icons::WARNING, theme.warn)
        } else if !node.to_run.is_none() {
            (icons::PLAY, theme.accent)
        } else if node.cached > 0 {
            (icons::CHECK_CIRCLE, theme.ok)
        } else {
            (icons::CIRCLE_DASHED, theme.dim)
        };
        ui.label(RichText::new(icon).size(15.0).color(color));
        ui.label(strong(&node.title, 13.0));
        at_right(ui, |ui| {
            ui.label(
                RichText::new(node.words())
                    .size(TEXT_SMALL)
                    .color(theme.dim),
            );
        });
    });
    let runs = node
        .reasons
        .iter()
        .map(|(reason, count)| format!("{count} because {reason}"));
    let cannot = node
        .cannot_run
        .iter()
        .map(|(reason, count)| format!("{count} cannot run: {reason}"));
    for words in runs.chain(cannot) {
        ui.horizontal(|ui| {
            ui.add_space(22.0);
            hint(ui, theme, &words);
        });
    }
}
