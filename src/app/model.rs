//! Nodes, links, frames, backends and items as entities.
//!
//! The Document and the events of the engine are the truth; these entities are their projection, written only by the
//! systems of this module. Ids are immutable components, [`EntityIndex`] finds the entity of an id. The canvas draws from
//! the components and knows nothing of the engine.

mod cards;
mod editing;
mod fit;
mod places;
mod projection;
mod runs;

pub use cards::{NodeCard, ParameterLine, card_of};
pub use editing::NodeEditing;
pub use fit::NodeFit;
pub use places::{Places, grow_frames, update_places};
pub use projection::project_document;
pub use runs::{
    BackendStanding, ItemCard, ItemIndex, ItemKey, ItemOf, NodeItems, PortCounts, runs_of,
};

use super::bridge::{Backends, RunViews};
use super::canvas::instance::Area;
use super::canvas::layout::NodeLayout;
use super::document::Document;
use super::previews::{PictureKey, PictureSource};
use crate::project::{BackendId, DataType, FrameId, LinkId, Node, NodeId, PortRef};
use bevy::platform::collections::HashMap;
use bevy::prelude::*;

/// Order of the canvas's work in `Update`. Actions are applied before.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CanvasSystems {
    /// Document and events become components.
    Project,
    /// Components get their places.
    Place,
    /// Pointer and keys become hover, gestures and actions.
    Interact,
    /// What is seen becomes instances.
    Paint,
}

/// The node an entity stands for.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[component(immutable)]
pub struct NodeKey(pub NodeId);

/// The link an entity stands for.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[component(immutable)]
pub struct LinkKey(pub LinkId);

/// The frame an entity stands for.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[component(immutable)]
pub struct FrameKey(pub FrameId);

/// The backend an entity stands for.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[component(immutable)]
pub struct BackendKey(pub BackendId);

/// The node as the document has it.
#[derive(Component, Clone, Debug, PartialEq)]
pub struct NodeSource(pub Node);

/// How the node stands in the run that is shown.
#[derive(Component, Clone, Debug, Default, PartialEq)]
pub struct NodeRun {
    /// What all of its items together say.
    pub state: NodeState,
    /// Items that are done.
    pub done: u32,
    /// Items in all, so far.
    pub total: u32,
    /// Items that failed for good.
    pub failed: u32,
    /// Finished part of all items, 0 to 1; none when nothing runs or ran.
    pub fraction: Option<f32>,
    /// What it is doing.
    pub activity: String,
    /// Where it is doing it.
    pub place: String,
    /// What it made, newest last; a live preview comes last.
    pub pictures: Vec<NodePicture>,
    /// How many pictures there are in all.
    pub picture_count: u32,
    /// Items that left by each output, for nodes that divide.
    pub port_counts: Vec<(crate::project::PortId, u32)>,
}

/// A picture on a node.
#[derive(Clone, Debug)]
pub struct NodePicture {
    /// What identifies it.
    pub key: PictureKey,
    /// Where its bytes are.
    pub source: PictureSource,
    /// Width divided by height, where it is known before it is decoded.
    pub aspect: Option<f32>,
}

impl PartialEq for NodePicture {
    /// The key says everything: files are named by their content, live previews are numbered.
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// What all items of a node together say. The worst unfinished business wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Not part of a run.
    #[default]
    Idle,
    /// Items wait for a backend.
    Waiting,
    /// At least one item runs.
    Running,
    /// Items wait for a person.
    Asks,
    /// Every item is done.
    Done,
    /// Nothing runs any more and some items failed.
    Failed,
    /// Something upstream failed.
    Blocked,
    /// A condition sent everything elsewhere.
    Skipped,
    /// A person called it off.
    Cancelled,
}

/// Where a node lies, with the places of its parts.
#[derive(Component, Clone, Debug, Default, PartialEq)]
pub struct NodeBox {
    /// The whole node in canvas units.
    pub area: Area,
    /// Its parts, relative to its top left corner.
    pub layout: NodeLayout,
    /// Nodes with a larger number lie above.
    pub order: u64,
}

impl NodeBox {
    /// Where a port lies in canvas units.
    #[must_use]
    pub fn port_world(&self, port: crate::project::PortId) -> Option<Vec2> {
        self.layout
            .port(port)
            .map(|spot| self.area.min + spot.center)
    }
}

/// The two ends of a link.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEnds {
    /// The output.
    pub from: PortRef,
    /// The input.
    pub to: PortRef,
    /// What the output gives.
    pub data_type: DataType,
}

/// Where a link lies in canvas units; not present while one of its ports is unknown.
#[derive(Component, Clone, Copy, Debug, PartialEq)]
pub struct LinkCurve {
    /// At the output.
    pub start: Vec2,
    /// At the input.
    pub end: Vec2,
}

/// The node a link leaves.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[relationship(relationship_target = OutgoingLinks)]
pub struct LinkFrom(pub Entity);

/// The node a link enters.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[relationship(relationship_target = IncomingLinks)]
pub struct LinkTo(pub Entity);

/// The links that leave a node.
#[derive(Component, Clone, Debug, Default)]
#[relationship_target(relationship = LinkFrom, linked_spawn)]
pub struct OutgoingLinks(Vec<Entity>);

/// The links that enter a node.
#[derive(Component, Clone, Debug, Default)]
#[relationship_target(relationship = LinkTo, linked_spawn)]
pub struct IncomingLinks(Vec<Entity>);

impl OutgoingLinks {
    /// The link entities.
    pub fn iter(&self) -> impl Iterator<Item = Entity> {
        self.0.iter().copied()
    }
}

impl IncomingLinks {
    /// The link entities.
    pub fn iter(&self) -> impl Iterator<Item = Entity> {
        self.0.iter().copied()
    }
}

/// A frame as the canvas shows it.
#[derive(Component, Clone, Debug, PartialEq)]
pub struct FrameCard {
    /// The name in its corner.
    pub title: String,
    /// Where it lies in canvas units: as saved, and as much larger as the nodes in it have grown.
    pub area: Area,
    /// Where it lies as saved.
    pub saved: Area,
}

impl FrameCard {
    /// The strip at the top that holds the title: a handle to move the frame. As high on screen when the canvas is small.
    #[must_use]
    pub fn title_strip(&self, zoom: f32) -> Area {
        let size = self.area.size();
        let height = (frame_title_size(zoom) + 12.0).min(size.y);
        Area::at(self.area.min, Vec2::new(size.x, height))
    }
}

/// Size of a frame's title in canvas units at a zoom: it stays readable longer than the titles of nodes, because it names a
/// region.
#[must_use]
pub fn frame_title_size(zoom: f32) -> f32 {
    (11.5_f32).max(10.0 / zoom.max(0.02)).min(60.0)
}

/// Space between a frame and the nodes in it, canvas units.
pub const FRAME_PADDING: f32 = 16.0;
/// Room for a frame's title above the nodes in it, canvas units.
pub const FRAME_TITLE: f32 = 16.0;

/// Finds the entity of an id. Kept in step by observers on the immutable id components.
#[derive(Resource, Debug, Default)]
pub struct EntityIndex {
    /// Nodes.
    pub nodes: HashMap<NodeId, Entity>,
    /// Links.
    pub links: HashMap<LinkId, Entity>,
    /// Frames.
    pub frames: HashMap<FrameId, Entity>,
    /// Backends.
    pub backends: HashMap<BackendId, Entity>,
}

/// Whether something on the canvas changed since it was last painted.
#[derive(Resource, Debug, Default)]
pub struct CanvasDirty(pub bool);

/// Keeps the entities in step with the [`Document`].
#[derive(Debug)]
pub struct ModelPlugin;

impl Plugin for ModelPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<EntityIndex>()
            .init_resource::<CanvasDirty>()
            .init_resource::<Places>()
            .init_resource::<ItemIndex>()
            .init_resource::<PortCounts>()
            .add_observer(
                |event: On<Insert, NodeKey>,
                 keys: Query<&NodeKey>,
                 mut index: ResMut<EntityIndex>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.nodes.insert(key.0, event.entity);
                    }
                },
            )
            .add_observer(
                |event: On<Discard, NodeKey>,
                 keys: Query<&NodeKey>,
                 mut index: ResMut<EntityIndex>,
                 mut places: ResMut<Places>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.nodes.remove(&key.0);
                        places.nodes.remove(event.entity);
                    }
                },
            )
            .add_observer(
                |event: On<Insert, LinkKey>,
                 keys: Query<&LinkKey>,
                 mut index: ResMut<EntityIndex>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.links.insert(key.0, event.entity);
                    }
                },
            )
            .add_observer(
                |event: On<Discard, LinkKey>,
                 keys: Query<&LinkKey>,
                 mut index: ResMut<EntityIndex>,
                 mut places: ResMut<Places>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.links.remove(&key.0);
                        places.links.remove(event.entity);
                    }
                },
            )
            .add_observer(
                |event: On<Insert, FrameKey>,
                 keys: Query<&FrameKey>,
                 mut index: ResMut<EntityIndex>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.frames.insert(key.0, event.entity);
                    }
                },
            )
            .add_observer(
                |event: On<Discard, FrameKey>,
                 keys: Query<&FrameKey>,
                 mut index: ResMut<EntityIndex>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.frames.remove(&key.0);
                    }
                },
            )
            .add_observer(
                |event: On<Insert, BackendKey>,
                 keys: Query<&BackendKey>,
                 mut index: ResMut<EntityIndex>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.backends.insert(key.0, event.entity);
                    }
                },
            )
            .add_observer(
                |event: On<Discard, BackendKey>,
                 keys: Query<&BackendKey>,
                 mut index: ResMut<EntityIndex>| {
                    if let Ok(key) = keys.get(event.entity) {
                        index.backends.remove(&key.0);
                    }
                },
            )
            .configure_sets(
                Update,
                (
                    CanvasSystems::Project,
                    CanvasSystems::Place,
                    CanvasSystems::Interact,
                    CanvasSystems::Paint,
                )
                    .chain(),
            )
            .add_systems(
                Update,
                (
                    project_document
                        .in_set(CanvasSystems::Project)
                        .run_if(resource_exists::<Document>),
                    (
                        (runs::count_ports, runs::project_run).chain(),
                        runs::project_items,
                    )
                        .run_if(resource_exists::<RunViews>)
                        .after(project_document)
                        .in_set(CanvasSystems::Project),
                    fit::project_fit
                        .run_if(resource_exists::<Document>)
                        .after(project_document)
                        .in_set(CanvasSystems::Project),
                    editing::project_editing
                        .after(project_document)
                        .in_set(CanvasSystems::Project),
                    runs::project_backends
                        .run_if(resource_exists::<Backends>)
                        .in_set(CanvasSystems::Project),
                    (update_places, grow_frames)
                        .chain()
                        .in_set(CanvasSystems::Place),
                ),
            );
    }
}
