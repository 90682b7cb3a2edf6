//! `runs forget`: runs out of the history, and files that only they named.

use super::cache::removed_text;
use super::runs::find;
use crate::artifacts::ArtifactStore;
use crate::engine::{RunState, remove_unused_files};
use crate::store::{RunSummary, Store};
use anyhow::bail;
use clap::Args;
use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// One day, milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Args)]
pub(super) struct ForgetArguments {
    /// The runs' ids, or the beginning or end of each; `last` is the newest one.
    #[arg(required_unless_present = "older_than", conflicts_with = "older_than")]
    runs: Vec<String>,
    /// Every run that has ended and was started more than so many days ago; 0 means every one that has ended.
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Forgets runs.
pub(super) async fn forget(
    data_dir: &Path,
    store: &Store,
    arguments: ForgetArguments,
) -> anyhow::Result<ExitCode> {
    let known = store.runs().await?;
    let mut chosen: Vec<RunSummary> = match arguments.older_than {
        Some(days) => {
            let now_ms = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64);
            let before_ms = now_ms.saturating_sub(u64::from(days) * DAY_MS);
            known
                .into_iter()
                .filter(|run| run.state.is_ended() && run.created_ms <= before_ms)
                .collect()
        }
        None => arguments
            .runs
            .iter()
            .map(|wanted| find(&known, wanted))
            .collect::<anyhow::Result<_>>()?,
    };
    // Whoever names one twice means it once.
    let mut named = HashSet::new();
    chosen.retain(|run| named.insert(run.run_id));
    if chosen.is_empty() {
        println!("No run is that old and has ended; nothing is forgotten.");
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && !is_wanted(&chosen)? {
        println!("Nothing is forgotten.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut forgotten = 0;
    let mut kept = Vec::new();
    for run in chosen {
        // Whoever has it open could write to it.
        if store.claim_run(run.run_id).await? {
            forgotten += u64::from(store.delete_run(run.run_id).await?);
        } else {
            kept.push(run);
        }
    }
    let artifacts = ArtifactStore::open(&data_dir.join("artifacts"))?;
    let removed = remove_unused_files(store, &artifacts).await?;
    println!("{forgotten} runs forgotten, {}.", removed_text(&removed));
    if let Some(run) = kept.first() {
        bail!(
            "{} of {} stays, and {} others: a program that is open has it. Close it, or stop the run, and try again",
            run.name,
            run.run_id,
            kept.len() - 1
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the person at the terminal.
fn is_wanted(chosen: &[RunSummary]) -> anyhow::Result<bool> {
    let unfinished = chosen
        .iter()
        .filter(|run| !run.state.is_ended() || run.state == RunState::Cancelled)
        .count();
    let what = format!(
        "Forget {} runs ({unfinished} of them not finished), what happened in them, and the files of the results folder that nothing else names? Files in output folders stay.",
        chosen.len()
    );
    if !std::io::stdin().is_terminal() {
        bail!("{what} Say --yes to do so");
    }
    print!("{what} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
