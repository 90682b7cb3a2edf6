//! The beginning of an attempt: its prompt made ready and POSTed, and what a refusal says.

use super::{Worker, call_off};
use crate::comfy::{
    Client, ComfyError, ExtraData, InputError, InputErrorKind, PreviewMethod, PromptRejection,
    QueuePosition, RejectionKind, SubmitRequest,
};
use crate::engine::executor::inputs;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::machine::{Input, ServerCache};
use crate::project::{Node, PortBinding};
use crate::workflow::{self, Prompt};

/// Name of an input that no class has; see [`bypass_cache`].
const FORCING_INPUT: &str = "orchestrator_attempt";

impl Worker {
    /// The prompt of the attempt, with its input files where the backend finds them.
    pub(super) async fn prepare(&self, client: &Client) -> Result<inputs::ReadyPrompt, Failure> {
        // What could not be kept is not asked for.
        self.shared.until_results_can_be_kept().await;
        let mut ready =
            inputs::ready_prompt(&self.shared, &self.context, client, &self.submission).await?;
        if self.submission.server_cache == ServerCache::Bypass {
            let node = self.context.project.nodes.get(&self.submission.node_id);
            if let Some(node) = node {
                bypass_cache(&mut ready.prompt, node, &self.prompt_id);
            }
        }
        Ok(ready)
    }

    /// POSTs the prompt. On return the backend has it, or may have it and the watchdog will find out.
    pub(super) async fn post(
        &mut self,
        client: &Client,
        ready: inputs::ReadyPrompt,
    ) -> Result<Prompt, Failure> {
        let outcome = self.submit(client, &ready).await;
        let prompt = ready.prompt;
        match outcome {
            Ok(()) => {
                let attempt_id = self.submission.attempt_id;
                self.shared
                    .facts
                    .send(Input::AttemptAccepted { attempt_id })
                    .await
                    .ok();
                Ok(prompt)
            }
            Err(ComfyError::Rejected { rejection, .. }) => {
                let Some(loader) = blamed_loader(&rejection, &ready.in_place) else {
                    return Err(refused(&rejection));
                };
                let backend_id = self.submission.backend_id;
                let is_there = inputs::in_place(client, backend_id, &loader.artifact).await?;
                let why = if is_there.is_some() {
                    self.shared.note_refuses_in_place(backend_id, &loader.class);
                    "takes no file from where the backend made it"
                } else {
                    "did not find its file, which was there just now"
                };
                Err(Failure::new(
                    FailureClass::Transfer,
                    format!("{} {why}; it is uploaded next", loader.class),
                ))
            }
            Err(ComfyError::PartlyRejected { node_errors, .. }) => {
                // Half of what was asked for is worse than none: it would look finished.
                if let Err(error) = call_off(client, self.submission.attempt_id).await {
                    tracing::warn!(%error, "a partly refused prompt could not be called off");
                }
                Err(Failure::new(FailureClass::Invalid, node_errors.to_string()))
            }
            Err(error) if error.may_have_acted() => {
                tracing::warn!(%error, "no clear answer to the prompt; asking what became of it");
                Ok(prompt)
            }
            Err(error) if error.is_offline() => {
                Err(Failure::new(FailureClass::Offline, error.to_string()))
            }
            Err(error) => Err(Failure::new(FailureClass::Transfer, error.to_string())),
        }
    }

    async fn submit(&self, client: &Client, ready: &inputs::ReadyPrompt) -> Result<(), ComfyError> {
        let gate = self.shared.memory_gate(self.submission.backend_id);
        let _open = gate.read_owned().await;
        let client_id = self.shared.fleet.client_id(self.submission.backend_id);
        let workflow = self.context.workflows.get(&self.submission.workflow);
        client
            .submit_prompt(&SubmitRequest {
                prompt: &ready.prompt,
                client_id: client_id.as_deref().unwrap_or_default(),
                prompt_id: &self.prompt_id,
                extra_data: ExtraData {
                    workflow: workflow.and_then(|workflow| workflow.ui.clone()),
                    preview_method: Some(PreviewMethod::Auto),
                },
                partial_execution_targets: ready.targets.clone(),
                position: QueuePosition::Back,
            })
            .await
            .map(|_submitted| ())
    }
}

/// The loader whose file, named where the backend made it, a refusal is about.
fn blamed_loader<'a>(
    rejection: &PromptRejection,
    in_place: &'a [inputs::InPlace],
) -> Option<&'a inputs::InPlace> {
    let mut blamed = rejection.node_errors.0.iter().filter(|node| {
        node.errors.iter().any(|error| {
            matches!(
                error.kind,
                InputErrorKind::CustomValidation | InputErrorKind::NotInList
            )
        })
    });
    blamed.find_map(|node| {
        in_place
            .iter()
            .find(|loader| loader.node_id == node.node_id)
    })
}

/// The class of a refusal.
fn refused(rejection: &PromptRejection) -> Failure {
    let errors = || rejection.node_errors.0.iter().flat_map(|node| &node.errors);
    let class = if rejection.missing_class.is_some() {
        FailureClass::MissingNode
    } else if rejection.kind == RejectionKind::OutputsFailedValidation
        && errors().next().is_some()
        && errors().all(|error| error.kind == InputErrorKind::NotInList && names_a_model(error))
    {
        FailureClass::MissingModel
    } else {
        FailureClass::Invalid
    };
    let mut failure = Failure::new(class, rejection.to_string());
    failure.comfy_node = rejection
        .node_errors
        .0
        .first()
        .map(|node| node.node_id.clone());
    failure
}

/// Whether a value that is not in a list is a model file: then another backend may have it. Any other wrong choice is wrong
/// everywhere.
fn names_a_model(error: &InputError) -> bool {
    error
        .received
        .as_ref()
        .and_then(serde_json::Value::as_str)
        .is_some_and(workflow::is_model_name)
}

/// Makes the nodes that a node's outputs are read from differ from all earlier ones, so that the backend executes them again
/// and writes new files. An input that the class does not know counts for ComfyUI's cache (the signature covers every input
/// of the prompt: `comfy_execution/caching.py`) and is not handed to the node (`get_input_data` in `execution.py`; seen with
/// 0.8.0 for classes of both APIs).
fn bypass_cache(prompt: &mut Prompt, node: &Node, nonce: &str) {
    for port in &node.outputs {
        let (address, slot) = match &port.binding {
            PortBinding::WorkflowOutput { address, .. } => (address, None),
            PortBinding::WorkflowInner { address, slot } => (address, Some(*slot)),
            _ => continue,
        };
        let Ok(node_id) = workflow::resolve_node(prompt, address) else {
            continue;
        };
        let shown = slot.map(|slot| workflow::added_id(&node_id, slot));
        for node_id in shown.into_iter().chain([node_id]) {
            if let Some(node) = prompt.nodes.get_mut(&node_id) {
                node.inputs.insert(FORCING_INPUT.to_owned(), nonce.into());
                break;
            }
        }
    }
}
