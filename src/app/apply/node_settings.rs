//! Changed settings of nodes.

use crate::app::actions::Gesture;
use crate::app::catalog::Catalog;
use crate::app::document::Document;
use crate::project::{Edit, EditError, Literal, Node, NodeId, NodeKind};
use crate::workflow::ParameterAddress;

#[allow(
    clippy::float_cmp,
    reason = "a node that was not moved has the very same numbers"
)]
pub(super) fn change_node(
    document: &mut Document,
    node: &Node,
    gesture: Gesture,
) -> Result<(), EditError> {
    let Some(before) = document.project().nodes.get(&node.id) else {
        return Err(EditError::UnknownNode(node.id));
    };
    let mut edits = Vec::new();
    if before.title != node.title {
        edits.push(Edit::RenameNode {
            node_id: node.id,
            title: node.title.clone(),
        });
    }
    if before.pos_world != node.pos_world {
        edits.push(Edit::MoveNode {
            node_id: node.id,
            pos_world: node.pos_world,
        });
    }
    if (before.width_world - node.width_world).abs() > f32::EPSILON {
        edits.push(Edit::ResizeNode {
            node_id: node.id,
            width_world: node.width_world,
        });
    }
    if before.on_failure != node.on_failure {
        edits.push(Edit::SetOnFailure {
            node_id: node.id,
            on_failure: node.on_failure,
        });
    }
    if before.kind != node.kind || before.inputs != node.inputs || before.outputs != node.outputs {
        edits.push(Edit::configure(node.clone()));
    }
    let title = format!("Change {}", node.title);
    document.edit(&title, gesture, edits).map(|_| ())
}

pub(super) fn toggle_input(
    document: &mut Document,
    catalog: &mut Catalog,
    node_id: NodeId,
    address: &ParameterAddress,
) -> Result<(), EditError> {
    let project = document.project();
    let Some((node, facts)) = catalog.facts_of(project, node_id)? else {
        return Ok(());
    };
    let mut changed = node.clone();
    crate::app::exposure::toggle_input(&mut changed, address, &facts);
    change_node(document, &changed, Gesture::new())
}

pub(super) fn set_parameter(
    document: &mut Document,
    node_id: NodeId,
    label: &str,
    value: Option<Literal>,
    gesture: Gesture,
) -> Result<(), EditError> {
    let node = document
        .project()
        .nodes
        .get(&node_id)
        .ok_or(EditError::UnknownNode(node_id))?;
    let NodeKind::Workflow(settings) = &node.kind else {
        return Ok(());
    };
    let parameter = settings
        .parameters
        .iter()
        .find(|parameter| parameter.label == label)
        .ok_or_else(|| EditError::UnknownParameter {
            node: node.title.clone(),
            parameter: label.to_owned(),
        })?;
    if parameter.value == value {
        return Ok(());
    }
    let address = parameter.address.clone();
    document
        .edit(
            &format!("Set {label}"),
            gesture,
            vec![Edit::SetParameter {
                node_id,
                address,
                value,
            }],
        )
        .map(|_| ())
}
