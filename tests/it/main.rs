//! The one integration binary: a file per capability.

mod builtin;
mod corpus;
mod local_work;
mod media;
mod project;
mod project_files;
mod store;
mod workflow;
