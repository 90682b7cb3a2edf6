//! Entities get their places: layout of nodes, curves of links, and the indexes for culling and picking.

use super::super::canvas::instance::{Area, link_bounds};
use super::super::canvas::layout::{LayoutInput, PICTURES_MAX, layout};
use super::super::canvas::spatial::SpatialIndex;
use super::super::previews::{PictureState, Pictures};
use super::cards::NodeCard;
use super::{
    CanvasDirty, FRAME_PADDING, FrameCard, IncomingLinks, LinkCurve, LinkEnds, LinkFrom, LinkTo,
    NodeBox, NodePicture, NodeRun, NodeSource, OutgoingLinks,
};
use bevy::prelude::*;

/// Which nodes and links lie where.
#[derive(Resource, Debug, Default)]
pub struct Places {
    /// Nodes.
    pub nodes: SpatialIndex<Entity>,
    /// Links, by the hull of their control points.
    pub links: SpatialIndex<Entity>,
    next_order: u64,
}

/// Lays out what changed and moves its links along.
pub fn update_places(
    mut places: ResMut<Places>,
    mut dirty: ResMut<CanvasDirty>,
    pictures: Option<Res<Pictures>>,
    mut nodes: Query<(
        Entity,
        Ref<NodeSource>,
        Ref<NodeCard>,
        Ref<NodeRun>,
        &mut NodeBox,
    )>,
    touched: Query<(Option<&OutgoingLinks>, Option<&IncomingLinks>)>,
    changed_links: Query<Entity, Changed<LinkEnds>>,
    mut links: Query<(&LinkEnds, &LinkFrom, &LinkTo, Option<&mut LinkCurve>)>,
    mut commands: Commands,
    mut stale: Local<Vec<Entity>>,
    mut pictures_seen: Local<u64>,
) {
    stale.clear();
    stale.extend(&changed_links);
    let revision = pictures.as_ref().map_or(0, |pictures| pictures.revision);
    let has_new_pictures = *pictures_seen != revision;
    *pictures_seen = revision;
    for (entity, source, card, run, mut node_box) in &mut nodes {
        // A picture whose proportions were unknown may have them now.
        let may_have_aspect =
            has_new_pictures && run.pictures.iter().any(|picture| picture.aspect.is_none());
        if !(source.is_changed() || card.is_changed() || run.is_changed() || may_have_aspect) {
            continue;
        }
        dirty.0 = true;
        let (aspects, shown) = aspects(&run.pictures, pictures.as_deref());
        let node_layout = layout(&LayoutInput {
            kind: card.kind,
            width: source.0.width_world,
            has_subtitle: !card.subtitle.is_empty() || !run.activity.is_empty(),
            parameters: card.parameters.len(),
            picture_aspects: &aspects[..shown],
            picture_count: run.picture_count.max(shown as u32),
            inputs: &card.inputs,
            outputs: &card.outputs,
        });
        let order = if node_box.order == 0 {
            places.next_order += 1;
            places.next_order
        } else {
            node_box.order
        };
        let next = NodeBox {
            area: Area::at(Vec2::from(source.0.pos_world), node_layout.size),
            layout: node_layout,
            order,
        };
        if *node_box == next {
            continue;
        }
        places.nodes.insert(entity, next.area);
        *node_box = next;
        if let Ok((outgoing, incoming)) = touched.get(entity) {
            stale.extend(outgoing.into_iter().flat_map(OutgoingLinks::iter));
            stale.extend(incoming.into_iter().flat_map(IncomingLinks::iter));
        }
    }
    stale.sort_unstable();
    stale.dedup();
    for &entity in &*stale {
        let Ok((ends, from, to, curve)) = links.get_mut(entity) else {
            continue;
        };
        let port = |node: Entity, port| nodes.get(node).ok()?.4.port_world(port);
        let next = port(from.0, ends.from.port).zip(port(to.0, ends.to.port));
        dirty.0 = true;
        match (next, curve) {
            (Some((start, end)), Some(mut curve)) => {
                curve.set_if_neq(LinkCurve { start, end });
                places.links.insert(entity, link_bounds(start, end));
            }
            (Some((start, end)), None) => {
                commands.entity(entity).try_insert(LinkCurve { start, end });
                places.links.insert(entity, link_bounds(start, end));
            }
            (None, _) => {
                commands.entity(entity).try_remove::<LinkCurve>();
                places.links.remove(entity);
            }
        }
    }
}

/// Makes frames as much larger than they are saved as the nodes in them have grown.
pub fn grow_frames(
    places: Res<Places>,
    mut dirty: ResMut<CanvasDirty>,
    moved: Query<(), Changed<NodeBox>>,
    boxes: Query<&NodeBox>,
    mut frames: Query<&mut FrameCard>,
    mut found: Local<Vec<Entity>>,
    mut node_count: Local<usize>,
) {
    let has_fewer = places.nodes.len() != *node_count;
    *node_count = places.nodes.len();
    let have_moved = has_fewer || !moved.is_empty();
    for mut card in &mut frames {
        if !have_moved && !card.is_changed() {
            continue;
        }
        places.nodes.query(card.saved, &mut found);
        // The top edge decides, as in the document; nodes grow downwards.
        let bottom = found
            .iter()
            .filter_map(|entity| boxes.get(*entity).ok())
            .map(|node_box| node_box.area)
            .filter(|area| {
                let end = Vec2::new(area.max.x, area.min.y);
                card.saved.contains(area.min) && card.saved.contains(end)
            })
            .map(|area| area.max.y + FRAME_PADDING)
            .fold(card.saved.max.y, f32::max);
        let mut area = card.saved;
        area.max.y = bottom;
        if card.area != area {
            card.area = area;
            dirty.0 = true;
        }
    }
}

/// Width by height of the pictures that are shown, and how many.
fn aspects(shown: &[NodePicture], pictures: Option<&Pictures>) -> ([f32; PICTURES_MAX], usize) {
    let mut aspects = [1.0; PICTURES_MAX];
    let count = shown.len().min(PICTURES_MAX);
    for (aspect, picture) in aspects.iter_mut().zip(shown) {
        *aspect = picture
            .aspect
            .or_else(|| match pictures?.state(picture.key)? {
                PictureState::Ready { aspect, .. } => Some(aspect),
                _ => None,
            })
            .unwrap_or(1.0);
    }
    (aspects, count)
}
