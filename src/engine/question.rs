//! What a person is asked when an item has no place left, and the answers.

use super::event::PlacementCandidate;
use super::failure::Failure;
use crate::project::BackendId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person is asked of one item. The item waits for the answer and holds no backend; other items go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Why it is asked.
    pub cause: QuestionCause,
    /// What happened.
    pub failure: Failure,
    /// What a person may choose, the most promising first; to skip the item and to let it fail come last. These were true
    /// when it was asked; an answer that names a backend not listed here is taken, too.
    pub alternatives: Vec<Alternative>,
    /// Backends that are no alternative, each with the reason.
    pub impossible: Vec<PlacementCandidate>,
}

/// Why a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionCause {
    /// Its backend failed the item, and the node asks before another takes it.
    Failed,
    /// It failed as often as the node's policy allows.
    TriesUsedUp,
    /// No backend that it may run on can take it.
    NoPlace,
}

/// One thing that a person may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The choice.
    pub answer: Answer,
    /// What it means, for example "Run it on workstation-2".
    pub label: String,
    /// What speaks for or against it, for example "done in about 12 s, although the node is tied to another backend".
    pub reason: String,
}

/// What a person chooses for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is tried again where its node allows it, as if nothing had happened.
    Retry,
    /// It runs on this backend and on no other, whatever the node says of where it may run.
    RunOn(BackendId),
    /// It is left out: what needs it is Skipped.
    Skip,
    /// It fails: what needs it is Blocked.
    Fail,
}

/// What an answer holds for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerReach {
    /// The items it names.
    #[default]
    TheseItems,
    /// They and every later question of the run, as far as it can help there: tries that are used up and a retry where no
    /// backend is left are asked about nevertheless. A later answer of this reach replaces it.
    ThisRun,
}

/// Where the answer to a question came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerOrigin {
    /// A person gave it for this item.
    ForItem,
    /// A person gave it for this item and all later questions of the run.
    ForRun,
    /// It was given earlier for all of the run.
    Standing,
}
