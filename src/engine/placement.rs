//! Placement: which backend an item runs on. Pure.
//!
//! Hard filters first ([`Exclusion`], each a sentence a person can read), then the least expected finish: wait for what is
//! queued there, bring the inputs there, run. Run times are learned per (workflow, backend); where nothing was measured,
//! from the same workflow on other backends and their relative speed, then from a prior. The cost of loading other models
//! joins [`Candidate`] as one more term when backends report what they hold.

use super::event::{PlacementCandidate, PlacementDecision, PlacementVerdict};
use crate::artifacts::ContentHash;
use crate::project::BackendId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Expected milliseconds of a run of which nothing at all is known.
pub const PRIOR_RUN_MS: f64 = 10_000.0;
/// Weight of the newest measurement in the running mean. A choice: after five runs the first counts for a sixth.
const NEWEST_WEIGHT: f64 = 0.3;
/// Bytes per millisecond to and from a backend while nothing is measured: gigabit Ethernet, 100 MB/s.
const PRIOR_BYTES_PER_MS: u64 = 100_000;

/// What was learned about run times.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    run_ms: HashMap<ContentHash, BTreeMap<BackendId, f64>>,
}

impl Estimates {
    /// Takes in one measured run.
    pub fn learn(&mut self, workflow: ContentHash, backend_id: BackendId, run_ms: u64) {
        let measured = run_ms as f64;
        self.run_ms
            .entry(workflow)
            .or_default()
            .entry(backend_id)
            .and_modify(|mean| *mean += NEWEST_WEIGHT * (measured - *mean))
            .or_insert(measured);
    }

    /// The mean of the measured runs of this workflow there; none when none was measured.
    #[must_use]
    pub fn measured_run_ms(&self, workflow: ContentHash, backend_id: BackendId) -> Option<f64> {
        self.run_ms.get(&workflow)?.get(&backend_id).copied()
    }

    /// Expected milliseconds of a run of this workflow there.
    #[must_use]
    pub fn run_ms(&self, workflow: ContentHash, backend_id: BackendId) -> f64 {
        if let Some(measured) = self.measured_run_ms(workflow, backend_id) {
            return measured;
        }
        let Some(elsewhere) = self.run_ms.get(&workflow).filter(|known| !known.is_empty()) else {
            return PRIOR_RUN_MS;
        };
        let sum: f64 = elsewhere
            .iter()
            .map(|(other, mean)| mean * self.relative_time(backend_id, *other))
            .sum();
        sum / elsewhere.len() as f64
    }

    /// How long `backend_id` takes for what takes `other` one unit: over the workflows both have run; 1 when there are none.
    fn relative_time(&self, backend_id: BackendId, other: BackendId) -> f64 {
        let ratios: Vec<f64> = self
            .run_ms
            .values()
            .filter_map(|known| {
                let mine = *known.get(&backend_id)?;
                let theirs = *known.get(&other)?;
                (theirs > 0.0).then(|| mine / theirs)
            })
            .collect();
        if ratios.is_empty() {
            1.0
        } else {
            // Sorted, so that the sum does not depend on the order of a hash map.
            let mut ratios = ratios;
            ratios.sort_by(f64::total_cmp);
            ratios.iter().sum::<f64>() / ratios.len() as f64
        }
    }
}

/// Expected milliseconds to bring this many bytes to a backend.
#[must_use]
pub fn transfer_ms(bytes: u64) -> u64 {
    bytes / PRIOR_BYTES_PER_MS
}

/// Why a backend cannot take an item now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// A person took it out.
    Disabled,
    /// It does not answer.
    Offline {
        /// For example "connection refused".
        reason: String,
    },
    /// The node is tied to another backend.
    TiedElsewhere,
    /// It lacks tags the node asks for.
    LacksTags {
        /// The missing ones.
        tags: Vec<String>,
    },
    /// It cannot run the workflow.
    Unable {
        /// For example "lacks flux1-dev.safetensors".
        reason: String,
    },
    /// The workflow failed there too often lately.
    PairBlocked {
        /// Milliseconds until it is tried again.
        left_ms: u64,
    },
    /// The same item failed there.
    FailedHere,
    /// It broke off with this item a moment ago.
    Resting {
        /// Milliseconds until it is tried again.
        left_ms: u64,
    },
}

impl Exclusion {
    /// Whether waiting changes nothing: only a person or another backend helps.
    #[must_use]
    pub fn is_inability(&self) -> bool {
        matches!(self, Self::Unable { .. })
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("is taken out"),
            Self::Offline { reason } if reason.is_empty() => f.write_str("is offline"),
            Self::Offline { reason } => write!(f, "is offline: {reason}"),
            Self::TiedElsewhere => f.write_str("is not the backend the node is tied to"),
            Self::LacksTags { tags } => write!(f, "lacks the tag {}", tags.join(", ")),
            Self::Unable { reason } => f.write_str(reason),
            Self::PairBlocked { left_ms } => write!(
                f,
                "this workflow failed there twice; tried again in {} s",
                left_ms.div_ceil(1000)
            ),
            Self::FailedHere => f.write_str("this item failed there"),
            Self::Resting { left_ms } => write!(
                f,
                "broke off with this item; tried again in {} s",
                left_ms.div_ceil(1000)
            ),
        }
    }
}

/// One backend as placement sees it for one item.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// The backend.
    pub backend_id: BackendId,
    /// Its name.
    pub name: &'a str,
    /// Why not, or what it would cost.
    pub verdict: Result<Cost, Exclusion>,
}

/// Expected milliseconds until an item is done on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Until what is queued there is done.
    pub wait_ms: u64,
    /// To bring the inputs there.
    pub transfer_ms: u64,
    /// Of the run itself.
    pub run_ms: u64,
}

impl Cost {
    /// All of it.
    #[must_use]
    pub fn finish_ms(self) -> u64 {
        self.wait_ms
            .saturating_add(self.transfer_ms)
            .saturating_add(self.run_ms)
    }
}

/// The candidate with the least expected finish; ties by id, so that the same facts give the same choice.
#[must_use]
pub fn best<'c, 'a>(candidates: &'c [Candidate<'a>]) -> Option<(&'c Candidate<'a>, Cost)> {
    candidates
        .iter()
        .filter_map(|candidate| {
            candidate
                .verdict
                .as_ref()
                .ok()
                .map(|cost| (candidate, *cost))
        })
        .min_by_key(|(candidate, cost)| (cost.finish_ms(), candidate.backend_id))
}

/// The record of a choice: the chosen backend, then the other possible ones by expected finish, then the excluded.
#[must_use]
pub fn decision(candidates: &[Candidate<'_>], chosen: BackendId) -> PlacementDecision {
    let mut sorted: Vec<&Candidate<'_>> = candidates.iter().collect();
    sorted.sort_by_key(|candidate| {
        let finish_ms = candidate
            .verdict
            .as_ref()
            .map_or(u64::MAX, |cost| cost.finish_ms());
        (
            candidate.backend_id != chosen,
            finish_ms,
            candidate.backend_id,
        )
    });
    PlacementDecision {
        candidates: sorted
            .into_iter()
            .map(|candidate| PlacementCandidate {
                backend_id: candidate.backend_id,
                backend_name: candidate.name.to_owned(),
                verdict: match &candidate.verdict {
                    Ok(cost) => PlacementVerdict::Possible {
                        wait_ms: cost.wait_ms,
                        transfer_ms: cost.transfer_ms,
                        run_ms: cost.run_ms,
                    },
                    Err(exclusion) => PlacementVerdict::Excluded {
                        reason: exclusion.to_string(),
                    },
                },
            })
            .collect(),
    }
}
