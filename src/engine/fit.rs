//! Whether a backend can run a node, by what is known of its node classes.

use crate::project::{Affinity, BackendId, Node, NodeKind, PortBinding, WorkflowNode};
use crate::workflow::{ObjectInfo, ParameterAddress, Reason, WorkflowDocument, preflight, sketch};
use std::collections::BTreeSet;

/// What keeps a Workflow node, with its own parameters, from running where these classes are known; nothing when it can.
/// Fields that get their value from an input are judged when the value is there. Nothing for nodes of other kinds.
#[must_use]
pub fn lacks(document: &WorkflowDocument, node: &Node, info: &ObjectInfo) -> Vec<String> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return Vec::new();
    };
    let mut sketch = match sketch(document, Some(info)) {
        Ok(sketch) => sketch,
        Err(error) => return vec![error.to_string()],
    };
    for parameter in &settings.parameters {
        let Some(value) = &parameter.value else {
            continue;
        };
        if let Ok(address) = sketch.resolve(&parameter.address)
            && let Some(place) = sketch.prompt.nodes.get_mut(&address.node.node_id)
        {
            place.inputs.insert(address.input, value.to_json());
        }
    }
    let linked: Vec<ParameterAddress> = node
        .inputs
        .iter()
        .filter_map(|port| match &port.binding {
            PortBinding::Parameter(address) => sketch.resolve(address).ok(),
            _ => None,
        })
        .collect();
    preflight(&sketch.prompt, info)
        .iter()
        .filter(|reason| match reason {
            Reason::MissingModel { address, .. }
            | Reason::NotInList { address, .. }
            | Reason::MissingInput { address } => !linked.contains(address),
            _ => true,
        })
        .map(ToString::to_string)
        .collect()
}

/// Why the settings of a node keep it from a backend, whatever that backend has; none when they do not.
#[must_use]
pub fn excluded(
    settings: &WorkflowNode,
    backend_id: BackendId,
    tags: &BTreeSet<String>,
) -> Option<&'static str> {
    match &settings.affinity {
        Affinity::Any => None,
        Affinity::Backend(only) => {
            (*only != backend_id).then_some("is not the backend the node is tied to")
        }
        Affinity::Tags(wanted) => {
            (!wanted.is_subset(tags)).then_some("lacks a tag that the node asks for")
        }
    }
}
