//! The one integration binary: a file per capability.

mod builtin;
mod comfy;
mod comfy_traps;
mod corpus;
mod fleet;
mod local_work;
mod media;
mod project;
mod project_files;
mod real_comfyui;
mod scripted_server;
mod store;
mod workflow;
