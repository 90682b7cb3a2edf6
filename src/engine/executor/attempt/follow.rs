//! The middle of an attempt: what the backend has is watched until it has written its history.

use super::{Signal, Worker, call_off, interrupted};
use crate::comfy::{
    Client, HistoryEntry, Outcome, SocketEvent,
    watch::{self, PromptState},
};
use crate::engine::executor::progress::ProgressTracker;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::live::{EngineEvent, Preview, Progress};
use crate::engine::machine::Input;
use crate::fleet::BackendState;
use crate::project::NodeKind;
use crate::workflow::Prompt;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

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
/// How long a backend may take to call an attempt off. Nodes that report no progress run to their end.
const CALL_OFF_GRACE: Duration = Duration::from_secs(30);

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

/// How a prompt ended at its backend.
type End = Result<HistoryEntry, Failure>;

impl Worker {
    /// Watches the prompt until the backend has written its history: by the socket, and by asking where the socket is silent.
    pub(super) async fn follow(
        &mut self,
        client: &Client,
        mut signals: mpsc::Receiver<Signal>,
        prompt: &Prompt,
    ) -> End {
        let cancel = self.cancel.clone();
        let mut watch = Watch {
            worker: self,
            client,
            tracker: ProgressTracker::new(prompt),
            next_look: Instant::now() + SILENT_PERIOD,
            out_of_reach_since: None,
            called_off: None,
            silent_for: None,
            last_sign: Instant::now(),
            was_heard: false,
        };
        loop {
            let end = tokio::select! {
                biased;
                () = cancel.cancelled(), if watch.called_off.is_none() => {
                    watch.call_off().await;
                    None
                }
                Some(signal) = signals.recv() => watch.hear(signal).await,
                () = tokio::time::sleep_until(watch.next_look.into()) => watch.look().await,
            };
            if let Some(end) = end {
                return end;
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
    pub(super) async fn mark_executed(&mut self) {
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
}

/// A prompt that is watched.
struct Watch<'a> {
    worker: &'a mut Worker,
    client: &'a Client,
    tracker: ProgressTracker,
    /// When the backend is asked next.
    next_look: Instant,
    out_of_reach_since: Option<Instant>,
    called_off: Option<CalledOff>,
    /// For how long it was silent, once that was too long.
    silent_for: Option<Duration>,
    /// When it last showed that it goes on, or that it waits.
    last_sign: Instant,
    /// Whether the socket ever said anything of it.
    was_heard: bool,
}

impl Watch<'_> {
    /// The engine wants it no more, or knows of the silence that was told.
    async fn call_off(&mut self) {
        let at = Instant::now();
        self.called_off = Some(match self.silent_for {
            Some(silence) => CalledOff::Silent { at, silence },
            None => CalledOff::Wanted { at },
        });
        if let Err(error) = call_off(self.client, self.worker.submission.attempt_id).await {
            tracing::warn!(%error, "an attempt could not be called off yet");
        }
        self.next_look = Instant::now();
    }

    async fn hear(&mut self, signal: Signal) -> Option<End> {
        match signal {
            Signal::Look => self.next_look = Instant::now(),
            Signal::Hanging if self.worker.is_started || self.called_off.is_some() => {}
            Signal::Hanging => {
                if let Err(error) = call_off(self.client, self.worker.submission.attempt_id).await {
                    tracing::warn!(%error, "an attempt behind a hanging one could not be taken back");
                }
                return Some(Err(Failure::new(
                    FailureClass::Offline,
                    "the backend hangs in another prompt; restart ComfyUI there",
                )));
            }
            Signal::Event(event) => {
                self.last_sign = Instant::now();
                self.was_heard = true;
                if matches!(*event, SocketEvent::ExecutionSuccess { .. }) {
                    self.worker.mark_executed().await;
                }
                if matches!(*event, SocketEvent::Finished { .. }) {
                    // Written by now, and much smaller than the queue. Whatever is wrong with the answer is looked into.
                    if let Ok(Some(entry)) = self.client.history(&self.worker.prompt_id).await {
                        return Some(self.ended(entry));
                    }
                    self.next_look = Instant::now();
                }
                self.show(*event).await;
            }
        }
        None
    }

    /// Asks the backend what became of the prompt.
    async fn look(&mut self) -> Option<End> {
        match watch::reconcile(self.client, &self.worker.prompt_id).await {
            Ok(PromptState::Finished(entry)) => return Some(self.ended(*entry)),
            Ok(PromptState::Unknown) => return Some(Err(self.vanished())),
            Ok(PromptState::Running) => {
                self.out_of_reach_since = None;
                if !self.worker.is_started {
                    self.last_sign = Instant::now();
                }
                self.worker.mark_started().await;
                let silence = self.last_sign.elapsed();
                if self.silent_for.is_none() && silence > self.worker.silence_limit(self.was_heard)
                {
                    self.silent_for = Some(silence);
                    self.worker.tell_silence(silence).await;
                }
            }
            Ok(PromptState::Pending { .. }) => {
                self.out_of_reach_since = None;
                self.last_sign = Instant::now();
            }
            Err(error) => {
                let since = *self.out_of_reach_since.get_or_insert_with(Instant::now);
                if since.elapsed() > OFFLINE_GRACE {
                    let failure = Failure::new(FailureClass::Offline, error.to_string());
                    return Some(Err(failure));
                }
            }
        }
        if let Some(called_off) = self.called_off
            && called_off.is_overdue()
        {
            if self.worker.is_started {
                let submission = &self.worker.submission;
                self.worker
                    .shared
                    .note_hanging(submission.backend_id, submission.attempt_id);
            }
            return Some(Err(called_off.failure()));
        }
        let is_watchful =
            self.out_of_reach_since.is_some() || self.called_off.is_some() || !self.is_heard();
        self.next_look = Instant::now()
            + if is_watchful {
                SILENT_PERIOD
            } else {
                WATCHDOG_PERIOD
            };
        None
    }

    /// Whether the backend's socket tells what ends there. One that gets no work has none, so only asking tells.
    fn is_heard(&self) -> bool {
        let status = self
            .worker
            .shared
            .fleet
            .status(self.worker.submission.backend_id);
        status
            .is_some_and(|status| matches!(status.state, BackendState::Online | BackendState::Busy))
    }

    async fn show(&mut self, event: SocketEvent) {
        if matches!(
            event,
            SocketEvent::ExecutionStart { .. } | SocketEvent::Executing { .. }
        ) {
            self.worker.mark_started().await;
        }
        let submission = &self.worker.submission;
        let live = if let SocketEvent::Preview(preview) = event {
            EngineEvent::Preview(Preview {
                run_id: submission.run_id,
                node_id: submission.node_id,
                item_id: submission.item_id,
                picture: preview.picture,
            })
        } else if self.tracker.take(&event) {
            EngineEvent::Progress(Progress {
                run_id: submission.run_id,
                node_id: submission.node_id,
                item_id: submission.item_id,
                attempt_id: submission.attempt_id,
                fraction: self.tracker.fraction(),
                activity: self.tracker.activity().to_owned(),
            })
        } else {
            return;
        };
        // Only true now: when the engine lags, the next one makes up for it.
        self.worker.shared.live.try_send(live).ok();
    }

    /// What the history says of the prompt, which was perhaps called off.
    fn ended(&self, entry: HistoryEntry) -> End {
        match (self.called_off, &entry.outcome) {
            (Some(called_off), Outcome::Interrupted { .. }) => Err(called_off.failure()),
            _ => Ok(entry),
        }
    }

    /// What it means that the backend does not know the prompt.
    fn vanished(&self) -> Failure {
        match self.called_off {
            Some(called_off) => called_off.failure(),
            None => Failure::new(
                FailureClass::Lost,
                "the backend does not know the prompt any more; it was restarted, or somebody cleared its queue",
            ),
        }
    }
}
