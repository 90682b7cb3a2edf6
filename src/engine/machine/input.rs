//! What the machine is told.

use super::review::ReviewAnswer;
use crate::artifacts::ContentHash;
use crate::engine::command::RetryScope;
use crate::engine::failure::Failure;
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::plan::Plan;
use crate::engine::question::{Answer, AnswerReach};
use crate::engine::value::Value;
use crate::project::{BackendId, Literal, NodeId, PortId};
use crate::workflow::{ObjectInfo, ParameterAddress};
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
    /// A person calls a run off: what has not started is cancelled, what runs is interrupted.
    CancelRun {
        /// The run.
        run_id: RunId,
    },
    /// A person calls one item off.
    CancelItem {
        /// Its run.
        run_id: RunId,
        /// The item.
        item_id: ItemId,
    },
    /// A person calls a node off: its items, and those still to come, until it is retried.
    CancelNode {
        /// The run.
        run_id: RunId,
        /// The node.
        node_id: NodeId,
    },
    /// Nothing new of this run is submitted until it is resumed.
    PauseRun {
        /// The run.
        run_id: RunId,
    },
    /// A paused run goes on; a cancelled one continues with what is missing, one that is being cancelled as soon as it is.
    ResumeRun {
        /// The run.
        run_id: RunId,
    },
    /// Failed and cancelled items of a run, and what they blocked, get another chance: at once, or when the run comes to its
    /// end if something made from them executes.
    RetryFailed {
        /// The run.
        run_id: RunId,
    },
    /// Failed and cancelled items of a node, or some of them, get another chance.
    Retry {
        /// The run.
        run_id: RunId,
        /// Which.
        scope: RetryScope,
    },
    /// A person answers what a Review asks.
    Review {
        /// The run.
        run_id: RunId,
        /// The answers, in order.
        answers: Vec<ReviewAnswer>,
    },
    /// A person answers what is asked of items that have no place left.
    Answer {
        /// The run.
        run_id: RunId,
        /// The items; those that ask nothing are passed over.
        item_ids: Vec<ItemId>,
        /// What is to become of them.
        answer: Answer,
        /// What the answer holds for.
        reach: AnswerReach,
    },
    /// A person wants a Workflow item made again with some fields changed, for example another seed.
    RedoItem {
        /// Its run.
        run_id: RunId,
        /// The item.
        item_id: ItemId,
        /// The changed fields; may be empty.
        fields: Vec<(ParameterAddress, Literal)>,
    },
    /// A person moves a run before or behind the others.
    SetRunPriority {
        /// The run.
        run_id: RunId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// A person moves items that have not been submitted before or behind the others of their run.
    SetItemPriority {
        /// Their run.
        run_id: RunId,
        /// The items.
        item_ids: Vec<ItemId>,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// A person moves the items of a node before or behind the others of their run.
    SetNodePriority {
        /// Their run.
        run_id: RunId,
        /// The node.
        node_id: NodeId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
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
    /// A file was brought to a backend.
    Transferred {
        /// The backend.
        backend_id: BackendId,
        /// What it holds.
        content: ContentHash,
        /// How many bytes.
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
    /// A [`LocalTask`] ended.
    LocalEnded {
        /// The item it was for.
        item_id: ItemId,
        /// What came of it.
        outcome: Result<LocalOutcome, Failure>,
    },
    /// Time passed; wakes what waits for it.
    Tick,
}

impl Input {
    /// The run that a person wants something of.
    pub(super) fn wished_of(&self) -> Option<RunId> {
        match self {
            Self::TakeUp { run_id }
            | Self::CancelRun { run_id }
            | Self::CancelItem { run_id, .. }
            | Self::CancelNode { run_id, .. }
            | Self::PauseRun { run_id }
            | Self::ResumeRun { run_id }
            | Self::RetryFailed { run_id }
            | Self::Retry { run_id, .. }
            | Self::Review { run_id, .. }
            | Self::Answer { run_id, .. }
            | Self::RedoItem { run_id, .. }
            | Self::SetRunPriority { run_id, .. }
            | Self::SetItemPriority { run_id, .. }
            | Self::SetNodePriority { run_id, .. } => Some(*run_id),
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
            | Self::LocalEnded { .. }
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
    /// Its node classes, for what items bring themselves: a model named by a table, a sampler by a link. None where they are
    /// not known: then every value is assumed to be fine.
    pub classes: Option<NodeClasses>,
}

/// The node classes of a backend, shared. Equal when they are the same answer of the backend.
#[derive(Clone, Debug)]
pub struct NodeClasses(pub Arc<ObjectInfo>);

impl PartialEq for NodeClasses {
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
    /// An earlier result of an equal item, from the cache.
    Cached(AttemptOutputs),
    /// The cache has none.
    NotCached,
}
