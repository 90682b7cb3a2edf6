//! New nodes, with settings that do something at once.

use super::COPY_OFFSET;
use crate::app::actions::{Gesture, NewNode};
use crate::app::catalog::{Catalog, WorkflowFacts, node_for_workflow};
use crate::app::document::{Document, Selection};
use crate::app::toasts::{Severity, Toasts};
use crate::app::viewport::CanvasView;
use crate::project::{
    DataType, Edit, EditError, FanOutSource, Link, LinkId, Literal, MergeNode, Node, NodeId,
    NodeKindName, OutputNode, PortId, PortRef, Project, ReviewNode, SeedOrder, takes_many,
};

/// A place in the middle of the view where no node begins yet.
fn free_place(project: &Project, view: &CanvasView) -> [f32; 2] {
    let mut place = [view.center_world.x - 110.0, view.center_world.y - 60.0];
    while project.nodes.values().any(|node| {
        (node.pos_world[0] - place[0]).abs() < 8.0 && (node.pos_world[1] - place[1]).abs() < 8.0
    }) {
        place = [place[0] + COPY_OFFSET, place[1] + COPY_OFFSET];
    }
    place
}

/// A new node of a kind, with settings that do something at once.
#[must_use]
pub fn new_node(kind: NodeKindName, data_type: DataType) -> Option<Node> {
    let id = NodeId::new_now();
    let fresh: &mut dyn FnMut() -> PortId = &mut PortId::new_now;
    Some(match kind {
        NodeKindName::Workflow => return None,
        NodeKindName::Input => match data_type {
            DataType::Any | DataType::Text => {
                Node::input_literal(id, Literal::Text(String::new()), fresh).titled("Text")
            }
            DataType::Integer => {
                Node::input_literal(id, Literal::Integer(0_u64.into()), fresh).titled("Number")
            }
            DataType::Number => {
                Node::input_literal(id, Literal::Number(1.0), fresh).titled("Number")
            }
            DataType::Boolean => {
                Node::input_literal(id, Literal::Boolean(true), fresh).titled("Switch")
            }
            media => Node::input_file(id, "", media, fresh).titled("File"),
        },
        NodeKindName::Output => {
            Node::output_to(id, OutputNode::default(), media_or_image(data_type), fresh)
                .titled("Output")
        }
        NodeKindName::Condition => {
            let data_type = media_or_image(data_type);
            let expression = match data_type {
                DataType::Integer | DataType::Number => "value > 0",
                DataType::Boolean => "value",
                DataType::Text => "value != \"\"",
                _ => "width >= 512",
            };
            Node::condition(id, expression, data_type, fresh).titled("Condition")
        }
        NodeKindName::FanOut => Node::fan_out(
            id,
            FanOutSource::Seeds {
                axis: "seed".to_owned(),
                first: 1,
                count: 4,
                order: SeedOrder::Increment,
            },
            fresh,
        )
        .titled("4 seeds"),
        NodeKindName::Review => {
            Node::review(id, ReviewNode::default(), media_or_image(data_type), fresh)
                .titled("Review")
        }
        NodeKindName::Merge => {
            Node::merge(id, MergeNode::default(), media_or_image(data_type), fresh).titled("Merge")
        }
    })
}

fn media_or_image(data_type: DataType) -> DataType {
    if data_type == DataType::Any {
        DataType::Image
    } else {
        data_type
    }
}

pub(super) fn add_node(
    document: &mut Document,
    selection: &mut Selection,
    catalog: &mut Catalog,
    toasts: &mut Toasts,
    what: &NewNode,
    (pos_world, connect): (Option<[f32; 2]>, Option<PortRef>),
    view: &CanvasView,
) -> Result<(), EditError> {
    let project = document.project();
    let pos_world = pos_world.unwrap_or_else(|| free_place(project, view));
    let end = connect.and_then(|end| project.nodes.get(&end.node)?.port(end.port).cloned());
    let node = match what {
        NewNode::Kind(kind) => new_node(
            *kind,
            end.as_ref().map_or(DataType::Any, |port| port.data_type),
        ),
        // It is added when it has been read.
        NewNode::FromLibrary(_) => return Ok(()),
        NewNode::Workflow(name) => match project.workflows.get(name) {
            None => return Err(EditError::UnknownWorkflow(name.clone())),
            Some(file) => match &*catalog.facts(name, file) {
                WorkflowFacts::Usable(inspection) => {
                    Some(node_for_workflow(NodeId::new_now(), name, inspection))
                }
                WorkflowFacts::Unusable(reason) => {
                    toasts.push(
                        Severity::Warning,
                        &format!("\"{name}\" cannot be used yet"),
                        reason,
                    );
                    None
                }
            },
        },
    };
    let Some(node) = node else { return Ok(()) };
    let node = node.at(pos_world);
    let id = node.id;
    let link = connect.and_then(|connect| link_to_new(project, connect, &node));
    let title = format!("Add {}", node.title);
    let mut edits = vec![Edit::AddNode(Box::new(node))];
    edits.extend(link.map(Edit::AddLink));
    document.edit(&title, Gesture::new(), edits)?;
    selection.nodes = [id].into();
    selection.links.clear();
    selection.frames.clear();
    Ok(())
}

/// The link between a port of the document and the first fitting port of a node that is not in it yet.
fn link_to_new(project: &Project, connect: PortRef, node: &Node) -> Option<Link> {
    let other = project.nodes.get(&connect.node)?;
    if let Some(output) = other.output(connect.port) {
        let input = node
            .inputs
            .iter()
            .find(|input| input.data_type.accepts(output.data_type))?;
        return Some(Link {
            id: LinkId::new_now(),
            from: connect,
            to: PortRef {
                node: node.id,
                port: input.id,
            },
        });
    }
    let input = other.input(connect.port)?;
    if !takes_many(other, input) && project.links_into(connect).next().is_some() {
        return None;
    }
    let output = node
        .outputs
        .iter()
        .find(|output| input.data_type.accepts(output.data_type))?;
    Some(Link {
        id: LinkId::new_now(),
        from: PortRef {
            node: node.id,
            port: output.id,
        },
        to: connect,
    })
}
