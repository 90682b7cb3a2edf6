//! Produced files: content-addressed references to images, videos, masks and latents.

mod artifact;

pub use artifact::{Artifact, ContentHash, Measures, Origin};
