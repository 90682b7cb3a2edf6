//! An item's values, put into the prompt of one backend. Files are named in place where they lie there already, and
//! uploaded otherwise.

use super::run_workflow::Choice;
use super::shared::Shared;
use super::starting::RunContext;
use crate::artifacts::{Artifact, FileCondition};
use crate::comfy::{Client, ComfyError, FileState, FolderType, StoredFile, Upload, UploadContent};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::machine::{Input, Submission};
use crate::engine::value::Value;
use crate::project::{BackendId, Node, PortBinding};
use crate::workflow::{self, ObjectInfo, ParameterAddress, Prompt};
use std::sync::Arc;
use std::time::Instant;

/// Folder below the backend's input folder that our uploads go to.
const UPLOAD_FOLDER: &str = "orchestrator";

/// A prompt that is ready to POST.
pub(super) struct ReadyPrompt {
    /// The prompt.
    pub(super) prompt: Prompt,
    /// Loaders that name a file where the backend made it.
    pub(super) in_place: Vec<InPlace>,
    /// The output nodes it is to be run for; every one when empty.
    pub(super) targets: Vec<String>,
}

/// A loader that names a file where the backend made it.
pub(super) struct InPlace {
    /// The loader's node id in the prompt.
    pub(super) node_id: String,
    /// Its class.
    pub(super) class: String,
    /// The file.
    pub(super) artifact: Arc<Artifact>,
}

/// Makes the prompt of one attempt.
pub(super) async fn ready_prompt(
    shared: &Shared,
    context: &RunContext,
    client: &Client,
    submission: &Submission,
) -> Result<ReadyPrompt, Failure> {
    let Some(workflow) = context.workflows.get(&submission.workflow) else {
        return Err(Failure::new(
            FailureClass::Invalid,
            format!("the run has no workflow \"{}\"", submission.workflow),
        ));
    };
    let object_info = shared.fleet.object_info(submission.backend_id);
    let mut prompt =
        workflow.prompt_for(object_info.as_deref(), Choice::OfItem(submission.item_id))?;
    let mut in_place = Vec::new();
    for (address, value) in &submission.fields {
        match value {
            Value::Trigger => {}
            Value::Literal(literal) => {
                patch(
                    &mut prompt,
                    address,
                    literal.to_json(),
                    object_info.as_deref(),
                )?;
            }
            Value::Artifact(_) | Value::Batch(_) => {
                let Some(artifact) = value.artifacts().into_iter().next() else {
                    continue;
                };
                let loader = loader_of(&prompt, address)?;
                let brought = bring(shared, client, submission, &artifact, &loader).await?;
                name_file(&mut prompt, &loader, &brought.file);
                if brought.is_in_place {
                    in_place.push(InPlace {
                        node_id: loader.node_id,
                        class: loader.class,
                        artifact,
                    });
                }
            }
            Value::List(_) => {
                return Err(Failure::new(
                    FailureClass::Invalid,
                    format!(
                        "{address} takes one value, not a list; put the node before the Merge, or after a fan-out"
                    ),
                ));
            }
        }
    }
    if let Some(object_info) = &object_info {
        workflow::respell(&mut prompt, object_info);
    }
    let targets = context.project.nodes.get(&submission.node_id).map_or_else(
        || Ok(Vec::new()),
        |node| targets(&mut prompt, node, object_info.as_deref()),
    )?;
    Ok(ReadyPrompt {
        prompt,
        in_place,
        targets,
    })
}

/// The output nodes that a prompt is run for; every one unless a port looks into the workflow.
fn targets(
    prompt: &mut Prompt,
    node: &Node,
    object_info: Option<&ObjectInfo>,
) -> Result<Vec<String>, Failure> {
    let invalid =
        |error: &dyn std::fmt::Display| Failure::new(FailureClass::Invalid, error.to_string());
    let looks_inside = node
        .outputs
        .iter()
        .any(|port| matches!(port.binding, PortBinding::WorkflowInner { .. }));
    if !looks_inside {
        return Ok(Vec::new());
    }
    let Some(object_info) = object_info else {
        return Err(Failure::new(
            FailureClass::Offline,
            "the backend has not said yet which node classes it has, so it is not known how to show an inner node",
        ));
    };
    let mut targets = Vec::new();
    for port in &node.outputs {
        let target = match &port.binding {
            PortBinding::WorkflowInner { address, slot } => {
                let node_id = workflow::resolve_node(prompt, address).map_err(|e| invalid(&e))?;
                workflow::show_inner(prompt, &node_id, *slot, object_info)
                    .map_err(|error| Failure::new(FailureClass::MissingNode, error.to_string()))?
            }
            PortBinding::WorkflowOutput { address, .. } => {
                workflow::resolve_node(prompt, address).map_err(|e| invalid(&e))?
            }
            _ => continue,
        };
        targets.push(target);
    }
    Ok(targets)
}

fn patch(
    prompt: &mut Prompt,
    address: &ParameterAddress,
    json: serde_json::Value,
    object_info: Option<&ObjectInfo>,
) -> Result<(), Failure> {
    let names_a_model = json.as_str().is_some_and(workflow::is_model_name);
    workflow::patch(prompt, address, json, object_info).map_err(|error| {
        let class = match error {
            // Placement went by an older list of the backend's; another one may have the model.
            workflow::PatchError::NotInList { .. } if names_a_model => FailureClass::MissingModel,
            _ => FailureClass::Invalid,
        };
        Failure::new(class, error.to_string())
    })
}

/// Puts a file's name into a loader. Not checked against the loader's list of choices: it holds only what lies at the top
/// of the input folder, while the backend also takes files below it and in its other folders.
fn name_file(prompt: &mut Prompt, loader: &Loader, file: &StoredFile) {
    if let Some(node) = prompt.nodes.get_mut(&loader.node_id) {
        node.inputs
            .insert(loader.input.clone(), file.loader_value().into());
    }
}

/// The input of a prompt that takes a file.
struct Loader {
    node_id: String,
    input: String,
    class: String,
}

fn loader_of(prompt: &Prompt, address: &ParameterAddress) -> Result<Loader, Failure> {
    let found = workflow::resolve(prompt, address)
        .map_err(|error| Failure::new(FailureClass::Invalid, error.to_string()))?;
    let class = prompt
        .nodes
        .get(&found.node.node_id)
        .map(|node| node.class_type.clone())
        .unwrap_or_default();
    Ok(Loader {
        node_id: found.node.node_id,
        input: found.input,
        class,
    })
}

/// A file on the backend.
struct Brought {
    file: StoredFile,
    /// Whether it lies where the backend made it.
    is_in_place: bool,
}

/// Sees to it that the backend has a file.
async fn bring(
    shared: &Shared,
    client: &Client,
    submission: &Submission,
    artifact: &Arc<Artifact>,
    loader: &Loader,
) -> Result<Brought, Failure> {
    let backend_id = submission.backend_id;
    if !shared.refuses_in_place(backend_id, &loader.class)
        && let Some(file) = in_place(client, backend_id, artifact).await?
    {
        return Ok(Brought {
            file,
            is_in_place: true,
        });
    }
    // Nobody listens any more only when the engine is ending.
    let tell = async |bytes, took_ms| {
        let content = artifact.hash;
        let brought = Input::Transferred {
            backend_id,
            content,
            bytes,
            took_ms,
        };
        shared.facts.send(brought).await.ok();
    };
    if let Some(file) = shared.uploaded(backend_id, &artifact.hash)
        && let Some(state) = state_of(client, &file).await?
        // It bears the name of its content, so nobody puts other content there by chance.
        && state.byte_len == Some(artifact.byte_len)
    {
        tell(0, 0).await;
        return Ok(Brought {
            file,
            is_in_place: false,
        });
    }
    // Under the name of its hash nothing else may lie there.
    let (store, known) = (shared.artifacts.clone(), artifact.clone());
    tokio::task::spawn_blocking(move || match store.check(&known) {
        FileCondition::Damaged => Err(store.damaged(&known)),
        _ => Ok(()),
    })
    .await
    .unwrap_or(Ok(()))
    .map_err(|error| Failure::new(FailureClass::Local, error.to_string()))?;
    let upload = Upload {
        filename: format!("{}.{}", artifact.hash, artifact.extension),
        subfolder: UPLOAD_FOLDER.to_owned(),
        folder: FolderType::Input,
        overwrite: false,
        content: UploadContent::File(shared.artifacts.path(artifact)),
    };
    let begin = Instant::now();
    let file = client
        .upload_image(upload)
        .await
        .map_err(|error| transfer_failure(&error))?;
    shared.note_upload(backend_id, artifact.hash, file.clone());
    tell(artifact.byte_len, begin.elapsed().as_millis() as u64).await;
    Ok(Brought {
        file,
        is_in_place: false,
    })
}

/// The file of an artifact where it was made, if it lies there still: the same version under the same name. A backend whose
/// folder was emptied gives old names to new files, so the name alone says nothing.
pub(super) async fn in_place(
    client: &Client,
    backend_id: BackendId,
    artifact: &Artifact,
) -> Result<Option<StoredFile>, Failure> {
    let Some(origin) = &artifact.origin else {
        return Ok(None);
    };
    let (Some(version), Some(folder)) = (&origin.version, FolderType::parse(&origin.folder_type))
    else {
        return Ok(None);
    };
    if origin.backend_id != backend_id {
        return Ok(None);
    }
    let file = StoredFile {
        filename: origin.filename.clone(),
        subfolder: origin.subfolder.clone(),
        folder,
    };
    let state = state_of(client, &file).await?;
    let is_same = state.is_some_and(|state| state.etag.as_ref() == Some(version));
    if !is_same {
        tracing::debug!(%file, "it is another file by now, or gone; the content is uploaded");
    }
    Ok(is_same.then_some(file))
}

/// What a backend says of a file; none when it is not there or the backend cannot say.
async fn state_of(client: &Client, file: &StoredFile) -> Result<Option<FileState>, Failure> {
    match client.file_state(file).await {
        Ok(state) => Ok(Some(state)),
        Err(error) if error.is_offline() => Err(transfer_failure(&error)),
        Err(error) => {
            tracing::debug!(%error, %file, "not known whether it is there");
            Ok(None)
        }
    }
}

/// An upload or download that broke, by what broke it.
pub(super) fn transfer_failure(error: &ComfyError) -> Failure {
    let class = match error {
        ComfyError::LocalFile { .. } => FailureClass::Local,
        // It was reached, and the connection did not last. Whether it is gone shows when it is reached for again.
        ComfyError::Broken { .. } | ComfyError::TimedOut { .. } => FailureClass::Transfer,
        error if error.is_offline() => FailureClass::Offline,
        _ => FailureClass::Transfer,
    };
    Failure::new(class, error.to_string())
}
