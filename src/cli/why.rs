//! `runs show --why ITEM`: why an item ran where it ran.

use super::earlier::EarlierRun;
use crate::engine::{ItemId, PlacementCandidate, PlacementVerdict, RunEventBody};
use crate::store::{RunSummary, Store};
use anyhow::bail;
use std::process::ExitCode;

/// Prints every placement of the items that are meant, with what spoke for and against each backend.
pub(super) async fn why(store: &Store, run: &RunSummary, wanted: &str) -> anyhow::Result<ExitCode> {
    let earlier = EarlierRun::read(store, run).await?;
    let events = &earlier.events;
    let name_of = |item_id: &ItemId| earlier.name_of(item_id);
    let is_meant = |item_id: &ItemId| earlier.is_meant(item_id, wanted);
    let mut found = 0;
    for event in events {
        match &event.body {
            RunEventBody::AttemptPlaced {
                item_id,
                number,
                decision,
                ..
            } if is_meant(item_id) => {
                found += 1;
                println!("{} (attempt {number}, item {item_id})", name_of(item_id));
                for (place, candidate) in decision.candidates.iter().enumerate() {
                    let mark = if place == 0 { "here" } else { "not " };
                    println!("  {mark}  {}", candidate_words(candidate));
                }
            }
            RunEventBody::AttemptFailed {
                attempt_id,
                failure,
            } if found > 0 => {
                let is_ours = events.iter().any(|other| {
                    matches!(&other.body, RunEventBody::AttemptPlaced { attempt_id: placed, item_id, .. }
                        if placed == attempt_id && is_meant(item_id))
                });
                if is_ours {
                    println!("  failed  {}", failure.message);
                }
            }
            RunEventBody::ItemDone {
                item_id, source, ..
            } if !source.is_made() && is_meant(item_id) => {
                found += 1;
                println!("{}: from the cache, no backend was asked", name_of(item_id));
            }
            _ => {}
        }
    }
    if found == 0 {
        bail!(
            "no item that was placed fits \"{wanted}\"; name its node and labels as `runs show` prints them"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn candidate_words(candidate: &PlacementCandidate) -> String {
    match &candidate.verdict {
        PlacementVerdict::Possible {
            wait_ms,
            swap_ms,
            transfer_ms,
            run_ms,
            risk_ms,
        } => {
            let total = wait_ms + swap_ms + transfer_ms + run_ms + risk_ms;
            let parts: Vec<String> = [
                ("wait", wait_ms),
                ("loading models", swap_ms),
                ("bringing files", transfer_ms),
                ("run", run_ms),
                ("for failures", risk_ms),
            ]
            .into_iter()
            .filter(|(_, part)| **part > 0)
            .map(|(words, part)| format!("{words} {}", seconds(*part)))
            .collect();
            format!(
                "{}: done in {} ({})",
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
