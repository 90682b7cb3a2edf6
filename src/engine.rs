//! Runs: plan, items, pure state machine, placement, executor, failure classes and events.

mod command;
mod event;
mod failure;
pub mod fold;
mod handle;
mod id;
mod live;
pub mod local;
pub mod machine;
pub mod placement;
mod plan;
mod value;

pub use command::{RunCommand, RunFolders};
pub use event::{
    ItemState, PlacementCandidate, PlacementDecision, PlacementVerdict, RunEvent, RunEventBody,
    RunState,
};
pub use failure::{Failure, FailureClass};
pub use handle::{CommandError, EngineHandle};
pub use id::{AttemptId, IndexPath, ItemId, RunId};
pub use live::{EngineEvent, Preview, Progress};
pub use plan::{MAX_ITEMS_PER_RUN, Plan, PlanProblem};
pub use value::{Labels, ListElement, Value};
