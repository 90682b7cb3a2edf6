//! What people and programs ask of the engine.

use super::id::{ItemId, RunId};
use super::machine::ReviewAnswer;
use super::question::{Answer, AnswerReach};
use crate::fleet::BackendConfig;
use crate::project::{BackendId, Literal, NodeId, Project};
use crate::workflow::ParameterAddress;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// One command. The answer comes as events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunCommand {
    /// Run a project as it is now. Problems come back as [`super::EngineEvent::RunRefused`].
    #[serde(skip)]
    Start {
        /// The id under which its events will come.
        run_id: RunId,
        /// The snapshot.
        project: Arc<Project>,
        /// Where it writes and reads.
        folders: RunFolders,
    },
    /// Say what a run of a project would do, without doing it. The answer comes as [`super::EngineEvent::Planned`].
    #[serde(skip)]
    Plan {
        /// Comes back with the answer.
        plan_id: RunId,
        /// The project as it is now.
        project: Arc<Project>,
        /// Where a run would write and read.
        folders: RunFolders,
    },
    /// Something is wanted of a run. All of it is done, or nothing.
    Wish {
        /// The run.
        run_id: RunId,
        /// What, in this order.
        wishes: Vec<RunWish>,
    },
    /// Register a backend, or change one that is registered.
    #[serde(skip)]
    PutBackend {
        /// How it is reached.
        config: BackendConfig,
        /// Whether it is remembered.
        keeping: BackendKeeping,
    },
    /// Give a backend work, or stop giving it any. What runs there ends there.
    SetBackendEnabled {
        /// The backend.
        backend_id: BackendId,
        /// Whether it gets work.
        enabled: bool,
    },
    /// Call off what is at a backend: its items go elsewhere. It gets new work unless it is disabled, too.
    VacateBackend {
        /// The backend.
        backend_id: BackendId,
    },
    /// Forget a backend. What is there is called off; its items go elsewhere.
    RemoveBackend {
        /// The backend.
        backend_id: BackendId,
    },
    /// Ask a backend for its state now rather than at the next beat.
    RefreshBackend {
        /// The backend.
        backend_id: BackendId,
    },
}

impl RunCommand {
    /// One thing is wanted of a run.
    #[must_use]
    pub fn wish(run_id: RunId, wish: RunWish) -> Self {
        Self::Wish {
            run_id,
            wishes: vec![wish],
        }
    }
}

/// What a person wants of a run. It is in the run's log before it is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunWish {
    /// Call it off: what has not started is cancelled, what executes is interrupted. Calls off what was wished before, too.
    Cancel,
    /// Call one item off.
    CancelItem(ItemId),
    /// Call off every item of a node, those that are still to come as well, until it is retried.
    CancelNode(NodeId),
    /// Submit nothing new of it until it is resumed.
    Pause,
    /// Go on: with what is missing where it was cancelled, as soon as it is where it is being cancelled.
    Resume,
    /// Give failed and cancelled items, and what they blocked, another chance: at once, or as soon as nothing made from them
    /// executes.
    Retry(RetryScope),
    /// Answer what a Review asks, in this order.
    Review(Vec<ReviewAnswer>),
    /// Answer what is asked of items that have no place left ([`super::RunView::questions`]).
    Answer {
        /// The items; those that ask nothing are passed over.
        item_ids: Vec<ItemId>,
        /// What is to become of them.
        answer: Answer,
        /// What the answer holds for.
        reach: AnswerReach,
    },
    /// Make a Workflow item again with some fields changed, for example another seed.
    RedoItem {
        /// The item.
        item_id: ItemId,
        /// The changed fields; may be empty.
        fields: Vec<(ParameterAddress, Literal)>,
    },
    /// Move the run before or behind the others: higher goes first; 0 is the usual.
    SetPriority(i32),
    /// Move items that have not been submitted before or behind the others of the run.
    SetItemPriority {
        /// The items.
        item_ids: Vec<ItemId>,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// Move the items of a node that have not been submitted, and those still to come, before or behind the others of the
    /// run.
    SetNodePriority {
        /// The node.
        node_id: NodeId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
}

/// What is retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryScope {
    /// Everything in the run.
    Run,
    /// The items of a node.
    Node(NodeId),
    /// These items.
    Items(Vec<ItemId>),
}

/// Whether a backend is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKeeping {
    /// In the database, for every later start.
    Registered,
    /// Not beyond this process: it ends with it.
    ThisProcess,
}

/// Folders of one run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunFolders {
    /// Where Output nodes write.
    pub output: PathBuf,
    /// Where relative Input files lie.
    pub inputs: PathBuf,
}
