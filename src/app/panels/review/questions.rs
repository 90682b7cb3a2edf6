//! What is to become of items that have no place left: what happened, and what can be done about it.

use crate::app::icons;
use crate::app::review::{AskedQuestion, ReviewDesk};
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{card, hint, row, strong, tick};
use crate::engine::{AnswerReach, PlacementVerdict, QuestionCause, RunCommand, RunWish};
use bevy_egui::egui::{self, Button, RichText, Stroke, Ui, Vec2};

/// Labels of items named; the rest is counted.
const LABELS: usize = 6;
/// Widest that the words get, points.
const WIDTH: f32 = 720.0;

/// Draws the questions of a run, equal ones of a node as one.
pub(super) fn show(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    questions: &[AskedQuestion<'_>],
) {
    row(ui, |ui| {
        let count: usize = questions.iter().map(|asked| asked.items.len()).sum();
        let words = match count {
            1 => "1 item asks you".to_owned(),
            count => format!("{count} items ask you"),
        };
        ui.label(strong(words, 14.0));
        ui.add_space(2.0 * GRID);
        let words = "The same for the rest of this run";
        tick(ui, panel.theme, &mut desk.for_whole_run, words)
            .on_hover_text("Later questions of this run are then answered so by themselves");
    });
    ui.add_space(GRID);
    for asked in questions {
        one(ui, panel, desk, asked);
    }
}

fn one(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    asked: &AskedQuestion<'_>,
) {
    let theme = panel.theme;
    let question = asked.question;
    card(theme)
        .stroke(Stroke::new(1.0, theme.warn))
        .show(ui, |ui| {
            ui.set_width(ui.available_width().min(WIDTH));
            row(ui, |ui| {
                ui.label(RichText::new(icons::WARNING).size(16.0).color(theme.warn));
                let title = asked
                    .node
                    .map_or("A removed node", |node| node.title.as_str());
                ui.label(strong(title, 14.0));
                let words = match asked.items.len() {
                    1 => "has an item without a place".to_owned(),
                    count => format!("has {count} items without a place"),
                };
                ui.label(RichText::new(words).color(theme.dim));
            });
            let labels: Vec<&str> = asked
                .items
                .iter()
                .map(|(_, label)| *label)
                .filter(|label| !label.is_empty())
                .collect();
            if !labels.is_empty() {
                let mut words = labels
                    .iter()
                    .take(LABELS)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" · ");
                if labels.len() > LABELS {
                    words = format!("{words} · and {} more", labels.len() - LABELS);
                }
                hint(ui, theme, &words);
            }
            let cause = match question.cause {
                QuestionCause::Failed => "Its backend failed it:",
                QuestionCause::TriesUsedUp => "It failed as often as the node allows:",
                QuestionCause::NoPlace => "No backend can take it:",
            };
            ui.add_space(GRID);
            ui.label(RichText::new(cause).size(TEXT_SMALL).color(theme.dim));
            ui.add(
                egui::Label::new(RichText::new(&question.failure.message).color(theme.text))
                    .wrap()
                    .selectable(true),
            );
            ui.add_space(GRID);
            for (place, alternative) in question.alternatives.iter().enumerate() {
                ui.horizontal_wrapped(|ui| {
                    let words = RichText::new(&alternative.label).color(theme.text);
                    let mut button = Button::new(words).min_size(Vec2::new(230.0, 28.0));
                    if place == 0 {
                        button = button.stroke(Stroke::new(1.0, theme.accent));
                    }
                    if ui.add(button).clicked()
                        && let Some(run_id) = panel.runs.shown
                    {
                        panel.command(RunCommand::wish(
                            run_id,
                            RunWish::Answer {
                                item_ids: asked.items.iter().map(|(item_id, _)| *item_id).collect(),
                                answer: alternative.answer,
                                reach: if desk.for_whole_run {
                                    AnswerReach::ThisRun
                                } else {
                                    AnswerReach::TheseItems
                                },
                            },
                        ));
                    }
                    ui.label(
                        RichText::new(&alternative.reason)
                            .size(TEXT_SMALL)
                            .color(theme.dim),
                    );
                });
            }
            if !question.impossible.is_empty() {
                egui::CollapsingHeader::new(RichText::new("Why not elsewhere").size(12.0))
                    .id_salt(("elsewhere", asked.items.first().map(|(id, _)| id.uuid())))
                    .show(ui, |ui| {
                        for candidate in &question.impossible {
                            let reason = match &candidate.verdict {
                                PlacementVerdict::Excluded { reason } => reason.as_str(),
                                PlacementVerdict::Possible { .. } => "can take it",
                            };
                            hint(ui, theme, &format!("{}: {reason}", candidate.backend_name));
                        }
                    });
            }
        });
    ui.add_space(2.0 * GRID);
}
