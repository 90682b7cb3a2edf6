//! Whether a backend may and can run a node, as far as that is known before any item: judged here for the window, the command
//! line, the start of a run and the machine.

use super::placement::Exclusion;
use crate::project::{
    Affinity, BackendId, Node, NodeKind, Port, PortBinding, PortRef, Project, WorkflowNode,
};
use crate::workflow::{
    self, ModelSizes, ModelWeights, ObjectInfo, ParameterAddress, Prompt, Reason, Sketch,
    WorkflowDocument, preflight, sketch,
};
use std::collections::{BTreeMap, BTreeSet};

/// Why the settings of a node keep it from a backend, whatever that backend has; none when it may run there.
pub(in crate::engine) fn not_wanted(
    settings: &WorkflowNode,
    backend_id: BackendId,
    tags: &BTreeSet<String>,
) -> Option<Exclusion> {
    match &settings.affinity {
        Affinity::Any => None,
        Affinity::Backend(wanted) => (*wanted != backend_id).then_some(Exclusion::TiedElsewhere),
        Affinity::Tags(wanted) => {
            let missing: Vec<String> = wanted.difference(tags).cloned().collect();
            (!missing.is_empty()).then_some(Exclusion::LacksTags { tags: missing })
        }
    }
}

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
    put_parameters(&mut sketch, settings);
    let filled = fields_of(&sketch, node, |_| true);
    preflight(&sketch.prompt, info)
        .iter()
        .filter(|reason| match reason {
            Reason::MissingModel { address, .. }
            | Reason::NotInList { address, .. }
            | Reason::MissingInput { address } => !filled.contains(address),
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
    let mut sketch = sketch(document, Some(info)).ok()?;
    put_parameters(&mut sketch, settings);
    let filled = fields_of(&sketch, node, |_| true);
    take_out(&mut sketch.prompt, &filled);
    workflow::model_weights(&sketch.prompt, sizes)
}

/// The prompt of a node's workflow with the node's own parameters, and without the fields that links fill: those are judged item
/// by item.
pub(in crate::engine) fn own_prompt(prompt: Prompt, project: &Project, node: &Node) -> Prompt {
    let mut sketch = Sketch {
        prompt,
        unknown_classes: BTreeMap::new(),
    };
    if let NodeKind::Workflow(settings) = &node.kind {
        put_parameters(&mut sketch, settings);
    }
    let is_linked = |port: &Port| {
        let end = PortRef {
            node: node.id,
            port: port.id,
        };
        project.links.into_port(end).next().is_some()
    };
    let filled = fields_of(&sketch, node, is_linked);
    take_out(&mut sketch.prompt, &filled);
    sketch.prompt
}

/// What a backend lacks for a prompt and others may have, as the end of a sentence that begins with its name; none when it lacks
/// nothing.
pub(in crate::engine) fn lack_of(prompt: &Prompt, info: &ObjectInfo) -> Option<String> {
    let reasons: Vec<String> = preflight(prompt, info)
        .into_iter()
        .filter(Reason::is_about_backend)
        .map(|reason| reason.to_string())
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

fn put_parameters(sketch: &mut Sketch, settings: &WorkflowNode) {
    for parameter in &settings.parameters {
        if let Some(value) = &parameter.value
            && let Ok(address) = sketch.resolve(&parameter.address)
            && let Some(place) = sketch.prompt.nodes.get_mut(&address.node.node_id)
        {
            place.inputs.insert(address.input, value.to_json());
        }
    }
}

/// The fields behind the inputs of a node that are meant.
fn fields_of(
    sketch: &Sketch,
    node: &Node,
    is_meant: impl Fn(&Port) -> bool,
) -> Vec<ParameterAddress> {
    let inputs = node.inputs.iter().filter(|port| is_meant(port));
    inputs
        .filter_map(|port| match &port.binding {
            PortBinding::Parameter(address) => sketch.resolve(address).ok(),
            _ => None,
        })
        .collect()
}

fn take_out(prompt: &mut Prompt, fields: &[ParameterAddress]) {
    for address in fields {
        if let Some(place) = prompt.nodes.get_mut(&address.node.node_id) {
            place.inputs.shift_remove(&address.input);
        }
    }
}
