//! The document becomes entities.

use super::super::canvas::instance::Area;
use super::cards::{NodeCard, card_of};
use super::{
    CanvasDirty, EntityIndex, FrameCard, FrameKey, LinkEnds, LinkFrom, LinkKey, LinkTo, NodeBox,
    NodeEditing, NodeFit, NodeKey, NodeRun, NodeSource,
};
use crate::app::document::Document;
use crate::project::{DataType, Frame, FrameId, Link, LinkId, NodeId, Project, Touched};
use bevy::platform::collections::HashMap;
use bevy::prelude::*;
use std::collections::BTreeSet;

/// What the entities show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projected {
    generation: u64,
    revision: u64,
}

/// What may differ from the entities.
#[derive(Debug, Default)]
struct Stale {
    nodes: BTreeSet<NodeId>,
    links: BTreeSet<LinkId>,
    frames: BTreeSet<FrameId>,
}

impl Stale {
    /// What these changes touched.
    fn touched(project: &Project, changes: &[&Touched]) -> Self {
        let mut stale = Self::default();
        for touched in changes {
            stale.nodes.extend(&touched.nodes);
            stale.links.extend(&touched.links);
            stale.frames.extend(&touched.frames);
        }
        // A link has the colour of the output it leaves.
        for &node in &stale.nodes {
            let outgoing = project.links.out_of_node(node).map(|link| link.id);
            stale.links.extend(outgoing);
        }
        stale
    }

    /// Everything there is and was.
    fn all(project: &Project, index: &EntityIndex) -> Self {
        Self {
            nodes: project
                .nodes
                .keys()
                .chain(index.nodes.keys())
                .copied()
                .collect(),
            links: project
                .links
                .values()
                .map(|link| link.id)
                .chain(index.links.keys().copied())
                .collect(),
            frames: project
                .frames
                .keys()
                .chain(index.frames.keys())
                .copied()
                .collect(),
        }
    }
}

/// Spawns, changes and despawns entities until they show the document. Looks only at what was touched since it last did;
/// at everything after another document was opened.
pub fn project_document(
    mut commands: Commands,
    document: Res<Document>,
    index: Res<EntityIndex>,
    mut projected: Local<Option<Projected>>,
    mut nodes: Query<(&mut NodeSource, &mut NodeCard)>,
    mut links: Query<(&mut LinkEnds, &LinkFrom, &LinkTo)>,
    mut frames: Query<&mut FrameCard>,
    mut dirty: ResMut<CanvasDirty>,
) {
    let now = Projected {
        generation: document.generation(),
        revision: document.revision(),
    };
    let before = projected.replace(now);
    if before == Some(now) {
        return;
    }
    dirty.0 = true;
    let project = document.project();
    let stale = before
        .filter(|before| before.generation == now.generation)
        .and_then(|before| document.touched_since(before.revision))
        .map_or_else(
            || Stale::all(project, &index),
            |changes| Stale::touched(project, &changes),
        );

    let mut fresh = HashMap::<NodeId, Entity>::default();
    for node_id in &stale.nodes {
        let entity = index.nodes.get(node_id).copied();
        let Some(node) = project.nodes.get(node_id) else {
            if let Some(entity) = entity {
                commands.entity(entity).try_despawn();
            }
            continue;
        };
        if let Some((mut source, mut card)) = entity.and_then(|entity| nodes.get_mut(entity).ok()) {
            if source.0 != *node {
                card.set_if_neq(card_of(node));
                source.0.clone_from(node);
            }
            continue;
        }
        let entity = commands
            .spawn((
                NodeKey(node.id),
                NodeSource(node.clone()),
                card_of(node),
                NodeRun::default(),
                NodeBox::default(),
                NodeFit::default(),
                NodeEditing::default(),
            ))
            .id();
        fresh.insert(node.id, entity);
    }
    let entity_of = |node_id: NodeId| {
        fresh
            .get(&node_id)
            .or_else(|| index.nodes.get(&node_id))
            .copied()
    };

    for link_id in &stale.links {
        let entity = index.links.get(link_id).copied();
        let Some(link) = project.links.get(*link_id) else {
            if let Some(entity) = entity {
                commands.entity(entity).try_despawn();
            }
            continue;
        };
        let Some((from, to)) = entity_of(link.from.node).zip(entity_of(link.to.node)) else {
            continue;
        };
        let ends = ends_of(project, link);
        if let Some((mut there, there_from, there_to)) =
            entity.and_then(|entity| links.get_mut(entity).ok())
            && (there_from.0, there_to.0) == (from, to)
        {
            there.set_if_neq(ends);
            continue;
        }
        if let Some(entity) = entity {
            commands.entity(entity).try_despawn();
        }
        commands.spawn((LinkKey(link.id), ends, LinkFrom(from), LinkTo(to)));
    }

    for frame_id in &stale.frames {
        let entity = index.frames.get(frame_id).copied();
        let Some(frame) = project.frames.get(frame_id) else {
            if let Some(entity) = entity {
                commands.entity(entity).try_despawn();
            }
            continue;
        };
        let card = frame_card(frame);
        if let Some(mut there) = entity.and_then(|entity| frames.get_mut(entity).ok()) {
            if there.saved != card.saved || there.title != card.title {
                *there = card;
            }
        } else {
            commands.spawn((FrameKey(frame.id), card));
        }
    }
}

fn ends_of(project: &Project, link: &Link) -> LinkEnds {
    LinkEnds {
        from: link.from,
        to: link.to,
        data_type: project
            .output(link.from)
            .map_or(DataType::Any, |port| port.data_type),
    }
}

fn frame_card(frame: &Frame) -> FrameCard {
    let saved = Area::at(Vec2::from(frame.pos_world), Vec2::from(frame.size_world));
    FrameCard {
        title: frame.title.clone(),
        area: saved,
        saved,
    }
}
