//! What is true only now: progress and previews. Never stored; the latest one wins.

use super::dry_run::{DryProblem, DryRun};
use super::event::RunEvent;
use super::failure::Failure;
use super::id::{AttemptId, ItemId, RunId};
use super::outlook::NodeWait;
use crate::fleet::BackendStatus;
use crate::project::{BackendId, NodeId};
use bytes::Bytes;

/// Everything the engine tells the world.
#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// Something happened in a run; already durable. Never dropped.
    Run(RunEvent),
    /// Progress of an attempt. May be coalesced.
    Progress(Progress),
    /// A preview picture of an attempt. May be coalesced.
    Preview(Preview),
    /// A backend's state. May be coalesced.
    Backend(BackendStatus),
    /// A backend said which node classes it has, or how large its models are; [`super::EngineHandle::object_info`] and
    /// [`super::EngineHandle::model_sizes`] give them.
    Capabilities(BackendId),
    /// A backend was removed.
    BackendRemoved(BackendId),
    /// How long a run and its next items are expected to take from now on. May be coalesced.
    Expected {
        /// The run.
        run_id: RunId,
        /// Milliseconds.
        remaining_ms: u64,
        /// Milliseconds until items are Done: those at backends, and the first of those that are Ready.
        items: Vec<(ItemId, u64)>,
    },
    /// What waits for a backend in a run, and why, in place of what was told before; told when it has changed. May be
    /// coalesced.
    Waiting {
        /// The run.
        run_id: RunId,
        /// Node by node.
        waits: Vec<NodeWait>,
    },
    /// Runs of earlier processes that rest until a person says what to do with each: resume, pause or cancel it. Their logs
    /// came before.
    Unfinished(Vec<RunId>),
    /// A run was refused before it began; nothing was stored.
    RunRefused {
        /// The id given in [`super::RunCommand::Start`].
        run_id: RunId,
        /// Every problem, each with its node where it has one.
        problems: Vec<(Option<NodeId>, String)>,
    },
    /// What a run of a project would do.
    Planned {
        /// The id given in [`super::RunCommand::Plan`].
        plan_id: RunId,
        /// What it would do, or everything that keeps the project from running.
        found: Result<DryRun, Vec<DryProblem>>,
    },
    /// The engine itself cannot go on (disk full, database gone): runs are paused, nothing is lost.
    Trouble(Failure),
}

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Its run.
    pub run_id: RunId,
    /// Its node in the project.
    pub node_id: NodeId,
    /// Its item.
    pub item_id: ItemId,
    /// The attempt.
    pub attempt_id: AttemptId,
    /// All of the prompt, 0 to 1.
    pub fraction: f32,
    /// What it is doing, for example "KSampler 14/20".
    pub activity: String,
}

/// A preview picture of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Its run.
    pub run_id: RunId,
    /// Its node in the project.
    pub node_id: NodeId,
    /// Its item.
    pub item_id: ItemId,
    /// A JPEG or PNG file.
    pub picture: Bytes,
}
