//! What a Workflow node runs, by hash, and the models it names.

use crate::artifacts::ContentHash;
use crate::project::{
    ExposedParameter, Literal, Node, NodeKind, PortBinding, Project, WorkflowFile, WorkflowNode,
};
use crate::workflow::is_model_name;
use std::collections::BTreeSet;

/// The names of model files in a node's workflow and parameters. Found by their extensions in every text of the file, so
/// that the editor's format, whose fields have no names, is served too; a loader that is switched off counts as well.
pub(super) fn models_of(project: &Project, node: &Node) -> Vec<String> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return Vec::new();
    };
    let mut found = BTreeSet::new();
    if let Some(file) = project.workflows.get(&settings.workflow)
        && let Ok(json) = serde_json::from_str::<serde_json::Value>(&file.text)
    {
        let mut pending = vec![&json];
        while let Some(value) = pending.pop() {
            match value {
                serde_json::Value::String(text) if is_model_name(text) => {
                    found.insert(text.replace('\\', "/"));
                }
                serde_json::Value::Array(values) => pending.extend(values),
                serde_json::Value::Object(members) => pending.extend(members.values()),
                _ => {}
            }
        }
    }
    for parameter in &settings.parameters {
        if let Some(Literal::Text(text)) = &parameter.value
            && is_model_name(text)
        {
            found.insert(format!("{}={text}", parameter.address));
        }
    }
    found.into_iter().collect()
}

/// The hash under which is known how long a Workflow node takes and how much memory, see [`super::PlanNode::effort_hash`]. None for
/// other nodes, and while its file is missing.
#[must_use]
pub fn effort_hash(project: &Project, node: &Node) -> Option<ContentHash> {
    let NodeKind::Workflow(workflow) = &node.kind else {
        return None;
    };
    let file = project.workflows.get(&workflow.workflow)?;
    Some(hash_of(file, workflow, node, tells_of_effort))
}

/// Whether the value of a parameter says how long a prompt takes: not what is written in a prompt, and not a seed. A name or a
/// choice does.
fn tells_of_effort(parameter: &ExposedParameter) -> bool {
    match &parameter.value {
        Some(Literal::Text(text)) => is_model_name(text) || !text.contains(char::is_whitespace),
        Some(Literal::Integer(_)) => !parameter.address.input.contains("seed"),
        _ => true,
    }
}

/// The hash of what a node runs before its links have values: the workflow's forms with those of the node's own parameters that
/// count, and which fields its ports fill.
pub(super) fn hash_of(
    file: &WorkflowFile,
    workflow: &WorkflowNode,
    node: &Node,
    counts: impl Fn(&ExposedParameter) -> bool,
) -> ContentHash {
    let mut parts = vec![file.text.as_ref().to_owned()];
    parts.extend(file.page_prompt.as_deref().map(str::to_owned));
    for parameter in workflow.parameters.iter().filter(|one| counts(one)) {
        if let Some(value) = &parameter.value {
            parts.push(format!("{:?} = {}", parameter.address, value.to_json()));
        }
    }
    for port in &node.inputs {
        if let PortBinding::Parameter(address) = &port.binding {
            parts.push(format!("{address:?} <-"));
        }
    }
    ContentHash::of(parts.join("\n").as_bytes())
}
