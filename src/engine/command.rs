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

/// One wish. The answer comes as events.
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
    /// Call a run off.
    Cancel {
        /// The run.
        run_id: RunId,
    },
    /// Call one item off.
    CancelItem {
        /// Its run.
        run_id: RunId,
        /// The item.
        item_id: ItemId,
    },
    /// Call off every item of a node, those that are still to come as well, until it is retried.
    CancelNode {
        /// The run.
        run_id: RunId,
        /// The node.
        node_id: NodeId,
    },
    /// Submit nothing new of a run.
    Pause {
        /// The run.
        run_id: RunId,
    },
    /// Go on with a paused, cancelled or interrupted run.
    Resume {
        /// The run.
        run_id: RunId,
    },
    /// Give failed items another chance.
    RetryFailed {
        /// The run.
        run_id: RunId,
    },
    /// Give failed and cancelled items of a node, or some of them, another chance.
    Retry {
        /// The run.
        run_id: RunId,
        /// Which.
        scope: RetryScope,
    },
    /// Answer what a Review asks.
    Review {
        /// The run.
        run_id: RunId,
        /// The answers, in order.
        answers: Vec<ReviewAnswer>,
    },
    /// Answer what is asked of items that have no place left ([`super::RunView::questions`]).
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
    /// Make a Workflow item again with some fields changed, for example another seed.
    RedoItem {
        /// Its run.
        run_id: RunId,
        /// The item.
        item_id: ItemId,
        /// The changed fields; may be empty.
        fields: Vec<(ParameterAddress, Literal)>,
    },
    /// Move a run before or behind the others.
    SetRunPriority {
        /// The run.
        run_id: RunId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// Move items that have not been submitted before or behind the others of their run.
    SetItemPriority {
        /// Their run.
        run_id: RunId,
        /// The items.
        item_ids: Vec<ItemId>,
        /// Higher goes first; 0 is the usual.
        priority: i32,
    },
    /// Move the items of a node that have not been submitted, and those still to come, before or behind the others of their
    /// run.
    SetNodePriority {
        /// Their run.
        run_id: RunId,
        /// The node.
        node_id: NodeId,
        /// Higher goes first; 0 is the usual.
        priority: i32,
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
