//! The one integration binary: a file per capability.

mod builtin;
mod workflow;
