//! What the left button is doing.

use super::pick::Hit;
use crate::app::actions::Gesture;
use crate::app::canvas::instance::Area;
use crate::app::canvas::layout::{NodeLayout, Side};
use crate::app::document::Selection;
use crate::app::model::{EntityIndex, NodeBox};
use crate::project::{DataType, Frame, LinkId, NodeId, PortRef, Project};
use bevy::platform::collections::HashSet;
use bevy::prelude::*;
use std::collections::BTreeSet;

/// The gesture of the left button.
#[derive(Resource, Debug, Default)]
pub struct Gesturing {
    drag: Drag,
}

/// States of a gesture.
#[derive(Debug, Default)]
pub(super) enum Drag {
    /// None.
    #[default]
    Idle,
    /// Down, not moved far.
    Pressed(Press),
    /// Copies of nodes were asked for and follow the pointer as soon as they are there.
    Cloning(CloneDrag),
    /// Nodes follow the pointer.
    Nodes(NodeDrag),
    /// The corner of a frame follows the pointer.
    Corner(CornerDrag),
    /// A box selects what it touches.
    Box(BoxDrag),
    /// A link is being drawn.
    Wire(Wire),
}

/// A press that may become a drag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Press {
    pub hit: Hit,
    pub at_px: Vec2,
    pub at_world: Vec2,
}

/// Nodes that follow the pointer.
#[derive(Debug)]
pub(super) struct NodeDrag {
    pub gesture: Gesture,
    /// Where what was taken hold of lay; what snaps to the grid.
    pub grabbed_at: Vec2,
    pub from_world: Vec2,
    pub starts: Vec<(NodeId, Vec2)>,
    /// Frames that come along.
    pub frames: Vec<Frame>,
    pub moved: Vec2,
}

/// A frame whose corner follows the pointer.
#[derive(Debug)]
pub(super) struct CornerDrag {
    pub gesture: Gesture,
    /// The frame as it was.
    pub frame: Frame,
    /// The size it has now.
    pub size_world: Vec2,
}

/// Copies that are not there yet.
#[derive(Debug)]
pub(super) struct CloneDrag {
    pub gesture: Gesture,
    pub from_world: Vec2,
    /// What was copied; the copies become the selection.
    pub originals: BTreeSet<NodeId>,
}

/// A box that selects.
#[derive(Debug)]
pub(super) struct BoxDrag {
    pub from_world: Vec2,
    pub to_world: Vec2,
    pub before: Selection,
}

/// A link that is being drawn.
#[derive(Debug)]
pub struct Wire {
    /// The port it hangs on.
    pub from: PortRef,
    /// The side of that port: an output draws towards inputs.
    pub side: Side,
    /// What that port carries.
    pub data_type: DataType,
    /// Where that port lies.
    pub from_world: Vec2,
    /// Where the pointer is.
    pub pointer_world: Vec2,
    /// What it would be connected to.
    pub end: WireEnd,
    /// The link that was taken off its input and is being moved.
    pub moved: Option<LinkId>,
    /// The input it was taken off.
    pub moved_from: Option<PortRef>,
    /// Nodes to which a link would close a circle.
    blocked: HashSet<NodeId>,
}

/// What a wire would be connected to if it were let go.
#[derive(Clone, Debug, PartialEq)]
pub enum WireEnd {
    /// Nothing.
    Free,
    /// This port.
    Port {
        /// The port.
        port: PortRef,
        /// Where it lies.
        at_world: Vec2,
    },
    /// A port that cannot take it.
    Refused {
        /// Why not.
        reason: String,
    },
}

/// How a node looks while a wire is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireLook {
    /// As always.
    Plain,
    /// No port of it takes the wire.
    Dimmed,
    /// Ports of this side take it.
    Candidate(Side),
    /// The wire would be connected here.
    Target(Side),
}

impl Wire {
    /// Output and input of the link that would be made with `port`.
    #[must_use]
    pub fn ends_with(&self, port: PortRef) -> (PortRef, PortRef) {
        match self.side {
            Side::Right => (self.from, port),
            Side::Left => (port, self.from),
        }
    }

    /// The side on which ports can take it.
    #[must_use]
    pub fn wanted_side(&self) -> Side {
        match self.side {
            Side::Right => Side::Left,
            Side::Left => Side::Right,
        }
    }

    /// Whether a port of this type on the wanted side takes it.
    #[must_use]
    pub fn fits(&self, data_type: DataType) -> bool {
        match self.side {
            Side::Right => data_type.accepts(self.data_type),
            Side::Left => self.data_type.accepts(data_type),
        }
    }

    /// Whether a link to this node would close a circle.
    #[must_use]
    pub fn is_blocked(&self, node: NodeId) -> bool {
        self.blocked.contains(&node)
    }

    fn loose_end(&self) -> Vec2 {
        match self.end {
            WireEnd::Port { at_world, .. } => at_world,
            _ => self.pointer_world,
        }
    }

    /// The end at the output, canvas units.
    #[must_use]
    pub fn start_world(&self) -> Vec2 {
        match self.side {
            Side::Right => self.from_world,
            Side::Left => self.loose_end(),
        }
    }

    /// The end at the input, canvas units.
    #[must_use]
    pub fn end_world(&self) -> Vec2 {
        match self.side {
            Side::Right => self.loose_end(),
            Side::Left => self.from_world,
        }
    }
}

impl Gesturing {
    /// Whether nothing is going on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.drag, Drag::Idle)
    }

    /// Whether something is dragged, so that the view follows it beyond the border.
    #[must_use]
    pub fn is_dragging(&self) -> bool {
        !matches!(self.drag, Drag::Idle | Drag::Pressed(_))
    }

    /// Whether nodes follow the pointer.
    #[must_use]
    pub fn moves_nodes(&self) -> bool {
        matches!(self.drag, Drag::Nodes(_) | Drag::Cloning(_))
    }

    /// Whether the corner of a frame follows the pointer.
    #[must_use]
    pub fn resizes_frame(&self) -> bool {
        matches!(self.drag, Drag::Corner(_))
    }

    /// The link that is being drawn.
    #[must_use]
    pub fn wire(&self) -> Option<&Wire> {
        match &self.drag {
            Drag::Wire(wire) => Some(wire),
            _ => None,
        }
    }

    /// The box that selects.
    #[must_use]
    pub fn box_world(&self) -> Option<Area> {
        match &self.drag {
            Drag::Box(drag) => Some(Area::spanned(drag.from_world, drag.to_world)),
            _ => None,
        }
    }

    /// How a node looks while a wire is drawn.
    #[must_use]
    pub fn wire_look(&self, node: NodeId, layout: &NodeLayout) -> WireLook {
        let Some(wire) = self.wire() else {
            return WireLook::Plain;
        };
        if node == wire.from.node {
            return WireLook::Plain;
        }
        let side = wire.wanted_side();
        if matches!(wire.end, WireEnd::Port { port, .. } if port.node == node) {
            return WireLook::Target(side);
        }
        let fits = !wire.is_blocked(node)
            && layout
                .ports
                .iter()
                .any(|spot| spot.side == side && wire.fits(spot.data_type));
        if fits {
            WireLook::Candidate(side)
        } else {
            WireLook::Dimmed
        }
    }

    pub(super) fn begin(&mut self, press: Press) {
        self.drag = Drag::Pressed(press);
    }

    pub(super) fn drag(&self) -> &Drag {
        &self.drag
    }

    pub(super) fn set(&mut self, drag: Drag) {
        self.drag = drag;
    }

    pub(super) fn end(&mut self) -> Drag {
        std::mem::take(&mut self.drag)
    }
}

/// Access that does not count as a change by itself.
pub(super) trait DragQuietly {
    fn drag_quietly(&mut self) -> &mut Drag;
}

impl DragQuietly for ResMut<'_, Gesturing> {
    fn drag_quietly(&mut self) -> &mut Drag {
        &mut self.bypass_change_detection().drag
    }
}

/// The wire that hangs on a port. A link that ends in it is taken off and moved, as in ComfyUI.
pub(super) fn pull_wire(
    project: &Project,
    port: PortRef,
    index: &EntityIndex,
    boxes: &Query<&NodeBox>,
) -> Option<Wire> {
    let mut from = port;
    let mut moved = None;
    let is_input = project.input(port).is_some();
    if is_input
        && let Some(node) = project.nodes.get(&port.node)
        && let Some(input) = node.input(port.port)
        && !crate::project::takes_many(node, input)
        && let Some(link) = project.links.into_port(port).next()
    {
        from = link.from;
        moved = Some(link.id);
    }
    let node = project.nodes.get(&from.node)?;
    let data_type = node.port(from.port)?.data_type;
    let side = if node.output(from.port).is_some() {
        Side::Right
    } else {
        Side::Left
    };
    let from_world = boxes
        .get(*index.nodes.get(&from.node)?)
        .ok()?
        .port_world(from.port)?;
    Some(Wire {
        from,
        side,
        data_type,
        from_world,
        pointer_world: from_world,
        end: WireEnd::Free,
        moved,
        moved_from: moved.map(|_| port),
        blocked: reachable(project, from.node, side),
    })
}

/// The node and everything upstream of it (for an output) or downstream (for an input).
fn reachable(project: &Project, node: NodeId, side: Side) -> HashSet<NodeId> {
    let mut seen = HashSet::default();
    seen.insert(node);
    let mut open = vec![node];
    while let Some(at) = open.pop() {
        let mut visit = |next: NodeId| {
            if seen.insert(next) {
                open.push(next);
            }
        };
        match side {
            Side::Right => project
                .links
                .into_node(at)
                .for_each(|link| visit(link.from.node)),
            Side::Left => project
                .links
                .out_of_node(at)
                .for_each(|link| visit(link.to.node)),
        }
    }
    seen
}
