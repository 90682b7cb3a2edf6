//! `runs show --why ITEM`: why an item ran where it ran.

use super::earlier::EarlierRun;
use crate::engine::{
    AttemptId, ItemId, ItemState, PlacementCandidate, PlacementDecision, PlacementVerdict,
    RunEventBody, RunId, RunOutlook, RunState, WaitCause, run_outlook,
};
use crate::project::NodeId;
use crate::store::{Attendance, RunSummary, Store};
use anyhow::bail;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// What is known of an item's way.
#[derive(Default)]
struct Way<'a> {
    attempts: Vec<Placed<'a>>,
    /// Fields that a person changed, by name.
    edits: BTreeMap<String, String>,
    /// How it went without a backend, or why it never went to one.
    otherwise: Option<String>,
}

/// One placement of an item.
struct Placed<'a> {
    attempt_id: AttemptId,
    number: u32,
    decision: &'a PlacementDecision,
    end: Option<String>,
}

/// Prints every placement of the items that are meant, item by item, with what spoke for and against each backend.
pub(super) async fn why(store: &Store, run: &RunSummary, wanted: &str) -> anyhow::Result<ExitCode> {
    let earlier = EarlierRun::read(store, run).await?;
    let mut ways: BTreeMap<(String, ItemId), Way<'_>> = earlier
        .fitting(wanted)
        .into_iter()
        .map(|item_id| ((earlier.name_of(&item_id), item_id), Way::default()))
        .collect();
    if ways.is_empty() {
        bail!("no item fits \"{wanted}\"; name its node and labels as `runs show` prints them");
    }
    let name_by_id: BTreeMap<ItemId, String> = ways
        .keys()
        .map(|(name, item_id)| (*item_id, name.clone()))
        .collect();
    let mut item_by_attempt: BTreeMap<AttemptId, ItemId> = BTreeMap::new();
    for event in &earlier.events {
        let item_id = match &event.body {
            RunEventBody::AttemptPlaced { item_id, .. }
            | RunEventBody::ItemDone { item_id, .. }
            | RunEventBody::ItemFailed { item_id, .. }
            | RunEventBody::ItemEdited { item_id, .. }
            | RunEventBody::ItemStateChanged { item_id, .. } => Some(*item_id),
            RunEventBody::AttemptFailed { attempt_id, .. }
            | RunEventBody::AttemptCancelled { attempt_id }
            | RunEventBody::AttemptWithdrawn { attempt_id } => {
                item_by_attempt.get(attempt_id).copied()
            }
            _ => None,
        };
        let Some(way) = item_id
            .and_then(|item_id| Some((name_by_id.get(&item_id)?.clone(), item_id)))
            .and_then(|key| ways.get_mut(&key))
        else {
            continue;
        };
        match &event.body {
            RunEventBody::AttemptPlaced {
                item_id,
                attempt_id,
                number,
                decision,
                ..
            } => {
                item_by_attempt.insert(*attempt_id, *item_id);
                way.attempts.push(Placed {
                    attempt_id: *attempt_id,
                    number: *number,
                    decision,
                    end: None,
                });
            }
            RunEventBody::AttemptFailed {
                attempt_id,
                failure,
            } => way.end(*attempt_id, format!("failed  {}", failure.message)),
            RunEventBody::AttemptCancelled { attempt_id } => {
                way.end(*attempt_id, "called off".to_owned());
            }
            RunEventBody::AttemptWithdrawn { attempt_id } => way.end(
                *attempt_id,
                "taken back: the backend is to be left alone".to_owned(),
            ),
            RunEventBody::ItemEdited { fields, .. } => {
                for (address, value) in fields {
                    way.edits.insert(address.input.clone(), value.to_string());
                }
            }
            RunEventBody::ItemDone { source, .. } => {
                way.otherwise =
                    (!source.is_made()).then(|| "from the cache, no backend was asked".to_owned());
            }
            RunEventBody::ItemFailed { failure, .. } => {
                way.otherwise = Some(format!("failed: {}", failure.message));
            }
            RunEventBody::ItemStateChanged { state, reason, .. } => {
                way.otherwise = reason
                    .as_ref()
                    .filter(|_| state.is_ended())
                    .map(|reason| format!("{}: {reason}", state_word(*state)));
            }
            _ => {}
        }
    }
    let waits = Waits::of(store, run).await?;
    for ((name, item_id), way) in &ways {
        println!("{name} (item {item_id})");
        for (field, value) in &way.edits {
            println!("  made again with {field} = {value}");
        }
        for attempt in &way.attempts {
            println!("  attempt {}", attempt.number);
            for (place, candidate) in attempt.decision.candidates.iter().enumerate() {
                let mark = if place == 0 { "here" } else { "not " };
                println!("    {mark}  {}", candidate_words(candidate));
            }
            if let Some(end) = &attempt.end {
                println!("    {end}");
            }
        }
        let item = earlier.view.items.get(item_id);
        let state = item.map(|item| item.state);
        if state == Some(ItemState::Ready)
            && let Some(item) = item
        {
            println!("  {}", waits.words(item_id, item.node_id));
        } else if let Some(otherwise) = &way.otherwise {
            println!("  {otherwise}");
        } else if way.attempts.is_empty() {
            println!(
                "  {}; no backend was asked",
                state.map_or("not yet there", state_word)
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Why items wait, as far as that is known.
enum Waits {
    /// The program that works on the run said so last.
    Said(RunOutlook),
    /// It has said nothing yet.
    Unsaid,
    /// No program works on the run.
    Nobody(RunId),
    /// A person paused the run.
    Paused(RunId),
}

impl Waits {
    async fn of(store: &Store, run: &RunSummary) -> anyhow::Result<Self> {
        let run_id = run.run_id;
        if run.state == RunState::Paused {
            return Ok(Self::Paused(run_id));
        }
        if run.attendance == Attendance::Unattended {
            return Ok(Self::Nobody(run_id));
        }
        Ok(run_outlook(store, run_id)
            .await?
            .map_or(Self::Unsaid, Self::Said))
    }

    fn words(&self, item_id: &ItemId, node_id: NodeId) -> String {
        match self {
            Self::Said(outlook) => {
                let wait = outlook.waits.iter().find(|wait| wait.node_id == node_id);
                wait.map_or_else(
                    || "waits for its turn".to_owned(),
                    |wait| {
                        let own = wait.own.iter().find(|(own, _)| own == item_id);
                        let reason = own.map_or(&wait.reason, |(_, reason)| reason);
                        match wait.cause {
                            WaitCause::Turn if wait.items > 1 => {
                                format!(
                                    "waits, one of {} of its node; the first of them {reason}",
                                    wait.items
                                )
                            }
                            WaitCause::Turn => reason.clone(),
                            WaitCause::Paused | WaitCause::Nobody => format!("waits: {reason}"),
                        }
                    },
                )
            }
            Self::Unsaid => {
                "waits; the program that works on the run has not said for what yet".to_owned()
            }
            Self::Nobody(run_id) => format!(
                "waits: no program works on the run; go on with it: comfyui-orchestrator runs resume {run_id}"
            ),
            Self::Paused(run_id) => format!(
                "waits: the run is paused; go on with it: comfyui-orchestrator runs resume {run_id}"
            ),
        }
    }
}

impl Way<'_> {
    fn end(&mut self, attempt_id: AttemptId, words: String) {
        if let Some(attempt) = self
            .attempts
            .iter_mut()
            .find(|attempt| attempt.attempt_id == attempt_id)
        {
            attempt.end = Some(words);
        }
    }
}

/// A state as it is called on screen.
pub(super) fn state_word(state: ItemState) -> &'static str {
    match state {
        ItemState::Waiting => "waits for what it is made from",
        ItemState::Ready => "waits",
        ItemState::Submitted => "sent",
        ItemState::Running => "running",
        ItemState::Parked => "waits for you",
        ItemState::Asking => "asks you",
        ItemState::Done => "done",
        ItemState::Skipped => "skipped",
        ItemState::Blocked => "blocked",
        ItemState::Failed => "failed",
        ItemState::Cancelled => "cancelled",
    }
}

fn candidate_words(candidate: &PlacementCandidate) -> String {
    match &candidate.verdict {
        PlacementVerdict::Possible {
            wait_ms,
            swap_ms,
            transfer_ms,
            run_ms,
            moving_ms,
            risk_ms,
        } => {
            let total = wait_ms + swap_ms + transfer_ms + run_ms + moving_ms + risk_ms;
            let parts: Vec<String> = [
                ("wait", wait_ms),
                ("loading models", swap_ms),
                ("bringing files", transfer_ms),
                ("run", run_ms),
                ("moving models", moving_ms),
                ("for failures", risk_ms),
            ]
            .into_iter()
            .filter(|(_, part)| **part > 0)
            .map(|(words, part)| format!("{words} {}", seconds(*part)))
            .collect();
            let memory = candidate
                .memory
                .map_or_else(String::new, |fit| format!("; {fit}"));
            format!(
                "{}: done in {} ({}){memory}",
                candidate.backend_name,
                seconds(total),
                parts.join(" + ")
            )
        }
        PlacementVerdict::Excluded { reason } => format!("{}: {reason}", candidate.backend_name),
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}
