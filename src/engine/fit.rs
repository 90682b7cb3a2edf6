//! Whether a backend can run a node, by what is known of its node classes.

use crate::project::{Affinity, BackendId, Node, NodeKind, PortBinding, WorkflowNode};
use crate::workflow::{
    self, ConvertError, ModelSizes, ModelWeights, ObjectInfo, ParameterAddress, Reason, Sketch,
    WorkflowDocument, preflight, sketch,
};
use std::collections::BTreeSet;

/// What keeps a Workflow node, with its own parameters, from running where these classes are known; nothing when it can.
/// Fields that get their value from an input are judged when the value is there. Nothing for nodes of other kinds.
#[must_use]
pub fn lacks(document: &WorkflowDocument, node: &Node, info: &ObjectInfo) -> Vec<String> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return Vec::new();
    };
    let sketch = match sketch_with(document, settings, info) {
        Ok(sketch) => sketch,
        Err(error) => return vec![error.to_string()],
    };
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

/// What the models of a Workflow node weigh, with its own parameters, where these classes and sizes are known. Models that links
/// bring are not counted.
#[must_use]
pub fn model_weights(
    document: &WorkflowDocument,
    node: &Node,
    info: &ObjectInfo,
    sizes: &ModelSizes,
) -> Option<ModelWeights> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return None;
    };
    let mut sketch = sketch_with(document, settings, info).ok()?;
    for port in &node.inputs {
        if let PortBinding::Parameter(address) = &port.binding
            && let Ok(address) = sketch.resolve(address)
            && let Some(place) = sketch.prompt.nodes.get_mut(&address.node.node_id)
        {
            place.inputs.shift_remove(&address.input);
        }
    }
    workflow::model_weights(&sketch.prompt, sizes)
}

/// The prompt as far as these classes are known, with the node's own parameters.
fn sketch_with(
    document: &WorkflowDocument,
    settings: &WorkflowNode,
    info: &ObjectInfo,
) -> Result<Sketch, ConvertError> {
    let mut sketch = sketch(document, Some(info))?;
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
    Ok(sketch)
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
