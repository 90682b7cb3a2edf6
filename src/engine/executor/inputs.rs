//! An item's values, put into the prompt of one backend. Files are named in place where they lie there already, and
//! uploaded otherwise.

use super::run_workflow::Choice;
use super::shared::Shared;
use super::starting::RunContext;
use crate::artifacts::Artifact;
use crate::comfy::{Client, ComfyError, FolderType, StoredFile, Upload, UploadContent};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::machine::{Input, Submission};
use crate::engine::value::Value;
use crate::project::{Node, PortBinding};
use crate::workflow::{self, ObjectInfo, ParameterAddress, Prompt};
use std::sync::Arc;
use std::time::Instant;

/// Folder below the backend's input folder that our uploads go to.
const UPLOAD_FOLDER: &str = "orchestrator";

/// Whether files may be named where they lie on the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilePlacing {
    /// In place where possible, and as uploaded before.
    InPlace,
    /// Uploaded anew: the backend did not find what was named before.
    Afresh,
}

/// A prompt that is ready to POST.
pub(super) struct ReadyPrompt {
    /// The prompt.
    pub(super) prompt: Prompt,
    /// Whether it names files that were not checked to be there.
    pub(super) trusts_server_files: bool,
    /// The output nodes it is to be run for; every one when empty.
    pub(super) targets: Vec<String>,
}

/// Makes the prompt of one attempt.
pub(super) async fn ready_prompt(
    shared: &Shared,
    context: &RunContext,
    client: &Client,
    submission: &Submission,
    placing: FilePlacing,
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
    let mut trusts_server_files = false;
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
            Value::Artifact(artifact) => {
                let file = bring(shared, client, submission, artifact, placing).await?;
                trusts_server_files |= file.is_trusted;
                name_file(&mut prompt, address, &file.file)?;
            }
            Value::Batch(batch) => {
                let Some(artifact) = batch.first() else {
                    continue;
                };
                let file = bring(shared, client, submission, artifact, placing).await?;
                trusts_server_files |= file.is_trusted;
                name_file(&mut prompt, address, &file.file)?;
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
        trusts_server_files,
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
fn name_file(
    prompt: &mut Prompt,
    address: &ParameterAddress,
    file: &StoredFile,
) -> Result<(), Failure> {
    let broken = |error: workflow::Broken| Failure::new(FailureClass::Invalid, error.to_string());
    let found = workflow::resolve(prompt, address).map_err(broken)?;
    if let Some(node) = prompt.nodes.get_mut(&found.node.node_id) {
        node.inputs.insert(found.input, file.loader_value().into());
    }
    Ok(())
}

/// A file on the backend.
struct Brought {
    file: StoredFile,
    /// Whether it is taken for granted that it is still there.
    is_trusted: bool,
}

/// Sees to it that the backend has a file.
async fn bring(
    shared: &Shared,
    client: &Client,
    submission: &Submission,
    artifact: &Arc<Artifact>,
    placing: FilePlacing,
) -> Result<Brought, Failure> {
    let key = (submission.backend_id, artifact.hash);
    if placing == FilePlacing::InPlace {
        if let Some(origin) = &artifact.origin
            && origin.backend_id == submission.backend_id
            && let Some(folder) = FolderType::parse(&origin.folder_type)
        {
            let file = StoredFile {
                filename: origin.filename.clone(),
                subfolder: origin.subfolder.clone(),
                folder,
            };
            return Ok(Brought {
                file,
                is_trusted: true,
            });
        }
        if let Some(file) = shared.uploaded(&key) {
            return Ok(Brought {
                file,
                is_trusted: true,
            });
        }
    }
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
    shared.note_upload(key, file.clone());
    let measured = Input::Transferred {
        backend_id: submission.backend_id,
        bytes: artifact.byte_len,
        took_ms: begin.elapsed().as_millis() as u64,
    };
    // Nobody listens any more: the engine is ending.
    shared.facts.send(measured).await.ok();
    Ok(Brought {
        file,
        is_trusted: false,
    })
}

/// An upload or download that broke, by what broke it.
pub(super) fn transfer_failure(error: &ComfyError) -> Failure {
    let class = match error {
        ComfyError::LocalFile { .. } => FailureClass::Local,
        error if error.is_offline() => FailureClass::Offline,
        _ => FailureClass::Transfer,
    };
    Failure::new(class, error.to_string())
}
