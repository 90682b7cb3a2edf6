//! What is learned while runs go on, kept across restarts; and what is kept of results.

use super::Executor;
use crate::engine::live::EngineEvent;
use crate::engine::placement::Estimates;
use crate::store::{Store, StoreError};
use std::time::{Duration, Instant};
/// Setting that holds what was learned of run times.
const ESTIMATES_SETTING: &str = "placement.estimates";
/// How often that is written down.
pub(super) const ESTIMATES_PERIOD: Duration = Duration::from_secs(30);
/// How often subscribers are told how long runs take.
const EXPECTED_PERIOD: Duration = Duration::from_secs(1);
/// Items of a run whose end is told.
const EXPECTED_ITEMS: usize = 64;
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

impl Executor {
    /// Says how long each run is expected to take, now and then.
    pub(super) fn tell_expected(&mut self) {
        if self.expected_told.elapsed() < EXPECTED_PERIOD {
            return;
        }
        self.expected_told = Instant::now();
        let now_ms = super::now_ms();
        let expected: Vec<_> = self
            .runs
            .keys()
            .filter_map(|run_id| {
                let remaining_ms = self.machine.remaining_of_run_ms(now_ms, *run_id)?;
                let items = self
                    .machine
                    .remaining_of_items_ms(now_ms, *run_id, EXPECTED_ITEMS);
                Some((*run_id, remaining_ms, items))
            })
            .collect();
        for (run_id, remaining_ms, items) in expected {
            self.tell_live(EngineEvent::Expected {
                run_id,
                remaining_ms,
                items,
            });
        }
    }

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

    /// Forgets the least recently used results when all together are too large.
    pub(super) async fn trim_cache(&mut self) {
        self.cache_trimmed = Instant::now();
        let limit = match self.shared.store.setting(CACHE_LIMIT_SETTING).await {
            Ok(Some(text)) => text.trim().parse().unwrap_or(CACHE_LIMIT_BYTES),
            _ => CACHE_LIMIT_BYTES,
        };
        if let Err(error) = self.shared.store.trim_cache_to(limit).await {
            tracing::warn!(%error, "the cache could not be trimmed");
        }
    }
}
