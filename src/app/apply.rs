//! The one system that changes the document.

use super::actions::{Action, Clipboard, ClipboardFormat, Gesture, NewNode, Select};
use super::catalog::{Catalog, WorkflowFacts, node_for_workflow};
use super::document::{Document, Selection};
use super::replace_workflow::{BrokenUses, Reach, Replacement};
use super::toasts::{Severity, Toasts};
use super::viewport::CanvasView;
use crate::project::{
    DataType, Edit, EditError, FanOutSource, Link, LinkId, LinkRefusal, Literal, MergeNode, Node,
    NodeId, NodeKind, NodeKindName, OutputNode, PortId, PortRef, Project, ReviewNode, SeedOrder,
    WorkflowFile, WorkflowName, takes_many,
};
use crate::workflow::ParameterAddress;
use bevy::prelude::*;
use bevy_egui::EguiClipboard;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most nodes taken from a clipboard.
const PASTE_LIMIT: usize = 10_000;
/// Largest clipboard text that is looked at, bytes.
const PASTE_BYTES: usize = 64 << 20;
/// How far copies lie beside their originals, canvas units.
const COPY_OFFSET: f32 = 40.0;

/// Changes document and selection as asked. What concerns files, runs and the view is done by others who read the same
/// messages.
pub fn apply_actions(
    mut actions: MessageReader<Action>,
    mut document: ResMut<Document>,
    mut selection: ResMut<Selection>,
    mut catalog: ResMut<Catalog>,
    mut toasts: ResMut<Toasts>,
    mut clipboard: ResMut<EguiClipboard>,
    mut copied: Local<Option<String>>,
    view: Res<CanvasView>,
) {
    for action in actions.read() {
        let outcome = match action {
            Action::Undo => document.undo().map(|_| ()),
            Action::Redo => document.redo().map(|_| ()),
            Action::Copy => {
                copy(&document, &selection, &mut clipboard, &mut copied);
                Ok(())
            }
            Action::Cut => {
                copy(&document, &selection, &mut clipboard, &mut copied);
                delete(&mut document, &selection, "Cut")
            }
            Action::Paste | Action::PasteLinked => {
                // A system without a clipboard still has what was copied here.
                let text = clipboard
                    .get_text()
                    .filter(|text| !text.is_empty())
                    .or_else(|| copied.clone())
                    .unwrap_or_default();
                let links = if *action == Action::Paste {
                    IncomingLinks::Leave
                } else {
                    IncomingLinks::Keep
                };
                paste(
                    &mut document,
                    &mut selection,
                    &mut toasts,
                    &text,
                    links,
                    &view,
                )
            }
            Action::Clone { nodes, gesture } => {
                clone_in_place(&mut document, &mut selection, nodes, *gesture)
            }
            Action::Duplicate => duplicate(&mut document, &mut selection),
            Action::Delete => delete(&mut document, &selection, "Delete"),
            Action::SelectAll => {
                selection.nodes = document.project().nodes.keys().copied().collect();
                Ok(())
            }
            Action::SelectNone => {
                *selection = Selection::default();
                Ok(())
            }
            Action::Select(select) => {
                change_selection(&mut selection, select);
                Ok(())
            }
            Action::RevealNode(node) => {
                *selection = Selection::default();
                selection.nodes.insert(*node);
                Ok(())
            }
            Action::AddNode {
                node,
                pos_world,
                connect,
            } => add_node(
                &mut document,
                &mut selection,
                &mut catalog,
                &mut toasts,
                node,
                (*pos_world, *connect),
                &view,
            ),
            Action::AddLink { from, to } => add_link(&mut document, *from, *to),
            Action::RemoveLinks(links) => document
                .edit(
                    "Remove links",
                    Gesture::new(),
                    links.iter().map(|link| Edit::RemoveLink(*link)).collect(),
                )
                .map(|_| ()),
            Action::MoveNodes { moves, gesture } => document
                .edit(
                    "Move",
                    *gesture,
                    moves
                        .iter()
                        .map(|(node_id, pos_world)| Edit::MoveNode {
                            node_id: *node_id,
                            pos_world: *pos_world,
                        })
                        .collect(),
                )
                .map(|_| ()),
            Action::ToggleInput { node, address } => {
                toggle_input(&mut document, &mut catalog, *node, address)
            }
            Action::ChangeNode { node, gesture } => change_node(&mut document, node, *gesture),
            Action::SetParameter {
                node,
                label,
                value,
                gesture,
            } => set_parameter(&mut document, *node, label, value.clone(), *gesture),
            Action::ReplaceWorkflow {
                node_id,
                text,
                reach,
                broken,
            } => replace_workflow(
                &mut document,
                &catalog,
                &mut toasts,
                (*node_id, text),
                *reach,
                *broken,
            ),
            Action::AddWorkflow { name, text } => add_workflow(&mut document, name, text),
            Action::RenameProject { name, gesture } => document
                .edit(
                    "Rename project",
                    *gesture,
                    vec![Edit::RenameProject(name.clone())],
                )
                .map(|_| ()),
            _ => continue,
        };
        if let Err(error) = outcome {
            toasts.push(Severity::Warning, "That cannot be done", &error.to_string());
        }
        let mut kept = selection.clone();
        kept.retain_existing(document.project());
        selection.set_if_neq(kept);
    }
}

fn change_selection(selection: &mut Selection, select: &Select) {
    match select {
        Select::Only { nodes, links } => {
            selection.nodes = nodes.iter().copied().collect();
            selection.links = links.iter().copied().collect();
        }
        Select::Add { nodes, links } => {
            selection.nodes.extend(nodes);
            selection.links.extend(links);
        }
        Select::Toggle { nodes, links } => {
            for node in nodes {
                if !selection.nodes.remove(node) {
                    selection.nodes.insert(*node);
                }
            }
            for link in links {
                if !selection.links.remove(link) {
                    selection.links.insert(*link);
                }
            }
        }
    }
}

fn delete(document: &mut Document, selection: &Selection, title: &str) -> Result<(), EditError> {
    let project = document.project();
    // Links of a removed node fall with it; removing them twice would be refused.
    let links = selection.links.iter().filter(|id| {
        project.links.get(**id).is_some_and(|link| {
            !selection.nodes.contains(&link.from.node) && !selection.nodes.contains(&link.to.node)
        })
    });
    let edits: Vec<Edit> = links
        .map(|id| Edit::RemoveLink(*id))
        .chain(selection.nodes.iter().map(|id| Edit::RemoveNode(*id)))
        .collect();
    document.edit(title, Gesture::new(), edits).map(|_| ())
}

/// What is selected, as a value of its own.
fn pick(document: &Document, selection: &Selection) -> Clipboard {
    let project = document.project();
    let nodes: Vec<Node> = selection
        .nodes
        .iter()
        .filter_map(|id| project.nodes.get(id).cloned())
        .collect();
    let links = project
        .links
        .values()
        .filter(|link| {
            selection.nodes.contains(&link.from.node) && selection.nodes.contains(&link.to.node)
        })
        .copied()
        .collect();
    let incoming = project
        .links
        .values()
        .filter(|link| {
            !selection.nodes.contains(&link.from.node) && selection.nodes.contains(&link.to.node)
        })
        .copied()
        .collect();
    let mut workflows = BTreeMap::new();
    for node in &nodes {
        if let NodeKind::Workflow(settings) = &node.kind
            && let Some(file) = project.workflows.get(&settings.workflow)
        {
            workflows.insert(settings.workflow.clone(), file.text.clone());
        }
    }
    Clipboard {
        format: ClipboardFormat::NodesV1,
        nodes,
        links,
        incoming,
        workflows,
    }
}

fn copy(
    document: &Document,
    selection: &Selection,
    clipboard: &mut EguiClipboard,
    copied: &mut Option<String>,
) {
    if selection.nodes.is_empty() {
        return;
    }
    match serde_json::to_string_pretty(&pick(document, selection)) {
        Ok(text) => {
            clipboard.set_text(&text);
            *copied = Some(text);
        }
        // A document that cannot be put into words cannot be saved either, which is told there.
        Err(error) => tracing::error!(%error, "nothing was copied"),
    }
}

/// Whether copies get links to what the originals took their values from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IncomingLinks {
    Keep,
    Leave,
}

fn duplicate(document: &mut Document, selection: &mut Selection) -> Result<(), EditError> {
    let picked = pick(document, selection);
    insert(
        document,
        selection,
        picked,
        [COPY_OFFSET, COPY_OFFSET],
        "Duplicate",
        (IncomingLinks::Leave, Gesture::new()),
    )
}

fn clone_in_place(
    document: &mut Document,
    selection: &mut Selection,
    nodes: &[NodeId],
    gesture: Gesture,
) -> Result<(), EditError> {
    let originals = Selection {
        nodes: nodes.iter().copied().collect(),
        ..Selection::default()
    };
    let picked = pick(document, &originals);
    insert(
        document,
        selection,
        picked,
        [0.0; 2],
        "Copy by dragging",
        (IncomingLinks::Leave, gesture),
    )
}

fn paste(
    document: &mut Document,
    selection: &mut Selection,
    toasts: &mut Toasts,
    text: &str,
    links: IncomingLinks,
    view: &CanvasView,
) -> Result<(), EditError> {
    if text.len() > PASTE_BYTES {
        toasts.push(
            Severity::Warning,
            "Nothing was pasted",
            "The clipboard holds more than 64 MB of text.",
        );
        return Ok(());
    }
    let Ok(pasted) = serde_json::from_str::<Clipboard>(text) else {
        toasts.push(
            Severity::Info,
            "Nothing to paste here",
            "The clipboard does not hold nodes. Copy nodes on a canvas first, or drop a workflow file on the window.",
        );
        return Ok(());
    };
    if pasted.nodes.is_empty() || pasted.nodes.len() > PASTE_LIMIT {
        return Ok(());
    }
    // The middle of what is pasted comes to the middle of the view.
    let low = pasted.nodes.iter().fold([f32::MAX; 2], |low, node| {
        [low[0].min(node.pos_world[0]), low[1].min(node.pos_world[1])]
    });
    let high = pasted.nodes.iter().fold([f32::MIN; 2], |high, node| {
        [
            high[0].max(node.pos_world[0] + node.width_world),
            high[1].max(node.pos_world[1] + 120.0),
        ]
    });
    let offset = [
        view.center_world.x - f32::midpoint(low[0], high[0]),
        view.center_world.y - f32::midpoint(low[1], high[1]),
    ];
    insert(
        document,
        selection,
        pasted,
        offset,
        "Paste",
        (links, Gesture::new()),
    )
}

/// Puts copies into the document, with fresh ids, and selects them.
fn insert(
    document: &mut Document,
    selection: &mut Selection,
    copied: Clipboard,
    offset: [f32; 2],
    title: &str,
    (incoming, gesture): (IncomingLinks, Gesture),
) -> Result<(), EditError> {
    let mut edits = Vec::new();
    let mut new_names: HashMap<WorkflowName, WorkflowName> = HashMap::new();
    for (name, text) in copied.workflows {
        let same = document
            .project()
            .workflows
            .get(&name)
            .is_some_and(|file| file.text == text);
        if same {
            continue;
        }
        let free = free_workflow_name(document.project(), name.as_str());
        edits.push(Edit::AddWorkflow {
            name: free.clone(),
            file: WorkflowFile { text },
        });
        new_names.insert(name, free);
    }
    let mut node_ids: HashMap<NodeId, NodeId> = HashMap::new();
    let mut port_ids: HashMap<PortId, PortId> = HashMap::new();
    let mut selected = Vec::new();
    for mut node in copied.nodes {
        let id = NodeId::new_now();
        node_ids.insert(node.id, id);
        node.id = id;
        node.pos_world = [node.pos_world[0] + offset[0], node.pos_world[1] + offset[1]];
        for port in node.inputs.iter_mut().chain(&mut node.outputs) {
            let fresh = PortId::new_now();
            port_ids.insert(port.id, fresh);
            port.id = fresh;
        }
        if let NodeKind::Workflow(settings) = &mut node.kind
            && let Some(name) = new_names.get(&settings.workflow)
        {
            settings.workflow = name.clone();
        }
        selected.push(id);
        edits.push(Edit::AddNode(Box::new(node)));
    }
    for link in copied.links {
        let moved = |end: PortRef| {
            Some(PortRef {
                node: *node_ids.get(&end.node)?,
                port: *port_ids.get(&end.port)?,
            })
        };
        if let (Some(from), Some(to)) = (moved(link.from), moved(link.to)) {
            edits.push(Edit::AddLink(Link {
                id: LinkId::new_now(),
                from,
                to,
            }));
        }
    }
    if incoming == IncomingLinks::Keep {
        let project = document.project();
        edits.extend(copied.incoming.iter().filter_map(|link| {
            let to = PortRef {
                node: *node_ids.get(&link.to.node)?,
                port: *port_ids.get(&link.to.port)?,
            };
            // What it was linked to may be gone, or live in another project.
            project.output(link.from)?;
            Some(Edit::AddLink(Link {
                id: LinkId::new_now(),
                from: link.from,
                to,
            }))
        }));
    }
    document.edit(title, gesture, edits)?;
    selection.nodes = selected.into_iter().collect();
    selection.links.clear();
    Ok(())
}

/// A name for a workflow that the project does not have yet: the wanted one, or with a number.
#[must_use]
pub fn free_workflow_name(project: &Project, wanted: &str) -> WorkflowName {
    let taken = |name: &WorkflowName| {
        project
            .workflows
            .keys()
            .any(|known| known.as_str().to_lowercase() == name.as_str().to_lowercase())
    };
    let cleaned: String = wanted
        .chars()
        .map(|character| {
            if character.is_control() || "/\\:*?\"<>|".contains(character) {
                '_'
            } else {
                character
            }
        })
        .take(100)
        .collect();
    let cleaned = cleaned.trim_matches(['.', ' ']).to_owned();
    let base = if WorkflowName::new(&cleaned).is_some() {
        cleaned
    } else {
        format!("workflow {cleaned}").trim().to_owned()
    };
    // One more name than there are workflows: one of them is free.
    (1..=project.workflows.len() + 1)
        .map(|number| {
            if number == 1 {
                base.clone()
            } else {
                format!("{base} {number}")
            }
        })
        .filter_map(|name| WorkflowName::new(&name))
        .find(|name| !taken(name))
        .unwrap_or_else(|| {
            WorkflowName::new("workflow").unwrap_or_else(|| unreachable!("a plain word is a name"))
        })
}

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

fn add_node(
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

fn replace_workflow(
    document: &mut Document,
    catalog: &Catalog,
    toasts: &mut Toasts,
    (node_id, text): (NodeId, &Arc<str>),
    reach: Reach,
    broken: BrokenUses,
) -> Result<(), EditError> {
    let project = document.project();
    // Worked out again: the document may have changed while the question was open.
    match Replacement::plan(project, node_id, text.clone(), catalog.object_info()) {
        Ok(replacement) => {
            let title = format!("Replace {}", replacement.workflow);
            let edits = replacement.edits(project, reach, broken);
            document.edit(&title, Gesture::new(), edits).map(|_| ())
        }
        Err(error) => {
            toasts.push(
                Severity::Warning,
                "The workflow was not replaced",
                &error.to_string(),
            );
            Ok(())
        }
    }
}

fn add_workflow(document: &mut Document, name: &str, text: &Arc<str>) -> Result<(), EditError> {
    let name = free_workflow_name(document.project(), name);
    let title = format!("Add {name}");
    let edit = Edit::AddWorkflow {
        name,
        file: WorkflowFile { text: text.clone() },
    };
    document
        .edit(&title, Gesture::new(), vec![edit])
        .map(|_| ())
}

fn add_link(document: &mut Document, from: PortRef, to: PortRef) -> Result<(), EditError> {
    let mut edits = Vec::new();
    match document.project().check_link(from, to) {
        Err(LinkRefusal::InputTaken { by, .. }) => edits.push(Edit::RemoveLink(by)),
        Err(LinkRefusal::AlreadyLinked(_)) => return Ok(()),
        _ => {}
    }
    edits.push(Edit::AddLink(Link {
        id: LinkId::new_now(),
        from,
        to,
    }));
    document.edit("Connect", Gesture::new(), edits).map(|_| ())
}

#[allow(
    clippy::float_cmp,
    reason = "a node that was not moved has the very same numbers"
)]
fn change_node(document: &mut Document, node: &Node, gesture: Gesture) -> Result<(), EditError> {
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

fn toggle_input(
    document: &mut Document,
    catalog: &mut Catalog,
    node_id: NodeId,
    address: &ParameterAddress,
) -> Result<(), EditError> {
    let project = document.project();
    let node = project
        .nodes
        .get(&node_id)
        .ok_or(EditError::UnknownNode(node_id))?;
    let NodeKind::Workflow(settings) = &node.kind else {
        return Ok(());
    };
    let Some(file) = project.workflows.get(&settings.workflow) else {
        return Err(EditError::UnknownWorkflow(settings.workflow.clone()));
    };
    let facts = catalog.facts(&settings.workflow, file);
    let mut changed = node.clone();
    super::exposure::toggle_input(&mut changed, address, &facts);
    change_node(document, &changed, Gesture::new())
}

fn set_parameter(
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
