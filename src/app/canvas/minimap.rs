//! The overview in the corner: every node as a block in the colour of its kind, failures as dots, the view as a frame.

use super::camera::ViewTransform;
use super::gpu::CanvasCamera;
use super::instance::Area;
use crate::app::actions::Action;
use crate::app::model::{NodeBox, NodeCard, NodeRun, Places};
use crate::app::theme::{RADIUS_CARD, Theme};
use crate::app::viewport::CanvasViewport;
use bevy::prelude::*;
use bevy_egui::{EguiContexts, egui};

/// Largest size in egui points.
const SIZE_MAX: egui::Vec2 = egui::vec2(180.0, 104.0);
/// Smallest width in egui points that still shows something.
const WIDTH_MIN: f32 = 108.0;
/// Largest part of the canvas that it covers, per axis.
const PART_MAX: f32 = 0.22;
/// Distance from the corner of the canvas.
const INSET: f32 = 12.0;
/// More nodes than this are not drawn one by one; the overview then shows the view alone.
const NODES_MAX: usize = 4_000;

/// Whether the overview is wanted.
#[derive(Resource, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimapShown(pub bool);

impl Default for MinimapShown {
    fn default() -> Self {
        Self(true)
    }
}

/// Shows or hides the overview on request.
pub fn toggle(mut actions: MessageReader<Action>, mut shown: ResMut<MinimapShown>) {
    for action in actions.read() {
        if *action == Action::ToggleMinimap {
            shown.0 = !shown.0;
        }
    }
}

/// Draws the overview and moves the camera where it is clicked or dragged.
pub fn show(
    mut contexts: EguiContexts,
    shown: Res<MinimapShown>,
    viewport: Res<CanvasViewport>,
    view: Res<ViewTransform>,
    theme: Res<Theme>,
    places: Res<Places>,
    nodes: Query<(&NodeBox, &NodeCard, &NodeRun)>,
    mut cameras: Query<&mut Transform, With<CanvasCamera>>,
) -> Result {
    let Some(rect) = viewport.rect_px.filter(|_| shown.0) else {
        return Ok(());
    };
    let scale = if viewport.ui_scale > 0.0 {
        viewport.ui_scale
    } else {
        1.0
    };
    let canvas = egui::Rect::from_min_max(
        egui::pos2(rect.min.x / scale, rect.min.y / scale),
        egui::pos2(rect.max.x / scale, rect.max.y / scale),
    );
    let Some(bounds) = places.nodes.bounds() else {
        return Ok(());
    };
    let size = SIZE_MAX * (canvas.size() * PART_MAX / SIZE_MAX).min_elem().min(1.0);
    if size.x < WIDTH_MIN {
        return Ok(());
    }
    let seen = view.visible_world();
    let whole = bounds.joined(seen).grown(Vec2::splat(40.0));
    let context = contexts.ctx_mut()?;
    let moved = egui::Area::new(egui::Id::new("canvas overview"))
        .order(egui::Order::Middle)
        .fixed_pos(canvas.max - size - egui::vec2(INSET, INSET))
        .constrain(false)
        .show(context, |ui| {
            let (response, painter) = ui.allocate_painter(size, egui::Sense::click_and_drag());
            let place = response.rect;
            painter.rect(
                place,
                egui::CornerRadius::same(RADIUS_CARD),
                theme.surface_panel,
                egui::Stroke::new(1.0, theme.line),
                egui::StrokeKind::Inside,
            );
            let inner = place.shrink(4.0);
            let ratio = (inner.width() / whole.size().x).min(inner.height() / whole.size().y);
            let point = |world: Vec2| {
                let from_middle = (world - whole.center()) * ratio;
                inner.center() + egui::vec2(from_middle.x, from_middle.y)
            };
            let block = |area: Area| egui::Rect::from_min_max(point(area.min), point(area.max));
            if places.nodes.len() <= NODES_MAX {
                for (node_box, card, run) in &nodes {
                    let mut place = block(node_box.area);
                    if place.width() < 2.0 {
                        place = egui::Rect::from_center_size(place.center(), egui::vec2(2.0, 2.0));
                    }
                    painter.rect_filled(
                        place,
                        egui::CornerRadius::same(1),
                        theme.kind_color(card.kind),
                    );
                    if run.failed > 0 {
                        painter.circle_filled(place.right_top(), 2.5, theme.error);
                    }
                }
            } else {
                painter.rect_filled(block(bounds), egui::CornerRadius::same(2), theme.line);
            }
            painter.rect_stroke(
                block(seen).intersect(inner),
                egui::CornerRadius::same(2),
                egui::Stroke::new(1.0, theme.accent),
                egui::StrokeKind::Inside,
            );
            let pressed = response.is_pointer_button_down_on();
            response
                .interact_pointer_pos()
                .filter(|_| pressed)
                .map(|at| {
                    let offset = (at - inner.center()) / ratio.max(1e-9);
                    whole.center() + Vec2::new(offset.x, offset.y)
                })
        })
        .inner;
    if let Some(center) = moved
        && let Ok(mut transform) = cameras.single_mut()
    {
        let by = center - seen.center();
        transform.translation.x += by.x;
        transform.translation.y -= by.y;
    }
    Ok(())
}
