//! The theme's roles as the shader takes them.

use super::instance::Rgba;
use crate::app::model::NodeState;
use crate::app::theme::{Theme, ThemeMode};
use crate::project::{DataType, NodeKindName};
use bevy::prelude::Resource;
use bevy_egui::egui::Color32;

/// The colours of the canvas.
#[derive(Resource, Clone, Debug, PartialEq)]
pub struct Palette {
    /// The background.
    pub canvas: Rgba,
    /// Dots of the background.
    pub dots: Rgba,
    /// Inside of frames.
    pub frame: Rgba,
    /// Nodes.
    pub card: Rgba,
    /// Raised parts of nodes.
    pub raised: Rgba,
    /// Fields on nodes.
    pub field: Rgba,
    /// Borders.
    pub line: Rgba,
    /// Titles and values.
    pub text: Rgba,
    /// Secondary text.
    pub dim: Rgba,
    /// Decoration.
    pub faint: Rgba,
    /// Selection and what runs.
    pub accent: Rgba,
    /// Text on strong colours.
    pub on_strong: Rgba,
    /// Went well.
    pub ok: Rgba,
    /// Needs attention.
    pub warn: Rgba,
    /// Went wrong.
    pub error: Rgba,
    /// Below nodes.
    pub shadow: Rgba,
    theme: Theme,
}

impl Default for Palette {
    fn default() -> Self {
        Self::of(&Theme::default())
    }
}

fn rgba(color: Color32) -> Rgba {
    let [red, green, blue, alpha] = color.to_srgba_unmultiplied();
    Rgba::new(red, green, blue, alpha)
}

impl Palette {
    /// The colours of a theme.
    #[must_use]
    pub fn of(theme: &Theme) -> Self {
        let canvas = rgba(theme.surface_canvas);
        let line = rgba(theme.line);
        Self {
            canvas,
            dots: match theme.mode {
                ThemeMode::Dark => line.faded(0.8),
                ThemeMode::Light => rgba(theme.faint).faded(0.4),
            },
            frame: rgba(theme.surface_panel)
                .mixed(rgba(theme.accent), 0.05)
                .faded(0.75),
            card: rgba(theme.surface_card),
            raised: rgba(theme.surface_raised),
            // On a node a field is set off by its surface alone.
            field: match theme.mode {
                ThemeMode::Dark => rgba(theme.field),
                ThemeMode::Light => canvas,
            },
            line,
            text: rgba(theme.text),
            dim: rgba(theme.dim),
            faint: rgba(theme.faint),
            accent: rgba(theme.accent),
            on_strong: rgba(theme.on_accent),
            ok: rgba(theme.ok),
            warn: rgba(theme.warn),
            error: rgba(theme.error),
            shadow: rgba(theme.shadow),
            theme: theme.clone(),
        }
    }

    /// The colour of a kind of node.
    #[must_use]
    pub fn kind(&self, kind: NodeKindName) -> Rgba {
        rgba(self.theme.kind_color(kind))
    }

    /// The colour of a data type.
    #[must_use]
    pub fn data_type(&self, data_type: DataType) -> Rgba {
        rgba(self.theme.data_type_color(data_type))
    }

    /// A link through which data flows: its own colour, and that of the dashes that move along it. On a dark canvas the
    /// dashes shine; on a light one they are the ink and the link is the pale track below them.
    #[must_use]
    pub fn flowing(&self, link: Rgba) -> (Rgba, Rgba) {
        match self.theme.mode {
            ThemeMode::Dark => (link, Rgba::new(255, 255, 255, 255).faded(0.62)),
            ThemeMode::Light => (link.mixed(self.canvas, 0.5), link.mixed(self.text, 0.25)),
        }
    }

    /// The colour of a node's state.
    #[must_use]
    pub fn state(&self, state: NodeState) -> Rgba {
        match state {
            NodeState::Idle | NodeState::Waiting | NodeState::Skipped | NodeState::Cancelled => {
                self.dim
            }
            NodeState::Running => self.accent,
            NodeState::Done => self.ok,
            NodeState::Failed => self.error,
            NodeState::Blocked | NodeState::Asks => self.warn,
        }
    }
}
