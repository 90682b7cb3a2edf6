//! `run --plan`: what a run would do, and whether any backend can do it.

use crate::artifacts::ArtifactStore;
use crate::engine::{DryRun, PlannedBackend, RunFolders, dry_run};
use crate::fleet::{self, BackendConfig};
use crate::project::Project;
use crate::store::Store;
use crate::workflow::ObjectInfo;
use anyhow::anyhow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Says what a run would do. The exit code is 1 when there is a node to run that no backend can.
pub(super) async fn plan(
    data_dir: &Path,
    named: Vec<BackendConfig>,
    project: Project,
    folders: RunFolders,
) -> anyhow::Result<ExitCode> {
    let store = Store::open(&crate::engine::database_path(data_dir))?;
    let artifacts = ArtifactStore::open(&data_dir.join("artifacts"))?;
    let backends = known_backends(&store, named).await?;
    let remembered = crate::engine::remembered_object_info(&store).await?;
    let all: Vec<&ObjectInfo> = backends
        .iter()
        .filter_map(|known| known.object_info.as_deref())
        .chain(&remembered)
        .collect();
    let object_info = (!all.is_empty()).then(|| ObjectInfo::merged(all));
    let found = dry_run(
        Arc::new(project),
        folders,
        &store,
        &artifacts,
        object_info.as_ref(),
        &backends,
    )
    .await
    .map_err(|problems| {
        let list: Vec<String> = problems
            .into_iter()
            .map(|problem| format!("  - {}", problem.1))
            .collect();
        anyhow!("the project cannot run:\n{}", list.join("\n"))
    })?;
    Ok(tell(&found, &backends))
}

/// The registered and the named backends, with what they have as far as they say it now or once did.
async fn known_backends(
    store: &Store,
    named: Vec<BackendConfig>,
) -> anyhow::Result<Vec<PlannedBackend>> {
    let mut configs = store.backends().await?;
    configs.retain(|config| config.enabled && named.iter().all(|other| other.id != config.id));
    let ids: Vec<_> = configs
        .iter()
        .chain(&named)
        .map(|config| config.id)
        .collect();
    let mut remembered = crate::engine::remembered_by_backend(store, &ids).await?;
    let mut known = Vec::new();
    for config in configs {
        known.push(PlannedBackend {
            object_info: remembered.remove(&config.id),
            config,
        });
    }
    for config in named {
        let object_info = match fleet::capabilities(&config).await {
            Ok(capabilities) => Some(Arc::new(capabilities.object_info)),
            Err(_) => remembered.remove(&config.id),
        };
        known.push(PlannedBackend {
            config,
            object_info,
        });
    }
    Ok(known)
}

fn tell(found: &DryRun, backends: &[PlannedBackend]) -> ExitCode {
    println!("{}.", found.words());
    for node in &found.nodes {
        let reasons = node
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} will run because {reason}"))
            .chain(
                node.cannot_run
                    .iter()
                    .map(|(reason, count)| format!("{count} cannot run: {reason}")),
            );
        let mut parts = vec![format!("{} cached", node.cached)];
        parts.extend(reasons);
        println!("  {:<28} {}", node.title, parts.join(", "));
    }
    let needs_backend = found.nodes.iter().any(|node| !node.reasons.is_empty());
    if backends.iter().all(|known| known.object_info.is_none()) && needs_backend {
        println!(
            "No backend is known that could run it; `comfyui-orchestrator backend add URL` registers one."
        );
    }
    if found.cannot_run > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
