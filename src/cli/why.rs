//! `runs show --why ITEM`: why an item ran where it ran.

use crate::engine::{ItemId, PlacementCandidate, PlacementVerdict, RunEventBody, RunView};
use crate::store::{RunSummary, Store};
use anyhow::{Context as _, bail};
use std::process::ExitCode;

/// Events of one page.
const PAGE: usize = 4096;

/// Prints every placement of the items that are meant, with what spoke for and against each backend.
pub(super) async fn why(store: &Store, run: &RunSummary, wanted: &str) -> anyhow::Result<ExitCode> {
    let project =
        crate::project::read_portable_form(store.run(run.run_id).await?.snapshot.as_bytes())
            .context("the run's snapshot cannot be read")?;
    let mut events = Vec::new();
    loop {
        let page = store.events(run.run_id, events.len() as u64, PAGE).await?;
        let is_last = page.len() < PAGE;
        events.extend(page);
        if is_last {
            break;
        }
    }
    let view = RunView::of(&events);
    let name_of = |item_id: &ItemId| -> String {
        view.items.get(item_id).map_or_else(String::new, |item| {
            let title = project
                .nodes
                .get(&item.node_id)
                .map_or("?", |node| node.title.as_str());
            format!("{title} {}", item.label).trim_end().to_owned()
        })
    };
    let is_meant = |item_id: &ItemId| {
        let id = item_id.to_string();
        id.ends_with(wanted)
            || id.starts_with(wanted)
            || wanted.split_whitespace().all(|part| {
                name_of(item_id)
                    .to_lowercase()
                    .contains(&part.to_lowercase())
            })
    };
    let mut found = 0;
    for event in &events {
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
