//! Runs: plan, items, pure state machine, placement, executor, failure classes and events.

mod check;
mod command;
mod dry_run;
mod event;
mod executor;
mod failure;
mod fit;
pub mod fold;
mod handle;
mod id;
mod library;
mod library_fill;
mod live;
pub mod local;
pub mod machine;
mod on_start;
mod outlook;
pub mod placement;
mod plan;
mod question;
mod value;

pub use check::{problems, remembered_by_backend, remembered_object_info};
pub use command::{BackendKeeping, RetryScope, RunCommand, RunFolders, RunWish};
pub use dry_run::{DryCount, DryNode, DryProblem, DryRun, PlannedBackend, dry_run};
pub use event::{
    AfterEnd, CallOff, ItemState, LONGEST_RECORDED_LIST, PlacementCandidate, PlacementDecision,
    PlacementVerdict, ResultSource, RunEvent, RunEventBody, RunState,
};
pub use executor::learned::{
    CACHE_LIMIT_BYTES, CACHE_LIMIT_SETTING, learned_estimates, remove_left_files,
    remove_unused_files,
};
pub use executor::outlook::run_outlook;
pub use executor::{
    Engine, EngineError, EngineOptions, RegistryUse, ResumePolicy, database_path, start,
};
pub use failure::{Failure, FailureClass};
pub use fit::{lacks, model_weights};
pub use fold::RunView;
pub use handle::{CommandError, EngineHandle};
pub use id::{AttemptId, IndexPath, ItemId, RunId};
pub use library::library_workflow;
pub use library_fill::{
    LibraryFillError, LibraryTally, import_into_library, pull_into_library, push_from_library,
};
pub use live::{EngineEvent, Preview, Progress};
pub use machine::{MAX_RATING, PAIR_BLOCK_MS, ReviewAnswer, ReviewVerdict};
pub use on_start::OnStart;
pub use outlook::{NodeWait, RunOutlook, WaitCause};
pub use plan::{MAX_ITEMS_PER_RUN, Plan, PlanProblem, effort_hash};
pub use question::{Alternative, Answer, AnswerOrigin, AnswerReach, Question, QuestionCause};
pub use value::{Labels, ListElement, Value};
