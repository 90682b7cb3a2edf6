//! One attempt at one backend: prepare, POST, follow, fetch. Ends with exactly one `AttemptEnded`.

mod follow;
mod post;

use super::cache;
use super::outputs;
use super::shared::Shared;
use super::starting::RunContext;
use crate::comfy::{
    Client, ComfyError, ExecutionError, Outcome, SocketEvent,
    watch::{self, PromptState},
};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::AttemptId;
use crate::engine::machine::{AttemptOutputs, Input, Submission};
use crate::project::BackendId;
use crate::workflow::Prompt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often a hanging backend is asked whether it has let go.
const RELEASE_PERIOD: Duration = Duration::from_secs(5);
/// Most of a backend's own words that a failure keeps.
const DETAIL_BYTES: usize = 16 * 1024;
/// Most of an exception's message that a failure keeps.
const MESSAGE_BYTES: usize = 1024;
/// Signals an attempt's worker may lag behind.
pub(super) const SIGNAL_CAPACITY: usize = 256;

/// What a worker hears from its backend.
#[derive(Debug)]
pub(super) enum Signal {
    /// An event of its prompt.
    Event(Box<SocketEvent>),
    /// The socket came or went: ask what became of the prompt.
    Look,
    /// The backend hangs in another prompt.
    Hanging,
}

/// Where a worker begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With the POST.
    Post,
    /// By finding out what became of a POST of an earlier process.
    Find,
}

/// The worker of an attempt; ends with the fact that the attempt ended.
pub(super) async fn work(
    shared: Arc<Shared>,
    context: Arc<RunContext>,
    submission: Submission,
    beginning: Beginning,
    signals: mpsc::Receiver<Signal>,
    cancel: CancellationToken,
) {
    let attempt_id = submission.attempt_id;
    let facts = shared.facts.clone();
    let mut worker = Worker {
        prompt_id: attempt_id.to_string(),
        shared,
        context,
        submission,
        cancel,
        is_started: false,
        is_executed: false,
    };
    let outcome = worker.live(beginning, signals).await;
    let made = outcome.as_ref().ok().cloned();
    let keep = async {
        if let Some(made) = made {
            cache::keep(&worker.shared, &worker.context, &worker.submission, &made).await;
        }
    };
    // The engine has ended when nobody listens; the next start finds the attempt by its id.
    let tell = facts.send(Input::AttemptEnded {
        attempt_id,
        outcome,
    });
    // Asked for in this order, both are written in one go.
    let ((), _told) = tokio::join!(biased; keep, tell);
}

/// Takes an attempt out of a backend's queue, or interrupts it there. Does nothing to an attempt the backend does not have.
pub(super) async fn call_off(client: &Client, attempt_id: AttemptId) -> Result<(), ComfyError> {
    let prompt_id = attempt_id.to_string();
    // In this order: what leaves the queue between the two requests has begun to run, and is then interrupted.
    client.delete_from_queue(&[&prompt_id]).await?;
    client.interrupt(&prompt_id).await
}

/// Waits until a backend has let go of an attempt that it did not stop when asked: it was restarted, or stopped after all.
pub(super) async fn until_released(shared: &Shared, backend_id: BackendId, attempt_id: AttemptId) {
    let prompt_id = attempt_id.to_string();
    loop {
        tokio::time::sleep(RELEASE_PERIOD).await;
        let Some(client) = shared.fleet.client(backend_id) else {
            return;
        };
        match watch::reconcile(&client, &prompt_id).await {
            Ok(PromptState::Running | PromptState::Pending { .. }) => {
                if let Err(error) = call_off(&client, attempt_id).await {
                    tracing::debug!(%error, "a hanging prompt could not be called off yet");
                }
            }
            Ok(PromptState::Finished(_) | PromptState::Unknown) => return,
            Err(error) => tracing::debug!(%error, "a hanging backend does not answer"),
        }
    }
}

struct Worker {
    prompt_id: String,
    shared: Arc<Shared>,
    context: Arc<RunContext>,
    submission: Submission,
    cancel: CancellationToken,
    is_started: bool,
    is_executed: bool,
}

impl Worker {
    async fn live(
        &mut self,
        beginning: Beginning,
        signals: mpsc::Receiver<Signal>,
    ) -> Result<AttemptOutputs, Failure> {
        let Some(client) = self.shared.fleet.client(self.submission.backend_id) else {
            return Err(Failure::new(
                FailureClass::Offline,
                "the backend was removed",
            ));
        };
        let prompt = match beginning {
            Beginning::Post => {
                let cancel = self.cancel.clone();
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(interrupted()),
                    prompt = self.prepare(&client) => {
                        self.post(&client, prompt?).await?
                    }
                }
            }
            Beginning::Find => match self.context.workflows.get(&self.submission.workflow) {
                Some(workflow) => {
                    let object_info = self.shared.fleet.object_info(self.submission.backend_id);
                    workflow.sketch(object_info.as_deref())
                }
                None => Prompt::default(),
            },
        };
        let entry = self.follow(&client, signals, &prompt).await?;
        match &entry.outcome {
            Outcome::Success => {
                self.mark_executed().await;
                // Fetching is quick or goes on until it is done; only a disk that takes nothing is waited for without end.
                let cancel = self.cancel.clone();
                outputs::collect(
                    &self.shared,
                    &self.context,
                    &client,
                    &self.submission,
                    &prompt,
                    &entry,
                    &cancel,
                )
                .await
            }
            Outcome::Interrupted { .. } => Err(Failure::new(
                FailureClass::Interrupted,
                "somebody interrupted it on the backend; retry it if that was not meant for it",
            )),
            Outcome::Failed(error) => Err(node_failed(&prompt, error)),
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(FailureClass::Interrupted, "called off")
}

/// A node of the prompt raised an error.
fn node_failed(prompt: &Prompt, error: &ExecutionError) -> Failure {
    let class = if error.is_out_of_memory() {
        FailureClass::OutOfMemory
    } else {
        FailureClass::NodeError
    };
    let message = shorten(error.exception_message.trim_end().to_owned(), MESSAGE_BYTES);
    let name = name_of(prompt, &error.node_id);
    let mut failure = Failure::new(
        class,
        format!("{name} ({}): {message}", error.exception_type),
    );
    failure.comfy_node = Some(error.node_id.clone());
    failure.detail = Some(shorten(error.traceback.concat(), DETAIL_BYTES));
    failure
}

/// The name of a node in a message: its title, class and id.
fn name_of(prompt: &Prompt, node_id: &str) -> String {
    let outer = node_id.split('.').next().unwrap_or(node_id);
    match prompt
        .nodes
        .get(node_id)
        .or_else(|| prompt.nodes.get(outer))
    {
        Some(node) if node.title().is_empty() => format!("{} #{node_id}", node.class_type),
        Some(node) => format!("\"{}\" #{node_id}", node.title()),
        None => format!("node #{node_id}"),
    }
}

/// At most so many bytes of a text.
fn shorten(mut text: String, limit_bytes: usize) -> String {
    if text.len() > limit_bytes {
        let mut end = limit_bytes;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
