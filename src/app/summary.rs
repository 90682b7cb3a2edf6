//! Runs in words and numbers: what the bars, lists and panels say.

use super::bridge::{Backends, Live, RunHistory, RunViews};
use super::icons;
use super::theme::Theme;
use super::widgets::duration_text;
use crate::engine::{
    AfterEnd, Answer, CallOff, ItemId, ItemState, NodeWait, PlacementDecision, RunEvent,
    RunEventBody, RunState, WaitCause,
    fold::{ItemCounts, ItemView, NodeView, RunView},
};
use crate::project::{BackendId, NodeId, Project};
use bevy_egui::egui::Color32;

/// Where a run is; a run without events is about to begin.
#[must_use]
pub fn state(view: &RunView) -> RunState {
    view.state.unwrap_or(RunState::Running)
}

/// Whether the run goes on.
#[must_use]
pub fn is_active(view: &RunView) -> bool {
    !state(view).is_ended()
}

/// The counts of a node's items; none when it has no items.
#[must_use]
pub fn node_view(view: &RunView, node_id: NodeId) -> Option<&NodeView> {
    view.nodes.get(&node_id)
}

/// How many items are done, of those that are to be done: "12 of 36 items done", "1 item done". What a condition sent
/// elsewhere is not counted.
#[must_use]
pub fn done_text(counts: &ItemCounts) -> String {
    let done = counts.get(ItemState::Done);
    let wanted = counts.total() - counts.get(ItemState::Skipped);
    let items = if wanted == 1 { "item" } else { "items" };
    if done == wanted {
        format!("{done} {items} done")
    } else {
        format!("{done} of {wanted} {items} done")
    }
}

/// Counts in words: "36 of 48 done · 2 failed · 4 running".
#[must_use]
pub fn counts_text(counts: &ItemCounts) -> String {
    let mut parts = vec![format!(
        "{} of {} done",
        counts.get(ItemState::Done),
        counts.total()
    )];
    for state in [
        ItemState::Asking,
        ItemState::Parked,
        ItemState::Running,
        ItemState::Submitted,
        ItemState::Ready,
        ItemState::Waiting,
        ItemState::Failed,
        ItemState::Blocked,
        ItemState::Skipped,
        ItemState::Cancelled,
    ] {
        let count = counts.get(state);
        if count > 0 {
            let word = match (state, count) {
                (ItemState::Parked, 2..) => "wait for you",
                (ItemState::Asking, 2..) => "ask you",
                _ => icons::item_state_word(state),
            };
            parts.push(format!("{count} {word}"));
        }
    }
    parts.join(" · ")
}

/// Ended items by all, 0 to 1.
#[must_use]
pub fn fraction_of(counts: &ItemCounts) -> f32 {
    match counts.total() {
        0 => 0.0,
        total => counts.ended() as f32 / total as f32,
    }
}

/// How far the run is, with the parts of what runs now.
#[must_use]
pub fn fraction(view: &RunView, live: &Live) -> f32 {
    let total = view.counts.total();
    if total == 0 {
        return 0.0;
    }
    let running: f32 = live
        .progress
        .iter()
        .filter(|(item, _)| {
            view.items
                .get(item)
                .is_some_and(|item| item.state == ItemState::Running)
        })
        .map(|(_, progress)| progress.fraction.clamp(0.0, 1.0))
        .sum();
    ((view.counts.ended() as f32 + running) / total as f32).clamp(0.0, 1.0)
}

/// The time that a run is expected to take from now on, as the engine reckons it from what backends took before; none
/// while it does not know.
#[must_use]
pub fn time_left_ms(view: &RunView, live: &Live, now_ms: u64) -> Option<u64> {
    let at_work = view.counts.active() + view.counts.get(ItemState::Ready);
    if state(view) != RunState::Running || at_work == 0 {
        // What waits for a person ends when that person wants.
        return None;
    }
    let waits = live.waits.get(&view.run_id?).into_iter().flatten();
    if waits
        .map(|wait| wait.cause)
        .any(|cause| cause == WaitCause::Nobody)
    {
        // Something has to change first, nobody knows when.
        return None;
    }
    let end_ms = live.expected_end_ms.get(&view.run_id?)?;
    Some(end_ms.saturating_sub(now_ms)).filter(|left_ms| *left_ms > 0)
}

/// The words for giving failed and cancelled items of one node another chance.
pub const RETRY_OF_NODE: &str = "Try its failed and cancelled items again";

/// What the items of a node that are ready wait for.
#[must_use]
pub fn node_wait<'a>(view: &RunView, live: &'a Live, node_id: NodeId) -> Option<&'a NodeWait> {
    let waits = live.waits.get(&view.run_id?)?;
    waits.iter().find(|wait| wait.node_id == node_id)
}

/// Why an item that is ready is not on its way yet.
#[must_use]
pub fn waits_because<'a>(view: &RunView, live: &'a Live, item: &ItemRow<'_>) -> Option<&'a str> {
    if item.view.state != ItemState::Ready {
        return None;
    }
    let wait = node_wait(view, live, item.view.node_id)?;
    let own = wait
        .own
        .iter()
        .find(|(item_id, _)| *item_id == item.item_id);
    Some(own.map_or(wait.reason.as_str(), |(_, reason)| reason.as_str()))
}

/// When an item is expected to be done, Unix time in milliseconds; none while no backend can take it.
#[must_use]
pub fn item_end_ms(view: &RunView, live: &Live, item: &ItemRow<'_>) -> Option<u64> {
    let is_stuck = item.view.state == ItemState::Ready
        && node_wait(view, live, item.view.node_id)
            .is_some_and(|wait| wait.cause == WaitCause::Nobody);
    if is_stuck || item.view.state.is_ended() {
        return None;
    }
    live.item_end_ms.get(&item.item_id).copied()
}

/// The run in one short sentence for the top bar.
#[must_use]
pub fn sentence(view: &RunView, now_ms: u64) -> String {
    let counts = &view.counts;
    let failed = counts.get(ItemState::Failed);
    let problems = if failed > 0 {
        format!(" · {failed} failed")
    } else {
        String::new()
    };
    match view.ended_ms {
        Some(ended) => format!(
            "{} · {} in {}{problems}",
            icons::run_state_word(state(view)),
            done_text(counts),
            duration_text(ended.saturating_sub(view.started_ms))
        ),
        None => format!(
            "{} · {} so far{problems}",
            done_text(counts),
            duration_text(now_ms.saturating_sub(view.started_ms))
        ),
    }
}

/// The colour of a run's state. Always shown with its word.
#[must_use]
pub fn run_state_color(theme: &Theme, state: RunState) -> Color32 {
    match state {
        RunState::Running => theme.accent,
        RunState::Paused
        | RunState::Cancelling
        | RunState::Stopping
        | RunState::CompletedWithFailures => theme.warn,
        RunState::Completed => theme.ok,
        RunState::Failed => theme.error,
        RunState::Cancelled => theme.dim,
    }
}

/// An item as a row.
#[derive(Clone, Copy, Debug)]
pub struct ItemRow<'a> {
    /// The item.
    pub item_id: ItemId,
    /// What is known of it.
    pub view: &'a ItemView,
    /// Why it is Skipped, Blocked, Cancelled or Failed.
    pub reason: Option<&'a str>,
    /// Why it runs where it runs.
    pub decision: Option<&'a PlacementDecision>,
}

impl ItemRow<'_> {
    /// The item's labels; "single item" outside any fan-out.
    #[must_use]
    pub fn title(&self) -> &str {
        if self.view.label.is_empty() {
            "single item"
        } else {
            &self.view.label
        }
    }

    /// The backend of its latest attempt.
    #[must_use]
    pub fn backend_id(&self) -> Option<BackendId> {
        self.view.backend_id
    }
}

/// Items of the shown run for which `wanted` is true: what runs first, then what waits, then what ended; each by label.
#[must_use]
pub fn items<'a>(
    runs: &'a RunViews,
    view: &'a RunView,
    wanted: impl Fn(&ItemView) -> bool,
) -> Vec<ItemRow<'a>> {
    let mut rows: Vec<ItemRow<'a>> = view
        .items
        .iter()
        .filter(|(_, item)| wanted(item))
        .map(|(item_id, item)| ItemRow {
            item_id: *item_id,
            view: item,
            reason: runs.explanations.reason(*item_id),
            decision: runs.explanations.decision(*item_id),
        })
        .collect();
    rows.sort_by(|a, b| {
        rank(a.view.state)
            .cmp(&rank(b.view.state))
            .then_with(|| natural_order(&a.view.label, &b.view.label))
            .then_with(|| a.item_id.cmp(&b.item_id))
    });
    rows
}

fn rank(state: ItemState) -> u8 {
    match state {
        ItemState::Failed | ItemState::Parked | ItemState::Asking => 0,
        ItemState::Running => 1,
        ItemState::Submitted => 2,
        ItemState::Ready | ItemState::Waiting => 3,
        ItemState::Blocked => 4,
        ItemState::Done => 5,
        ItemState::Skipped => 6,
        ItemState::Cancelled => 7,
    }
}

/// Compares texts so that "seed=9" comes before "seed=10".
#[must_use]
pub fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |text: &str| -> Vec<(String, u128)> {
        let mut parts = Vec::new();
        let mut words = String::new();
        let mut digits = String::new();
        for character in text.chars() {
            if character.is_ascii_digit() {
                digits.push(character);
            } else {
                if !digits.is_empty() {
                    parts.push((
                        std::mem::take(&mut words),
                        digits.parse().unwrap_or(u128::MAX),
                    ));
                    digits.clear();
                }
                words.push(character);
            }
        }
        parts.push((words, digits.parse().unwrap_or(0)));
        parts
    };
    key(a).cmp(&key(b))
}

/// The latest failures of a node in words, equal ones counted.
#[must_use]
pub fn failures(node: &NodeView) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for (_, failure) in node.recent_failures.iter().rev() {
        let words = match &failure.comfy_node {
            Some(comfy_node) if !failure.message.contains(comfy_node.as_str()) => {
                format!("{} ({comfy_node})", failure.message)
            }
            _ => failure.message.clone(),
        };
        match found.iter_mut().find(|(known, _)| *known == words) {
            Some((_, count)) => *count += 1,
            None => found.push((words, 1)),
        }
    }
    found
}

/// How a line of the log is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something happened.
    Quiet,
    /// Something went well.
    Good,
    /// Something went wrong.
    Bad,
    /// Something needs attention.
    Attention,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The words.
    pub words: String,
    /// How they are meant.
    pub tone: Tone,
}

/// An event in words. A node that the open project does not have is called what it was called when its run began.
#[must_use]
pub fn log_line(
    event: &RunEvent,
    runs: &RunViews,
    backends: &Backends,
    history: Option<&RunHistory>,
    project: &Project,
) -> LogLine {
    let view = runs.views.get(&event.run_id);
    let node = |node_id: NodeId| {
        project
            .nodes
            .get(&node_id)
            .map(|node| node.title.as_str())
            .or_else(|| history?.title(event.run_id, node_id))
            .map_or_else(|| "a node".to_owned(), str::to_owned)
    };
    let item = |item_id: ItemId| match view.and_then(|view| view.items.get(&item_id)) {
        Some(item) if item.label.is_empty() => node(item.node_id),
        Some(item) => format!("{} [{}]", node(item.node_id), item.label),
        None => "an item".to_owned(),
    };
    let attempt = |attempt_id| {
        runs.explanations
            .item_of(attempt_id)
            .map_or_else(|| "an attempt".to_owned(), item)
    };
    let (tone, words) = match &event.body {
        RunEventBody::RunCreated { project_name, .. } => {
            (Tone::Quiet, format!("Run of \"{project_name}\" created"))
        }
        RunEventBody::RunStateChanged { state } => (
            match state {
                RunState::Completed => Tone::Good,
                RunState::Failed => Tone::Bad,
                RunState::CompletedWithFailures | RunState::Cancelled => Tone::Attention,
                _ => Tone::Quiet,
            },
            format!("Run: {}", icons::run_state_word(*state)),
        ),
        RunEventBody::ItemCreated { item_id, .. } => {
            (Tone::Quiet, format!("{}: ready", item(*item_id)))
        }
        RunEventBody::ItemStateChanged {
            item_id,
            state,
            reason,
            ..
        } => (
            match state {
                ItemState::Blocked => Tone::Attention,
                _ => Tone::Quiet,
            },
            match reason {
                Some(reason) => format!(
                    "{}: {}, {reason}",
                    item(*item_id),
                    icons::item_state_word(*state)
                ),
                None => format!("{}: {}", item(*item_id), icons::item_state_word(*state)),
            },
        ),
        RunEventBody::AttemptPlaced {
            item_id,
            number,
            backend_id,
            ..
        } => {
            let again = if *number > 1 {
                format!(" (attempt {number})")
            } else {
                String::new()
            };
            (
                Tone::Quiet,
                format!(
                    "{} → {}{again}",
                    item(*item_id),
                    backends.name_of(*backend_id)
                ),
            )
        }
        RunEventBody::AttemptAccepted { attempt_id } => (
            Tone::Quiet,
            format!("{}: taken by the backend", attempt(*attempt_id)),
        ),
        RunEventBody::AttemptStarted { attempt_id } => {
            (Tone::Quiet, format!("{}: running", attempt(*attempt_id)))
        }
        RunEventBody::AttemptFailed {
            attempt_id,
            failure,
        } => (
            Tone::Attention,
            format!("{}: {}", attempt(*attempt_id), failure.message),
        ),
        RunEventBody::AttemptCancelled { attempt_id } => {
            (Tone::Quiet, format!("{}: called off", attempt(*attempt_id)))
        }
        RunEventBody::AttemptCalledOff { attempt_id, reason } => (
            Tone::Quiet,
            match reason {
                CallOff::Silent { silence_s } => format!(
                    "{}: no sign of progress for {silence_s} s, being called off",
                    attempt(*attempt_id)
                ),
                CallOff::ToMove => format!("{}: being taken back", attempt(*attempt_id)),
                CallOff::ForGood => format!("{}: being called off", attempt(*attempt_id)),
            },
        ),
        RunEventBody::AttemptWithdrawn { attempt_id } => (
            Tone::Quiet,
            format!("{}: taken back, to run elsewhere", attempt(*attempt_id)),
        ),
        RunEventBody::ItemDone {
            item_id, notices, ..
        } => {
            let remark = notices
                .first()
                .map_or_else(String::new, |notice| format!(" ({notice})"));
            (Tone::Good, format!("{}: done{remark}", item(*item_id)))
        }
        RunEventBody::ItemFailed { item_id, failure } => (
            Tone::Bad,
            format!("{}: {}", item(*item_id), failure.message),
        ),
        RunEventBody::ItemAsks { item_id, question } => (
            Tone::Attention,
            format!("{} asks you: {}", item(*item_id), question.failure.message),
        ),
        RunEventBody::ItemAnswered {
            item_id, answer, ..
        } => (
            Tone::Quiet,
            match answer {
                Answer::Retry => format!("{}: try again", item(*item_id)),
                Answer::RunOn(backend_id) => format!(
                    "{}: to run on {}",
                    item(*item_id),
                    backends.name_of(*backend_id)
                ),
                Answer::Skip => format!("{}: skip it", item(*item_id)),
                Answer::Fail => format!("{}: let it fail", item(*item_id)),
            },
        ),
        RunEventBody::ItemRated { item_id, rating } => {
            (Tone::Quiet, format!("{}: rated {rating}", item(*item_id)))
        }
        RunEventBody::ItemEdited { item_id, .. } => (
            Tone::Quiet,
            format!("{}: changed, made again", item(*item_id)),
        ),
        RunEventBody::ItemPriorityChanged { item_id, priority } => (
            Tone::Quiet,
            format!("{}: priority {priority}", item(*item_id)),
        ),
        RunEventBody::NodePriorityChanged { node_id, priority } => (
            Tone::Quiet,
            format!("{}: priority {priority}", node(*node_id)),
        ),
        RunEventBody::NodeCalledOff { node_id } => {
            (Tone::Quiet, format!("{}: cancelled", node(*node_id)))
        }
        RunEventBody::NodeTakenUp { node_id } => {
            (Tone::Quiet, format!("{}: another chance", node(*node_id)))
        }
        RunEventBody::RedoWished { item_ids } => (
            Tone::Quiet,
            match item_ids.as_slice() {
                [one] => format!("{}: to be made again when it can be", item(*one)),
                several => format!("{} items: to be made again when they can be", several.len()),
            },
        ),
        RunEventBody::RedoWithdrawn { item_id } => (
            Tone::Quiet,
            format!("{}: not to be made again after all", item(*item_id)),
        ),
        RunEventBody::AfterEndWished { wish } => (
            Tone::Quiet,
            match wish {
                Some(AfterEnd::Resume) => "Run: goes on as soon as it is cancelled",
                Some(AfterEnd::Retry) => {
                    "Run: what failed or was cancelled is tried again at its end"
                }
                None => "Run: nothing more is wished for its end",
            }
            .to_owned(),
        ),
        RunEventBody::RunPriorityChanged { priority } => {
            (Tone::Quiet, format!("Run: priority {priority}"))
        }
        RunEventBody::FilesWritten { paths, .. } => (
            Tone::Good,
            match paths.as_slice() {
                [path] => format!("Wrote {path}"),
                paths => format!("Wrote {} files", paths.len()),
            },
        ),
    };
    LogLine { words, tone }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn numbers_in_labels_are_compared_as_numbers() {
        assert_eq!(natural_order("seed=9", "seed=10"), Ordering::Less);
        assert_eq!(natural_order("a=2, b=1", "a=2, b=1"), Ordering::Equal);
        assert_eq!(
            natural_order("seed=18446744073709551615", "seed=3"),
            Ordering::Greater
        );
    }
}
