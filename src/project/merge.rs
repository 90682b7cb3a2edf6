//! Settings of Merge nodes: what they make of what arrives.

use super::id::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a Merge node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeNode {
    /// What it makes of what arrives.
    #[serde(default)]
    pub mode: MergeMode,
    /// Which fan-out it closes.
    #[serde(default)]
    pub closes: MergeScope,
    /// What failed items mean.
    #[serde(default)]
    pub on_failed: MergeFailurePolicy,
    /// The contact sheet it draws of a list of pictures.
    #[serde(default)]
    pub contact_sheet: ContactSheet,
}

/// What a Merge makes of what arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    /// The list of all values, by index.
    #[default]
    All,
    /// The list of the values that were there first, by index.
    First {
        /// How many.
        count: u32,
        /// What becomes of the items that would have made the others.
        #[serde(default)]
        rest: MergeRest,
    },
    /// The list of the values with the highest score, by index.
    Best {
        /// A CEL expression over a value, its measures and labels that gives its score.
        expression: String,
        /// How many are kept.
        keep: u32,
    },
    /// Closes nothing: per path the one value that exists. Joins the two sides of a Condition.
    Either,
}

impl MergeMode {
    /// Whether the Merge closes a fan-out and makes a list.
    #[must_use]
    pub fn makes_list(&self) -> bool {
        !matches!(self, Self::Either)
    }
}

/// What becomes of items whose values a Merge no longer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeRest {
    /// They are called off, on their backends too, unless something else needs them.
    #[default]
    Cancel,
    /// They finish; the list stays as it is.
    Leave,
}

/// Which fan-out a Merge closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeScope {
    /// The one opened last on the path.
    #[default]
    Innermost,
    /// The fan-out of this node.
    FanOut(NodeId),
    /// Every open one.
    AllOpen,
}

/// What failed items mean to a Merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeFailurePolicy {
    /// Merge the successes; fail only when nothing is left.
    #[default]
    Ignore,
    /// One failed item blocks the merge.
    RequireAll,
}

/// How a Merge draws its contact sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactSheet {
    /// Pictures side by side; 0 chooses a near-square sheet.
    pub columns: u32,
    /// Longer side of a picture on the sheet in pixels, 32-1024.
    pub cell_px: u32,
}

impl Default for ContactSheet {
    fn default() -> Self {
        Self {
            columns: 0,
            cell_px: 256,
        }
    }
}
