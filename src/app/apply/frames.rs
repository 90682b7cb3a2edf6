//! Frames: titled rectangles behind nodes.

use crate::app::actions::Gesture;
use crate::app::canvas::instance::Area;
use crate::app::document::{Document, Selection};
use crate::app::model::{FRAME_PADDING, FRAME_TITLE, NodeBox, NodeKey};
use crate::project::{Edit, EditError, Frame, FrameId, NodeId};
use bevy::prelude::*;

/// Nodes with their places on the canvas.
pub(super) type Boxes<'w, 's> = Query<'w, 's, (&'static NodeKey, &'static NodeBox)>;

/// What a frame around these nodes and frames covers; none when no node is there.
fn around<'f>(
    boxes: &Boxes<'_, '_>,
    is_in: impl Fn(NodeId) -> bool,
    frames: impl Iterator<Item = &'f Frame>,
) -> Option<([f32; 2], [f32; 2])> {
    let of_nodes = boxes
        .iter()
        .filter(|(key, _)| is_in(key.0))
        .map(|(_, node_box)| node_box.area)
        .reduce(Area::joined)?;
    let area = frames
        .map(|frame| Area::at(frame.pos_world.into(), frame.size_world.into()))
        .fold(of_nodes, Area::joined)
        .grown(Vec2::splat(FRAME_PADDING));
    let top = Vec2::new(0.0, FRAME_TITLE);
    Some((
        (area.min - top).round().to_array(),
        (area.size() + top).round().to_array(),
    ))
}

/// Puts a frame around the selected nodes, and the frames that are selected with them, and selects it.
pub(super) fn frame_selection(
    document: &mut Document,
    selection: &mut Selection,
    boxes: &Boxes<'_, '_>,
) -> Result<(), EditError> {
    let frames = &document.project().frames;
    let selected = selection.frames.iter().filter_map(|id| frames.get(id));
    let is_in = |id: NodeId| selection.nodes.contains(&id);
    let Some((pos_world, size_world)) = around(boxes, is_in, selected) else {
        return Ok(());
    };
    let frame = Frame {
        id: FrameId::new_now(),
        title: "Frame".to_owned(),
        pos_world,
        size_world,
    };
    let frame_id = frame.id;
    document.edit("Frame", Gesture::new(), vec![Edit::AddFrame(frame)])?;
    select(selection, frame_id);
    Ok(())
}

/// Selects a frame and nothing else.
pub(super) fn select(selection: &mut Selection, frame_id: FrameId) {
    *selection = Selection::default();
    selection.frames.insert(frame_id);
}

/// Makes the selected frame as large as the nodes and frames in it need.
pub(super) fn fit(
    document: &mut Document,
    selection: &Selection,
    boxes: &Boxes<'_, '_>,
) -> Result<(), EditError> {
    let project = document.project();
    let Some(frame) = selection
        .only_frame()
        .and_then(|id| project.frames.get(&id))
        .cloned()
    else {
        return Ok(());
    };
    let is_in = |id: NodeId| {
        project
            .nodes
            .get(&id)
            .is_some_and(|node| frame.holds(node.pos_world, node.width_world))
    };
    let inner = project.frames_in_frame(&frame);
    let Some((pos_world, size_world)) = around(boxes, is_in, inner) else {
        return Ok(());
    };
    let edit = Edit::SetFrame(Frame {
        pos_world,
        size_world,
        ..frame.clone()
    });
    document
        .edit("Fit frame", Gesture::new(), vec![edit])
        .map(|_| ())
}

/// Selects the nodes in a frame.
pub(super) fn select_inside(document: &Document, selection: &mut Selection, frame_id: FrameId) {
    let project = document.project();
    if let Some(frame) = project.frames.get(&frame_id) {
        *selection = Selection {
            nodes: project.nodes_in_frame(frame).map(|node| node.id).collect(),
            ..Selection::default()
        };
    }
}
