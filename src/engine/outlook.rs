//! What is to come of a run: how long it still takes, what waits, and why.

use super::id::ItemId;
use crate::project::NodeId;
use serde::{Deserialize, Serialize};

/// Items of a node that wait for a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWait {
    /// The node.
    pub node_id: NodeId,
    /// How many of its items wait.
    pub items: u32,
    /// What kind of waiting it is.
    pub cause: WaitCause,
    /// Why the first of them waits, for example "no backend has the tag flux". The others wait for the same, or for their
    /// turn after it.
    pub reason: String,
    /// Items that wait for something else, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<(ItemId, String)>,
}

impl NodeWait {
    /// What waits and why, as a sentence: "3 items wait for north: others go there first".
    #[must_use]
    pub fn words(&self) -> String {
        let items = match self.items {
            1 => "1 item waits".to_owned(),
            count => format!("{count} items wait"),
        };
        match self.reason.strip_prefix("waits ") {
            Some(rest) => format!("{items} {rest}"),
            None => format!("{items}: {}", self.reason),
        }
    }
}

/// What kind of waiting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitCause {
    /// A backend will take it in its turn.
    Turn,
    /// A person paused the run.
    Paused,
    /// No backend can take it now: something has to change first.
    Nobody,
}

/// What the program that works on a run last said of what is to come; kept for other programs that show the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutlook {
    /// When it was said, Unix time in milliseconds.
    pub at_ms: u64,
    /// Milliseconds from then until the run is expected to end; none where that cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// What waits for a backend, node by node.
    pub waits: Vec<NodeWait>,
}
