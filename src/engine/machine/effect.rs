//! What the machine orders.

use crate::engine::event::RunEvent;
use crate::engine::id::{AttemptId, IndexPath, ItemId, RunId};
use crate::engine::value::{Labels, ListElement, Value};
use crate::project::{
    BackendId, ContactSheet, DataType, FilePattern, InputValue, NodeId, WorkflowName,
};
use crate::workflow::ParameterAddress;
use std::sync::Arc;

/// One order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this event to the log; later orders of the same step wait until it is durable.
    Record(RunEvent),
    /// POST a prompt.
    Submit(Submission),
    /// Call an attempt off on its backend: delete it from the queue, or interrupt it if it runs. Always answered by
    /// `AttemptEnded`: with its outputs when it had finished before, else with a failure (`Interrupted`, or `Offline`
    /// when the backend cannot be reached).
    CancelAttempt {
        /// The attempt.
        attempt_id: AttemptId,
        /// Where it is.
        backend_id: BackendId,
    },
    /// Ask for an earlier result of an equal item; answered by `LookedUp`.
    LookUp(CacheQuestion),
    /// Find out what became of an attempt after a restart of ours; answered by `AttemptAccepted`, `AttemptStarted` or
    /// `AttemptEnded`.
    Reconcile(Submission),
    /// Do work on this machine; answered by `LocalEnded`.
    Local(LocalWork),
    /// Try work on this machine no more that waits for a disk. Not answered, and neither is the work.
    CallOffLocal {
        /// The item it was for.
        item_id: ItemId,
    },
    /// Ask a backend to unload its models (POST /free) before the next prompt goes there. Not answered.
    FreeMemory {
        /// The backend.
        backend_id: BackendId,
    },
    /// Send [`super::Input::Tick`] at this Unix time in milliseconds, or later.
    WakeAt {
        /// When.
        at_ms: u64,
    },
}

/// What determines the result of a Workflow item.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheQuestion {
    /// The item.
    pub item_id: ItemId,
    /// Its run.
    pub run_id: RunId,
    /// Its node.
    pub node_id: NodeId,
    /// The workflow to patch.
    pub workflow: WorkflowName,
    /// The fields to set, from linked ports and exposed parameters.
    pub fields: Vec<(ParameterAddress, Value)>,
}

/// A prompt to POST.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The attempt; its text form is the `prompt_id`.
    pub attempt_id: AttemptId,
    /// Its item.
    pub item_id: ItemId,
    /// Its run.
    pub run_id: RunId,
    /// Its node.
    pub node_id: NodeId,
    /// Where to.
    pub backend_id: BackendId,
    /// The workflow to patch.
    pub workflow: WorkflowName,
    /// The fields to set, from linked ports and exposed parameters.
    pub fields: Vec<(ParameterAddress, Value)>,
    /// Whether the backend may answer from its own execution cache.
    pub server_cache: ServerCache,
}

/// Whether a backend may answer a prompt from its own execution cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCache {
    /// As the backend likes.
    Allowed,
    /// It must execute the output nodes again: files it named before were gone.
    Bypass,
}

/// Work on this machine for one item.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalWork {
    /// The item.
    pub item_id: ItemId,
    /// Its run.
    pub run_id: RunId,
    /// Its node.
    pub node_id: NodeId,
    /// Which value of which fan-out.
    pub path: IndexPath,
    /// Axis name → value as shown.
    pub labels: Labels,
    /// What to do.
    pub task: LocalTask,
    /// Which order of this process it is; its answer names it. One item may be ordered again while the answer to an order that
    /// was called off is on its way.
    pub order: u64,
}

/// What to do on this machine.
#[derive(Clone, Debug, PartialEq)]
pub enum LocalTask {
    /// Read the value of an Input node; files go into the artifact store.
    Load {
        /// What the node names.
        value: InputValue,
        /// What a file is taken for.
        data_type: DataType,
    },
    /// Evaluate a Condition's expression over the value, its measures and the item's labels.
    Decide {
        /// A CEL expression.
        expression: String,
        /// The item's value.
        value: Value,
        /// The rating a person gave it, 0 to 5.
        rating: Option<u8>,
    },
    /// Find the files of a `FanOut` and bring them into the artifact store.
    FindFiles {
        /// Which.
        files: FilePattern,
        /// The folder the pattern starts in, where one is linked.
        folder: Option<String>,
    },
    /// Score the elements of a merged list and keep the best; draw the contact sheet of these.
    Rank {
        /// A CEL expression that gives the score of an element.
        expression: String,
        /// How many are kept.
        keep: u32,
        /// The list, longer than that.
        elements: Arc<[ListElement]>,
        /// The ratings that a person gave them in a Review before, 0 to 5; as many as there are elements.
        ratings: Vec<Option<u8>>,
        /// How the sheet is drawn, where something takes it.
        sheet: Option<ContactSheet>,
    },
    /// Draw the contact sheet of a merged list.
    DrawSheet {
        /// How.
        sheet: ContactSheet,
        /// The list.
        elements: Arc<[ListElement]>,
    },
    /// Write the files of an Output item; writing the same item again replaces nothing and adds nothing.
    Write {
        /// The file name template.
        template: String,
        /// What to write.
        value: Value,
        /// The item's ordinal within its node, for `{index}`.
        ordinal: u32,
    },
}
