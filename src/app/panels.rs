//! The docked panels, the bars, and the stack of messages.

pub mod canvas;
pub mod library;
pub mod log;
pub mod machines;
pub mod properties;
pub mod queue;
pub mod review;
pub mod runs;
pub mod status;
pub mod toasts;
pub mod topbar;
