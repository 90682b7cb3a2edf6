//! What is seen becomes instances: background, frames, links, nodes, and what a gesture draws above them.
//!
//! The scene is built for a region larger than the view, so that panning needs no new scene until the view leaves it. It
//! is built anew when something in it changes or the zoom does.

mod node;

use super::camera::ViewTransform;
use super::gpu::CanvasFrame;
use super::instance::{Area, BoxLook, Rgba, RibbonLook, RibbonMotion, Scene};
use super::interact::{Gesturing, Hover, WireEnd};
use super::palette::Palette;
use super::text::{Anchor, Face, Glyphs, TextStyle};
use crate::app::document::Selection;
use crate::app::model::{
    CanvasDirty, FrameCard, FrameKey, LinkCurve, LinkEnds, LinkFrom, LinkKey, LinkTo, NodeBox,
    NodeCard, NodeEditing, NodeFit, NodeKey, NodeRun, NodeState, Places, frame_title_size,
};
use crate::app::previews::Pictures;
use crate::app::theme::RADIUS_NODE;
use bevy::prelude::*;

/// Distance of the dots at 100 % in canvas units.
const GRID_PITCH: f32 = 24.0;
/// Dots are never closer than this on screen, logical pixels.
const GRID_PITCH_MIN_PX: f32 = 14.0;
/// How far beyond the view the scene reaches, as a part of the view's size.
const MARGIN_SHARE: f32 = 0.35;
/// Seconds between two pictures of moving links: 30 per second.
pub const FLOW_FRAME_S: f32 = 1.0 / 30.0;

/// How much of a node can be seen at a zoom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Kind colour and state.
    Colour,
    /// Title and pictures.
    Titles,
    /// Everything but names of ports and parameters.
    Reduced,
    /// Everything.
    Full,
}

impl Detail {
    /// What can be seen at `zoom` logical pixels per canvas unit.
    #[must_use]
    pub fn at(zoom: f32) -> Self {
        match zoom {
            zoom if zoom < 0.15 => Self::Colour,
            zoom if zoom < 0.35 => Self::Titles,
            zoom if zoom < 0.6 => Self::Reduced,
            _ => Self::Full,
        }
    }
}

/// The fonts and the glyph atlas as a resource.
#[derive(Resource, Debug)]
pub struct CanvasGlyphs(pub Glyphs);

/// What the scene on screen was built for.
#[derive(Debug, Default)]
pub struct Built {
    region: Area,
    px_per_world: f32,
    zoom: f32,
    glyph_generation: u64,
    has_flow: bool,
    visible: Vec<Entity>,
    ordered: Vec<(bool, u64, Entity)>,
}

/// Whether something on the canvas moves by itself, so that frames must go on.
#[derive(Resource, Debug, Default)]
pub struct CanvasMotion {
    /// Links with flowing data are in the scene.
    pub flowing: bool,
    /// Seconds since the start, wrapped.
    pub time_s: f32,
}

/// All a painter of nodes needs.
pub(super) struct Brush<'a> {
    pub scene: &'a mut Scene,
    pub glyphs: &'a mut Glyphs,
    pub palette: &'a Palette,
    pub pictures: Option<&'a mut Pictures>,
    pub px_per_world: f32,
    pub zoom: f32,
    pub detail: Detail,
}

impl Brush<'_> {
    pub(super) fn text(
        &mut self,
        text: &str,
        baseline: Vec2,
        face: Face,
        size: f32,
        color: Rgba,
        anchor: Anchor,
        max_width: f32,
    ) -> f32 {
        let style = TextStyle { face, size, color };
        self.glyphs.line(
            self.scene,
            text,
            baseline,
            style,
            anchor,
            max_width,
            self.px_per_world,
        )
    }

    pub(super) fn icon(&mut self, icon: &str, center: Vec2, size: f32, color: Rgba) {
        let style = TextStyle {
            face: Face::Icons,
            size,
            color,
        };
        self.glyphs
            .icon(self.scene, icon, center, style, self.px_per_world);
    }
}

type NodeParts = (
    &'static NodeKey,
    &'static NodeCard,
    &'static NodeRun,
    &'static NodeBox,
    &'static NodeFit,
    &'static NodeEditing,
);
type LinkParts = (
    &'static LinkKey,
    &'static LinkEnds,
    &'static LinkCurve,
    &'static LinkFrom,
    &'static LinkTo,
);

/// Builds the scene when it has to be built, and places it under the camera.
pub fn paint(
    view: Res<ViewTransform>,
    mut frame: ResMut<CanvasFrame>,
    mut built: Local<Built>,
    mut dirty: ResMut<CanvasDirty>,
    mut motion: ResMut<CanvasMotion>,
    glyphs: Option<ResMut<CanvasGlyphs>>,
    mut pictures: Option<ResMut<Pictures>>,
    palette: Res<Palette>,
    places: Res<Places>,
    selection: Res<Selection>,
    hover: Res<Hover>,
    gesture: Res<Gesturing>,
    nodes: Query<NodeParts>,
    links: Query<LinkParts>,
    frames: Query<(&FrameKey, &FrameCard)>,
) {
    let Some(mut glyphs) = glyphs else {
        return;
    };
    let glyphs = &mut glyphs.0;
    let frame = frame.bypass_change_detection();
    frame.origin_px = view.origin_px();
    frame.px_per_world = view.px_per_world();
    frame.scale_factor = view.scale_factor;
    frame.target_px = view.target_px;
    frame.scissor_px = view.scissor_px();
    frame.time_s = motion.time_s;
    frame.ribbon_segments = match Detail::at(view.zoom) {
        Detail::Colour => 8,
        Detail::Titles => 14,
        Detail::Reduced => 20,
        Detail::Full => 28,
    };
    let seen = view.visible_world();
    let changed = dirty.0
        || palette.is_changed()
        || selection.is_changed()
        || hover.is_changed()
        || gesture.is_changed()
        || built.glyph_generation != glyphs.generation
        || built.px_per_world.to_bits() != view.px_per_world().to_bits();
    if !changed && built.region.encloses(seen) {
        return;
    }
    dirty.0 = false;

    let region = seen.grown(seen.size() * MARGIN_SHARE);
    built.region = region;
    built.px_per_world = view.px_per_world();
    built.zoom = view.zoom;
    // A full atlas is emptied while painting; then everything painted before must be painted again.
    for _ in 0..2 {
        let generation = glyphs.generation;
        frame.scene.clear();
        let mut brush = Brush {
            scene: &mut frame.scene,
            glyphs,
            palette: &palette,
            pictures: pictures.as_deref_mut(),
            px_per_world: view.px_per_world(),
            zoom: view.zoom,
            detail: Detail::at(view.zoom),
        };
        paint_background(&mut brush);
        paint_frames(&mut brush, region, &frames, &selection, &hover);
        brush.scene.close_layer();
        built.has_flow = paint_links(
            &mut brush,
            region,
            &mut built.visible,
            &places,
            &selection,
            &hover,
            &gesture,
            &nodes,
            &links,
        );
        brush.scene.close_layer();
        let built = &mut *built;
        places.nodes.query(region, &mut built.visible);
        built.ordered.clear();
        built
            .ordered
            .extend(built.visible.iter().filter_map(|&entity| {
                let (key, _, _, node_box, ..) = nodes.get(entity).ok()?;
                Some((selection.nodes.contains(&key.0), node_box.order, entity))
            }));
        built.ordered.sort_unstable();
        for &(is_selected, _, entity) in &built.ordered {
            let Ok((key, card, run, node_box, fit, editing)) = nodes.get(entity) else {
                continue;
            };
            let look = node::NodeLook {
                is_selected,
                is_hovered: hover.node == Some(key.0),
                hovered_port: hover.port.filter(|port| port.node == key.0),
                wire: gesture.wire_look(key.0, &node_box.layout),
                fit: *fit,
                editing: *editing,
            };
            node::paint_node(&mut brush, card, run, node_box, &look);
        }
        brush.scene.close_layer();
        paint_gesture(&mut brush, &gesture);
        brush.scene.close_layer();
        built.glyph_generation = glyphs.generation;
        if glyphs.generation == generation {
            break;
        }
    }
    frame.glyph_patches.append(&mut glyphs.patches);
    frame.scene_changed = true;
    motion.flowing = built.has_flow;
}

fn paint_background(brush: &mut Brush<'_>) {
    let mut pitch = GRID_PITCH;
    while pitch * brush.zoom < GRID_PITCH_MIN_PX && pitch < 1e6 {
        pitch *= 2.0;
    }
    let dots = brush.palette.dots;
    brush.scene.grid(pitch, dots);
}

fn paint_frames(
    brush: &mut Brush<'_>,
    region: Area,
    frames: &Query<(&FrameKey, &FrameCard)>,
    selection: &Selection,
    hover: &Hover,
) {
    let mut visible: Vec<(&FrameKey, &FrameCard)> = frames
        .iter()
        .filter(|(_, card)| card.area.touches(region))
        .collect();
    // Frames in frames lie above those around them.
    visible.sort_unstable_by(|(a, one), (b, other)| {
        let room = |card: &FrameCard| card.area.size().element_product();
        room(other).total_cmp(&room(one)).then(a.0.cmp(&b.0))
    });
    for (key, card) in visible {
        let is_selected = selection.frames.contains(&key.0);
        let is_hovered = hover.frame.is_some_and(|(frame, _)| frame == key.0);
        brush.scene.rounded_box(
            card.area,
            BoxLook {
                fill: brush.palette.frame,
                stroke: match (is_selected, is_hovered) {
                    (true, _) => brush.palette.accent,
                    (false, true) => brush.palette.faint,
                    (false, false) => brush.palette.line,
                },
                stroke_width_px: if is_selected { 2.0 } else { 1.0 },
                radius: RADIUS_NODE,
                ..BoxLook::default()
            },
        );
        if is_selected || is_hovered {
            paint_corner(brush, card.area.max);
        }
        let size = frame_title_size(brush.zoom);
        brush.text(
            &card.title,
            card.area.min + Vec2::new(10.0, 4.0 + size),
            Face::SemiBold,
            size,
            if is_selected || is_hovered {
                brush.palette.text
            } else {
                brush.palette.dim
            },
            Anchor::Left,
            card.area.size().x - 20.0,
        );
    }
}

/// Dots in the corner by which a frame's size is changed.
fn paint_corner(brush: &mut Brush<'_>, corner: Vec2) {
    let unit = 1.0 / brush.zoom.max(0.01);
    for (right, up) in [(0, 0), (1, 0), (0, 1)] {
        let at = corner - Vec2::new(7.0 + 4.0 * right as f32, 7.0 + 4.0 * up as f32) * unit;
        let dot = Area::at(at, Vec2::splat(2.0 * unit));
        brush.scene.fill(dot, brush.palette.dim, unit);
    }
}

fn paint_links(
    brush: &mut Brush<'_>,
    region: Area,
    visible: &mut Vec<Entity>,
    places: &Places,
    selection: &Selection,
    hover: &Hover,
    gesture: &Gesturing,
    nodes: &Query<NodeParts>,
    links: &Query<LinkParts>,
) -> bool {
    places.links.query(region, visible);
    let mut has_flow = false;
    let is_wiring = gesture.wire().is_some();
    let mut bright = Vec::new();
    for &entity in &*visible {
        let Ok((key, ends, curve, from, to)) = links.get(entity) else {
            continue;
        };
        let is_strong = selection.links.contains(&key.0)
            || hover.link == Some(key.0)
            || hover
                .port
                .is_some_and(|port| port == ends.from || port == ends.to);
        let run_state = |node: Entity| nodes.get(node).ok().map(|(_, _, run, ..)| run);
        let flows = brush.detail > Detail::Colour
            && run_state(from.0).is_some_and(|run| run.done > 0)
            && run_state(to.0)
                .is_some_and(|run| matches!(run.state, NodeState::Running | NodeState::Waiting));
        has_flow |= flows;
        let color = brush.palette.data_type(ends.data_type);
        let (color, width_px) = if selection.links.contains(&key.0) {
            (brush.palette.accent, 3.0)
        } else if is_strong {
            (color.mixed(brush.palette.text, 0.35), 2.6)
        } else if is_wiring {
            (color.faded(0.35), 1.8)
        } else {
            (color.faded(0.92), 1.8)
        };
        let (color, pulse) = if flows {
            brush.palette.flowing(color)
        } else {
            (color, Rgba::CLEAR)
        };
        let look = RibbonLook {
            start: color,
            end: color,
            outline: if brush.detail >= Detail::Reduced {
                brush.palette.canvas.faded(0.9)
            } else {
                Rgba::CLEAR
            },
            width_px,
            motion: if flows {
                RibbonMotion::Flowing
            } else {
                RibbonMotion::Still
            },
            pulse,
        };
        if is_strong {
            bright.push((curve.start, curve.end, look));
        } else {
            brush.scene.ribbon(curve.start, curve.end, look);
        }
    }
    for (start, end, look) in bright {
        brush.scene.ribbon(start, end, look);
    }
    has_flow
}

fn paint_gesture(brush: &mut Brush<'_>, gesture: &Gesturing) {
    if let Some(wire) = gesture.wire() {
        let color = match wire.end {
            WireEnd::Refused { .. } => brush.palette.error,
            WireEnd::Free | WireEnd::Port { .. } => brush.palette.data_type(wire.data_type),
        };
        brush.scene.ribbon(
            wire.start_world(),
            wire.end_world(),
            RibbonLook {
                start: color,
                end: color,
                outline: brush.palette.canvas,
                width_px: 2.4,
                motion: match wire.end {
                    WireEnd::Refused { .. } => RibbonMotion::Broken,
                    _ => RibbonMotion::Still,
                },
                pulse: Rgba::CLEAR,
            },
        );
        brush.scene.close_layer();
        if let WireEnd::Refused { reason } = &wire.end {
            paint_hint(brush, wire.pointer_world, reason);
        }
    }
    if let Some(area) = gesture.box_world() {
        brush.scene.rounded_box(
            area,
            BoxLook {
                fill: brush.palette.accent.faded(0.10),
                stroke: brush.palette.accent.faded(0.8),
                stroke_width_px: 1.0,
                radius: 2.0 / brush.zoom.max(0.01),
                ..BoxLook::default()
            },
        );
    }
}

/// A sentence beside the pointer, at the same size at every zoom.
fn paint_hint(brush: &mut Brush<'_>, pointer_world: Vec2, text: &str) {
    let unit = 1.0 / brush.zoom.max(0.01);
    let size = 11.5 * unit;
    let width = brush
        .glyphs
        .width(Face::Regular, size, text)
        .min(460.0 * unit);
    let area = Area::at(
        pointer_world + Vec2::new(14.0, 12.0) * unit,
        Vec2::new(width + 18.0 * unit, 24.0 * unit),
    );
    brush.scene.rounded_box(
        area,
        BoxLook {
            fill: brush.palette.raised,
            stroke: brush.palette.error.faded(0.7),
            stroke_width_px: 1.0,
            radius: 6.0 * unit,
            ..BoxLook::default()
        },
    );
    brush.text(
        text,
        area.min + Vec2::new(9.0, 16.0) * unit,
        Face::Regular,
        size,
        brush.palette.text,
        Anchor::Left,
        width + unit,
    );
}
