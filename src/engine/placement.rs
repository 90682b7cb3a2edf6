//! Placement: which backend an item runs on. Pure.
//!
//! Hard filters first ([`Exclusion`], each a sentence a person can read), then the least expected finish: wait for what is
//! queued there, load other models, bring the inputs there, run, move models that do not fit, and what failures there cost as
//! often as they lately happened. Times are learned per (workflow, backend) ([`Estimates`]); where nothing was measured, from the same workflow
//! on other backends and their relative speed, then from a prior.

mod estimates;

pub use estimates::{Estimates, Models, PRIOR_BYTES_PER_MS, PRIOR_RUN_MS, PRIOR_SWAP_MS};

use super::event::{PlacementCandidate, PlacementDecision, PlacementVerdict};
use crate::project::BackendId;
use crate::workflow::{MemoryFit, gib};
use std::fmt;

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
    /// A person chose another backend for the item.
    NotChosen,
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
    /// It does not have what the item brings by name: a model or another choice.
    Lacks {
        /// For example "lacks flux1-dev.safetensors (`ckpt_name` of #4)".
        reason: String,
        /// What kind of thing it lacks.
        what: Lacking,
    },
    /// The workflow failed there too often lately.
    PairBlocked {
        /// Milliseconds until it is tried again.
        left_ms: u64,
    },
    /// The item ran out of memory where there is at least as much.
    TooSmall {
        /// Bytes of memory it has.
        has_bytes: u64,
        /// Bytes of memory that were too few.
        too_few_bytes: u64,
    },
    /// The workflow has never run there and needs more memory than there is, as far as anybody knows. Others have more.
    NeedsMore(MemoryFit),
    /// The workflow has never run there and ran out of memory where there is at least as much. Others have more.
    TooFewElsewhere {
        /// Bytes of memory it has.
        has_bytes: u64,
        /// Bytes of memory that were too few.
        too_few_bytes: u64,
    },
    /// The same item failed there.
    FailedHere,
    /// It broke off with this item a moment ago.
    Resting {
        /// Milliseconds until it is tried again.
        left_ms: u64,
    },
}

/// What a backend lacks of what an item brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// A model file: another backend may have it.
    Model,
    /// Any other choice of a list: if nobody has it, the value is wrong.
    Choice,
}

impl Exclusion {
    /// Whether waiting changes nothing: only a person or another backend helps.
    #[must_use]
    pub fn is_inability(&self) -> bool {
        matches!(
            self,
            Self::Unable { .. } | Self::Lacks { .. } | Self::TooSmall { .. }
        )
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("is disabled"),
            Self::Offline { reason } if reason.is_empty() => f.write_str("is offline"),
            Self::Offline { reason } => write!(f, "is offline: {reason}"),
            Self::TiedElsewhere => f.write_str("is not the backend the node is tied to"),
            Self::NotChosen => f.write_str("is not the backend that was chosen for it"),
            Self::LacksTags { tags } => write!(f, "lacks the tag {}", tags.join(", ")),
            Self::Unable { reason } | Self::Lacks { reason, .. } => f.write_str(reason),
            Self::PairBlocked { left_ms } => write!(
                f,
                "this workflow failed there twice; tried again in {} s",
                left_ms.div_ceil(1000)
            ),
            Self::TooSmall {
                has_bytes,
                too_few_bytes,
            } => write!(
                f,
                "has {} of memory, and {} were too little for this item",
                gib(*has_bytes),
                gib(*too_few_bytes)
            ),
            Self::NeedsMore(fit) => fit.fmt(f),
            Self::TooFewElsewhere {
                has_bytes,
                too_few_bytes,
            } => write!(
                f,
                "has {} of memory, and {} were too little for this workflow",
                gib(*has_bytes),
                gib(*too_few_bytes)
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
    /// What the item needs of its memory, where that is known.
    pub memory: Option<MemoryFit>,
    /// Why not, or what it would cost.
    pub verdict: Result<Cost, Exclusion>,
}

/// Expected milliseconds until an item is done on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Until what is queued there is done.
    pub wait_ms: u64,
    /// To load other models than those that are there.
    pub swap_ms: u64,
    /// To bring the inputs there.
    pub transfer_ms: u64,
    /// Of the run itself.
    pub run_ms: u64,
    /// To move models in and out of a device on which they do not fit.
    pub moving_ms: u64,
    /// What failures there are expected to cost.
    pub risk_ms: u64,
}

impl Cost {
    /// All of it.
    #[must_use]
    pub fn finish_ms(self) -> u64 {
        self.busy_until_ms().saturating_add(self.risk_ms)
    }

    /// Until the backend is free again, if nothing fails.
    #[must_use]
    pub fn busy_until_ms(self) -> u64 {
        self.wait_ms
            .saturating_add(self.swap_ms)
            .saturating_add(self.transfer_ms)
            .saturating_add(self.run_ms)
            .saturating_add(self.moving_ms)
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
                memory: candidate.memory,
                verdict: match &candidate.verdict {
                    Ok(cost) => PlacementVerdict::Possible {
                        wait_ms: cost.wait_ms,
                        swap_ms: cost.swap_ms,
                        transfer_ms: cost.transfer_ms,
                        run_ms: cost.run_ms,
                        moving_ms: cost.moving_ms,
                        risk_ms: cost.risk_ms,
                    },
                    Err(exclusion) => PlacementVerdict::Excluded {
                        reason: exclusion.to_string(),
                    },
                },
            })
            .collect(),
    }
}
