//! The window: canvas, panels, dialogs, and the bridge to the engine.

pub mod actions;
pub mod bridge;
pub mod canvas;
pub mod document;
pub mod icons;
pub mod model;
pub mod previews;
pub mod theme;
pub mod viewport;
