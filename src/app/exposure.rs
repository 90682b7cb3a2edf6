//! Which fields of its workflow a node shows, in which order and groups, and which of them are inputs. Pure changes of a
//! node; whoever asks for one sends the changed node as an edit.

use super::catalog::{WorkflowFacts, data_type_of, field_of};
use crate::project::{
    DataType, ExposedParameter, Literal, Node, NodeKind, Port, PortBinding, PortId, PortNeed,
};
use crate::workflow::{Field, ParameterAddress};

/// The input that takes the value of a field.
#[must_use]
pub fn port_of(node: &Node, address: &ParameterAddress) -> Option<PortId> {
    node.inputs
        .iter()
        .find(|port| matches!(&port.binding, PortBinding::Parameter(bound) if bound == address))
        .map(|port| port.id)
}

/// The parameters of a Workflow node; none of other kinds.
#[must_use]
pub fn parameters_of(node: &Node) -> &[ExposedParameter] {
    match &node.kind {
        NodeKind::Workflow(settings) => &settings.parameters,
        _ => &[],
    }
}

fn parameters_mut(node: &mut Node) -> Option<&mut Vec<ExposedParameter>> {
    match &mut node.kind {
        NodeKind::Workflow(settings) => Some(&mut settings.parameters),
        _ => None,
    }
}

/// Gives a field an input of its own, or takes that away.
pub fn toggle_input(node: &mut Node, address: &ParameterAddress, facts: &WorkflowFacts) {
    if let Some(port) = port_of(node, address) {
        node.inputs.retain(|input| input.id != port);
        return;
    }
    let shown = parameters_of(node)
        .iter()
        .find(|parameter| parameter.address == *address);
    let field = field_of(facts, address);
    let data_type = field
        .map(|field| data_type_of(field.value_type))
        .or_else(|| {
            shown
                .and_then(|parameter| parameter.value.as_ref())
                .map(Literal::data_type)
        })
        .unwrap_or(DataType::Any);
    let name = shown
        .map(|parameter| parameter.label.clone())
        .or_else(|| field.map(|field| field.label.clone()))
        .unwrap_or_else(|| address.input.clone());
    node.inputs.push(Port {
        id: PortId::new_now(),
        name,
        data_type,
        binding: PortBinding::Parameter(address.clone()),
        need: PortNeed::Optional,
    });
}

/// Shows a field on the node, as the last one, under a label that no other has.
pub fn show_field(node: &mut Node, field: &Field) {
    let Some(parameters) = parameters_mut(node) else {
        return;
    };
    if parameters.iter().any(|one| one.address == field.address) {
        return;
    }
    let label = free_label(parameters, &field.label);
    parameters.push(ExposedParameter::new(field.address.clone(), &label));
}

/// A label that no parameter has: the wanted one, or with a number.
fn free_label(parameters: &[ExposedParameter], wanted: &str) -> String {
    let taken = |label: &str| parameters.iter().any(|one| one.label == label);
    // One more label than there are parameters: one of them is free.
    (1..=parameters.len() + 1)
        .map(|number| {
            if number == 1 {
                wanted.to_owned()
            } else {
                format!("{wanted} {number}")
            }
        })
        .find(|label| !taken(label))
        .unwrap_or_else(|| wanted.to_owned())
}

/// Hides a field from the node. Its value goes with it; its input stays.
pub fn hide_field(node: &mut Node, address: &ParameterAddress) {
    if let Some(parameters) = parameters_mut(node) {
        parameters.retain(|parameter| parameter.address != *address);
    }
}

/// Moves a parameter to another place in the list.
pub fn move_field(node: &mut Node, from: usize, to: usize) {
    if let Some(parameters) = parameters_mut(node)
        && from < parameters.len()
        && to < parameters.len()
    {
        let parameter = parameters.remove(from);
        parameters.insert(to, parameter);
    }
}

/// Gives a parameter another label; its input is called the same. Nothing happens when the label is empty or taken.
pub fn rename_field(node: &mut Node, at: usize, label: &str) {
    let label = label.trim();
    let Some(parameters) = parameters_mut(node) else {
        return;
    };
    let is_taken = parameters
        .iter()
        .enumerate()
        .any(|(index, one)| index != at && one.label == label);
    if label.is_empty() || is_taken {
        return;
    }
    let Some(parameter) = parameters.get_mut(at) else {
        return;
    };
    label.clone_into(&mut parameter.label);
    let address = parameter.address.clone();
    for port in &mut node.inputs {
        if matches!(&port.binding, PortBinding::Parameter(bound) if *bound == address) {
            label.clone_into(&mut port.name);
        }
    }
}

/// Puts a parameter into a group; an empty name takes it out of its group.
pub fn group_field(node: &mut Node, at: usize, group: &str) {
    if let Some(parameter) = parameters_mut(node).and_then(|parameters| parameters.get_mut(at)) {
        let group = group.trim();
        parameter.group = (!group.is_empty()).then(|| group.to_owned());
    }
}
