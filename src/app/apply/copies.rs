//! Nodes and frames copied, pasted, duplicated and cloned, with fresh ids.

use super::COPY_OFFSET;
use super::free_workflow_name;
use crate::app::actions::{Clipboard, ClipboardFormat, Gesture};
use crate::app::document::{Document, Selection};
use crate::app::toasts::{Severity, Toasts};
use crate::app::viewport::CanvasView;
use crate::project::{
    Edit, EditError, FrameId, Link, LinkId, Node, NodeId, NodeKind, PortId, PortRef, WorkflowFile,
    WorkflowName,
};
use bevy_egui::EguiClipboard;
use std::collections::{BTreeMap, HashMap};

/// Most nodes and frames taken from a clipboard.
const PASTE_LIMIT: usize = 10_000;
/// Largest clipboard text that is looked at, bytes.
const PASTE_BYTES: usize = 64 << 20;

/// What is selected, as a value of its own.
fn pick(document: &Document, selection: &Selection) -> Clipboard {
    let project = document.project();
    let nodes: Vec<Node> = selection
        .nodes
        .iter()
        .filter_map(|id| project.nodes.get(id).cloned())
        .collect();
    let frames = selection
        .frames
        .iter()
        .filter_map(|id| project.frames.get(id).cloned())
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
    let mut page_prompts = BTreeMap::new();
    for node in &nodes {
        if let NodeKind::Workflow(settings) = &node.kind
            && let Some(file) = project.workflows.get(&settings.workflow)
        {
            workflows.insert(settings.workflow.clone(), file.text.clone());
            if let Some(page_prompt) = &file.page_prompt {
                page_prompts.insert(settings.workflow.clone(), page_prompt.clone());
            }
        }
    }
    Clipboard {
        format: ClipboardFormat::NodesV1,
        nodes,
        frames,
        links,
        incoming,
        workflows,
        page_prompts,
    }
}

pub(super) fn copy(
    document: &Document,
    selection: &Selection,
    clipboard: &mut EguiClipboard,
    copied: &mut Option<String>,
) {
    if !selection.has_parts() {
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
pub(super) enum IncomingLinks {
    Keep,
    Leave,
}

pub(super) fn duplicate(
    document: &mut Document,
    selection: &mut Selection,
) -> Result<(), EditError> {
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

pub(super) fn clone_in_place(
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

pub(super) fn paste(
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
    let count = pasted.nodes.len() + pasted.frames.len();
    if count == 0 || count > PASTE_LIMIT {
        return Ok(());
    }
    // The middle of what is pasted comes to the middle of the view.
    let of_nodes = pasted
        .nodes
        .iter()
        .map(|node| (node.pos_world, [node.width_world, 120.0]));
    let of_frames = pasted
        .frames
        .iter()
        .map(|frame| (frame.pos_world, frame.size_world));
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for (pos_world, size_world) in of_nodes.chain(of_frames) {
        for axis in [0, 1] {
            low[axis] = low[axis].min(pos_world[axis]);
            high[axis] = high[axis].max(pos_world[axis] + size_world[axis]);
        }
    }
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
        let page_prompt = copied.page_prompts.get(&name).cloned();
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
            file: WorkflowFile { text, page_prompt },
        });
        new_names.insert(name, free);
    }
    let mut node_ids: HashMap<NodeId, NodeId> = HashMap::new();
    let mut port_ids: HashMap<PortId, PortId> = HashMap::new();
    let mut selected = Selection::default();
    for mut frame in copied.frames {
        frame.id = FrameId::new_now();
        frame.pos_world = moved_by(frame.pos_world, offset);
        selected.frames.insert(frame.id);
        edits.push(Edit::AddFrame(frame));
    }
    for mut node in copied.nodes {
        let id = NodeId::new_now();
        node_ids.insert(node.id, id);
        node.id = id;
        node.pos_world = moved_by(node.pos_world, offset);
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
        selected.nodes.insert(id);
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
    *selection = selected;
    Ok(())
}

fn moved_by(pos_world: [f32; 2], offset: [f32; 2]) -> [f32; 2] {
    [pos_world[0] + offset[0], pos_world[1] + offset[1]]
}
