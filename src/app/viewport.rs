//! Where the canvas lies in the window, and what the shell and the canvas tell each other about it.

use bevy::math::Rect;
use bevy::prelude::{Resource, Vec2};

/// The part of the window in which the canvas is seen. Written by the shell after each layout, read by the canvas.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq)]
pub struct CanvasViewport {
    /// The rectangle in logical pixels of the window (multiply by the window's scale factor for physical ones);
    /// none while another tab covers the canvas.
    pub rect_px: Option<Rect>,
    /// Logical pixels per egui point: the zoom of the interface.
    pub ui_scale: f32,
    /// Whether the pointer is over the canvas itself: inside the rectangle and over no panel, popup or dialog.
    pub pointer_over: bool,
    /// Whether a text field or a dialog has the keyboard, so that letter keys are not for the canvas.
    pub keyboard_taken: bool,
}

impl CanvasViewport {
    /// Whether the pointer is over the canvas now. The shell knows what lies above the canvas as of the last frame; the
    /// pointer may have left it since, and a wheel that turns over a panel is not for the canvas.
    #[must_use]
    pub fn has_pointer(&self, at_px: Option<Vec2>) -> bool {
        self.pointer_over
            && self
                .rect_px
                .zip(at_px)
                .is_some_and(|(rect, at_px)| rect.contains(at_px))
    }
}

/// How the canvas looks onto the world. Written by the canvas, read by the shell (zoom display, places for new nodes).
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct CanvasView {
    /// The point in the middle of the view, in canvas units, y down.
    pub center_world: Vec2,
    /// Logical pixels per canvas unit; 1 is 100 %.
    pub zoom: f32,
}

impl Default for CanvasView {
    fn default() -> Self {
        Self {
            center_world: Vec2::ZERO,
            zoom: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_that_has_left_the_canvas_is_not_over_it() {
        let viewport = CanvasViewport {
            rect_px: Some(Rect::new(200.0, 40.0, 1300.0, 700.0)),
            // As of the last frame.
            pointer_over: true,
            ..CanvasViewport::default()
        };
        assert!(viewport.has_pointer(Some(Vec2::new(400.0, 300.0))));
        assert!(!viewport.has_pointer(Some(Vec2::new(1400.0, 300.0))));
        assert!(!viewport.has_pointer(None));
    }
}
