//! `cache stats|verify|limit|prune`: results that are kept for later.

use super::data_dir::data_dir;
use crate::artifacts::{ArtifactStore, ContentHash, FileCondition};
use crate::engine::{CACHE_LIMIT_BYTES, CACHE_LIMIT_SETTING, Value, remove_unused_files};
use crate::store::{Removed, Store};
use clap::Subcommand;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Results of one page.
const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Say how much is kept.
    Stats,
    /// Read every file of every kept result and compare it with its hash; damaged files are moved aside, and results with a
    /// damaged or missing file are forgotten, so that they are made again.
    Verify,
    /// Say, or set, how large the files of kept results may be together; beyond it the least recently used are forgotten, and
    /// their files are removed unless a run of the history names them (`runs forget` takes runs out of the history).
    Limit {
        /// For example `200GB`.
        #[arg(value_parser = parse_size)]
        size: Option<u64>,
    },
    /// Forget results, the least recently used first, and remove files that no run of the history and no result names.
    Prune {
        /// What may stay, for example `20GB` or `500MB`; 0 forgets everything.
        #[arg(long, value_name = "SIZE", default_value = "20GB", value_parser = parse_size)]
        max_size: u64,
        /// Say what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does what the subcommand asks.
pub(super) async fn cache(
    asked_dir: Option<PathBuf>,
    command: CacheCommand,
) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(asked_dir)?;
    let store = Store::open(&crate::engine::database_path(&data_dir))?;
    let artifacts = ArtifactStore::open(&data_dir.join("artifacts"))?;
    match command {
        CacheCommand::Stats => {
            let stats = store.cache_stats().await?;
            println!(
                "{}, {} of files. The results folder has {}, {}; runs of the history name {} of it.",
                counted(stats.results, "result"),
                size_text(stats.bytes),
                counted(stats.files, "file"),
                size_text(stats.file_bytes),
                size_text(stats.run_bytes)
            );
            Ok(ExitCode::SUCCESS)
        }
        CacheCommand::Limit { size } => {
            if let Some(bytes) = size {
                let text = bytes.to_string();
                store.put_setting(CACHE_LIMIT_SETTING, Some(&text)).await?;
            }
            let set = store.setting(CACHE_LIMIT_SETTING).await?;
            let bytes = set
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(CACHE_LIMIT_BYTES);
            println!("{}", size_text(bytes));
            Ok(ExitCode::SUCCESS)
        }
        CacheCommand::Verify => verify(&store, &artifacts).await,
        CacheCommand::Prune { max_size, dry_run } => {
            prune(&store, &artifacts, max_size, dry_run).await
        }
    }
}

/// `1 file`, `2 files`
fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

async fn verify(store: &Store, artifacts: &ArtifactStore) -> anyhow::Result<ExitCode> {
    let mut checked: BTreeMap<ContentHash, FileCondition> = BTreeMap::new();
    let mut aside = Vec::new();
    let (mut results, mut forgotten) = (0_u64, 0_u64);
    let mut after = None;
    loop {
        let page = store.cached_results(after, PAGE).await?;
        for result in &page {
            results += 1;
            let mut is_sound = true;
            for artifact in result.outputs.iter().flat_map(Value::artifacts) {
                let condition = match checked.get(&artifact.hash) {
                    Some(condition) => *condition,
                    None => artifacts.check(&artifact),
                };
                if checked.insert(artifact.hash, condition).is_none()
                    && condition == FileCondition::Damaged
                {
                    aside.push(artifacts.set_aside(&artifact)?);
                }
                is_sound &= condition == FileCondition::Sound;
            }
            if !is_sound {
                store.forget_cached(result.key).await?;
                forgotten += 1;
            }
        }
        let is_last = page.len() < PAGE;
        after = page.last().map(|result| result.key);
        if is_last {
            break;
        }
    }
    println!(
        "{}, {} read; {} forgotten because a file was damaged or missing.",
        counted(results, "result"),
        counted(checked.len() as u64, "file"),
        counted(forgotten, "result"),
    );
    for path in aside {
        println!("Damaged, and moved to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn prune(
    store: &Store,
    artifacts: &ArtifactStore,
    max_size: u64,
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    if dry_run {
        let stats = store.cache_stats().await?;
        println!(
            "{} of {} would go.",
            size_text(stats.bytes.saturating_sub(max_size)),
            size_text(stats.bytes)
        );
        return Ok(ExitCode::SUCCESS);
    }
    let forgotten = store.trim_cache_to(max_size).await?;
    let removed = remove_unused_files(store, artifacts).await?;
    println!("{forgotten} results forgotten, {}.", removed_text(&removed));
    Ok(ExitCode::SUCCESS)
}

/// What was removed of the results folder, in words.
pub(super) fn removed_text(removed: &Removed) -> String {
    let words = format!(
        "{} files removed ({})",
        removed.files,
        size_text(removed.bytes)
    );
    match removed.stayed {
        0 => words,
        stayed => format!("{words}; {stayed} could not be removed and stay for now"),
    }
}

pub(super) fn size_text(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "bytes";
    for larger in ["KB", "MB", "GB", "TB"] {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    if unit == "bytes" {
        format!("{bytes} bytes")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// `20GB`, `500 MB`, `0`.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("\"{text}\" is no size; write for example 20GB or 500MB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "T" | "TB" => 1e12,
        _ => return Err(wrong()),
    };
    Ok((number * factor) as u64)
}
