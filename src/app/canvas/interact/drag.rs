//! The pointer moves with the left button held.

use super::gesture::{
    BoxDrag, CloneDrag, CornerDrag, Drag, DragQuietly, Gesturing, NodeDrag, Press, WireEnd,
    pull_wire,
};
use super::pick::{FrameHandle, Hit, Picker};
use super::{DRIFT_PX, FRAME_MIN, Hover, Modifiers, SNAP};
use crate::app::actions::{Action, Gesture, Select};
use crate::app::canvas::camera::ViewTransform;
use crate::app::canvas::instance::Area;
use crate::app::document::{Document, Selection};
use crate::app::model::{EntityIndex, NodeBox};
use crate::project::{Frame, FrameId, LinkRefusal, NodeId};
use bevy::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Goes on with what the left button began.
pub(super) fn drag(
    at_px: Vec2,
    world: Vec2,
    modifiers: Modifiers,
    view: &ViewTransform,
    document: &Document,
    selection: &Selection,
    picker: &Picker,
    index: &EntityIndex,
    boxes: &Query<&NodeBox>,
    gesture: &mut ResMut<Gesturing>,
    hover: &mut ResMut<Hover>,
    actions: &mut MessageWriter<Action>,
) {
    if let Drag::Pressed(press) = gesture.drag() {
        if press.at_px.distance(at_px) < DRIFT_PX {
            return;
        }
        let next = match press.hit {
            Hit::Port { port, .. } => {
                pull_wire(document.project(), port, index, boxes).map_or(Drag::Idle, Drag::Wire)
            }
            Hit::Node(node) => {
                let nodes: BTreeSet<NodeId> = if selection.nodes.contains(&node) {
                    selection.nodes.clone()
                } else {
                    BTreeSet::from([node])
                };
                let gesture = Gesture::new();
                if modifiers.alt {
                    actions.write(Action::Clone {
                        nodes: nodes.iter().copied().collect(),
                        gesture,
                    });
                    Drag::Cloning(CloneDrag {
                        gesture,
                        from_world: press.at_world,
                        originals: nodes,
                    })
                } else {
                    let frames = if selection.nodes.contains(&node) {
                        selection.frames.clone()
                    } else {
                        BTreeSet::new()
                    };
                    let grabbed_at = document
                        .project()
                        .nodes
                        .get(&node)
                        .map_or(press.at_world, |node| Vec2::from(node.pos_world));
                    let (starts, frames) = with_contents(nodes, &frames, document);
                    Drag::Nodes(NodeDrag {
                        gesture,
                        grabbed_at,
                        from_world: press.at_world,
                        starts,
                        frames,
                        moved: Vec2::ZERO,
                    })
                }
            }
            Hit::Frame { frame, handle } => {
                begin_frame_drag(press, frame, handle, selection, document)
            }
            Hit::Link(_) | Hit::Empty => Drag::Box(BoxDrag {
                from_world: press.at_world,
                to_world: world,
                before: if modifiers.add || modifiers.toggle {
                    selection.clone()
                } else {
                    Selection::default()
                },
            }),
        };
        gesture.set(next);
    }
    if let Drag::Cloning(clone) = gesture.drag()
        && !selection.nodes.is_empty()
        && selection.nodes.is_disjoint(&clone.originals)
    {
        // The copies are there: they are what is selected now.
        let starts = starts_of(selection.nodes.clone(), document);
        let next = Drag::Nodes(NodeDrag {
            gesture: clone.gesture,
            grabbed_at: starts.first().map_or(clone.from_world, |(_, at)| *at),
            from_world: clone.from_world,
            starts,
            frames: Vec::new(),
            moved: Vec2::ZERO,
        });
        gesture.set(next);
    }
    match gesture.drag_quietly() {
        Drag::Nodes(drag) => {
            let mut by = world - drag.from_world;
            if modifiers.snap {
                by = ((drag.grabbed_at + by) / SNAP).round() * SNAP - drag.grabbed_at;
            }
            if by != drag.moved {
                drag.moved = by;
                let moves = drag
                    .starts
                    .iter()
                    .map(|(id, start)| (*id, (*start + by).to_array()))
                    .collect();
                let gesture = drag.gesture;
                actions.write(Action::MoveNodes { moves, gesture });
                for frame in &drag.frames {
                    let frame = Frame {
                        pos_world: (Vec2::from(frame.pos_world) + by).to_array(),
                        ..frame.clone()
                    };
                    actions.write(Action::SetFrame { frame, gesture });
                }
            }
        }
        Drag::Corner(drag) => {
            let mut corner = world;
            if modifiers.snap {
                corner = (corner / SNAP).round() * SNAP;
            }
            let size = (corner - Vec2::from(drag.frame.pos_world)).max(Vec2::splat(FRAME_MIN));
            if size != drag.size_world {
                drag.size_world = size;
                actions.write(Action::SetFrame {
                    frame: Frame {
                        size_world: size.to_array(),
                        ..drag.frame.clone()
                    },
                    gesture: drag.gesture,
                });
            }
        }
        Drag::Box(drag) => {
            if drag.to_world == world {
                return;
            }
            drag.to_world = world;
            let area = Area::spanned(drag.from_world, world);
            let mut wanted = drag.before.clone();
            picker.nodes_in(area, &mut wanted.nodes);
            picker.frames_in(area, &mut wanted.frames);
            if wanted != *selection {
                actions.write(Action::Select(Select::Exactly(wanted)));
            }
            gesture.set_changed();
        }
        Drag::Wire(wire) => {
            if wire.pointer_world == world {
                return;
            }
            wire.pointer_world = world;
            let target = picker.wire_target(wire, world, view.zoom, document.project());
            wire.end = match target {
                None => WireEnd::Free,
                Some((port, at_world)) => {
                    let (from, to) = wire.ends_with(port);
                    match document.project().check_link(from, to) {
                        Ok(()) | Err(LinkRefusal::InputTaken { .. }) => {
                            WireEnd::Port { port, at_world }
                        }
                        Err(LinkRefusal::AlreadyLinked(link)) if wire.moved == Some(link) => {
                            WireEnd::Port { port, at_world }
                        }
                        Err(refusal) => WireEnd::Refused {
                            reason: refusal.to_string(),
                        },
                    }
                }
            };
            let hovered = Hover {
                port: match &wire.end {
                    WireEnd::Port { port, .. } => Some(*port),
                    _ => None,
                },
                ..Hover::default()
            };
            hover.set_if_neq(hovered);
            gesture.set_changed();
        }
        Drag::Idle | Drag::Pressed(_) | Drag::Cloning(_) => {}
    }
}

/// What a handle of a frame begins: its title takes the frame with what is in it along, and everything else that is selected
/// with it; its corner changes its size.
fn begin_frame_drag(
    press: &Press,
    frame: FrameId,
    handle: FrameHandle,
    selection: &Selection,
    document: &Document,
) -> Drag {
    let project = document.project();
    let Some(frame) = project.frames.get(&frame).cloned() else {
        return Drag::Idle;
    };
    let gesture = Gesture::new();
    match handle {
        FrameHandle::Title => {
            let (nodes, selected) = if selection.frames.contains(&frame.id) {
                (selection.nodes.clone(), selection.frames.clone())
            } else {
                (BTreeSet::new(), BTreeSet::from([frame.id]))
            };
            let (starts, frames) = with_contents(nodes, &selected, document);
            Drag::Nodes(NodeDrag {
                gesture,
                grabbed_at: Vec2::from(frame.pos_world),
                from_world: press.at_world,
                starts,
                frames,
                moved: Vec2::ZERO,
            })
        }
        FrameHandle::Corner => {
            let size_world = Vec2::from(frame.size_world);
            Drag::Corner(CornerDrag {
                gesture,
                frame,
                size_world,
            })
        }
    }
}

/// Nodes and frames with everything that lies in these frames, as a drag begins: where the nodes lie, and the frames.
fn with_contents(
    mut nodes: BTreeSet<NodeId>,
    frames: &BTreeSet<FrameId>,
    document: &Document,
) -> (Vec<(NodeId, Vec2)>, Vec<Frame>) {
    let project = document.project();
    let mut carried = BTreeMap::new();
    for frame in frames.iter().filter_map(|id| project.frames.get(id)) {
        nodes.extend(project.nodes_in_frame(frame).map(|node| node.id));
        let inner = project.frames_in_frame(frame).chain([frame]);
        carried.extend(inner.map(|frame| (frame.id, frame.clone())));
    }
    (starts_of(nodes, document), carried.into_values().collect())
}

/// Where nodes lie as a drag begins.
fn starts_of(nodes: BTreeSet<NodeId>, document: &Document) -> Vec<(NodeId, Vec2)> {
    let project = document.project();
    nodes
        .into_iter()
        .filter_map(|id| Some((id, Vec2::from(project.nodes.get(&id)?.pos_world))))
        .collect()
}
