//! One node, from its shadow to its ports.

use super::super::instance::{Area, BoxLook, Rgba, Shape};
use super::super::interact::WireLook;
use super::super::layout::{
    EDGE, HEADER, MARGIN, PARAMETER, PICTURE_MARGIN, PORT_RADIUS, PROGRESS, SUBTITLE, Side, crop,
    port_shape,
};
use super::super::text::{Anchor, Face};
use super::{Brush, Detail};
use crate::app::icons;
use crate::app::model::{NodeBox, NodeCard, NodeEditing, NodeFit, NodePicture, NodeRun, NodeState};
use crate::app::previews::PictureState;
use crate::app::theme::RADIUS_NODE;
use crate::project::PortRef;
use bevy::math::Vec2;

const TITLE_SIZE: f32 = 12.5;
const SMALL_SIZE: f32 = 10.5;
const CODE_SIZE: f32 = 10.0;
/// Titles of far away nodes are drawn at least this large on screen, logical pixels.
const TITLE_MIN_PX: f32 = 9.0;

/// What is special about a node at this moment.
pub(in super::super) struct NodeLook {
    pub is_selected: bool,
    pub is_hovered: bool,
    pub hovered_port: Option<PortRef>,
    pub wire: WireLook,
    pub fit: NodeFit,
    pub editing: NodeEditing,
}

/// The icon of a state; none for a node that is no part of a run.
fn state_icon(state: NodeState) -> Option<&'static str> {
    Some(match state {
        NodeState::Idle => return None,
        NodeState::Waiting => icons::HOURGLASS,
        NodeState::Running => icons::CIRCLE_NOTCH,
        NodeState::Asks => icons::EYE,
        NodeState::Done => icons::CHECK_CIRCLE,
        NodeState::Failed => icons::WARNING_CIRCLE,
        NodeState::Blocked => icons::PROHIBIT,
        NodeState::Skipped => icons::SKIP_FORWARD,
        NodeState::Cancelled => icons::MINUS_CIRCLE,
    })
}

/// The word for a state, for nodes without counts.
fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Idle => "",
        NodeState::Waiting => "waiting",
        NodeState::Running => "running",
        NodeState::Asks => "waits for you",
        NodeState::Done => "done",
        NodeState::Failed => "failed",
        NodeState::Blocked => "blocked",
        NodeState::Skipped => "skipped",
        NodeState::Cancelled => "cancelled",
    }
}

/// Draws a node.
pub(in super::super) fn paint_node(
    brush: &mut Brush<'_>,
    card: &NodeCard,
    run: &NodeRun,
    node_box: &NodeBox,
    look: &NodeLook,
) {
    let area = node_box.area;
    let kind = brush.palette.kind(card.kind);
    match brush.detail {
        Detail::Colour => {
            paint_far(brush, run, area, kind, look);
            return;
        }
        Detail::Titles => paint_body(brush, area, kind, look),
        Detail::Reduced | Detail::Full => {
            brush.scene.shadow(
                area.moved(Vec2::new(0.0, 3.0)),
                brush.palette.shadow,
                RADIUS_NODE,
                12.0,
            );
            paint_body(brush, area, kind, look);
        }
    }
    if brush.detail == Detail::Titles {
        paint_distant(brush, card, run, node_box);
    } else {
        paint_header(brush, card, run, area, kind);
        paint_content(brush, card, run, node_box);
    }
    paint_ports(brush, card, run, node_box, look);
    if run.failed > 0 {
        let text = if run.failed > 99 {
            "99+".to_owned()
        } else {
            run.failed.to_string()
        };
        paint_badge(brush, &text, brush.palette.error, area, Corner::Right);
    } else if look.fit == NodeFit::Nowhere {
        // The properties say what each backend lacks.
        let color = brush.palette.warn;
        paint_badge(brush, "no backend can", color, area, Corner::Right);
    }
    let editing = match look.editing {
        NodeEditing::Not => None,
        NodeEditing::Open => Some(("editor open", brush.palette.accent)),
        NodeEditing::Failed => Some(("editor failed", brush.palette.error)),
        NodeEditing::Changed => Some(("changed in the editor", brush.palette.warn)),
        NodeEditing::Kept => Some(("unsaved edit", brush.palette.warn)),
    };
    if let Some((words, color)) = editing {
        paint_badge(brush, words, color, area, Corner::Left);
    }
    if look.wire == WireLook::Dimmed {
        let veil = brush.palette.canvas.faded(0.55);
        brush.scene.fill(area, veil, RADIUS_NODE);
    }
}

/// Below 15 %: a block in the colour of its kind, with its state.
fn paint_far(brush: &mut Brush<'_>, run: &NodeRun, area: Area, kind: Rgba, look: &NodeLook) {
    let dimmed = look.wire == WireLook::Dimmed;
    brush.scene.rounded_box(
        area,
        BoxLook {
            fill: brush
                .palette
                .card
                .mixed(kind, if dimmed { 0.2 } else { 0.62 }),
            stroke: if look.is_selected {
                brush.palette.text
            } else {
                Rgba::CLEAR
            },
            stroke_width_px: if look.is_selected { 1.5 } else { 0.0 },
            radius: RADIUS_NODE,
            ..BoxLook::default()
        },
    );
    if run.state != NodeState::Idle {
        // A bar along the bottom: its colour is the state, its length the progress.
        let share = run.fraction.unwrap_or(1.0).clamp(0.06, 1.0);
        let size = area.size();
        let bar = Area::at(
            Vec2::new(area.min.x, area.max.y - size.y * 0.26),
            Vec2::new(size.x * share, size.y * 0.26),
        );
        let color = brush.palette.state(run.state);
        brush.scene.fill(bar, color, RADIUS_NODE * 0.5);
    }
}

fn paint_body(brush: &mut Brush<'_>, area: Area, kind: Rgba, look: &NodeLook) {
    let palette = brush.palette;
    if look.is_selected {
        brush
            .scene
            .shadow(area, palette.accent.faded(0.34), RADIUS_NODE, 9.0);
    }
    let stroke = if look.is_selected || matches!(look.wire, WireLook::Target(_)) {
        palette.accent
    } else if look.is_hovered {
        palette.line.mixed(palette.dim, 0.45)
    } else {
        palette.line
    };
    brush.scene.rounded_box(
        area,
        BoxLook {
            fill: palette.card,
            stroke,
            stroke_width_px: if look.is_selected { 1.5 } else { 1.0 },
            radius: RADIUS_NODE,
            top_edge: kind,
            top_edge_height: EDGE,
        },
    );
}

/// 15 to 35 %: pictures, and a title as large as it takes to read it.
fn paint_distant(brush: &mut Brush<'_>, card: &NodeCard, run: &NodeRun, node_box: &NodeBox) {
    let area = node_box.area;
    let size = TITLE_SIZE.max(TITLE_MIN_PX / brush.zoom);
    if !run.pictures.is_empty() {
        paint_pictures(brush, run, node_box);
    }
    let inner = area.size().x - 2.0 * MARGIN;
    let baseline = if run.pictures.is_empty() {
        area.center().y + size * 0.35
    } else {
        area.min.y + EDGE + size * 1.1
    };
    let color = brush.palette.text;
    brush.text(
        &card.title,
        Vec2::new(area.center().x, baseline),
        Face::SemiBold,
        size,
        color,
        Anchor::Center,
        inner,
    );
    paint_progress(brush, run, area, 8.0);
}

fn paint_header(brush: &mut Brush<'_>, card: &NodeCard, run: &NodeRun, area: Area, kind: Rgba) {
    let palette = brush.palette;
    let middle = area.min.y + EDGE + (HEADER - EDGE) * 0.5;
    brush.icon(
        icons::of_kind(card.kind),
        Vec2::new(area.min.x + MARGIN + 7.0, middle),
        15.0,
        kind,
    );
    let baseline = middle + 3.9;
    let mut right = area.max.x - MARGIN;
    let counts = match (run.state, run.total) {
        (NodeState::Idle, _) => card.note.clone(),
        (state, 0 | 1) => state_word(state).to_owned(),
        (_, total) => format!("{} / {total}", run.done),
    };
    if !counts.is_empty() {
        let width = brush.text(
            &counts,
            Vec2::new(right, baseline),
            Face::Regular,
            SMALL_SIZE,
            palette.dim,
            Anchor::Right,
            area.size().x * 0.45,
        );
        right -= width + 5.0;
    }
    if let Some(icon) = state_icon(run.state) {
        let color = palette.state(run.state);
        brush.icon(icon, Vec2::new(right - 6.0, middle), 13.0, color);
        right -= 17.0;
    }
    let left = area.min.x + MARGIN + 20.0;
    brush.text(
        &card.title,
        Vec2::new(left, baseline),
        Face::SemiBold,
        TITLE_SIZE,
        palette.text,
        Anchor::Left,
        right - left - 4.0,
    );
    if run.fraction.is_some() {
        paint_progress(brush, run, area, PROGRESS);
    } else {
        // One pixel at every zoom.
        let line = Area::at(
            Vec2::new(area.min.x + 1.0, area.min.y + HEADER),
            Vec2::new(area.size().x - 2.0, 0.5),
        );
        brush.scene.fill(line, palette.line, 0.0);
    }
}

fn paint_progress(brush: &mut Brush<'_>, run: &NodeRun, area: Area, height: f32) {
    let Some(fraction) = run.fraction else {
        return;
    };
    let palette = brush.palette;
    let track = Area::at(
        Vec2::new(area.min.x + 1.0, area.min.y + HEADER - 1.0),
        Vec2::new(area.size().x - 2.0, height),
    );
    brush.scene.fill(track, palette.line, 0.0);
    let done = Area::at(
        track.min,
        Vec2::new(track.size().x * fraction.clamp(0.0, 1.0), height),
    );
    if done.size().x > 0.0 {
        let color = match run.state {
            NodeState::Done => palette.ok,
            NodeState::Failed => palette.error,
            NodeState::Cancelled | NodeState::Skipped | NodeState::Blocked => palette.faint,
            _ => palette.accent,
        };
        brush.scene.fill(done, color, 0.0);
    }
}

fn paint_content(brush: &mut Brush<'_>, card: &NodeCard, run: &NodeRun, node_box: &NodeBox) {
    let palette = brush.palette;
    let area = node_box.area;
    let (left, right) = (area.min.x + MARGIN, area.max.x - MARGIN);
    if let Some(top) = node_box.layout.subtitle_top {
        let baseline = area.min.y + top + SUBTITLE * 0.5 + 3.6;
        let mut limit = right;
        if !run.place.is_empty() && !run.activity.is_empty() {
            let width = brush.text(
                &run.place,
                Vec2::new(right, baseline),
                Face::Regular,
                SMALL_SIZE,
                palette.dim,
                Anchor::Right,
                (right - left) * 0.45,
            );
            limit -= width + 8.0;
        }
        let (text, is_code) = if run.activity.is_empty() {
            (&card.subtitle, card.is_code)
        } else {
            (&run.activity, false)
        };
        let (face, size) = if is_code {
            (Face::Mono, CODE_SIZE)
        } else {
            (Face::Regular, SMALL_SIZE)
        };
        let color = if run.state == NodeState::Failed {
            palette.error.mixed(palette.text, 0.35)
        } else {
            palette.dim
        };
        brush.text(
            text,
            Vec2::new(left, baseline),
            face,
            size,
            color,
            Anchor::Left,
            limit - left,
        );
    }
    for (line, &top) in card.parameters.iter().zip(&node_box.layout.parameter_tops) {
        let field = Area::at(
            Vec2::new(left - 2.0, area.min.y + top + 1.0),
            Vec2::new(right - left + 4.0, PARAMETER - 2.0),
        );
        brush.scene.fill(field, palette.field.faded(0.75), 4.0);
        if brush.detail < Detail::Full {
            // Too small to be read: a stroke in the place of each, so that the field does not look empty.
            let middle = field.center().y;
            let room = (right - left) * 0.42;
            let stroke = |text: &str| (text.chars().count() as f32 * 4.5).min(room);
            for (from, length, color) in [
                (left + 4.0, stroke(&line.label), palette.dim.faded(0.5)),
                (
                    right - 4.0 - stroke(&line.value),
                    stroke(&line.value),
                    palette.text.faded(0.5),
                ),
            ] {
                let area = Area::at(Vec2::new(from, middle - 1.5), Vec2::new(length, 3.0));
                brush.scene.fill(area, color, 1.5);
            }
            continue;
        }
        let baseline = field.center().y + 3.6;
        let width = brush.text(
            &line.label,
            Vec2::new(left + 4.0, baseline),
            Face::Regular,
            SMALL_SIZE,
            palette.dim,
            Anchor::Left,
            (right - left) * 0.5,
        );
        brush.text(
            &line.value,
            Vec2::new(right - 4.0, baseline),
            Face::Regular,
            SMALL_SIZE,
            palette.text,
            Anchor::Right,
            right - left - width - 18.0,
        );
    }
    paint_pictures(brush, run, node_box);
}

fn paint_pictures(brush: &mut Brush<'_>, run: &NodeRun, node_box: &NodeBox) {
    let layout = &node_box.layout;
    let hidden = layout.hidden_pictures;
    for (at, (place, picture)) in layout.pictures.iter().zip(&run.pictures).enumerate() {
        let place = place.moved(node_box.area.min);
        paint_picture(brush, place, picture);
        if hidden > 0 && at + 1 == layout.pictures.len() {
            brush.scene.fill(place, Rgba::new(8, 10, 14, 175), 3.0);
            let color = Rgba::new(240, 242, 247, 255);
            brush.text(
                &format!("+{hidden}"),
                place.center() + Vec2::new(0.0, 4.2),
                Face::SemiBold,
                12.0,
                color,
                Anchor::Center,
                place.size().x,
            );
        }
    }
}

fn paint_picture(brush: &mut Brush<'_>, place: Area, picture: &NodePicture) {
    let state = match &mut brush.pictures {
        Some(pictures) => pictures.request(picture.key, || Some(picture.source.clone())),
        None => PictureState::Loading,
    };
    match state {
        PictureState::Ready { layer, aspect } => {
            brush.scene.picture(place, layer, crop(place, aspect), 3.0);
        }
        PictureState::Loading => {
            let raised = brush.palette.raised;
            brush.scene.fill(place, raised, 3.0);
        }
        PictureState::Unreadable => {
            let (raised, dim) = (brush.palette.raised, brush.palette.dim);
            brush.scene.fill(place, raised, 3.0);
            let size = place.size().min_element() * 0.5;
            brush.icon(icons::FILE, place.center(), size.min(28.0), dim);
        }
    }
}

fn paint_ports(
    brush: &mut Brush<'_>,
    card: &NodeCard,
    run: &NodeRun,
    node_box: &NodeBox,
    look: &NodeLook,
) {
    let palette = brush.palette;
    for spot in &node_box.layout.ports {
        let center = node_box.area.min + spot.center;
        let is_hovered = look.hovered_port.is_some_and(|port| port.port == spot.id);
        let is_fitting = matches!(
            look.wire,
            WireLook::Target(side) | WireLook::Candidate(side) if side == spot.side
        );
        let color = palette.data_type(spot.data_type);
        let radius = if is_hovered || is_fitting {
            PORT_RADIUS * 1.3
        } else {
            PORT_RADIUS
        };
        if is_hovered {
            let halo = Area::at(center - radius, Vec2::splat(radius * 2.0));
            brush.scene.shadow(halo, color.faded(0.5), radius, 5.0);
        }
        let shape = port_shape(spot.data_type);
        let radius = if shape == Shape::Circle {
            radius
        } else {
            radius * 1.12
        };
        brush
            .scene
            .shape(center, radius, shape, color, palette.canvas, palette.card);
        if brush.detail < Detail::Full {
            continue;
        }
        let lines = match spot.side {
            Side::Left => &card.inputs,
            Side::Right => &card.outputs,
        };
        let Some(line) = lines.get(spot.index) else {
            continue;
        };
        let count = run
            .port_counts
            .iter()
            .find(|(port, _)| *port == spot.id)
            .map(|(_, count)| format!("{} · {count}", line.name));
        let name = count.as_deref().unwrap_or(&line.name);
        let color = if is_hovered {
            palette.text
        } else {
            palette.dim
        };
        let (anchor, x) = match spot.side {
            Side::Left => (Anchor::Left, center.x + MARGIN + 1.0),
            Side::Right => (Anchor::Right, center.x - MARGIN - 1.0),
        };
        brush.text(
            name,
            Vec2::new(x, center.y + 3.6),
            Face::Regular,
            SMALL_SIZE,
            color,
            anchor,
            node_box.area.size().x - 2.0 * MARGIN - PICTURE_MARGIN,
        );
    }
}

/// Where a badge sits on the upper edge of a node.
#[derive(Clone, Copy)]
enum Corner {
    Left,
    Right,
}

/// A few words on the top right corner: how many items failed, or that no backend can run the node.
fn paint_badge(brush: &mut Brush<'_>, text: &str, color: Rgba, area: Area, corner: Corner) {
    let width = (brush.glyphs.width(Face::SemiBold, 10.0, text) + 12.0).max(16.0);
    let left = match corner {
        Corner::Left => area.min.x - 5.0,
        Corner::Right => area.max.x + 5.0 - width,
    };
    // At the left it would lie on the title.
    let top = match corner {
        Corner::Left => area.min.y - 11.0,
        Corner::Right => area.min.y - 6.0,
    };
    let badge = Area::at(Vec2::new(left, top), Vec2::new(width, 15.0));
    let (on_strong, canvas) = (brush.palette.on_strong, brush.palette.canvas);
    brush.scene.rounded_box(
        badge.grown(Vec2::splat(1.5)),
        BoxLook {
            fill: canvas,
            radius: 9.0,
            ..BoxLook::default()
        },
    );
    brush.scene.fill(badge, color, 7.5);
    brush.text(
        text,
        badge.center() + Vec2::new(0.0, 3.5),
        Face::SemiBold,
        10.0,
        on_strong,
        Anchor::Center,
        width,
    );
}
