//! One attempt at one backend: prepare, POST, follow, fetch. Ends with exactly one `AttemptEnded`.

use super::cache;
use super::inputs;
use super::outputs;
use super::progress::ProgressTracker;
use super::shared::Shared;
use super::starting::RunContext;
use crate::comfy::{
    Client, ComfyError, ExtraData, HistoryEntry, InputError, InputErrorKind, Outcome,
    PreviewMethod, PromptRejection, QueuePosition, RejectionKind, SocketEvent, SubmitRequest,
    watch::{self, PromptState},
};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::AttemptId;
use crate::engine::live::{EngineEvent, Preview, Progress};
use crate::engine::machine::{AttemptOutputs, Input, ServerCache, Submission};
use crate::fleet::BackendState;
use crate::project::{BackendId, Node, NodeKind, PortBinding};
use crate::workflow::{self, Prompt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often the watchdog asks after a prompt while the socket is up.
const WATCHDOG_PERIOD: Duration = Duration::from_secs(5);
/// How often it asks while the backend is silent.
const SILENT_PERIOD: Duration = Duration::from_secs(1);
/// How long a backend may be out of reach before its attempts are given up. A restart of `ComfyUI` takes 8 to 14 seconds.
const OFFLINE_GRACE: Duration = Duration::from_secs(20);
/// How long a running attempt may show no sign of progress, where its node does not say otherwise. Loading a large model from a
/// slow disk and encoding a long video report none for many minutes.
const SILENCE_LIMIT: Duration = Duration::from_mins(30);
/// How much longer it may be where no event of the attempt ever came: then perhaps it is our socket that is deaf.
const DEAF_FACTOR: u32 = 4;
/// How long a backend may take to call a silent attempt off before it counts as hanging.
const HANG_GRACE: Duration = Duration::from_secs(8);
/// How often a hanging backend is asked whether it has let go.
const RELEASE_PERIOD: Duration = Duration::from_secs(5);
/// How long a backend may take to call an attempt off. Nodes that report no progress run to their end.
const CALL_OFF_GRACE: Duration = Duration::from_secs(30);
/// Name of an input that no class has; see [`bypass_cache`].
const FORCING_INPUT: &str = "orchestrator_attempt";
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

/// Why an attempt is being called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CalledOff {
    /// The engine wants it no more.
    Wanted { at: Instant },
    /// It showed no sign of progress for this long.
    Silent { at: Instant, silence: Duration },
}

impl CalledOff {
    fn is_overdue(self) -> bool {
        match self {
            Self::Wanted { at } => at.elapsed() > CALL_OFF_GRACE,
            Self::Silent { at, .. } => at.elapsed() > HANG_GRACE,
        }
    }

    fn failure(self) -> Failure {
        match self {
            Self::Wanted { .. } => interrupted(),
            Self::Silent { silence, .. } => Failure::silent(silence.as_secs()),
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
            Outcome::Failed(error) => {
                let class = if error.is_out_of_memory() {
                    FailureClass::OutOfMemory
                } else {
                    FailureClass::NodeError
                };
                let message = shorten(error.exception_message.trim_end().to_owned(), MESSAGE_BYTES);
                let mut failure = Failure::new(
                    class,
                    format!(
                        "{} ({}): {message}",
                        name_of(&prompt, &error.node_id),
                        error.exception_type
                    ),
                );
                failure.comfy_node = Some(error.node_id.clone());
                failure.detail = Some(shorten(error.traceback.concat(), DETAIL_BYTES));
                Err(failure)
            }
        }
    }

    async fn prepare(&self, client: &Client) -> Result<inputs::ReadyPrompt, Failure> {
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
    async fn post(
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

    /// Watches the prompt until the backend has written its history: by the socket, and by asking where the socket is silent.
    async fn follow(
        &mut self,
        client: &Client,
        mut signals: mpsc::Receiver<Signal>,
        prompt: &Prompt,
    ) -> Result<HistoryEntry, Failure> {
        let mut tracker = ProgressTracker::new(prompt);
        let mut next_look = Instant::now() + SILENT_PERIOD;
        let mut out_of_reach_since: Option<Instant> = None;
        let mut called_off: Option<CalledOff> = None;
        let mut silent_for: Option<Duration> = None;
        let mut last_sign = Instant::now();
        let mut was_heard = false;
        loop {
            let cancel = self.cancel.clone();
            tokio::select! {
                biased;
                () = cancel.cancelled(), if called_off.is_none() => {
                    let at = Instant::now();
                    called_off = Some(match silent_for {
                        Some(silence) => CalledOff::Silent { at, silence },
                        None => CalledOff::Wanted { at },
                    });
                    if let Err(error) = call_off(client, self.submission.attempt_id).await {
                        tracing::warn!(%error, "an attempt could not be called off yet");
                    }
                    next_look = Instant::now();
                }
                Some(signal) = signals.recv() => match signal {
                    Signal::Look => next_look = Instant::now(),
                    Signal::Hanging if self.is_started || called_off.is_some() => {}
                    Signal::Hanging => {
                        if let Err(error) = call_off(client, self.submission.attempt_id).await {
                            tracing::warn!(%error, "an attempt behind a hanging one could not be taken back");
                        }
                        return Err(Failure::new(
                            FailureClass::Offline,
                            "the backend hangs in another prompt; restart ComfyUI there",
                        ));
                    }
                    Signal::Event(event) => {
                        last_sign = Instant::now();
                        was_heard = true;
                        if matches!(*event, SocketEvent::ExecutionSuccess { .. }) {
                            self.mark_executed().await;
                        }
                        if matches!(*event, SocketEvent::Finished { .. }) {
                            // Written by now, and much smaller than the queue. Whatever is wrong with the answer is looked into.
                            if let Ok(Some(entry)) = client.history(&self.prompt_id).await {
                                return ended(called_off, entry);
                            }
                            next_look = Instant::now();
                        }
                        self.show(&mut tracker, *event).await;
                    }
                },
                () = tokio::time::sleep_until(next_look.into()) => {
                    match watch::reconcile(client, &self.prompt_id).await {
                        Ok(PromptState::Finished(entry)) => return ended(called_off, *entry),
                        Ok(PromptState::Unknown) => return Err(vanished(called_off)),
                        Ok(PromptState::Running) => {
                            out_of_reach_since = None;
                            if !self.is_started {
                                last_sign = Instant::now();
                            }
                            self.mark_started().await;
                            let silence = last_sign.elapsed();
                            if silent_for.is_none() && silence > self.silence_limit(was_heard) {
                                silent_for = Some(silence);
                                self.tell_silence(silence).await;
                            }
                        }
                        Ok(PromptState::Pending { .. }) => {
                            out_of_reach_since = None;
                            last_sign = Instant::now();
                        }
                        Err(error) => {
                            let since = *out_of_reach_since.get_or_insert_with(Instant::now);
                            if since.elapsed() > OFFLINE_GRACE {
                                return Err(Failure::new(FailureClass::Offline, error.to_string()));
                            }
                        }
                    }
                    if let Some(called_off) = called_off
                        && called_off.is_overdue()
                    {
                        if self.is_started {
                            let backend_id = self.submission.backend_id;
                            self.shared.note_hanging(backend_id, self.submission.attempt_id);
                        }
                        return Err(called_off.failure());
                    }
                    // A backend that gets no work has no socket either, so only asking tells that something ended there.
                    let is_heard = self
                        .shared
                        .fleet
                        .status(self.submission.backend_id)
                        .is_some_and(|status| {
                            matches!(status.state, BackendState::Online | BackendState::Busy)
                        });
                    let is_watchful =
                        out_of_reach_since.is_some() || called_off.is_some() || !is_heard;
                    next_look = Instant::now() + if is_watchful { SILENT_PERIOD } else { WATCHDOG_PERIOD };
                }
            }
        }
    }

    /// How long the attempt may be silent.
    fn silence_limit(&self, was_heard: bool) -> Duration {
        let node = self.context.project.nodes.get(&self.submission.node_id);
        let limit = match node.map(|node| &node.kind) {
            Some(NodeKind::Workflow(workflow)) => workflow.retry.silence_limit_s,
            _ => None,
        };
        let limit = limit.map_or(SILENCE_LIMIT, |seconds| {
            Duration::from_secs(seconds.get().into())
        });
        if was_heard {
            limit
        } else {
            limit * DEAF_FACTOR
        }
    }

    async fn mark_started(&mut self) {
        if !self.is_started {
            self.is_started = true;
            let attempt_id = self.submission.attempt_id;
            self.shared
                .facts
                .send(Input::AttemptStarted { attempt_id })
                .await
                .ok();
        }
    }

    /// The engine writes down that the attempt is called off, and why, and then orders it.
    async fn tell_silence(&self, silence: Duration) {
        let silent = Input::AttemptSilent {
            attempt_id: self.submission.attempt_id,
            silence_s: silence.as_secs(),
        };
        self.shared.facts.send(silent).await.ok();
    }

    /// Says that the backend has room for another prompt, although what this one made is not here yet.
    async fn mark_executed(&mut self) {
        if !self.is_executed {
            self.is_executed = true;
            let attempt_id = self.submission.attempt_id;
            self.shared
                .facts
                .send(Input::AttemptExecuted { attempt_id })
                .await
                .ok();
        }
    }

    async fn show(&mut self, tracker: &mut ProgressTracker, event: SocketEvent) {
        if matches!(
            event,
            SocketEvent::ExecutionStart { .. } | SocketEvent::Executing { .. }
        ) {
            self.mark_started().await;
        }
        let live = if let SocketEvent::Preview(preview) = event {
            EngineEvent::Preview(Preview {
                run_id: self.submission.run_id,
                node_id: self.submission.node_id,
                item_id: self.submission.item_id,
                picture: preview.picture,
            })
        } else if tracker.take(&event) {
            EngineEvent::Progress(Progress {
                run_id: self.submission.run_id,
                node_id: self.submission.node_id,
                item_id: self.submission.item_id,
                attempt_id: self.submission.attempt_id,
                fraction: tracker.fraction(),
                activity: tracker.activity().to_owned(),
            })
        } else {
            return;
        };
        // Only true now: when the engine lags, the next one makes up for it.
        self.shared.live.try_send(live).ok();
    }
}

/// What the history says of a prompt that was perhaps called off.
fn ended(called_off: Option<CalledOff>, entry: HistoryEntry) -> Result<HistoryEntry, Failure> {
    match (called_off, &entry.outcome) {
        (Some(called_off), Outcome::Interrupted { .. }) => Err(called_off.failure()),
        _ => Ok(entry),
    }
}

/// What it means that the backend does not know the prompt.
fn vanished(called_off: Option<CalledOff>) -> Failure {
    match called_off {
        Some(called_off) => called_off.failure(),
        None => Failure::new(
            FailureClass::Lost,
            "the backend does not know the prompt any more; it was restarted, or somebody cleared its queue",
        ),
    }
}

fn interrupted() -> Failure {
    Failure::new(FailureClass::Interrupted, "called off")
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
