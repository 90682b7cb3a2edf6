//! Produced files: content-addressed references to images, videos, masks and latents.

mod artifact;
mod room;
mod store;

pub use artifact::{Artifact, ContentHash, Measures, Origin};
pub use store::{ArtifactError, ArtifactStore, ArtifactWriter, FileCondition, StreamError};
