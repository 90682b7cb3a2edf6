//! The window itself: how it looks, and where it is.

use super::{HostError, HostEvent};
use comfyui_orchestrator::editor::message::{Appearance, OpenWindow, WindowGeometry};
use comfyui_orchestrator::editor::placement::{MIN_SIZE, Placement, Screen};
use tao::dpi::{LogicalPosition, LogicalSize};
use tao::event_loop::EventLoop;
use tao::window::{Theme, Window, WindowBuilder};

/// A frame is not wider than this on both sides together, logical pixels; more is a person's resizing.
const MAX_FRAME: f64 = 200.0;

/// A window, and what is known of its frame.
pub(super) struct Framed {
    window: Window,
    backend_name: String,
    /// The size that was asked for.
    asked: LogicalSize<f64>,
    /// What the system counts as content beyond what was asked for: under Wayland the frame that is drawn inside.
    frame: Option<LogicalSize<f64>>,
}

impl Framed {
    /// Makes the window where it was last time.
    pub(super) fn make(
        order: &OpenWindow,
        event_loop: &EventLoop<HostEvent>,
    ) -> Result<Self, HostError> {
        let screens: Vec<Screen> = event_loop
            .available_monitors()
            .map(|monitor| {
                let scale = monitor.scale_factor();
                let corner = monitor.position().to_logical::<f64>(scale);
                let size = monitor.size().to_logical::<f64>(scale);
                Screen {
                    corner: corner.into(),
                    size: size.into(),
                }
            })
            .collect();
        let placement = Placement::of(order.geometry, &screens);
        let asked = LogicalSize::from(placement.size);
        let mut builder = WindowBuilder::new()
            .with_title(title(&order.node_title, &order.backend_name))
            .with_theme(Some(theme(order.appearance)))
            .with_min_inner_size(LogicalSize::<f64>::from(MIN_SIZE))
            .with_inner_size(asked);
        if let Some(corner) = placement.corner {
            builder = builder.with_position(LogicalPosition::<f64>::from(corner));
        }
        Ok(Self {
            window: builder.build(event_loop)?,
            backend_name: order.backend_name.clone(),
            asked,
            frame: None,
        })
    }

    /// The window, to put the page into.
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Names it after its node.
    pub(super) fn name(&self, node_title: &str) {
        self.window
            .set_title(&title(node_title, &self.backend_name));
    }

    /// Gives it the colours of the app.
    pub(super) fn dress(&self, appearance: Appearance) {
        self.window.set_theme(Some(theme(appearance)));
    }

    /// Brings it to the front.
    pub(super) fn come_to_front(&self) {
        self.window.set_minimized(false);
        self.window.set_focus();
    }

    /// Looks once, when the window stands, how large the system's frame in it is. Without this, a window would open larger
    /// each time.
    pub(super) fn measure_frame(&mut self) {
        if self.frame.is_some() {
            return;
        }
        let size = self.window.inner_size();
        let size = size.to_logical::<f64>(self.window.scale_factor());
        let (width, height) = (
            size.width - self.asked.width,
            size.height - self.asked.height,
        );
        let is_frame = [width, height]
            .iter()
            .all(|beyond| (0.0..=MAX_FRAME).contains(beyond));
        self.frame = Some(if is_frame {
            LogicalSize::new(width, height)
        } else {
            LogicalSize::new(0.0, 0.0)
        });
    }

    /// Where it is; none while it is not somewhere in particular.
    pub(super) fn geometry(&self) -> Option<WindowGeometry> {
        // Windows says -32000 of a minimised one; and a maximised one shall have a place to go back to.
        if self.window.is_minimized()
            || self.window.is_maximized()
            || self.window.fullscreen().is_some()
        {
            return None;
        }
        let scale = self.window.scale_factor();
        let position = self.window.outer_position().ok()?.to_logical::<f64>(scale);
        let size = self.window.inner_size().to_logical::<f64>(scale);
        let frame = self.frame.unwrap_or(LogicalSize::new(0.0, 0.0));
        Some(WindowGeometry {
            x: position.x,
            y: position.y,
            width: size.width - frame.width,
            height: size.height - frame.height,
        })
    }
}

fn title(node_title: &str, backend_name: &str) -> String {
    format!("{node_title}, {backend_name}")
}

fn theme(appearance: Appearance) -> Theme {
    match appearance {
        Appearance::Dark => Theme::Dark,
        Appearance::Light => Theme::Light,
    }
}
