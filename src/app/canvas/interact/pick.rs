//! What lies under a point.

use super::gesture::Wire;
use crate::app::canvas::instance::{Area, link_point};
use crate::app::canvas::layout::{PORT_RADIUS, PORT_ROW, Side};
use crate::app::document::Selection;
use crate::app::model::{FrameCard, FrameKey, LinkCurve, LinkKey, NodeBox, NodeKey, Places};
use crate::project::{FrameId, LinkId, NodeId, PortRef, Project};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use std::collections::BTreeSet;

/// Half the width in which a link is hit: drawn width + 7 px (ComfyUI), logical pixels.
const LINK_REACH_PX: f32 = 5.0;
/// Reach of a port beyond its outline, logical pixels.
const PORT_REACH_PX: f32 = 5.0;
/// Reach of a port for the loose end of a wire, logical pixels.
const SNAP_REACH_PX: f32 = 18.0;
/// Side of the corner by which a frame's size is changed, logical pixels.
const CORNER_PX: f32 = 14.0;
/// Points at which a link is compared with the pointer.
const LINK_STEPS: u8 = 24;

/// What lies under a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hit {
    /// Nothing.
    #[default]
    Empty,
    /// A node.
    Node(NodeId),
    /// A port of a node.
    Port {
        /// The port.
        port: PortRef,
        /// Its side.
        side: Side,
    },
    /// A link.
    Link(LinkId),
    /// A handle of a frame.
    Frame {
        /// The frame.
        frame: FrameId,
        /// Which handle.
        handle: FrameHandle,
    },
}

/// Where a frame can be taken hold of. Its middle belongs to the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameHandle {
    /// The strip with its title: moves it, with what is in it.
    Title,
    /// Its bottom right corner: changes its size.
    Corner,
}

/// Finds what lies under a point.
#[derive(SystemParam)]
pub struct Picker<'w, 's> {
    places: Res<'w, Places>,
    nodes: Query<'w, 's, (&'static NodeKey, &'static NodeBox)>,
    links: Query<'w, 's, (&'static LinkKey, &'static LinkCurve)>,
    frames: Query<'w, 's, (&'static FrameKey, &'static FrameCard)>,
}

impl Picker<'_, '_> {
    /// Nodes around a point, topmost first.
    fn nodes_at(
        &self,
        world: Vec2,
        reach: f32,
        selection: Option<&Selection>,
    ) -> Vec<(NodeId, &NodeBox)> {
        let mut found = Vec::new();
        self.places.nodes.at(world, reach, &mut found);
        let mut nodes: Vec<(NodeId, &NodeBox)> = found
            .into_iter()
            .filter_map(|entity| self.nodes.get(entity).ok())
            .map(|(key, node_box)| (key.0, node_box))
            .collect();
        nodes.sort_by_key(|(id, node_box)| {
            let is_selected = selection.is_some_and(|selection| selection.nodes.contains(id));
            std::cmp::Reverse((is_selected, node_box.order))
        });
        nodes
    }

    /// What lies under a point at a zoom (logical pixels per canvas unit).
    pub fn at(&self, world: Vec2, zoom: f32, selection: &Selection) -> Hit {
        let unit = 1.0 / zoom.max(0.001);
        let reach = PORT_RADIUS + PORT_REACH_PX * unit.min(2.0);
        for (node, node_box) in self.nodes_at(world, reach, Some(selection)) {
            let nearest = node_box
                .layout
                .ports
                .iter()
                .map(|spot| (spot, (node_box.area.min + spot.center).distance(world)))
                .min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((spot, distance)) = nearest
                && distance <= reach
                // Far away, ports are specks: the node is what is meant.
                && zoom >= 0.3
            {
                return Hit::Port {
                    port: PortRef {
                        node,
                        port: spot.id,
                    },
                    side: spot.side,
                };
            }
            if node_box.area.contains(world) {
                return Hit::Node(node);
            }
        }
        self.link_at(world, LINK_REACH_PX * unit)
            .map(Hit::Link)
            .or_else(|| self.frame_at(world, zoom))
            .unwrap_or_default()
    }

    /// A handle of a frame; of frames in frames the inner one.
    fn frame_at(&self, world: Vec2, zoom: f32) -> Option<Hit> {
        let reach = CORNER_PX / zoom.max(0.001);
        self.frames
            .iter()
            .filter_map(|(key, card)| {
                let corner = Area::at(card.area.max - Vec2::splat(reach), Vec2::splat(reach));
                let handle = if corner.grown(Vec2::splat(reach * 0.3)).contains(world) {
                    FrameHandle::Corner
                } else if card.title_strip(zoom).contains(world) {
                    FrameHandle::Title
                } else {
                    return None;
                };
                Some((card.area.size().element_product(), key.0, handle))
            })
            .min_by(|(a, ..), (b, ..)| a.total_cmp(b))
            .map(|(_, frame, handle)| Hit::Frame { frame, handle })
    }

    fn link_at(&self, world: Vec2, reach: f32) -> Option<LinkId> {
        let mut found = Vec::new();
        self.places.links.at(world, reach, &mut found);
        found
            .into_iter()
            .filter_map(|entity| self.links.get(entity).ok())
            .map(|(key, curve)| (key.0, distance_to_link(world, curve)))
            .filter(|(_, distance)| *distance <= reach)
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(link, _)| link)
    }

    /// Adds the nodes that touch a rectangle.
    pub fn nodes_in(&self, area: Area, into: &mut BTreeSet<NodeId>) {
        let mut found = Vec::new();
        self.places.nodes.query(area, &mut found);
        into.extend(
            found
                .into_iter()
                .filter_map(|entity| self.nodes.get(entity).ok())
                .map(|(key, _)| key.0),
        );
    }

    /// Adds the frames that lie in a rectangle whole: one that goes through a frame means what is in it.
    pub fn frames_in(&self, area: Area, into: &mut BTreeSet<FrameId>) {
        let inside = self
            .frames
            .iter()
            .filter(|(_, card)| area.encloses(card.area));
        into.extend(inside.map(|(key, _)| key.0));
    }

    /// The port to which the loose end of a wire snaps: the nearest one in reach, or else, over the body of a node, its
    /// first port that takes the wire. A port that is hit exactly is given back even when it does not fit, so that the
    /// person learns why.
    #[must_use]
    pub fn wire_target(
        &self,
        wire: &Wire,
        world: Vec2,
        zoom: f32,
        project: &Project,
    ) -> Option<(PortRef, Vec2)> {
        let reach = (SNAP_REACH_PX / zoom.max(0.001)).clamp(PORT_RADIUS * 2.0, 160.0);
        let side = wire.wanted_side();
        let nodes = self.nodes_at(world, reach, None);
        let spots = nodes.iter().flat_map(|(node, node_box)| {
            node_box.layout.ports.iter().filter_map(|spot| {
                let port = PortRef {
                    node: *node,
                    port: spot.id,
                };
                let at = node_box.area.min + spot.center;
                (spot.side == side && port != wire.from).then_some((port, at, spot.data_type))
            })
        });
        let nearest = spots
            .filter(|(port, at, data_type)| {
                let distance = at.distance(world);
                let fits = wire.fits(*data_type) && !wire.is_blocked(port.node);
                distance <= if fits { reach } else { PORT_ROW * 0.6 }
            })
            .min_by(|(_, a, _), (_, b, _)| a.distance(world).total_cmp(&b.distance(world)));
        if let Some((port, at, _)) = nearest {
            return Some((port, at));
        }
        let (node, node_box) = nodes
            .into_iter()
            .find(|(_, node_box)| node_box.area.contains(world))?;
        if node == wire.from.node {
            return None;
        }
        let fitting = |spot: &&crate::app::canvas::layout::PortSpot| {
            spot.side == side && wire.fits(spot.data_type)
        };
        let is_free = |spot: &&crate::app::canvas::layout::PortSpot| {
            project
                .links
                .into_port(PortRef {
                    node,
                    port: spot.id,
                })
                .next()
                .is_none()
        };
        let ports = &node_box.layout.ports;
        let spot = ports
            .iter()
            .filter(fitting)
            .find(is_free)
            .or_else(|| ports.iter().find(fitting))
            .or_else(|| ports.iter().find(|spot| spot.side == side))?;
        Some((
            PortRef {
                node,
                port: spot.id,
            },
            node_box.area.min + spot.center,
        ))
    }
}

/// Distance of a point from a link in canvas units.
fn distance_to_link(world: Vec2, curve: &LinkCurve) -> f32 {
    let mut from = curve.start;
    let mut nearest = f32::MAX;
    for step in 1..=LINK_STEPS {
        let to = link_point(
            curve.start,
            curve.end,
            f32::from(step) / f32::from(LINK_STEPS),
        );
        nearest = nearest.min(distance_to_segment(world, from, to));
        from = to;
    }
    nearest
}

fn distance_to_segment(point: Vec2, from: Vec2, to: Vec2) -> f32 {
    let along = to - from;
    let length_squared = along.length_squared();
    if length_squared <= f32::EPSILON {
        return point.distance(from);
    }
    let t = ((point - from).dot(along) / length_squared).clamp(0.0, 1.0);
    point.distance(from + along * t)
}
