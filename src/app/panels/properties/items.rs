//! The items of the selected node: state, labels, place, and why there.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::review::{Again, AskedBy};
use crate::app::shell::PanelContext;
use crate::app::summary::{self, ItemRow};
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{
    ListRow, caption, chosen_item, chosen_item_key, duration_text, hint, link, strong,
};
use crate::engine::{
    ItemState, PlacementDecision, PlacementVerdict, RetryScope, RunCommand, RunWish,
};
use crate::project::{NodeId, NodeKind};
use bevy_egui::egui::{RichText, Sense, Ui};

/// Items listed at once; more are reached by the filter and the queue.
const SHOWN: usize = 60;

/// Draws the list.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>, node_id: NodeId) {
    let theme = panel.theme;
    let runs = panel.runs;
    let Some(view) = runs.shown_view() else {
        return;
    };
    let rows: Vec<ItemRow<'_>> = summary::items(runs, view, |item| item.node_id == node_id);
    if rows.is_empty() {
        return;
    }
    ui.add_space(2.0 * GRID);
    caption(ui, theme, &format!("Items ({})", rows.len()));
    let chosen_key = chosen_item_key(node_id);
    let mut chosen = chosen_item(ui, node_id);
    ui.spacing_mut().item_spacing.y = 1.0;
    for item in rows.iter().take(SHOWN) {
        let place = item.backend_id().map_or_else(
            || icons::item_state_word(item.view.state).to_owned(),
            |id| panel.backends.name_of(id),
        );
        let selected = chosen == Some(item.item_id);
        let response = ListRow {
            title_lines: 1,
            icon: icons::of_item_state(item.view.state),
            icon_color: theme.item_state_color(item.view.state),
            title: item.title(),
            note: &place,
            selected,
            indent: 0.0,
        }
        .show(ui, theme, Sense::click());
        let response = response.on_hover_text(icons::item_state_word(item.view.state));
        if response.clicked() {
            chosen = if selected { None } else { Some(item.item_id) };
        }
        if selected {
            details(ui, panel, item);
        }
    }
    if rows.len() > SHOWN {
        ui.label(
            RichText::new(format!("and {} more", rows.len() - SHOWN))
                .size(TEXT_SMALL)
                .color(theme.dim),
        );
    }
    ui.data_mut(|data| match chosen {
        Some(item) => {
            data.insert_temp(chosen_key, item);
        }
        None => data.remove::<crate::engine::ItemId>(chosen_key),
    });
}

fn details(ui: &mut Ui, panel: &mut PanelContext<'_>, item: &ItemRow<'_>) {
    let theme = panel.theme;
    ui.indent(("item", item.item_id.uuid()), |ui| {
        if let Some(reason) = item.reason {
            ui.add(
                bevy_egui::egui::Label::new(
                    RichText::new(reason)
                        .size(12.0)
                        .color(theme.item_state_color(item.view.state)),
                )
                .wrap()
                .selectable(true),
            );
        }
        if let Some(view) = panel.runs.shown_view()
            && let Some(reason) = summary::waits_because(view, panel.live, item)
        {
            hint(ui, theme, reason);
        }
        if item.view.attempts > 1 {
            ui.label(
                RichText::new(format!("attempt {}", item.view.attempts))
                    .size(TEXT_SMALL)
                    .color(theme.dim),
            );
        }
        if let Some(decision) = item.decision {
            why_here(ui, panel, decision);
        }
        ui.horizontal_wrapped(|ui| commands(ui, panel, item));
    });
}

/// What can be done with an item.
fn commands(ui: &mut Ui, panel: &mut PanelContext<'_>, item: &ItemRow<'_>) {
    let theme = panel.theme;
    let Some(run_id) = panel.runs.shown else {
        return;
    };
    let item_id = item.item_id;
    let state = item.view.state;
    ui.spacing_mut().item_spacing.x = 3.0 * GRID;
    if matches!(state, ItemState::Parked | ItemState::Asking) {
        if link(ui, theme, "Answer").clicked() {
            panel.act(Action::ShowReview);
        }
    } else if matches!(state, ItemState::Waiting | ItemState::Ready) {
        for (words, priority) in [("Do first", 1), ("Do last", -1)] {
            if link(ui, theme, words).clicked() {
                panel.command(RunCommand::wish(
                    run_id,
                    RunWish::SetItemPriority {
                        item_ids: vec![item_id],
                        priority,
                    },
                ));
            }
        }
    }
    if matches!(state, ItemState::Failed | ItemState::Cancelled)
        && link(ui, theme, "Try again").clicked()
    {
        panel.command(RunCommand::wish(
            run_id,
            RunWish::Retry(RetryScope::Items(vec![item_id])),
        ));
    }
    let is_workflow = panel
        .document
        .project()
        .nodes
        .get(&item.view.node_id)
        .is_some_and(|node| matches!(node.kind, NodeKind::Workflow(_)));
    if is_workflow && state.is_ended() && link(ui, theme, "Make again…").clicked() {
        let again = Again::new(item_id, AskedBy::Person, item.view.node_id);
        panel.dialogs.make_again = Some(again);
    }
    if !state.is_ended() && link(ui, theme, "Call off").clicked() {
        panel.command(RunCommand::wish(run_id, RunWish::CancelItem(item_id)));
    }
}

/// Why an item runs where it runs, and why not elsewhere.
fn why_here(ui: &mut Ui, panel: &PanelContext<'_>, decision: &PlacementDecision) {
    let theme = panel.theme;
    ui.label(strong("Why here", 11.5).color(theme.dim));
    for (index, candidate) in decision.candidates.iter().enumerate() {
        let (icon, color, words) = match &candidate.verdict {
            PlacementVerdict::Possible {
                wait_ms,
                swap_ms,
                transfer_ms,
                run_ms,
                moving_ms,
                risk_ms,
            } => {
                let total = wait_ms + swap_ms + transfer_ms + run_ms + moving_ms + risk_ms;
                let mut parts = Vec::new();
                if *wait_ms > 0 {
                    parts.push(format!("{} wait", duration_text(*wait_ms)));
                }
                if *swap_ms > 0 {
                    parts.push(format!("{} loading models", duration_text(*swap_ms)));
                }
                if *moving_ms > 0 {
                    parts.push(format!("{} moving models", duration_text(*moving_ms)));
                }
                if *risk_ms > 0 {
                    parts.push(format!("{} for failures", duration_text(*risk_ms)));
                }
                if *transfer_ms > 0 {
                    parts.push(format!("{} transfer", duration_text(*transfer_ms)));
                }
                let icon = if index == 0 {
                    icons::CHECK
                } else {
                    icons::MINUS
                };
                let color = if index == 0 { theme.ok } else { theme.dim };
                if let Some(fit) = candidate.memory {
                    parts.push(fit.to_string());
                }
                let parts = if parts.is_empty() {
                    String::new()
                } else {
                    format!(": {}", parts.join(", "))
                };
                (
                    icon,
                    color,
                    format!(
                        "{}  {}{parts}",
                        candidate.backend_name,
                        duration_text(total)
                    ),
                )
            }
            PlacementVerdict::Excluded { reason } => (
                icons::X,
                theme.error,
                format!("{}: {reason}", candidate.backend_name),
            ),
        };
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(icon).size(12.0).color(color));
            ui.label(RichText::new(words).size(TEXT_SMALL).color(theme.dim));
        });
    }
}
