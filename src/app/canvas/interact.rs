//! Pointer and keys over the canvas become hover, gestures and actions.
//!
//! Left drag on empty space selects by box (live), on a node moves it, on a port draws a wire. Where a row of the
//! interaction table has no key of ours, the shell's keymap has it.

mod cursor;
mod drag;
mod gesture;
mod pick;

pub use cursor::{auto_pan, show_cursor};
pub use gesture::{Gesturing, Wire, WireEnd, WireLook};
pub use pick::{FrameHandle, Hit, Picker};

use super::camera::ViewTransform;
use crate::app::actions::{Action, CanvasTarget, Select};
use crate::app::document::{Document, Selection};
use crate::app::model::{EntityIndex, NodeBox};
use crate::app::viewport::CanvasViewport;
use crate::project::{FrameId, LinkId, NodeId, PortRef};
use bevy::input::mouse::MouseButtonInput;
use bevy::prelude::*;
use bevy::window::PrimaryWindow;
use drag::drag;
use gesture::{Drag, Press};
use std::time::Duration;

/// Movement in logical pixels that turns a press into a drag (ComfyUI's click drift).
const DRIFT_PX: f32 = 6.0;
/// Time within which a second press makes a double click, as window systems have it.
const DOUBLE_CLICK: Duration = Duration::from_millis(500);

/// The same where frames are slow: the window system does not say when a button was pressed, only the frame does that hears of
/// it. When a press and the release before it come in one frame, or the presses in two frames that follow each other, the
/// hand was faster than the frames.
const SLOW_DOUBLE_CLICK: Duration = Duration::from_secs(3);
/// Grid of nodes while Shift is held (ComfyUI's snap grid), canvas units.
const SNAP: f32 = 10.0;

/// Smallest side of a frame, canvas units.
const FRAME_MIN: f32 = 60.0;

/// What is under the pointer.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hover {
    /// The node.
    pub node: Option<NodeId>,
    /// The port.
    pub port: Option<PortRef>,
    /// The link.
    pub link: Option<LinkId>,
    /// The frame, by one of its handles.
    pub frame: Option<(FrameId, FrameHandle)>,
}

impl Hover {
    fn of(hit: Hit) -> Self {
        match hit {
            Hit::Empty => Self::default(),
            Hit::Node(node) => Self {
                node: Some(node),
                ..Self::default()
            },
            Hit::Port { port, .. } => Self {
                node: Some(port.node),
                port: Some(port),
                ..Self::default()
            },
            Hit::Link(link) => Self {
                link: Some(link),
                ..Self::default()
            },
            Hit::Frame { frame, handle } => Self {
                frame: Some((frame, handle)),
                ..Self::default()
            },
        }
    }
}

/// The last press, for double clicks.
#[derive(Debug, Default)]
pub struct LastPress {
    at: Option<LeftPress>,
    /// Frames so far.
    frame: u64,
    /// Where the right button went down over the canvas.
    right_at: Option<Vec2>,
}

/// A press of the left button.
#[derive(Clone, Copy, Debug)]
struct LeftPress {
    when: Duration,
    frame: u64,
    at_px: Vec2,
}

impl LeftPress {
    /// Whether this press, after the other one, makes a double click.
    fn is_second_of(self, first: Self, came_with_release: bool) -> bool {
        let between = self.when.saturating_sub(first.when);
        let is_soon = between <= DOUBLE_CLICK
            || (between <= SLOW_DOUBLE_CLICK
                && (came_with_release || self.frame - first.frame <= 1));
        is_soon && first.at_px.distance(self.at_px) <= DRIFT_PX
    }
}

/// Modifier keys that mean something here.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "keys are held or not, each by itself"
)]
struct Modifiers {
    add: bool,
    toggle: bool,
    snap: bool,
    alt: bool,
}

impl Modifiers {
    fn of(keys: &ButtonInput<KeyCode>) -> Self {
        let shift = keys.any_pressed([KeyCode::ShiftLeft, KeyCode::ShiftRight]);
        Self {
            add: shift,
            toggle: keys.any_pressed([
                KeyCode::ControlLeft,
                KeyCode::ControlRight,
                KeyCode::SuperLeft,
                KeyCode::SuperRight,
            ]),
            snap: shift,
            alt: keys.any_pressed([KeyCode::AltLeft, KeyCode::AltRight]),
        }
    }
}

/// One frame of pointer and keys.
pub fn interact(
    viewport: Res<CanvasViewport>,
    view: Res<ViewTransform>,
    windows: Query<&Window, With<PrimaryWindow>>,
    buttons: Res<ButtonInput<MouseButton>>,
    mut button_inputs: MessageReader<MouseButtonInput>,
    keys: Res<ButtonInput<KeyCode>>,
    time: Res<Time<Real>>,
    document: Option<Res<Document>>,
    selection: Res<Selection>,
    picker: Picker,
    index: Res<EntityIndex>,
    boxes: Query<&NodeBox>,
    mut hover: ResMut<Hover>,
    mut gesture: ResMut<Gesturing>,
    mut last: Local<LastPress>,
    mut actions: MessageWriter<Action>,
) {
    // A slow frame may hold both presses of a double click.
    let left: Vec<bool> = button_inputs
        .read()
        .filter(|input| input.button == MouseButton::Left)
        .map(|input| input.state.is_pressed())
        .collect();
    let presses = left.iter().filter(|is_pressed| **is_pressed).count();
    let came_with_release = left.first() == Some(&false);
    last.frame += 1;
    let Some(document) = document else {
        return;
    };
    let cursor_px = windows.single().ok().and_then(Window::cursor_position);
    let is_over = viewport.has_pointer(cursor_px);
    let Some(at_px) = cursor_px else {
        if gesture.is_idle() {
            hover.set_if_neq(Hover::default());
        }
        return;
    };
    let modifiers = Modifiers::of(&keys);
    let world = view.world_at(at_px);

    if !gesture.is_idle() && keys.just_pressed(KeyCode::Escape) {
        gesture.end();
    }
    let hit = if is_over {
        picker.at(world, view.zoom, &selection)
    } else {
        Hit::Empty
    };
    if gesture.is_idle() {
        hover.set_if_neq(Hover::of(hit));
    }

    // A slow frame may hold the end of one press and the begin of the next.
    if came_with_release && presses > 0 && !gesture.is_idle() {
        release(world, modifiers, &selection, &mut gesture, &mut actions);
    }
    let space = keys.pressed(KeyCode::Space);
    if buttons.just_pressed(MouseButton::Left) && is_over && !space && gesture.is_idle() {
        let press_now = LeftPress {
            when: time.elapsed(),
            frame: last.frame,
            at_px,
        };
        let is_double = presses > 1
            || last
                .at
                .is_some_and(|first| press_now.is_second_of(first, came_with_release));
        last.at = (!is_double).then_some(press_now);
        if is_double && hit == Hit::Empty {
            actions.write(Action::AddNodeSearch {
                pos_world: Some(world.to_array()),
                connect: None,
            });
        } else if is_double && let Hit::Frame { frame, .. } = hit {
            actions.write(Action::RenameFrame(frame));
        } else if is_double
            && let Hit::Node(node_id) = hit
            && document
                .project()
                .nodes
                .get(&node_id)
                .is_some_and(|node| matches!(node.kind, crate::project::NodeKind::Review(_)))
        {
            actions.write(Action::ShowReview);
        } else if is_double
            && let Hit::Node(node_id) = hit
            && document
                .project()
                .nodes
                .get(&node_id)
                .is_some_and(|node| matches!(node.kind, crate::project::NodeKind::Workflow(_)))
        {
            actions.write(Action::EditWorkflow {
                node_id: Some(node_id),
                backend_id: None,
            });
        } else {
            press(
                hit,
                at_px,
                world,
                modifiers,
                &document,
                &selection,
                &mut gesture,
                &mut actions,
            );
        }
    }

    if !gesture.is_idle() {
        if buttons.pressed(MouseButton::Left) {
            drag(
                at_px,
                world,
                modifiers,
                &view,
                &document,
                &selection,
                &picker,
                &index,
                &boxes,
                &mut gesture,
                &mut hover,
                &mut actions,
            );
        } else {
            release(world, modifiers, &selection, &mut gesture, &mut actions);
        }
    }

    // The right button pans; without movement it asks for the menu.
    if buttons.just_pressed(MouseButton::Right) {
        last.right_at = is_over.then_some(at_px);
    }
    if buttons.just_released(MouseButton::Right)
        && let Some(from) = last.right_at.take()
        && from.distance(at_px) < DRIFT_PX
        && is_over
    {
        let target = match hit {
            Hit::Empty => CanvasTarget::Empty,
            Hit::Node(node) => CanvasTarget::Node(node),
            Hit::Port { port, .. } => CanvasTarget::Port(port),
            Hit::Link(link) => CanvasTarget::Link(link),
            Hit::Frame { frame, .. } => CanvasTarget::Frame(frame),
        };
        if let CanvasTarget::Node(node) = target
            && !selection.nodes.contains(&node)
        {
            actions.write(Action::Select(only_node(node)));
        }
        if let CanvasTarget::Frame(frame) = target
            && !selection.frames.contains(&frame)
        {
            actions.write(Action::SelectFrame(frame));
        }
        actions.write(Action::OpenContextMenu {
            target,
            pos_px: at_px.to_array(),
            pos_world: world.to_array(),
        });
    }
}

fn only_node(node: NodeId) -> Select {
    Select::Only {
        nodes: vec![node],
        links: Vec::new(),
    }
}

fn press(
    hit: Hit,
    at_px: Vec2,
    world: Vec2,
    modifiers: Modifiers,
    document: &Document,
    selection: &Selection,
    gesture: &mut Gesturing,
    actions: &mut MessageWriter<Action>,
) {
    let links = |project: &crate::project::Project, port: PortRef| -> Vec<LinkId> {
        project
            .links
            .into_port(port)
            .chain(project.links.out_of_port(port))
            .map(|link| link.id)
            .collect()
    };
    match hit {
        Hit::Port { port, .. } if modifiers.alt => {
            let links = links(document.project(), port);
            if !links.is_empty() {
                actions.write(Action::RemoveLinks(links));
            }
            return;
        }
        Hit::Node(node) => {
            if modifiers.toggle {
                actions.write(Action::Select(Select::Toggle {
                    nodes: vec![node],
                    links: Vec::new(),
                }));
            } else if modifiers.add {
                actions.write(Action::Select(Select::Add {
                    nodes: vec![node],
                    links: Vec::new(),
                }));
            } else if !selection.nodes.contains(&node) {
                actions.write(Action::Select(only_node(node)));
            }
        }
        Hit::Link(link) => {
            let (nodes, links) = (Vec::new(), vec![link]);
            actions.write(Action::Select(if modifiers.toggle {
                Select::Toggle { nodes, links }
            } else if modifiers.add {
                Select::Add { nodes, links }
            } else {
                Select::Only { nodes, links }
            }));
        }
        Hit::Frame { frame, .. } => {
            let is_selected = selection.frames.contains(&frame);
            if modifiers.toggle || (modifiers.add && !is_selected) {
                let mut wanted = selection.clone();
                if !wanted.frames.remove(&frame) {
                    wanted.frames.insert(frame);
                }
                actions.write(Action::Select(Select::Exactly(wanted)));
            } else if !is_selected {
                actions.write(Action::SelectFrame(frame));
            }
        }
        Hit::Port { .. } | Hit::Empty => {}
    }
    gesture.begin(Press {
        hit,
        at_px,
        at_world: world,
    });
}

fn release(
    world: Vec2,
    modifiers: Modifiers,
    selection: &Selection,
    gesture: &mut Gesturing,
    actions: &mut MessageWriter<Action>,
) {
    match gesture.end() {
        Drag::Pressed(press) => match press.hit {
            Hit::Empty if !modifiers.add && !modifiers.toggle && !selection.is_empty() => {
                actions.write(Action::SelectNone);
            }
            Hit::Node(node)
                if !modifiers.add
                    && !modifiers.toggle
                    && (selection.nodes.len() > 1
                        || !selection.links.is_empty()
                        || !selection.frames.is_empty()) =>
            {
                actions.write(Action::Select(only_node(node)));
            }
            Hit::Frame { frame, .. }
                if !modifiers.add && !modifiers.toggle && selection.only_frame().is_none() =>
            {
                actions.write(Action::SelectFrame(frame));
            }
            _ => {}
        },
        Drag::Wire(wire) => match wire.end {
            WireEnd::Port { port, .. } => {
                let (from, to) = wire.ends_with(port);
                if let Some(link) = wire.moved {
                    if wire.moved_from == Some(port) {
                        return;
                    }
                    actions.write(Action::RemoveLinks(vec![link]));
                }
                actions.write(Action::AddLink { from, to });
            }
            WireEnd::Free => {
                if let Some(link) = wire.moved {
                    actions.write(Action::RemoveLinks(vec![link]));
                } else {
                    actions.write(Action::AddNodeSearch {
                        pos_world: Some(world.to_array()),
                        connect: Some(wire.from),
                    });
                }
            }
            WireEnd::Refused { .. } => {}
        },
        Drag::Idle | Drag::Nodes(_) | Drag::Cloning(_) | Drag::Corner(_) | Drag::Box(_) => {}
    }
}
