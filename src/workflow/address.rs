//! Stable addresses into a ComfyUI workflow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A node of a workflow. Remembers class and title beside the id, so that it is found again after the workflow was
/// edited and renumbered.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// The id in the prompt: `"12"`, or `"12:7"` inside a subgraph.
    pub node_id: String,
    /// The node class, for example `KSampler`.
    pub class_type: String,
    /// The title (`_meta.title`), empty when it has none.
    #[serde(default)]
    pub title: String,
}

/// A field (input) of a node of a workflow. Never a `widgets_values` index.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct ParameterAddress {
    /// The node.
    pub node: NodeAddress,
    /// Name of the input, for example `seed`.
    pub input: String,
}

impl fmt::Display for NodeAddress {
    /// `#3 KSampler`, or `#3 "Base sampler" (KSampler)` when a person named it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.title.is_empty() || self.title == self.class_type {
            write!(f, "#{} {}", self.node_id, self.class_type)
        } else {
            write!(
                f,
                "#{} \"{}\" ({})",
                self.node_id, self.title, self.class_type
            )
        }
    }
}

impl fmt::Display for ParameterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.input, self.node)
    }
}
