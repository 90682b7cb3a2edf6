//! What the machine is told.

use crate::artifacts::ContentHash;
use crate::engine::command::RunWish;
use crate::engine::failure::Failure;
use crate::engine::fit::not_wanted;
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::placement::Exclusion;
use crate::engine::plan::Plan;
use crate::engine::value::Value;
use crate::project::{BackendId, PortId, WorkflowNode};
use crate::workflow::{ModelSizes, ModelWeights, ObjectInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One fact or wish.
#[derive(Clone, Debug)]
pub enum Input {
    /// A person starts a run of a validated plan.
    Start {
        /// The new run.
        run_id: RunId,
        /// The compiled snapshot.
        plan: Arc<Plan>,
    },
    /// A restored run goes on as it was: a paused one stays paused, one that was being cancelled is cancelled.
    TakeUp {
        /// The run.
        run_id: RunId,
    },
    /// A person wants something of a run.
    Wish {
        /// The run.
        run_id: RunId,
        /// What, in this order.
        wishes: Vec<RunWish>,
    },
    /// A person wants nothing of ours at a backend any more: what is there is called off and goes elsewhere.
    VacateBackend {
        /// The backend.
        backend_id: BackendId,
    },
    /// What is known of a backend now; the first fact about a backend registers it.
    Backend(BackendFacts),
    /// A backend was removed.
    BackendRemoved {
        /// The backend.
        backend_id: BackendId,
    },
    /// The backend took the prompt.
    AttemptAccepted {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The backend began to execute the prompt.
    AttemptStarted {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The attempt executes, but showed no sign of progress for longer than its node allows: it is to be called off.
    AttemptSilent {
        /// The attempt.
        attempt_id: AttemptId,
        /// For how long, seconds.
        silence_s: u64,
    },
    /// The backend has executed the prompt; what it made is on its way here. From now on the backend has room for another.
    AttemptExecuted {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The attempt ended: with its outputs stored, or with a failure. After a silence the executor reconciles first
    /// (queue, then history), so a `Lost` here means that the backend knows nothing of it.
    AttemptEnded {
        /// The attempt.
        attempt_id: AttemptId,
        /// What came of it.
        outcome: Result<AttemptOutputs, Failure>,
    },
    /// A file was brought to a backend, or found there as it was brought before.
    Transferred {
        /// The backend.
        backend_id: BackendId,
        /// What it holds.
        content: ContentHash,
        /// How many bytes went there; 0 where it was found.
        bytes: u64,
        /// How long it took, milliseconds.
        took_ms: u64,
    },
    /// Memory of a backend's device was seen in use while an attempt executed there.
    MemorySeen {
        /// The attempt.
        attempt_id: AttemptId,
        /// Bytes in use on the largest device.
        used_bytes: u64,
    },
    /// The cache was asked for an earlier result of an equal item.
    LookedUp {
        /// The item.
        item_id: ItemId,
        /// The result; none where there is none.
        found: Option<AttemptOutputs>,
    },
    /// A [`LocalTask`] ended.
    LocalEnded {
        /// The item it was for.
        item_id: ItemId,
        /// [`super::LocalWork::order`] of what ended. An order that was called off meanwhile does not count.
        order: u64,
        /// What came of it.
        outcome: Result<LocalOutcome, Failure>,
    },
    /// The disk that a [`LocalTask`] is to write to takes nothing for now: it is tried again until it does.
    LocalWaits {
        /// The item it is for.
        item_id: ItemId,
        /// [`super::LocalWork::order`] of what waits.
        order: u64,
    },
    /// Time passed; wakes what waits for it.
    Tick,
}

impl Input {
    /// A person wants one thing of a run.
    #[must_use]
    pub fn wish(run_id: RunId, wish: RunWish) -> Self {
        Self::Wish {
            run_id,
            wishes: vec![wish],
        }
    }

    /// The run that somebody wants something of.
    pub(super) fn wished_of(&self) -> Option<RunId> {
        match self {
            Self::TakeUp { run_id } | Self::Wish { run_id, .. } => Some(*run_id),
            Self::Start { .. }
            | Self::VacateBackend { .. }
            | Self::Backend(_)
            | Self::BackendRemoved { .. }
            | Self::AttemptAccepted { .. }
            | Self::AttemptStarted { .. }
            | Self::AttemptSilent { .. }
            | Self::AttemptExecuted { .. }
            | Self::AttemptEnded { .. }
            | Self::Transferred { .. }
            | Self::MemorySeen { .. }
            | Self::LookedUp { .. }
            | Self::LocalEnded { .. }
            | Self::LocalWaits { .. }
            | Self::Tick => None,
        }
    }
}

/// What is known of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendFacts {
    /// Its identity.
    pub backend_id: BackendId,
    /// Its name, for sentences.
    pub name: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Whether prompts can be sent there now.
    pub availability: Availability,
    /// Memory of its largest device, bytes; none when it does not say.
    pub vram_bytes: Option<u64>,
    /// Workflows it cannot run, by [`Plan::workflow_hash`], each with the reason ("lacks flux1-dev.safetensors"). What is
    /// not named is assumed to run.
    pub unable: BTreeMap<ContentHash, String>,
    /// What the models of workflows weigh there, by [`Plan::workflow_hash`]; nothing for those whose models' sizes it does not
    /// tell.
    pub weights: BTreeMap<ContentHash, ModelWeights>,
    /// The sizes of its model files, for those that items bring by name. None where it does not tell them.
    pub model_sizes: Option<KnownSizes>,
    /// Its node classes, for what items bring themselves: a model named by a table, a sampler by a link. None where they are
    /// not known: then every value is assumed to be fine.
    pub classes: Option<NodeClasses>,
}

impl BackendFacts {
    /// Why a node does not want the backend; none when it may run there.
    pub(super) fn not_wanted_by(&self, settings: &WorkflowNode) -> Option<Exclusion> {
        not_wanted(settings, self.backend_id, &self.tags)
    }
}

/// The node classes of a backend, shared. Equal when they are the same answer of the backend.
#[derive(Clone, Debug)]
pub struct NodeClasses(pub Arc<ObjectInfo>);

impl PartialEq for NodeClasses {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The sizes of a backend's model files, shared. Equal when they are the same answer of the backend.
#[derive(Clone, Debug)]
pub struct KnownSizes(pub Arc<ModelSizes>);

impl PartialEq for KnownSizes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Whether prompts can be sent to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It answers.
    Online,
    /// It does not; the sentence says since when or why.
    Offline {
        /// For example "connection refused".
        reason: String,
    },
    /// A person took it out.
    Disabled,
}

/// What an attempt made: per output port, the stored files or texts in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttemptOutputs {
    /// Output port → values, in the backend's order.
    pub ports: BTreeMap<PortId, Vec<Value>>,
}

/// What a [`LocalTask`] made.
#[derive(Clone, Debug, PartialEq)]
pub enum LocalOutcome {
    /// The value of an Input node.
    Loaded(Value),
    /// The answer of a Condition.
    Decided(bool),
    /// The contact sheet of a Merge.
    SheetDrawn(Value),
    /// The files of a `FanOut`: name as shown, and value.
    Found(Vec<(String, Value)>),
    /// The places of the elements that are kept, ascending, and the contact sheet where one was asked for.
    Ranked {
        /// Places from 0.
        kept: Vec<u32>,
        /// The sheet.
        sheet: Option<Value>,
    },
    /// The files an Output wrote: absolute paths, in order.
    Written(Vec<String>),
}

impl LocalOutcome {
    /// The values that were brought into the artifact store for it.
    pub(in crate::engine) fn values(&self) -> impl Iterator<Item = &Value> {
        let (one, found): (Option<&Value>, &[(String, Value)]) = match self {
            Self::Loaded(value) | Self::SheetDrawn(value) => (Some(value), &[]),
            Self::Ranked { sheet, .. } => (sheet.as_ref(), &[]),
            Self::Found(files) => (None, files),
            Self::Decided(_) | Self::Written(_) => (None, &[]),
        };
        one.into_iter().chain(found.iter().map(|(_, value)| value))
    }
}
