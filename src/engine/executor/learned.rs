//! What is learned while runs go on, kept across restarts; and what is kept of results.

use super::{EngineError, Executor};
use crate::artifacts::ArtifactStore;
use crate::engine::placement::Estimates;
use crate::store::{Attendance, Store, StoreError};
use std::time::{Duration, Instant};
/// Setting that holds what was learned of run times.
const ESTIMATES_SETTING: &str = "placement.estimates";
/// How often that is written down.
pub(super) const ESTIMATES_PERIOD: Duration = Duration::from_secs(30);
/// How often the kept results are measured and the least recently used forgotten.
pub(super) const TRIM_PERIOD: Duration = Duration::from_mins(5);
/// Setting that holds how large the files of kept results may be together, bytes.
pub const CACHE_LIMIT_SETTING: &str = "cache.max_bytes";
/// How large they may be unless the setting says otherwise: 50 GB.
pub const CACHE_LIMIT_BYTES: u64 = 50_000_000_000;

/// What earlier runs taught of times, memory and failures; nothing where it cannot be understood.
///
/// # Errors
/// [`StoreError`].
pub async fn learned_estimates(store: &Store) -> Result<Estimates, StoreError> {
    let Some(text) = store.setting(ESTIMATES_SETTING).await? else {
        return Ok(Estimates::default());
    };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "learned times cannot be understood; they are learned anew");
        Estimates::default()
    }))
}

/// How long a file that nothing names is left: what was fetched just now is named as soon as its item is done.
const UNUSED_GRACE: Duration = Duration::from_hours(6);
/// Files removed between two questions to the database.
const REMOVED_AT_ONCE: usize = 100;

/// What was removed of the artifact store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files.
    pub files: u64,
    /// All of them together, bytes.
    pub bytes: u64,
}

/// Removes the files of the artifact store that no run, no kept result and no picture of a workflow names. While a program
/// works on a run, only those that were noted six hours ago: a file that was just fetched may belong to an item that is not yet
/// known to be done.
///
/// # Errors
/// [`EngineError`].
pub async fn remove_unused_files(
    store: &Store,
    artifacts: &ArtifactStore,
) -> Result<Removed, EngineError> {
    // What is noted from now on may belong to an item of a run that begins meanwhile.
    let now_ms = super::now_ms();
    let is_at_work = store
        .runs()
        .await?
        .iter()
        .any(|run| run.attendance == Attendance::Attended);
    let before_ms = if is_at_work {
        now_ms.saturating_sub(UNUSED_GRACE.as_millis() as u64)
    } else {
        now_ms
    };
    let mut removed = Removed::default();
    loop {
        let unused = store
            .take_unused_artifacts(before_ms, REMOVED_AT_ONCE)
            .await?;
        let is_last = unused.len() < REMOVED_AT_ONCE;
        for artifact in unused {
            if artifacts.remove(&artifact)? {
                removed.files += 1;
                removed.bytes += artifact.byte_len;
            }
        }
        if is_last {
            return Ok(removed);
        }
    }
}

impl Executor {
    /// What earlier processes learned of run times.
    pub(super) async fn recall_estimates(&mut self) {
        match learned_estimates(&self.shared.store).await {
            Ok(estimates) => self.machine.set_estimates(estimates),
            Err(error) => tracing::warn!(%error, "learned times cannot be read"),
        }
    }

    /// Writes down what was learned of run times.
    pub(super) async fn keep_estimates(&mut self) {
        self.estimates_kept = Instant::now();
        match serde_json::to_string(self.machine.estimates()) {
            Ok(text) => {
                if let Err(error) = self
                    .shared
                    .store
                    .put_setting(ESTIMATES_SETTING, Some(&text))
                    .await
                {
                    tracing::warn!(%error, "learned times cannot be written");
                }
            }
            Err(error) => tracing::warn!(%error, "learned times cannot be written"),
        }
    }

    /// Forgets the least recently used results when all together are too large, and removes the files that nothing names then.
    pub(super) async fn trim_cache(&mut self) {
        self.cache_trimmed = Instant::now();
        let limit = match self.shared.store.setting(CACHE_LIMIT_SETTING).await {
            Ok(Some(text)) => text.trim().parse().unwrap_or(CACHE_LIMIT_BYTES),
            _ => CACHE_LIMIT_BYTES,
        };
        if let Err(error) = self.shared.store.trim_cache_to(limit).await {
            tracing::warn!(%error, "the cache could not be trimmed");
        }
        let shared = self.shared.clone();
        self.spawn(async move {
            if let Err(error) = remove_unused_files(&shared.store, &shared.artifacts).await {
                tracing::warn!(%error, "files that nothing names stay");
            }
        });
    }
}
