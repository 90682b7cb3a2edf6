//! The run that is shown becomes components: how each node stands, its items, and the backends.

use super::super::canvas::layout::PICTURES_MAX;
use super::super::previews::{ArtifactFiles, PictureKey, PictureSource};
use super::{BackendKey, CanvasDirty, EntityIndex, NodeKey, NodePicture, NodeRun, NodeState};
use crate::app::bridge::{Backends, Live, RunEventMessage, RunViews};
use crate::artifacts::{Artifact, ContentHash};
use crate::engine::fold::{NodeView, RunView};
use crate::engine::{ItemId, ItemState, RunEvent, RunEventBody, RunId};
use crate::fleet::BackendStatus;
use crate::project::{BackendId, NodeId, PortId, Project};
use bevy::platform::collections::HashMap;
use bevy::prelude::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Endings of written files that are shown as pictures.
const WRITTEN_PICTURES: [&str; 5] = ["png", "jpg", "jpeg", "webp", "gif"];

/// The item an entity stands for.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[component(immutable)]
pub struct ItemKey(pub ItemId);

/// How an item stands.
#[derive(Component, Clone, Debug, PartialEq, Eq)]
pub struct ItemCard {
    /// Where it is.
    pub state: ItemState,
    /// The backend of its latest attempt.
    pub backend_id: Option<BackendId>,
    /// Its labels in one line.
    pub label: Box<str>,
}

/// The node of an item.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
#[relationship(relationship_target = NodeItems)]
pub struct ItemOf(pub Entity);

/// The items of a node.
#[derive(Component, Clone, Debug, Default)]
#[relationship_target(relationship = ItemOf, linked_spawn)]
pub struct NodeItems(Vec<Entity>);

/// How a backend stands.
#[derive(Component, Clone, Debug, PartialEq)]
pub struct BackendStanding(pub BackendStatus);

/// Items as entities, found by id.
#[derive(Resource, Debug, Default)]
pub struct ItemIndex {
    /// The run whose items they are.
    pub run: Option<RunId>,
    /// The entities.
    pub items: HashMap<ItemId, Entity>,
}

/// How many items left by each output of each run's nodes.
#[derive(Resource, Debug, Default)]
pub struct PortCounts {
    run: Option<RunId>,
    counts: HashMap<PortId, u32>,
}

/// Numbers live previews, so that a new picture has a new key.
#[derive(Debug, Default)]
pub struct LiveNumbers(HashMap<NodeId, (u64, Bytes)>);

impl LiveNumbers {
    fn number(&mut self, node: NodeId, picture: &Bytes) -> u64 {
        let (number, last) = self.0.entry(node).or_insert_with(|| (0, picture.clone()));
        // Shared bytes: the same picture is the same allocation.
        if last.as_ptr() != picture.as_ptr() || last.len() != picture.len() {
            *number += 1;
            *last = picture.clone();
        }
        *number
    }
}

/// Puts the shown run onto the nodes. Does nothing while neither run nor progress changed.
pub fn project_run(
    runs: Res<RunViews>,
    live: Res<Live>,
    backends: Res<Backends>,
    files: Option<Res<ArtifactFiles>>,
    ports: Res<PortCounts>,
    mut nodes: Query<(&NodeKey, &mut NodeRun)>,
    fresh: Query<(), Added<NodeKey>>,
    mut seen: Local<Option<(u64, u64, Option<RunId>)>>,
    mut numbers: Local<LiveNumbers>,
) {
    let now = (runs.revision, live.revision, runs.shown);
    if *seen == Some(now) && fresh.is_empty() {
        return;
    }
    *seen = Some(now);
    let Some(view) = runs.shown_view() else {
        for (_, mut run) in &mut nodes {
            run.set_if_neq(NodeRun::default());
        }
        return;
    };
    let mut progress = HashMap::<NodeId, f32>::default();
    for latest in live.progress.values() {
        if view.run_id == Some(latest.run_id) {
            *progress.entry(latest.node_id).or_default() += latest.fraction.clamp(0.0, 1.0);
        }
    }
    for (key, mut run) in &mut nodes {
        let Some(node) = view.nodes.get(&key.0) else {
            run.set_if_neq(NodeRun::default());
            continue;
        };
        let activity = live
            .latest_item
            .get(&key.0)
            .and_then(|item| live.progress.get(item))
            .map(|progress| progress.activity.as_str());
        let preview = live
            .previews
            .get(&key.0)
            .filter(|preview| view.run_id == Some(preview.run_id))
            .map(|preview| {
                (
                    numbers.number(key.0, &preview.picture),
                    preview.picture.clone(),
                )
            });
        let next = node_run(
            key.0,
            node,
            &NodeNow {
                progress: progress.get(&key.0).copied().unwrap_or_default(),
                activity,
                preview,
                place: place(node, &backends),
                port_counts: ports.of(view),
            },
            &|artifact| files.as_ref().map(|files| (files.0)(artifact)),
        );
        run.set_if_neq(next);
    }
}

/// How every node stands in a run that is looked at from outside of a window.
#[must_use]
pub fn runs_of(
    project: &Project,
    view: &RunView,
    file: &dyn Fn(&Artifact) -> Option<PathBuf>,
) -> BTreeMap<NodeId, NodeRun> {
    project
        .nodes
        .keys()
        .filter_map(|node_id| {
            let node = view.nodes.get(node_id)?;
            Some((
                *node_id,
                node_run(*node_id, node, &NodeNow::default(), file),
            ))
        })
        .collect()
}

/// What is true of a node only now.
#[derive(Default)]
struct NodeNow<'a> {
    progress: f32,
    activity: Option<&'a str>,
    preview: Option<(u64, Bytes)>,
    place: String,
    port_counts: Vec<(PortId, u32)>,
}

/// Where live attempts of a node are: a name, or how many backends.
fn place(node: &NodeView, backends: &Backends) -> String {
    match node.backends.len() {
        0 => String::new(),
        1 => node
            .backends
            .keys()
            .next()
            .map(|&backend| backends.name_of(backend))
            .unwrap_or_default(),
        count => format!("{count} backends"),
    }
}

/// How a node stands in its run.
fn node_run(
    node_id: NodeId,
    node: &NodeView,
    now: &NodeNow<'_>,
    file: &dyn Fn(&Artifact) -> Option<PathBuf>,
) -> NodeRun {
    let count = |state| node.counts.get(state);
    let state = state_of(node);
    let total = node.counts.total() - count(ItemState::Skipped);
    let done = count(ItemState::Done);
    let failed = count(ItemState::Failed);
    let finished = node.counts.ended() - count(ItemState::Skipped);
    let fraction = if total == 0 {
        None
    } else {
        Some(((finished as f32 + now.progress) / total as f32).min(1.0))
    };
    let failure = node.recent_failures.back().map(|(_, failure)| failure);
    let activity = match state {
        NodeState::Running => now.activity.unwrap_or_default().to_owned(),
        NodeState::Failed => failure.map_or_else(String::new, |failure| {
            format!("{failed} failed: {}", failure.message)
        }),
        NodeState::Blocked | NodeState::Skipped | NodeState::Cancelled => {
            node.last_reason.clone().unwrap_or_default()
        }
        NodeState::Done => node.last_notice.clone().unwrap_or_default(),
        NodeState::Asks => match count(ItemState::Parked) + count(ItemState::Asking) {
            1 => "1 item waits for you".to_owned(),
            parked => format!("{parked} items wait for you"),
        },
        NodeState::Idle | NodeState::Waiting => String::new(),
    };
    let mut pictures = Vec::new();
    if state == NodeState::Running
        && let Some((number, bytes)) = &now.preview
    {
        pictures.push(NodePicture {
            key: PictureKey::Live(node_id, *number),
            source: PictureSource::Bytes(bytes.clone()),
            aspect: None,
        });
    }
    let is_live = !pictures.is_empty();
    for artifact in node.recent_artifacts.iter().rev() {
        if pictures.len() == PICTURES_MAX {
            break;
        }
        let Some(path) = artifact
            .data_type
            .is_media()
            .then(|| file(artifact))
            .flatten()
        else {
            continue;
        };
        let aspect = artifact
            .measures
            .width_px
            .zip(artifact.measures.height_px)
            .map(|(width, height)| width as f32 / height.max(1) as f32);
        pictures.push(NodePicture {
            key: PictureKey::File(artifact.hash),
            source: PictureSource::File(path),
            aspect,
        });
    }
    let written = if pictures.is_empty() {
        written_pictures(node)
    } else {
        Vec::new()
    };
    let has_written = !written.is_empty();
    pictures.extend(written);
    if is_live {
        // A live preview takes the proportions of what the node made before, so that the node keeps its size.
        let known = pictures.iter().find_map(|picture| picture.aspect);
        if let Some(first) = pictures.first_mut() {
            first.aspect = known;
        }
    }
    let kept = if has_written {
        node.recent_files.len() as u32
    } else {
        node.recent_artifacts.len() as u32
    };
    // The fold keeps the latest artifacts only; with more items than these, the items count.
    let picture_count = if kept as usize >= crate::engine::fold::RECENT_ARTIFACTS {
        kept.max(if has_written {
            node.files_written
        } else {
            done
        })
    } else {
        kept
    } + u32::from(is_live);
    NodeRun {
        state,
        done,
        total,
        failed,
        fraction,
        activity,
        place: now.place.clone(),
        picture_count: if pictures.is_empty() {
            0
        } else {
            picture_count
        },
        pictures,
        port_counts: now.port_counts.clone(),
    }
}

/// The pictures that a node wrote, the newest first.
fn written_pictures(node: &NodeView) -> Vec<NodePicture> {
    let paths = node.recent_files.iter().rev().map(PathBuf::from);
    paths
        .filter(|path| {
            path.extension().is_some_and(|extension| {
                WRITTEN_PICTURES
                    .iter()
                    .any(|known| extension.eq_ignore_ascii_case(known))
            })
        })
        .take(PICTURES_MAX)
        .map(|path| NodePicture {
            key: PictureKey::Written(ContentHash::of(path.as_os_str().as_encoded_bytes())),
            source: PictureSource::File(path),
            aspect: None,
        })
        .collect()
}

/// What all items of a node together say. Unfinished business comes first.
fn state_of(node: &NodeView) -> NodeState {
    let any = |state| node.counts.get(state) > 0;
    if any(ItemState::Running) {
        NodeState::Running
    } else if any(ItemState::Parked) || any(ItemState::Asking) {
        NodeState::Asks
    } else if any(ItemState::Ready) || any(ItemState::Submitted) || any(ItemState::Waiting) {
        NodeState::Waiting
    } else if any(ItemState::Failed) {
        NodeState::Failed
    } else if any(ItemState::Blocked) {
        NodeState::Blocked
    } else if any(ItemState::Cancelled) {
        NodeState::Cancelled
    } else if any(ItemState::Done) {
        NodeState::Done
    } else if any(ItemState::Skipped) {
        NodeState::Skipped
    } else {
        NodeState::Idle
    }
}

impl PortCounts {
    fn of(&self, view: &RunView) -> Vec<(PortId, u32)> {
        if self.run != view.run_id {
            return Vec::new();
        }
        self.counts
            .iter()
            .map(|(&port, &count)| (port, count))
            .collect()
    }
}

/// Counts what left by each output, from the events of the shown run.
pub fn count_ports(
    runs: Res<RunViews>,
    mut events: MessageReader<RunEventMessage>,
    mut ports: ResMut<PortCounts>,
) {
    if ports.run != runs.shown {
        ports.run = runs.shown;
        ports.counts.clear();
    }
    for RunEventMessage(event) in events.read() {
        if Some(event.run_id) == ports.run
            && let RunEventBody::ItemDone { outputs, .. } = &event.body
        {
            for port in outputs.keys() {
                *ports.counts.entry(*port).or_default() += 1;
            }
        }
    }
}

/// Keeps an entity per item of the shown run, from its events; all anew when another run is shown.
pub fn project_items(
    mut commands: Commands,
    runs: Res<RunViews>,
    index: Res<EntityIndex>,
    mut items: ResMut<ItemIndex>,
    mut events: MessageReader<RunEventMessage>,
    mut cards: Query<&mut ItemCard>,
) {
    let Some(view) = runs.shown_view() else {
        events.clear();
        return;
    };
    let items = &mut *items;
    let mut put = |item_id: ItemId, items: &mut HashMap<ItemId, Entity>| {
        let Some(item) = view.items.get(&item_id) else {
            return;
        };
        let card = ItemCard {
            state: item.state,
            backend_id: item.backend_id,
            label: item.label.clone(),
        };
        if let Some(&entity) = items.get(&item_id) {
            match cards.get_mut(entity) {
                Ok(mut there) => {
                    there.set_if_neq(card);
                }
                // Spawned in this frame, or gone with its node.
                Err(_) => {
                    commands.entity(entity).try_insert(card);
                }
            }
        } else if let Some(&node) = index.nodes.get(&item.node_id) {
            let entity = commands.spawn((ItemKey(item_id), card, ItemOf(node))).id();
            items.insert(item_id, entity);
        }
    };
    if items.run != runs.shown {
        items.run = runs.shown;
        let gone: Vec<Entity> = items.items.drain().map(|(_, entity)| entity).collect();
        for &item_id in view.items.keys() {
            put(item_id, &mut items.items);
        }
        for entity in gone {
            commands.entity(entity).try_despawn();
        }
        events.clear();
        return;
    }
    for RunEventMessage(event) in events.read() {
        if Some(event.run_id) == items.run
            && let Some(item_id) = item_of(event)
        {
            put(item_id, &mut items.items);
        }
    }
}

/// The item an event is about, where it names one.
fn item_of(event: &RunEvent) -> Option<ItemId> {
    match &event.body {
        RunEventBody::ItemCreated { item_id, .. }
        | RunEventBody::ItemStateChanged { item_id, .. }
        | RunEventBody::AttemptPlaced { item_id, .. }
        | RunEventBody::ItemDone { item_id, .. }
        | RunEventBody::ItemFailed { item_id, .. }
        | RunEventBody::FilesWritten { item_id, .. } => Some(*item_id),
        _ => None,
    }
}

/// Keeps an entity per backend.
pub fn project_backends(
    mut commands: Commands,
    backends: Res<Backends>,
    index: Res<EntityIndex>,
    mut standings: Query<&mut BackendStanding>,
    mut dirty: ResMut<CanvasDirty>,
) {
    if !backends.is_changed() {
        return;
    }
    for (&backend_id, card) in &backends.cards {
        let standing = BackendStanding(card.status.clone());
        let entity = index.backends.get(&backend_id).copied();
        if let Some(mut there) = entity.and_then(|entity| standings.get_mut(entity).ok()) {
            there.set_if_neq(standing);
        } else {
            commands.spawn((BackendKey(backend_id), standing));
            dirty.0 = true;
        }
    }
    for (backend_id, &entity) in &index.backends {
        if !backends.cards.contains_key(backend_id) {
            commands.entity(entity).try_despawn();
        }
    }
}
