//! The canvas of a run as a picture file: what a machine without a display shows instead of the window.

use super::canvas::snapshot::{Snapshot, SnapshotError, render};
use super::model::runs_of;
use super::theme::ThemeMode;
use crate::engine::{EngineHandle, RunView};
use crate::project::Project;
use std::path::Path;

/// Draws the whole graph as it stands in `view` into a PNG file of `size_px` pixels. Blocks while it renders; needs a
/// graphics adapter or a software renderer, and says so when there is none.
pub fn render_to_png(
    project: &Project,
    view: &RunView,
    engine: &EngineHandle,
    size_px: [u32; 2],
    path: &Path,
) -> Result<(), SnapshotError> {
    let runs = runs_of(project, view, &|artifact| {
        Some(engine.artifact_path(artifact))
    });
    let picture = render(Snapshot {
        project: project.clone(),
        runs,
        theme: ThemeMode::Dark,
        size_px,
        scale_factor: 1.0,
    })?;
    picture
        .save_with_format(path, image::ImageFormat::Png)
        .map_err(|error| SnapshotError::Write {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}
