//! What is copied.

use crate::project::{Frame, Node, WorkflowName};
use std::sync::Arc;

/// A picture of the selection, as plain JSON on the clipboard.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Clipboard {
    /// Says whose text it is.
    pub format: ClipboardFormat,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The frames.
    #[serde(default)]
    pub frames: Vec<Frame>,
    /// Links with both ends among the nodes.
    pub links: Vec<crate::project::Link>,
    /// Links into the nodes from others, for a paste that keeps them.
    #[serde(default)]
    pub incoming: Vec<crate::project::Link>,
    /// The workflow files that the nodes name, so that they paste into another project.
    pub workflows: std::collections::BTreeMap<WorkflowName, Arc<str>>,
    /// What ComfyUI's page made of those that were saved from there.
    #[serde(default)]
    pub page_prompts: std::collections::BTreeMap<WorkflowName, Arc<str>>,
}

/// The name of the clipboard's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ClipboardFormat {
    /// The first.
    #[serde(rename = "comfyui-orchestrator/nodes/1")]
    NodesV1,
}
