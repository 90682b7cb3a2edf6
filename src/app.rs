//! The window: canvas, panels, dialogs, and the bridge to the engine.
//!
//! Panels and canvas write [`actions::Action`] messages; [`apply::apply_actions`] alone changes the
//! [`document::Document`]; [`bridge`] alone talks to the engine. Everything on screen is a fold of the document and of the
//! engine's events. While nothing happens, no frame is drawn.

pub mod actions;
pub mod apply;
pub mod bridge;
pub mod canvas;
pub mod catalog;
pub mod dialogs;
pub mod document;
pub mod editors;
pub mod exposure;
pub mod fields;
pub mod files;
pub mod icons;
pub mod import;
pub mod keyboard;
pub mod keymap;
pub mod library;
pub mod model;
pub mod panels;
pub mod previews;
pub mod replace_workflow;
pub mod review;
pub mod run_picture;
pub mod samples;
pub mod search;
pub mod settings;
pub mod shell;
pub mod summary;
pub mod theme;
pub mod thumbnails;
pub mod toasts;
pub mod viewport;
pub mod wake;
pub mod widgets;

mod window;

pub use window::{AppError, AppOptions, assemble, run};
