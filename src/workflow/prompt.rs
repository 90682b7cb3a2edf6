//! The API form of a workflow: what is POSTed to ComfyUI.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A prompt: node id → node, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prompt {
    /// The nodes by id.
    pub nodes: IndexMap<String, PromptNode>,
}

/// One node of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptNode {
    /// The node class.
    pub class_type: String,
    /// Input name → value, or `[node id, output slot]` for a link.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// What the editor adds and the backend ignores; `title` is the one member in use.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

impl PromptNode {
    /// The title in `_meta`, empty when there is none.
    #[must_use]
    pub fn title(&self) -> &str {
        self.meta
            .as_ref()
            .and_then(|meta| meta.get("title"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}
