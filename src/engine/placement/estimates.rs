//! What was learned of run times, of loading models and of failures.

use crate::artifacts::ContentHash;
use crate::project::BackendId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Expected milliseconds of a run of which nothing at all is known.
pub const PRIOR_RUN_MS: f64 = 10_000.0;
/// Expected milliseconds to load other models while nothing is measured: a large model from a fast disk takes 5 to 10 s.
pub const PRIOR_SWAP_MS: f64 = 8_000.0;
/// Bytes per millisecond to and from a backend while nothing is measured: gigabit Ethernet, 100 MB/s.
pub const PRIOR_BYTES_PER_MS: f64 = 100_000.0;
/// Weight of the newest measurement in the running mean. A choice: after five runs the first counts for a sixth.
const NEWEST_WEIGHT: f64 = 0.3;
/// Weight of the newest outcome in the running share of failures: two in a row make it likely, one success halves it.
const OUTCOME_WEIGHT: f64 = 0.5;
/// No backend is given up for good: at this share it is expected to need 20 tries.
const MOST_FAILURES: f64 = 0.95;
/// Transfers shorter than this say more of latency than of bandwidth.
const SHORTEST_MEASURED_BYTES: u64 = 256 * 1024;
/// Workflows that are remembered; the least recently used are forgotten.
const MAX_WORKFLOWS: usize = 2_000;

/// What was learned, by workflow and backend. Kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    workflows: HashMap<ContentHash, WorkflowEstimates>,
    backends: BTreeMap<BackendId, BackendEstimates>,
    /// Counts what was learned; orders workflows by use.
    turn: u64,
    /// Until when the logs of runs have been learned from, Unix time in milliseconds.
    #[serde(default)]
    as_of_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct WorkflowEstimates {
    pairs: BTreeMap<BackendId, PairEstimates>,
    used: u64,
}

/// How a workflow fares on a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PairEstimates {
    /// Mean milliseconds with the models loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warm_ms: Option<f64>,
    /// Mean milliseconds when other models were loaded before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cold_ms: Option<f64>,
    /// Share of attempts that ran out of memory, newest first.
    #[serde(default)]
    failures: f64,
    /// The most memory that was seen in use on its largest device while this ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peak_bytes: Option<u64>,
    /// Memory of its largest device, which was too little for this lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    too_few_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct BackendEstimates {
    /// Share of attempts that were lost there, newest first.
    #[serde(default)]
    failures: f64,
    /// Mean bytes per millisecond to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes_per_ms: Option<f64>,
}

/// Whether a backend had to load models for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Models {
    /// They were there.
    Loaded,
    /// Others were loaded before.
    Swapped,
}

impl Estimates {
    /// The same with a note that everything until now was learned.
    #[must_use]
    pub fn as_of(&self, now_ms: u64) -> Self {
        Self {
            as_of_ms: now_ms,
            ..self.clone()
        }
    }

    /// Until when the logs of runs have been learned from, Unix time in milliseconds.
    #[must_use]
    pub fn as_of_ms(&self) -> u64 {
        self.as_of_ms
    }

    /// Takes in one measured run.
    pub fn learn(
        &mut self,
        workflow: ContentHash,
        backend_id: BackendId,
        run_ms: u64,
        models: Models,
    ) {
        let measured = run_ms as f64;
        let pair = self.pair(workflow, backend_id);
        let mean = match models {
            Models::Loaded => &mut pair.warm_ms,
            Models::Swapped => &mut pair.cold_ms,
        };
        *mean = Some(mean.map_or(measured, |mean| mean + NEWEST_WEIGHT * (measured - mean)));
        pair.failures *= 1.0 - OUTCOME_WEIGHT;
        pair.too_few_bytes = None;
        let backend = self.backends.entry(backend_id).or_default();
        backend.failures *= 1.0 - OUTCOME_WEIGHT;
    }

    /// Takes in that a workflow ran out of memory on a backend whose largest device has this much, where that is known.
    pub fn learn_out_of_memory(
        &mut self,
        workflow: ContentHash,
        backend_id: BackendId,
        device_bytes: Option<u64>,
    ) {
        let pair = self.pair(workflow, backend_id);
        pair.failures += OUTCOME_WEIGHT * (1.0 - pair.failures);
        pair.too_few_bytes = device_bytes;
    }

    /// How much memory was too little for a workflow: the most with which it ran out and has not run since. None when it never
    /// ran out.
    #[must_use]
    pub fn too_few_bytes(&self, workflow: ContentHash) -> Option<u64> {
        self.workflows
            .get(&workflow)?
            .pairs
            .values()
            .filter_map(|pair| pair.too_few_bytes)
            .max()
    }

    /// Takes in how much memory of a backend's device was in use while a workflow ran there.
    pub fn learn_memory(&mut self, workflow: ContentHash, backend_id: BackendId, used_bytes: u64) {
        let pair = self.pair(workflow, backend_id);
        pair.peak_bytes = Some(
            pair.peak_bytes
                .map_or(used_bytes, |peak| peak.max(used_bytes)),
        );
    }

    /// The least memory that a workflow is known to have run with: the smallest peak that was seen on any backend. A backend
    /// keeps in memory what fits, so a peak on a large device says little of what is needed. None where none was seen.
    #[must_use]
    pub fn memory_bytes(&self, workflow: ContentHash) -> Option<u64> {
        self.workflows
            .get(&workflow)?
            .pairs
            .values()
            .filter_map(|pair| pair.peak_bytes)
            .min()
    }

    /// Takes in that a backend lost an attempt.
    pub fn learn_loss(&mut self, backend_id: BackendId) {
        let backend = self.backends.entry(backend_id).or_default();
        // One loss in many is usual; the mean follows slower than a backend that comes back recovers.
        backend.failures += NEWEST_WEIGHT * (1.0 - backend.failures);
    }

    /// Takes in one measured transfer to a backend.
    pub fn learn_transfer(&mut self, backend_id: BackendId, bytes: u64, took_ms: u64) {
        if bytes < SHORTEST_MEASURED_BYTES {
            return;
        }
        let measured = bytes as f64 / took_ms.max(1) as f64;
        let backend = self.backends.entry(backend_id).or_default();
        backend.bytes_per_ms = Some(
            backend
                .bytes_per_ms
                .map_or(measured, |mean| mean + NEWEST_WEIGHT * (measured - mean)),
        );
    }

    fn pair(&mut self, workflow: ContentHash, backend_id: BackendId) -> &mut PairEstimates {
        self.turn += 1;
        let turn = self.turn;
        if self.workflows.len() >= MAX_WORKFLOWS && !self.workflows.contains_key(&workflow) {
            let oldest = self
                .workflows
                .iter()
                .min_by_key(|(hash, known)| (known.used, **hash))
                .map(|(hash, _)| *hash);
            if let Some(oldest) = oldest {
                self.workflows.remove(&oldest);
            }
        }
        let known = self.workflows.entry(workflow).or_default();
        known.used = turn;
        known.pairs.entry(backend_id).or_default()
    }

    fn known(&self, workflow: ContentHash, backend_id: BackendId) -> Option<&PairEstimates> {
        self.workflows.get(&workflow)?.pairs.get(&backend_id)
    }

    /// The mean of the measured runs of this workflow there, without loading models; none when none was measured.
    #[must_use]
    pub fn measured_run_ms(&self, workflow: ContentHash, backend_id: BackendId) -> Option<f64> {
        let pair = self.known(workflow, backend_id)?;
        pair.warm_ms.or_else(|| {
            // Loading is in it; half of the run at most is taken for that.
            pair.cold_ms
                .map(|cold_ms| (cold_ms - PRIOR_SWAP_MS).max(cold_ms / 2.0))
        })
    }

    /// Whether any run of this workflow was ever measured.
    #[must_use]
    pub fn knows(&self, workflow: ContentHash) -> bool {
        self.workflows.get(&workflow).is_some_and(|known| {
            known
                .pairs
                .values()
                .any(|pair| pair.warm_ms.is_some() || pair.cold_ms.is_some())
        })
    }

    /// Expected milliseconds of a run of this workflow there, with its models loaded.
    #[must_use]
    pub fn run_ms(&self, workflow: ContentHash, backend_id: BackendId) -> f64 {
        if let Some(measured) = self.measured_run_ms(workflow, backend_id) {
            return measured;
        }
        let elsewhere: Vec<f64> = self
            .workflows
            .get(&workflow)
            .into_iter()
            .flat_map(|known| known.pairs.keys())
            .filter_map(|other| {
                let measured = self.measured_run_ms(workflow, *other)?;
                Some(measured * self.relative_time(backend_id, *other))
            })
            .collect();
        if elsewhere.is_empty() {
            return PRIOR_RUN_MS;
        }
        elsewhere.iter().sum::<f64>() / elsewhere.len() as f64
    }

    /// Expected milliseconds to load this workflow's models there in place of others.
    #[must_use]
    pub fn swap_ms(&self, workflow: ContentHash, backend_id: BackendId) -> f64 {
        let measured = |pair: &PairEstimates| Some((pair.cold_ms? - pair.warm_ms?).max(0.0));
        if let Some(own) = self.known(workflow, backend_id).and_then(measured) {
            return own;
        }
        let elsewhere: Vec<f64> = self
            .workflows
            .get(&workflow)
            .into_iter()
            .flat_map(|known| known.pairs.values())
            .filter_map(measured)
            .collect();
        if elsewhere.is_empty() {
            PRIOR_SWAP_MS
        } else {
            elsewhere.iter().sum::<f64>() / elsewhere.len() as f64
        }
    }

    /// Share of attempts of this workflow that are expected to come to nothing there, 0 to [`MOST_FAILURES`].
    #[must_use]
    pub fn failure_share(&self, workflow: ContentHash, backend_id: BackendId) -> f64 {
        let pair = self
            .known(workflow, backend_id)
            .map_or(0.0, |pair| pair.failures);
        let backend = self
            .backends
            .get(&backend_id)
            .map_or(0.0, |backend| backend.failures);
        (1.0 - (1.0 - pair) * (1.0 - backend)).clamp(0.0, MOST_FAILURES)
    }

    /// Expected milliseconds to bring this many bytes to a backend.
    #[must_use]
    pub fn transfer_ms(&self, backend_id: BackendId, bytes: u64) -> u64 {
        let bytes_per_ms = self
            .backends
            .get(&backend_id)
            .and_then(|backend| backend.bytes_per_ms)
            .unwrap_or(PRIOR_BYTES_PER_MS);
        (bytes as f64 / bytes_per_ms.max(1.0)) as u64
    }

    /// How long `backend_id` takes for what takes `other` one unit: over the workflows both have run; 1 when there are none.
    fn relative_time(&self, backend_id: BackendId, other: BackendId) -> f64 {
        let mut ratios: Vec<f64> = self
            .workflows
            .keys()
            .filter_map(|workflow| {
                let mine = self.measured_run_ms(*workflow, backend_id)?;
                let theirs = self.measured_run_ms(*workflow, other)?;
                (theirs > 0.0).then(|| mine / theirs)
            })
            .collect();
        if ratios.is_empty() {
            return 1.0;
        }
        // Sorted, so that the sum does not depend on the order of a hash map.
        ratios.sort_by(f64::total_cmp);
        ratios.iter().sum::<f64>() / ratios.len() as f64
    }
}
