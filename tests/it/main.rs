//! The one integration binary: a file per capability.

mod builtin;
mod corpus;
mod project;
mod project_files;
mod workflow;
