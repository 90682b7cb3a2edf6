//! The document becomes entities.

use super::super::canvas::instance::Area;
use super::cards::{NodeCard, card_of};
use super::{
    CanvasDirty, EntityIndex, FrameCard, FrameKey, LinkEnds, LinkFrom, LinkKey, LinkTo, NodeBox,
    NodeKey, NodeRun, NodeSource,
};
use crate::app::document::Document;
use crate::project::{DataType, Frame, Link, NodeId, Project};
use bevy::platform::collections::HashMap;
use bevy::prelude::*;

/// What the entities show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projected {
    generation: u64,
    revision: u64,
}

/// Spawns, changes and despawns entities until they show the document. Does nothing while it has not changed.
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
    if *projected == Some(now) {
        return;
    }
    *projected = Some(now);
    dirty.0 = true;
    let project = document.project();

    let mut fresh = HashMap::<NodeId, Entity>::default();
    for node in project.nodes.values() {
        let entity = index.nodes.get(&node.id).copied();
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

    for link in project.links.values() {
        let Some((from, to)) = entity_of(link.from.node).zip(entity_of(link.to.node)) else {
            continue;
        };
        let ends = ends_of(project, link);
        let entity = index.links.get(&link.id).copied();
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

    for frame in project.frames.values() {
        let card = frame_card(frame);
        let entity = index.frames.get(&frame.id).copied();
        if let Some(mut there) = entity.and_then(|entity| frames.get_mut(entity).ok()) {
            there.set_if_neq(card);
        } else {
            commands.spawn((FrameKey(frame.id), card));
        }
    }

    for (link_id, &entity) in &index.links {
        if !project.links.contains(*link_id) {
            commands.entity(entity).try_despawn();
        }
    }
    for (node_id, &entity) in &index.nodes {
        if !project.nodes.contains_key(node_id) {
            commands.entity(entity).try_despawn();
        }
    }
    for (frame_id, &entity) in &index.frames {
        if !project.frames.contains_key(frame_id) {
            commands.entity(entity).try_despawn();
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
    FrameCard {
        title: frame.title.clone(),
        area: Area::at(Vec2::from(frame.pos_world), Vec2::from(frame.size_world)),
    }
}
