//! What a run would do, asked by a person before it starts.

use super::shared::Shared;
use crate::engine::command::RunFolders;
use crate::engine::dry_run::{DryProblem, DryRun, PlannedBackend, dry_run};
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
    let configs = shared.fleet.configs();
    let ids: Vec<_> = configs.iter().map(|config| config.id).collect();
    let mut remembered = crate::engine::remembered_by_backend(&shared.store, &ids)
        .await
        .map_err(|error| vec![(None, error.to_string())])?;
    let backends: Vec<PlannedBackend> = configs
        .into_iter()
        .filter(|config| config.enabled)
        .map(|config| PlannedBackend {
            object_info: shared
                .fleet
                .object_info(config.id)
                .or_else(|| remembered.remove(&config.id)),
            config,
        })
        .collect();
    dry_run(
        project,
        folders,
        &shared.store,
        &shared.artifacts,
        object_info.as_ref(),
        &backends,
    )
    .await
}
