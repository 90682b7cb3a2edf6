//! The ComfyUI editor window: the real web editor of a backend, opened for one node.
//!
//! The window is a program of its own (`src/editor_window`), so the app starts without the system's web view, no window
//! toolkit meets another, and a crash of the page costs nothing. Both sides speak JSON lines ([`message`]) over its standard
//! input and output. The page is untrusted: [`origin`] says where it may go, [`page`] what it may say; [`process`] is the
//! app's end of the pipe, [`placement`] where a window goes.

pub mod message;
pub mod origin;
pub mod page;
pub mod placement;
pub mod process;
pub mod sentence;
