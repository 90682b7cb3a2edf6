//! `workflow preflight FILE`: which backends can run a workflow, and why the others cannot.

use super::sources::{open_store, read_workflow};
use crate::engine::placement::Estimates;
use crate::fleet::{self, BackendConfig};
use crate::workflow::{EmbeddedWorkflow, Fitness, MemoryNeed, ObjectInfo, fitness};
use anyhow::bail;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is known of one backend.
struct Row {
    name: String,
    /// How the workflow fits, or why the backend could not be asked.
    found: Result<Found, String>,
}

struct Found {
    fitness: Fitness,
    memory: Option<MemoryNeed>,
    largest_device_bytes: Option<u64>,
}

pub(super) async fn preflight(
    asked_dir: Option<PathBuf>,
    path: &Path,
    named: Vec<BackendConfig>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let workflow = read_workflow(path)?;
    let store = open_store(asked_dir)?;
    let estimates = match &store {
        Some(store) => crate::engine::learned_estimates(store).await?,
        None => Estimates::default(),
    };
    let backends = match (&store, named.is_empty()) {
        (Some(store), true) => store.backends().await?,
        (None, true) => Vec::new(),
        (_, false) => named,
    };
    if backends.is_empty() {
        bail!("there is no backend to check; name one with --backend URL");
    }
    let asked = backends.into_iter().map(|config| async move {
        let capabilities = fleet::capabilities(&config)
            .await
            .map_err(|error| error.to_string());
        (config.name, capabilities)
    });
    let mut rows = Vec::new();
    for (name, capabilities) in futures_util::future::join_all(asked).await {
        let found = match capabilities {
            Ok(capabilities) => {
                let fitness = fitness(
                    &workflow.document,
                    &capabilities.object_info,
                    &capabilities.model_sizes,
                )?;
                let peak_bytes = seen_peak(path, &workflow, &capabilities.object_info, &estimates);
                Ok(Found {
                    memory: fitness.memory_need(peak_bytes),
                    fitness,
                    largest_device_bytes: capabilities.largest_device_bytes,
                })
            }
            Err(error) => Err(error),
        };
        rows.push(Row { name, found });
    }
    if as_json {
        let rows: Vec<Value> = rows.iter().map(row_json).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        rows.iter().for_each(tell);
    }
    let one_is_ready = rows
        .iter()
        .any(|row| matches!(&row.found, Ok(found) if found.fitness.is_ready()));
    Ok(if one_is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The least memory that the workflow was seen to run with, as `run FILE` runs it.
fn seen_peak(
    path: &Path,
    workflow: &EmbeddedWorkflow,
    object_info: &ObjectInfo,
    estimates: &Estimates,
) -> Option<u64> {
    // One that has no prompt with these classes never ran with them.
    let project = crate::cli::run::project_of(path, workflow, Some(object_info)).ok()?;
    project.nodes.values().find_map(|node| {
        let hash = crate::engine::effort_hash(&project, node)?;
        estimates.memory_bytes(hash)
    })
}

fn row_json(row: &Row) -> Value {
    match &row.found {
        Err(error) => json!({ "backend": row.name, "ready": false, "error": error }),
        Ok(found) => {
            let reasons: Vec<Value> = found
                .fitness
                .reasons
                .iter()
                .map(|reason| json!({ "kind": reason.kind(), "message": reason.to_string() }))
                .collect();
            json!({
                "backend": row.name,
                "ready": found.fitness.is_ready(),
                "reasons": reasons,
                "respelled": found.fitness.respelled,
                "models": found.fitness.models,
                "weights_bytes": found.fitness.weights_bytes(),
                "memory": found.memory,
                "room": match (found.memory, found.largest_device_bytes) {
                    (Some(need), Some(has_bytes)) => Some(need.on(has_bytes).room()),
                    _ => None,
                },
                "largest_device_bytes": found.largest_device_bytes,
            })
        }
    }
}

fn tell(row: &Row) {
    let found = match &row.found {
        Ok(found) => found,
        Err(error) => {
            println!("{}: cannot be asked: {error}", row.name);
            return;
        }
    };
    let fitness = &found.fitness;
    if fitness.is_ready() {
        println!("{}: ready", row.name);
    } else {
        println!("{}: cannot run it", row.name);
        for reason in &fitness.reasons {
            println!("  - {reason}");
        }
    }
    for respelling in &fitness.respelled {
        println!("  {} will be sent as {}", respelling.address, respelling.to);
    }
    match (found.memory, found.largest_device_bytes) {
        (Some(need), Some(has_bytes)) => println!("  memory: {}", need.on(has_bytes)),
        (Some(need), None) => println!("  memory: {need}"),
        (None, _) if !fitness.models.is_empty() => {
            println!("  memory: unknown; the backend does not say how large its models are");
        }
        (None, _) => {}
    }
}
