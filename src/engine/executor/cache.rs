//! Results of earlier items: what an item is known by, and how its result is looked up and kept.

use super::run_workflow::{Choice, RunWorkflow};
use super::shared::Shared;
use super::starting::RunContext;
use crate::artifacts::{ArtifactStore, ContentHash, FileCondition};
use crate::engine::id::ItemId;
use crate::engine::machine::{AttemptOutputs, CacheQuestion, Input, Submission};
use crate::engine::value::Value;
use crate::project::{CachePolicy, Node, NodeKind, PortBinding};
use crate::store::Store;
use crate::workflow::{self, ObjectInfo, ParameterAddress, Prompt, is_model_name};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thiserror::Error;

/// Goes into every key: another meaning of keys makes all earlier results unknown.
const KEY_VERSION: &str = "result 2";
/// Files by whose names alone nobody knows what is in them.
const MEDIA_EXTENSIONS: [&str; 18] = [
    "png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "exr", "mp4", "webm", "mov", "mkv",
    "wav", "mp3", "flac", "ogg", "latent",
];
/// What an artifact is called in a key.
const CONTENT: &str = "content:";

/// Why an item is known by nothing: its result is never looked up and never kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unknowable {
    /// Its node says so.
    #[error("its node always runs")]
    Never,
    /// A loader names a file that lies on the backend.
    #[error("it loads \"{0}\" from the backend, and what is in that file can change")]
    ServerFile(String),
    /// The prompt cannot be made without asking a backend.
    #[error("no backend has said how its workflow is converted")]
    Unconverted,
    /// A field cannot be set.
    #[error("{0}")]
    Broken(String),
}

/// What determines the result of an item: the prompt as it is sent, reduced to what its outputs are made from, with the
/// contents of its files in place of their names, model names in one spelling, and without the names that results get.
pub(crate) fn key_of(
    mut prompt: Prompt,
    node: &Node,
    fields: &[(ParameterAddress, Value)],
    object_info: Option<&ObjectInfo>,
) -> Result<ContentHash, Unknowable> {
    for (address, value) in fields {
        let json = match value {
            Value::Trigger => continue,
            Value::Literal(literal) => {
                workflow::patch(&mut prompt, address, literal.to_json(), object_info)
                    .map_err(broken)?;
                continue;
            }
            Value::Artifact(artifact) => format!("{CONTENT}{}", artifact.hash),
            Value::Batch(batch) => match batch.first() {
                Some(artifact) => format!("{CONTENT}{}", artifact.hash),
                None => continue,
            },
            Value::List(_) => {
                return Err(Unknowable::Broken(format!(
                    "{} cannot take a list",
                    address.input
                )));
            }
        };
        let found = workflow::resolve(&prompt, address).map_err(broken)?;
        if let Some(target) = prompt.nodes.get_mut(&found.node.node_id) {
            target.inputs.insert(found.input, json.into());
        }
    }
    let mut outputs = Vec::new();
    let mut pending = Vec::new();
    for port in &node.outputs {
        let (address, slot) = match &port.binding {
            PortBinding::WorkflowOutput { address, .. } => (address, None),
            PortBinding::WorkflowInner { address, slot } => (address, Some(slot)),
            _ => continue,
        };
        let found = workflow::resolve_node(&prompt, address).map_err(broken)?;
        // A port of another type makes other values of the same files and words.
        outputs.push(serde_json::json!([found, slot, port.data_type]));
        pending.push(found);
    }
    let mut nodes: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    while let Some(node_id) = pending.pop() {
        if nodes.contains_key(&node_id) {
            continue;
        }
        let Some(from) = prompt.nodes.get(&node_id) else {
            continue;
        };
        let mut inputs: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
        for (name, value) in &from.inputs {
            if name == "filename_prefix" {
                continue;
            }
            let value = match value {
                serde_json::Value::String(text) if is_model_name(text) => {
                    text.replace('\\', "/").into()
                }
                serde_json::Value::String(text) if is_media_name(text) => {
                    return Err(Unknowable::ServerFile(text.clone()));
                }
                other => other.clone(),
            };
            if let Some(serde_json::Value::String(source)) =
                value.as_array().and_then(|link| link.first())
            {
                pending.push(source.clone());
            }
            inputs.insert(name, value);
        }
        let described = serde_json::json!({ "class": from.class_type, "inputs": inputs });
        nodes.insert(node_id, described);
    }
    let all = serde_json::json!([KEY_VERSION, outputs, nodes]);
    Ok(ContentHash::of(all.to_string().as_bytes()))
}

fn broken(error: impl std::fmt::Display) -> Unknowable {
    Unknowable::Broken(error.to_string())
}

/// Whether a text names a media file and not a content.
fn is_media_name(text: &str) -> bool {
    if text.starts_with(CONTENT) || text.len() > 300 || text.contains('\n') {
        return false;
    }
    // Loaders write the folder behind the name: `a.png [output]`.
    let name = text.split(" [").next().unwrap_or(text);
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && MEDIA_EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// The key of an item of a run.
pub(super) fn key_in_run(
    shared: &Shared,
    context: &RunContext,
    item_id: ItemId,
    node: &Node,
    fields: &[(ParameterAddress, Value)],
) -> Result<ContentHash, Unknowable> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return Err(broken("it runs no workflow"));
    };
    let workflow = context
        .workflows
        .get(&settings.workflow)
        .ok_or_else(|| broken("its workflow is gone"))?;
    let object_info: Option<Arc<ObjectInfo>> = shared
        .fleet
        .statuses()
        .iter()
        .find_map(|status| shared.fleet.object_info(status.backend_id));
    key_with(workflow, item_id, node, fields, object_info.as_deref())
}

/// The key of an item of a workflow.
pub(crate) fn key_with(
    workflow: &RunWorkflow,
    item_id: ItemId,
    node: &Node,
    fields: &[(ParameterAddress, Value)],
    object_info: Option<&ObjectInfo>,
) -> Result<ContentHash, Unknowable> {
    if let NodeKind::Workflow(settings) = &node.kind
        && settings.cache == CachePolicy::Never
    {
        return Err(Unknowable::Never);
    }
    let prompt = workflow
        .prompt_for(object_info, Choice::OfItem(item_id))
        .map_err(|_| Unknowable::Unconverted)?;
    key_of(prompt, node, fields, object_info)
}

/// Looks an item up; ends with the fact that answers.
pub(super) async fn look_up(
    shared: Arc<Shared>,
    context: Arc<RunContext>,
    question: CacheQuestion,
) {
    let item_id = question.item_id;
    let key = context
        .project
        .nodes
        .get(&question.node_id)
        .ok_or_else(|| broken("its node is gone"))
        .and_then(|node| {
            key_in_run(&shared, &context, item_id, node, &question.fields)
                .map(|key| (key, node.clone()))
        });
    let found = match key {
        Ok((key, node)) => {
            let found = find(&shared.store, &shared.artifacts, key, &node).await;
            match found {
                Some(outputs) => if_sound(&shared, key, outputs).await,
                None => None,
            }
        }
        Err(_) => None,
    };
    // The engine has ended when nobody listens; the next start asks again.
    shared
        .facts
        .send(Input::LookedUp { item_id, found })
        .await
        .ok();
}

/// The stored result under a key, with every file there. One whose files are gone is forgotten.
pub(crate) async fn find(
    store: &Store,
    artifacts: &ArtifactStore,
    key: ContentHash,
    node: &Node,
) -> Option<AttemptOutputs> {
    let stored = match store.cached(key, super::now_ms()).await {
        Ok(stored) => stored?,
        Err(error) => {
            tracing::warn!(%error, "the cache cannot be read; the item is made");
            return None;
        }
    };
    let is_there = stored
        .iter()
        .flat_map(Value::artifacts)
        .all(|artifact| artifacts.contains(&artifact));
    let ports = output_ports(node);
    if !is_there || stored.len() != ports.len() {
        store.forget_cached(key).await.ok();
        return None;
    }
    let outputs = ports
        .into_iter()
        .zip(stored)
        .map(|(port_id, value)| {
            let values = match value {
                Value::List(list) => list.iter().map(|element| element.value.clone()).collect(),
                single => vec![single],
            };
            (port_id, values)
        })
        .collect();
    Some(AttemptOutputs { ports: outputs })
}

/// A found result, if every file of it still holds what its name says. Otherwise it is forgotten, and the damaged file moved
/// aside: the item is made again, and what it makes is stored anew.
async fn if_sound(
    shared: &Arc<Shared>,
    key: ContentHash,
    outputs: AttemptOutputs,
) -> Option<AttemptOutputs> {
    let artifacts = shared.artifacts.clone();
    let checked = tokio::task::spawn_blocking(move || {
        for artifact in outputs.ports.values().flatten().flat_map(Value::artifacts) {
            match artifacts.check(&artifact) {
                FileCondition::Sound => {}
                FileCondition::Damaged => {
                    let error = artifacts.damaged(&artifact);
                    tracing::warn!(%error, "an earlier result is damaged; the item is made again");
                    return None;
                }
                FileCondition::Gone => return None,
            }
        }
        Some(outputs)
    })
    .await
    .ok()
    .flatten();
    if checked.is_none() {
        shared.store.forget_cached(key).await.ok();
    }
    checked
}

/// Keeps the result of a finished attempt.
pub(super) async fn keep(
    shared: &Shared,
    context: &RunContext,
    submission: &Submission,
    outputs: &AttemptOutputs,
) {
    let Some(node) = context.project.nodes.get(&submission.node_id) else {
        return;
    };
    let key = key_in_run(
        shared,
        context,
        submission.item_id,
        node,
        &submission.fields,
    );
    let Ok(key) = key else {
        return;
    };
    let values = output_ports(node)
        .into_iter()
        .map(|port_id| Value::list_of(outputs.ports.get(&port_id).cloned().unwrap_or_default()))
        .collect();
    if let Err(error) = shared.store.put_cached(key, values, super::now_ms()).await {
        tracing::warn!(%error, "a result could not be kept for later");
    }
}

/// The ports whose values make a result, in their order.
fn output_ports(node: &Node) -> Vec<crate::project::PortId> {
    let mut seen = BTreeSet::new();
    node.outputs
        .iter()
        .filter(|port| {
            matches!(
                port.binding,
                PortBinding::WorkflowOutput { .. } | PortBinding::WorkflowInner { .. }
            )
        })
        .map(|port| port.id)
        .filter(|port_id| seen.insert(*port_id))
        .collect()
}
