//! The one integration binary: a file per capability.

mod workflow;
mod builtin;
