//! ComfyUI Orchestrator: graphs of ComfyUI workflows over several GPU machines.
//!
//! The map of the house. Data flows one way: a person's edits change the [`project`] document; a run takes a snapshot of
//! it; the [`engine`] turns the snapshot into items, places each on a backend through [`comfy`] clients, and tells the
//! world by events, which [`store`] writes to SQLite before anyone sees them. The window, the command line and (later) the
//! HTTP server are folds of the document and of those events.
//!
//! Who may know whom is written in ARCHITECTURE.md and enforced by a test.

#[cfg(feature = "desktop")]
pub mod app;
pub mod artifacts;
pub mod builtin;
pub mod cli;
pub mod comfy;
pub mod durable;
pub mod editor;
pub mod engine;
pub mod fleet;
pub mod media;
pub mod project;
pub mod store;
pub mod workflow;
