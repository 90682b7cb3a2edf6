//! What happened in a run. Every event is in SQLite before anyone sees it; runs are folds of their events.

use super::failure::Failure;
use super::id::{AttemptId, IndexPath, ItemId, RunId};
use super::question::{Answer, AnswerOrigin, Question};
use super::value::{Labels, Value};
use crate::project::{BackendId, Literal, NodeId, PortId, ProjectId};
use crate::workflow::{MemoryFit, ParameterAddress};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One event with its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// The run.
    pub run_id: RunId,
    /// Position in the run's log, from 0 without gaps.
    pub seq: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub body: RunEventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEventBody {
    /// The run exists; its snapshot of the project is stored beside the log.
    RunCreated {
        /// The project it is a run of.
        project_id: ProjectId,
        /// The project's name at that time.
        project_name: String,
    },
    /// The run went into another state.
    RunStateChanged {
        /// The new state.
        state: RunState,
    },
    /// A node has an item at a path: everything it needs has ended. It begins as `Ready`; what is never to run (a
    /// Skipped or Blocked item) says so in the next event. More items may follow while upstream fan-outs open.
    ItemCreated {
        /// The item.
        item_id: ItemId,
        /// Its node.
        node_id: NodeId,
        /// Which value of which fan-out.
        path: IndexPath,
        /// Axis name → value as shown.
        labels: Labels,
    },
    /// An item went into another state that no other event implies. `ItemCreated` implies `Ready`, `AttemptPlaced`
    /// implies `Submitted`, `AttemptStarted` implies `Running`, `ItemAsks` implies `Asking`, `ItemDone` and `ItemFailed` say themselves.
    ItemStateChanged {
        /// The item.
        item_id: ItemId,
        /// The new state.
        state: ItemState,
        /// For Skipped, Blocked and Cancelled: a sentence that names the cause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// For an item that a Review parks: what a person is to look at. Logs of older versions do not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<Value>,
    },
    /// A backend was chosen for an item and the prompt is about to be POSTed under the attempt's id.
    AttemptPlaced {
        /// The attempt; its text form is the `prompt_id`.
        attempt_id: AttemptId,
        /// Its item.
        item_id: ItemId,
        /// From 1.
        number: u32,
        /// The chosen backend.
        backend_id: BackendId,
        /// Why there and not elsewhere.
        decision: PlacementDecision,
    },
    /// The backend took the prompt.
    AttemptAccepted {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The backend began to execute it.
    AttemptStarted {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The attempt is about to be called off on its backend. Written before the backend hears of it: whatever becomes of the
    /// attempt there, this is why.
    AttemptCalledOff {
        /// The attempt.
        attempt_id: AttemptId,
        /// Why.
        reason: CallOff,
    },
    /// The attempt ended without outputs.
    AttemptFailed {
        /// The attempt.
        attempt_id: AttemptId,
        /// Why.
        failure: Failure,
    },
    /// The attempt was called off on its backend.
    AttemptCancelled {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The attempt was called off because its backend is to be left alone; its item goes elsewhere.
    AttemptWithdrawn {
        /// The attempt.
        attempt_id: AttemptId,
    },
    /// The item is Done: its outputs are stored.
    ItemDone {
        /// The item.
        item_id: ItemId,
        /// The attempt that made them; none for work done here or taken from the cache.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt_id: Option<AttemptId>,
        /// Output port → value. Empty where the values follow from the plan or from what came in: a `FanOut` that does
        /// not look for files, a Merge of a long list ([`LONGEST_RECORDED_LIST`]). A Condition names the one port the
        /// value left by.
        outputs: BTreeMap<PortId, Value>,
        /// Where the result came from.
        #[serde(default, skip_serializing_if = "ResultSource::is_made")]
        source: ResultSource,
        /// Remarks for a person ("3 of 4 not used").
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notices: Vec<String>,
    },
    /// The item is Failed for good.
    ItemFailed {
        /// The item.
        item_id: ItemId,
        /// The last failure.
        failure: Failure,
    },
    /// The item has no place left and its node asks: it waits for an answer. Implies `Asking`.
    ItemAsks {
        /// The item.
        item_id: ItemId,
        /// What is asked.
        question: Question,
    },
    /// The question was answered. What follows from it comes as the next events of the item.
    ItemAnswered {
        /// The item.
        item_id: ItemId,
        /// The answer.
        answer: Answer,
        /// Where it came from.
        origin: AnswerOrigin,
    },
    /// A person rated an item.
    ItemRated {
        /// The Review item.
        item_id: ItemId,
        /// 0 to 5.
        rating: u8,
    },
    /// A person changed fields of a Workflow item; it is made again with them.
    ItemEdited {
        /// The Workflow item.
        item_id: ItemId,
        /// The fields with their new values, in place of what is linked or set.
        fields: Vec<(ParameterAddress, Literal)>,
    },
    /// A person moved items of a run before or behind others.
    ItemPriorityChanged {
        /// The item.
        item_id: ItemId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// A person moved a run before or behind others.
    RunPriorityChanged {
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// A person moved the items of a node before or behind others.
    NodePriorityChanged {
        /// The node.
        node_id: NodeId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// A person called a node off: its items, and those still to come.
    NodeCalledOff {
        /// The node.
        node_id: NodeId,
    },
    /// A node that was called off has another chance.
    NodeTakenUp {
        /// The node.
        node_id: NodeId,
    },
    /// Items are to be made again as soon as nothing made from them executes. What begins to be made again says so itself, and
    /// an item that ends as Done after all is left as it is.
    RedoWished {
        /// The items.
        item_ids: Vec<ItemId>,
    },
    /// An item is not to be made again after all: a person called it off since.
    RedoWithdrawn {
        /// The item.
        item_id: ItemId,
    },
    /// What is to become of the run when it comes to its end; none when that has begun, or was called off since.
    /// [`RunState::Cancelling`] calls it off, too.
    AfterEndWished {
        /// What.
        wish: Option<AfterEnd>,
    },
    /// An Output item wrote its files.
    FilesWritten {
        /// The Output item.
        item_id: ItemId,
        /// Absolute paths, in order.
        paths: Vec<String>,
    },
}

/// Why an attempt is called off. Of several reasons the last of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOff {
    /// It showed no sign of progress for too long: it counts as failed by timeout.
    Silent {
        /// For how long, seconds.
        silence_s: u64,
    },
    /// Its backend is to be left alone: its item goes elsewhere.
    ToMove,
    /// Nobody wants its item any more.
    ForGood,
}

impl CallOff {
    /// Whether this counts although an attempt is being called off for that.
    #[must_use]
    pub fn outranks(self, known: Self) -> bool {
        let rank = |reason| match reason {
            Self::Silent { .. } => 0,
            Self::ToMove => 1,
            Self::ForGood => 2,
        };
        rank(self) > rank(known)
    }
}

/// What is to become of a run when it comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterEnd {
    /// It goes on with what was cancelled.
    Resume,
    /// What failed or was cancelled gets another chance.
    Retry,
}

/// A merged list longer than this is not written into the log, where it would repeat all that its members said; it follows
/// from them again.
pub const LONGEST_RECORDED_LIST: usize = 64;

/// Where a result came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultSource {
    /// It was made for this item.
    #[default]
    Made,
    /// An equal item made it before; no backend was asked.
    Cache,
}

impl ResultSource {
    /// Whether it was made for this item.
    #[must_use]
    pub fn is_made(&self) -> bool {
        *self == Self::Made
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Items are being worked on.
    Running,
    /// Nothing new is submitted until it is resumed.
    Paused,
    /// A person cancelled it; what has not started is called off, live attempts are being interrupted.
    Cancelling,
    /// The *stop the run* policy struck; what has not started is called off, running attempts finish.
    Stopping,
    /// Every Output item is Done and nothing Failed.
    Completed,
    /// Some items Failed or are Blocked, some Output items are Done.
    CompletedWithFailures,
    /// No Output item is Done, or the *stop the run* policy struck.
    Failed,
    /// A person cancelled it.
    Cancelled,
}

impl RunState {
    /// Whether nothing more happens unless a person asks.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(
            self,
            Self::Running | Self::Paused | Self::Cancelling | Self::Stopping
        )
    }
}

/// Where an item is. Each item is in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Something it was made from is being made again after a retry or resume; it follows when that is there.
    Waiting,
    /// Its inputs are there; it waits for a backend or a worker.
    Ready,
    /// An attempt is at a backend, waiting there.
    Submitted,
    /// Its attempt executes, or its local work goes on.
    Running,
    /// A person is asked by a Review; it holds no backend.
    Parked,
    /// It has no place left, and a person is asked what is to become of it; it holds no backend.
    Asking,
    /// Its outputs are stored.
    Done,
    /// It can never have its inputs because of a Condition or an empty list, was not picked by a person, or is not needed
    /// because a Merge has its first values.
    Skipped,
    /// Something upstream Failed or was cancelled.
    Blocked,
    /// It failed for good.
    Failed,
    /// A person called it off.
    Cancelled,
}

impl ItemState {
    /// Every state, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::Waiting,
        Self::Ready,
        Self::Submitted,
        Self::Running,
        Self::Parked,
        Self::Asking,
        Self::Done,
        Self::Skipped,
        Self::Blocked,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether it is at a backend, or being done on this machine.
    #[must_use]
    pub fn is_executing(self) -> bool {
        matches!(self, Self::Submitted | Self::Running)
    }

    /// Whether nothing more happens to the item unless a person asks.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(
            self,
            Self::Waiting
                | Self::Ready
                | Self::Submitted
                | Self::Running
                | Self::Parked
                | Self::Asking
        )
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why an item runs where it runs (DESIGN §8), as shown to people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlacementDecision {
    /// Every backend that was looked at, the chosen one first.
    pub candidates: Vec<PlacementCandidate>,
}

/// One backend that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacementCandidate {
    /// The backend.
    pub backend_id: BackendId,
    /// Its name at that time.
    pub backend_name: String,
    /// What the item needs of its memory, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryFit>,
    /// What speaks for or against it.
    pub verdict: PlacementVerdict,
}

/// What speaks for or against a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementVerdict {
    /// It could run the item.
    Possible {
        /// Expected milliseconds until what is queued there is done.
        wait_ms: u64,
        /// Expected milliseconds to load other models than those that are there.
        #[serde(default, skip_serializing_if = "is_zero")]
        swap_ms: u64,
        /// Expected milliseconds to bring the inputs there.
        transfer_ms: u64,
        /// Expected milliseconds of the run itself.
        run_ms: u64,
        /// Expected milliseconds to move models in and out of a device on which they do not fit.
        #[serde(default, skip_serializing_if = "is_zero")]
        moving_ms: u64,
        /// Expected milliseconds that failures there cost, as often as they lately happened.
        #[serde(default, skip_serializing_if = "is_zero")]
        risk_ms: u64,
    },
    /// A hard filter keeps it out; the sentence says which.
    Excluded {
        /// For example "lacks flux1-dev.safetensors".
        reason: String,
    },
}
