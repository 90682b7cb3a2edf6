//! The built-in backend: a server that speaks the ComfyUI protocol and runs real image nodes on the CPU.
//!
//! It makes the demo and the tests real (HTTP and WebSocket over loopback, real pixels) and runs image steps without a
//! GPU. It never pretends to be a diffusion model. Message order, validation texts and odd corners follow what a real
//! ComfyUI 0.8.0 was seen to answer, so a client that works here works there.
//!
//! One [`Server`] is one ComfyUI: one queue, one worker thread, one data folder. Several can live in one process.
//!
//! Inside: `http/` answers requests, `sockets` routes messages, `queue` orders prompts, `validate` checks them,
//! `execute` runs them on the worker thread, `nodes/` are the node classes, `spec` is how a class describes itself.

mod cache;
mod clock;
mod execute;
mod flac;
mod folders;
mod host;
mod http;
mod jobs;
mod latent;
mod node;
mod nodes;
mod options;
mod paint;
mod picture;
mod python;
mod queue;
mod resize;
mod server;
mod sockets;
mod sound;
mod spec;
mod validate;

pub use options::ServerOptions;
pub use server::{Server, ServerError, ServerHandle};
