//! Runs: plan, items, pure state machine, placement, executor, failure classes and events.

mod command;
mod event;
mod failure;
mod handle;
mod id;
mod live;
pub mod local;
pub mod machine;
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
pub use plan::Plan;
pub use value::{Labels, ListElement, Value};
