//! What the pointer looks like over the canvas, and what happens when a drag comes to its border.

use super::{FrameHandle, Gesturing, Hover, WireEnd};
use crate::app::canvas::camera::ViewTransform;
use crate::app::canvas::gpu::CanvasCamera;
use crate::app::viewport::CanvasViewport;
use bevy::prelude::*;
use bevy::window::{PrimaryWindow, RequestRedraw};
use bevy_egui::{EguiContexts, egui};

/// Within this distance of the border a drag moves the view, logical pixels.
const BORDER_PX: f32 = 28.0;
/// Fastest move of the view, logical pixels per second: ComfyUI's auto-pan speed of 15 pixels per frame at 60 frames.
const SPEED_PX_PER_S: f32 = 900.0;
/// Longest step of time that counts as one, so that a slow frame does not throw the view away.
const STEP_MAX_S: f32 = 1.0 / 20.0;

/// Moves the view while something is dragged at the border of the canvas, or beyond it over the panels.
pub fn auto_pan(
    viewport: Res<CanvasViewport>,
    view: Res<ViewTransform>,
    windows: Query<&Window, With<PrimaryWindow>>,
    gesture: Res<Gesturing>,
    time: Res<Time<Real>>,
    mut cameras: Query<&mut Transform, With<CanvasCamera>>,
    mut redraw: MessageWriter<RequestRedraw>,
) {
    if !gesture.is_dragging() {
        return;
    }
    let Some((rect, at_px)) = viewport
        .rect_px
        .zip(windows.single().ok().and_then(Window::cursor_position))
    else {
        return;
    };
    let push = push_at(rect, at_px);
    if push == Vec2::ZERO {
        return;
    }
    if let Ok(mut transform) = cameras.single_mut() {
        let step_s = time.delta_secs().min(STEP_MAX_S);
        let by = push * SPEED_PX_PER_S * step_s / view.zoom.max(0.001);
        transform.translation.x += by.x;
        transform.translation.y -= by.y;
    }
    redraw.write(RequestRedraw);
}

/// How strongly the border pushes, per axis from -1 (left, up) to 1 (right, down).
fn push_at(rect: Rect, at_px: Vec2) -> Vec2 {
    // A canvas of a few pixels has no middle to drag in.
    let border = Vec2::splat(BORDER_PX)
        .min(rect.size() * 0.25)
        .max(Vec2::ONE);
    let low = ((rect.min + border - at_px) / border).clamp(Vec2::ZERO, Vec2::ONE);
    let high = ((at_px - (rect.max - border)) / border).clamp(Vec2::ZERO, Vec2::ONE);
    high - low
}

/// Gives the pointer the shape of what it would do. Runs in egui's pass after the panels, which know nothing of the graph.
pub fn show_cursor(
    mut contexts: EguiContexts,
    viewport: Res<CanvasViewport>,
    hover: Res<Hover>,
    gesture: Res<Gesturing>,
    buttons: Res<ButtonInput<MouseButton>>,
    keys: Res<ButtonInput<KeyCode>>,
) -> Result {
    use egui::CursorIcon;

    let is_ours = viewport.pointer_over || gesture.is_dragging();
    if !is_ours {
        return Ok(());
    }
    let alt = keys.any_pressed([KeyCode::AltLeft, KeyCode::AltRight]);
    let space = keys.pressed(KeyCode::Space) && !viewport.keyboard_taken;
    let icon = if let Some(wire) = gesture.wire() {
        match wire.end {
            WireEnd::Free => CursorIcon::Crosshair,
            WireEnd::Port { .. } => CursorIcon::Alias,
            WireEnd::Refused { .. } => CursorIcon::NotAllowed,
        }
    } else if gesture.moves_nodes() {
        if alt {
            CursorIcon::Copy
        } else {
            CursorIcon::Move
        }
    } else if gesture.resizes_frame() {
        CursorIcon::ResizeNwSe
    } else if gesture.box_world().is_some() {
        CursorIcon::Crosshair
    } else if buttons.any_pressed([MouseButton::Middle, MouseButton::Right])
        || (space && buttons.pressed(MouseButton::Left))
    {
        CursorIcon::Grabbing
    } else if space {
        CursorIcon::Grab
    } else if hover.port.is_some() {
        // With Alt a click takes the links of the port away.
        if alt {
            CursorIcon::NoDrop
        } else {
            CursorIcon::Crosshair
        }
    } else if hover.node.is_some() && alt {
        CursorIcon::Copy
    } else if let Some((_, handle)) = hover.frame {
        match handle {
            FrameHandle::Corner => CursorIcon::ResizeNwSe,
            FrameHandle::Title => CursorIcon::Grab,
        }
    } else if hover.link.is_some() {
        CursorIcon::PointingHand
    } else {
        CursorIcon::Default
    };
    contexts.ctx_mut()?.set_cursor_icon(icon);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_pushes_outwards_and_the_middle_does_not() {
        let rect = Rect::new(200.0, 100.0, 1000.0, 700.0);
        assert_eq!(push_at(rect, rect.center()), Vec2::ZERO);
        assert_eq!(push_at(rect, Vec2::new(0.0, 400.0)), Vec2::new(-1.0, 0.0));
        assert_eq!(push_at(rect, Vec2::new(1200.0, 900.0)), Vec2::ONE);
        let half_way = push_at(rect, Vec2::new(1000.0 - BORDER_PX / 2.0, 400.0));
        assert!(half_way.x > 0.4 && half_way.x < 0.6);
    }
}
