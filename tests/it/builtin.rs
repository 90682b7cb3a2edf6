//! The built-in backend, used as a client uses a ComfyUI: HTTP and WebSocket over loopback.

mod client;
mod files;
mod frontend;
mod recorded;
mod runs;
