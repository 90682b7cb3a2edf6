//! `run --plan`: what a run would do, and whether any backend can do it.

use crate::artifacts::ArtifactStore;
use crate::engine::{DryRun, RunFolders, dry_run, excluded, lacks};
use crate::fleet::{self, BackendConfig};
use crate::project::{Node, NodeKind, Project};
use crate::store::Store;
use crate::workflow::{ObjectInfo, read_saved};
use anyhow::anyhow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// A backend of which is known what it has.
struct Known {
    config: BackendConfig,
    object_info: Arc<ObjectInfo>,
}

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
        .map(|known| known.object_info.as_ref())
        .chain(&remembered)
        .collect();
    let object_info = (!all.is_empty()).then(|| ObjectInfo::merged(all));
    let project = Arc::new(project);
    let found = dry_run(
        project.clone(),
        folders,
        &store,
        &artifacts,
        object_info.as_ref(),
    )
    .await
    .map_err(|problems| {
        let list: Vec<String> = problems
            .into_iter()
            .map(|problem| format!("  - {}", problem.1))
            .collect();
        anyhow!("the project cannot run:\n{}", list.join("\n"))
    })?;
    Ok(tell(&project, &found, &backends))
}

/// The registered and the named backends that answer, or that once did.
async fn known_backends(store: &Store, named: Vec<BackendConfig>) -> anyhow::Result<Vec<Known>> {
    let mut configs = store.backends().await?;
    configs.retain(|config| config.enabled && named.iter().all(|other| other.id != config.id));
    let ids: Vec<_> = configs
        .iter()
        .chain(&named)
        .map(|config| config.id)
        .collect();
    let remembered = crate::engine::remembered_by_backend(store, &ids).await?;
    let mut known = Vec::new();
    for config in configs {
        if let Some(object_info) = remembered.get(&config.id).cloned() {
            known.push(Known {
                config,
                object_info,
            });
        }
    }
    for config in named {
        let object_info = match fleet::capabilities(&config).await {
            Ok(capabilities) => Some(Arc::new(capabilities.object_info)),
            Err(_) => remembered.get(&config.id).cloned(),
        };
        if let Some(object_info) = object_info {
            known.push(Known {
                config,
                object_info,
            });
        }
    }
    Ok(known)
}

fn tell(project: &Project, found: &DryRun, backends: &[Known]) -> ExitCode {
    println!("{}.", found.words());
    let mut exit_code = if found.cannot_run > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
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
        let is_to_run = !node.reasons.is_empty() || !node.cannot_run.is_empty();
        let in_project = project.nodes.get(&node.node_id);
        if let Some(one) = in_project.filter(|_| is_to_run)
            && let Some(obstacles) = nowhere(project, one, backends)
        {
            exit_code = ExitCode::FAILURE;
            println!("    no backend can run it:");
            for obstacle in obstacles {
                println!("      {obstacle}");
            }
        }
    }
    if backends.is_empty() && found.nodes.iter().any(|node| !node.reasons.is_empty()) {
        println!(
            "No backend is known that could run it; `comfyui-orchestrator backend add URL` registers one."
        );
    }
    exit_code
}

/// What keeps a node from every backend; none when one can run it, or when no backend is known.
fn nowhere(project: &Project, node: &Node, backends: &[Known]) -> Option<Vec<String>> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return None;
    };
    let file = project.workflows.get(&settings.workflow)?;
    let document = read_saved(&file.text, file.page_prompt.as_deref()).ok()?;
    let mut obstacles = Vec::new();
    for Known {
        config,
        object_info,
    } in backends
    {
        let reasons = match excluded(settings, config.id, &config.tags) {
            Some(reason) => reason.to_owned(),
            None => lacks(&document, node, object_info).join(", "),
        };
        if reasons.is_empty() {
            return None;
        }
        obstacles.push(format!("{}: {reasons}", config.name));
    }
    (!obstacles.is_empty()).then_some(obstacles)
}
