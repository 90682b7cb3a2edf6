//! Why something did not work, by class: the class decides what happens next (DESIGN §7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class of a failure.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The backend refused the prompt (400 or `node_errors`): never retried.
    Invalid,
    /// The backend lacks a node class: it is out for this workflow.
    MissingNode,
    /// The backend lacks a model: it is out for this workflow.
    MissingModel,
    /// The backend ran out of memory.
    OutOfMemory,
    /// A node of the workflow raised an error.
    NodeError,
    /// The backend cannot be reached.
    Offline,
    /// No progress for longer than allowed.
    Timeout,
    /// The backend restarted and knows nothing of the attempt.
    Lost,
    /// The backend reports a finished prompt whose files are gone.
    OutputGone,
    /// An upload or download broke.
    Transfer,
    /// Somebody other than us interrupted the attempt on its backend.
    Interrupted,
    /// Work of our own failed: an expression, a file.
    Local,
    /// A disk of this machine takes nothing: full, read-only, no permission. What is to be written waits; an item fails of
    /// this only when its run is cancelled meanwhile.
    Disk,
}

/// What went wrong, to what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The class, which decides what happens next.
    pub class: FailureClass,
    /// One or two sentences for a person.
    pub message: String,
    /// The ComfyUI node that failed, when one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comfy_node: Option<String>,
    /// The backend's own words in full (traceback, `node_errors`), when there are any. At most 16 KiB are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Failure {
    /// A failure without node or detail.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            comfy_node: None,
            detail: None,
        }
    }

    /// An attempt was called off because it showed no sign of progress for too long.
    #[must_use]
    pub fn silent(silence_s: u64) -> Self {
        Self::new(
            FailureClass::Timeout,
            format!(
                "no sign of progress for {silence_s} s; it was called off (the node's retry settings say how long is too long)"
            ),
        )
    }
}
