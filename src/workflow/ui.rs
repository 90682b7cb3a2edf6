//! The editor form of a workflow: what ComfyUI's web page saves.

use super::convert::group_name;
use super::prompt::Prompt;
use super::read::{MAX_NODE_INPUTS, MAX_WORKFLOW_NODES, WorkflowError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A workflow in the editor format. Kept as the JSON it was, so that saving it again loses nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct UiWorkflow {
    raw: Map<String, Value>,
    /// What the editor's own page made of it, when it was saved from there.
    #[serde(skip)]
    page_prompt: Option<Arc<Prompt>>,
}

impl UiWorkflow {
    /// Takes the parsed file, after checking that its parts have the shapes the rest relies on.
    pub(super) fn from_json(raw: Map<String, Value>) -> Result<Self, WorkflowError> {
        let workflow = Self {
            raw,
            page_prompt: None,
        };
        let mut nodes = check_nodes("the node list", workflow.raw.get("nodes"))?;
        if let Some(definitions) = workflow.raw.get("definitions") {
            let subgraphs = definitions.get("subgraphs").and_then(Value::as_array);
            for subgraph in subgraphs.map(Vec::as_slice).unwrap_or_default() {
                let name = subgraph
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or("without name");
                nodes += check_nodes(&format!("the subgraph \"{name}\""), subgraph.get("nodes"))?;
            }
        }
        if nodes > MAX_WORKFLOW_NODES {
            return Err(WorkflowError::TooManyNodes { nodes });
        }
        Ok(workflow)
    }

    /// Takes a file that was made here.
    pub(super) fn from_checked(raw: Map<String, Value>) -> Self {
        Self {
            raw,
            page_prompt: None,
        }
    }

    /// The same with the prompt that the editor's own page made of it.
    pub(super) fn with_page_prompt(self, page_prompt: Prompt) -> Self {
        Self {
            page_prompt: Some(Arc::new(page_prompt)),
            ..self
        }
    }

    /// The prompt that the editor's own page made of it, when it was saved from there.
    #[must_use]
    pub fn page_prompt(&self) -> Option<&Prompt> {
        self.page_prompt.as_deref()
    }

    /// The JSON of the file.
    #[must_use]
    pub fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The subgraph definitions of the file.
    #[must_use]
    pub fn subgraphs(&self) -> &[Value] {
        self.raw
            .get("definitions")
            .and_then(|definitions| definitions.get("subgraphs"))
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Every node of the file, those of definitions of subgraphs and of group nodes once each.
    pub fn nodes(&self) -> impl Iterator<Item = &Value> {
        let groups = self.group_definitions().into_iter().flat_map(Map::values);
        std::iter::once(self.raw.get("nodes"))
            .chain(
                self.subgraphs()
                    .iter()
                    .chain(groups)
                    .map(|definition| definition.get("nodes")),
            )
            .flatten()
            .filter_map(Value::as_array)
            .flatten()
    }

    /// The definitions of group nodes by name, as older files have them.
    fn group_definitions(&self) -> Option<&Map<String, Value>> {
        self.raw.get("extra")?.get("groupNodes")?.as_object()
    }

    /// Class names used in the file with the number of nodes of each, subgraph definitions and the definitions of group
    /// nodes included, in order of first use. Nodes that stand for a definition are left out.
    #[must_use]
    pub fn class_counts(&self) -> indexmap::IndexMap<&str, usize> {
        let subgraphs = self.subgraphs();
        let ids: std::collections::HashSet<&str> = subgraphs
            .iter()
            .filter_map(|subgraph| subgraph.get("id").and_then(Value::as_str))
            .collect();
        let groups = self.group_definitions();
        let mut counts = indexmap::IndexMap::new();
        for node in self.nodes() {
            if let Some(class_type) = node.get("type").and_then(Value::as_str)
                && !ids.contains(class_type)
                && !group_name(class_type)
                    .is_some_and(|name| groups.is_some_and(|groups| groups.contains_key(name)))
            {
                *counts.entry(class_type).or_insert(0) += 1;
            }
        }
        counts
    }
}

fn check_nodes(place: &str, nodes: Option<&Value>) -> Result<usize, WorkflowError> {
    let bad = |reason: String| WorkflowError::BadPart {
        place: place.to_owned(),
        reason,
    };
    let Some(nodes) = nodes.and_then(Value::as_array) else {
        return Err(bad("is not a list of nodes".to_owned()));
    };
    for (index, node) in nodes.iter().enumerate() {
        if !node.is_object() {
            return Err(bad(format!("holds something else at position {index}")));
        }
        if !node
            .get("id")
            .is_some_and(|id| id.is_number() || id.is_string())
        {
            return Err(bad(format!("has a node without id at position {index}")));
        }
        if !node.get("type").is_some_and(Value::is_string) {
            return Err(bad(format!("has a node without type at position {index}")));
        }
        for side in ["inputs", "outputs"] {
            let slots = node.get(side).and_then(Value::as_array).map_or(0, Vec::len);
            if slots > MAX_NODE_INPUTS {
                return Err(bad(format!(
                    "has a node with {slots} {side} at position {index}, more than the {MAX_NODE_INPUTS} that are read"
                )));
            }
        }
    }
    Ok(nodes.len())
}
