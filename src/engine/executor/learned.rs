//! What is learned while runs go on, kept across restarts; and what is kept of results.

use super::Executor;
use crate::artifacts::ArtifactStore;
use crate::engine::placement::Estimates;
use crate::store::{Attendance, Removed, Store, StoreError};
use std::time::{Duration, Instant, SystemTime};

/// Setting that holds what was learned of run times.
const ESTIMATES_SETTING: &str = "placement.estimates";
/// How often that is written down.
pub(super) const ESTIMATES_PERIOD: Duration = Duration::from_secs(30);
/// How often the kept results are measured and the least recently used forgotten.
const TRIM_PERIOD: Duration = Duration::from_mins(5);
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
pub(super) const UNUSED_GRACE: Duration = Duration::from_hours(6);

/// Removes the files of the artifact store that no run, no kept result and no picture of a workflow names. While a program
/// works on a run, only those that were noted six hours ago: a file that was just fetched may belong to an item that is not yet
/// known to be done.
///
/// # Errors
/// [`StoreError`].
pub async fn remove_unused_files(
    store: &Store,
    artifacts: &ArtifactStore,
) -> Result<Removed, StoreError> {
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
    let artifacts = artifacts.clone();
    store
        .remove_unused_artifacts(before_ms, move |unused| artifacts.remove(unused))
        .await
}

/// How old a file is that no row knows before it counts as left by a program that ended before it noted it.
const LEFT_AFTER: Duration = Duration::from_hours(24);

/// Removes the files of one folder of the artifact store (of 256) that no row knows, if they are a day old.
///
/// # Errors
/// [`StoreError`].
pub async fn remove_left_files(
    store: &Store,
    artifacts: &ArtifactStore,
    folder: u8,
) -> Result<Removed, StoreError> {
    let Some(moment) = SystemTime::now().checked_sub(LEFT_AFTER) else {
        return Ok(Removed::default());
    };
    let found = {
        let artifacts = artifacts.clone();
        tokio::task::spawn_blocking(move || artifacts.files_before(folder, moment)).await
    };
    let artifacts = artifacts.clone();
    store
        .remove_unknown_artifacts(found.unwrap_or_default(), move |file| {
            artifacts.remove(file)
        })
        .await
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
        match serde_json::to_string(&self.machine.estimates().as_of(super::now_ms())) {
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

    /// Trims when it is time to.
    pub(super) async fn trim_now_and_then(&mut self) {
        if self.cache_trimmed.elapsed() > TRIM_PERIOD {
            self.trim_cache().await;
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
            let (store, artifacts) = (&shared.store, &shared.artifacts);
            // Another folder each time, whichever process looks.
            let folder = (super::now_ms() / TRIM_PERIOD.as_millis() as u64 % 256) as u8;
            for removed in [
                remove_unused_files(store, artifacts).await,
                remove_left_files(store, artifacts, folder).await,
            ] {
                match removed {
                    Ok(Removed { stayed: 0, .. }) => {}
                    Ok(Removed { stayed, .. }) => {
                        tracing::warn!(stayed, "files that nothing names cannot be removed");
                    }
                    Err(error) => tracing::warn!(%error, "files that nothing names stay"),
                }
            }
        });
    }
}
