//! What a run would do, asked by a person before it starts.

use super::shared::Shared;
use crate::engine::command::RunFolders;
use crate::engine::dry_run::{DryProblem, DryRun, dry_run};
use crate::project::Project;
use std::sync::Arc;

/// Plays a run on the side; see [`dry_run`].
pub(super) async fn plan(
    shared: &Shared,
    project: Arc<Project>,
    folders: RunFolders,
) -> Result<DryRun, Vec<DryProblem>> {
    let object_info = crate::engine::remembered_object_info(&shared.store)
        .await
        .map_err(|error| vec![(None, error.to_string())])?;
    dry_run(
        project,
        folders,
        &shared.store,
        &shared.artifacts,
        object_info.as_ref(),
    )
    .await
}
