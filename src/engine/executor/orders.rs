//! The machine's orders, and the workers that follow attempts.

use super::{AttemptWorker, Executor, attempt, cache, local_work};
use crate::comfy::SocketEvent;
use crate::engine::failure::FailureClass;
use crate::engine::id::AttemptId;
use crate::engine::machine::{Effect, Input, Submission};
use crate::project::BackendId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

impl Executor {
    pub(super) fn carry_out(&mut self, order: Effect) {
        match order {
            // `take` has recorded it.
            Effect::Record(_) => {}
            Effect::Submit(submission) => self.start_attempt(submission, attempt::Beginning::Post),
            Effect::Reconcile(submission) => {
                self.start_attempt(submission, attempt::Beginning::Find);
            }
            Effect::CancelAttempt {
                attempt_id,
                backend_id,
            } => {
                if let Some(worker) = self.attempts.get(&attempt_id) {
                    worker.cancel.cancel();
                } else if let Some(client) = self.shared.fleet.client(backend_id) {
                    // Of a run that rests: nobody follows it. What became of it is asked when the run is taken up.
                    self.spawn(async move {
                        if let Err(error) = attempt::call_off(&client, attempt_id).await {
                            tracing::warn!(%error, %attempt_id, "an attempt of a resting run could not be called off");
                        }
                    });
                }
            }
            Effect::FreeMemory { backend_id } => {
                if let Some(client) = self.shared.fleet.client(backend_id) {
                    let gate = self.shared.memory_gate(backend_id);
                    // Closed now, not when the task runs: the next order may be a prompt for this backend.
                    let closed = gate.clone().try_write_owned();
                    self.spawn(async move {
                        let _closed = match closed {
                            Ok(closed) => closed,
                            Err(_in_use) => gate.write_owned().await,
                        };
                        if let Err(error) = client.free(true, true).await {
                            tracing::warn!(%error, "a backend did not free its memory");
                        }
                    });
                }
            }
            Effect::Local(work) => {
                if let Some(context) = self.runs.get(&work.run_id) {
                    let turn = local_work::Turn::begin(self.shared.clone(), work.item_id);
                    let work = local_work::work(turn, context.clone(), work);
                    self.spawn(work);
                }
            }
            Effect::CallOffLocal { item_id } => self.shared.local_tasks.call_off(item_id),
            Effect::LookUp(question) => {
                if let Some(context) = self.runs.get(&question.run_id) {
                    let work = cache::look_up(self.shared.clone(), context.clone(), question);
                    self.spawn(work);
                }
            }
            Effect::WakeAt { at_ms } => {
                self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
            }
        }
    }

    pub(super) fn start_attempt(&mut self, submission: Submission, beginning: attempt::Beginning) {
        let Some(context) = self.runs.get(&submission.run_id).cloned() else {
            return;
        };
        let cancel = CancellationToken::new();
        let (signals, signal_receiver) = mpsc::channel(attempt::SIGNAL_CAPACITY);
        let worker = AttemptWorker {
            backend_id: submission.backend_id,
            cancel: cancel.clone(),
            signals,
        };
        self.attempts.insert(submission.attempt_id, worker);
        let work = attempt::work(
            self.shared.clone(),
            context,
            submission,
            beginning,
            signal_receiver,
            cancel,
        );
        self.spawn(work);
    }

    /// Hands a socket event to the attempt it is about. Previews of old backends name no prompt: a backend executes one at
    /// a time, so they belong to the attempt that began there last.
    pub(super) fn pass_on(&mut self, backend_id: BackendId, event: SocketEvent) {
        let named = event.prompt_id().map(str::parse::<AttemptId>);
        let attempt_id = match named {
            Some(Ok(attempt_id)) => attempt_id,
            // Somebody else's prompt.
            Some(Err(_)) => return,
            None => {
                if !matches!(event, SocketEvent::Preview(_)) {
                    return;
                }
                match self.begun_last.get(&backend_id) {
                    Some(attempt_id) => *attempt_id,
                    None => return,
                }
            }
        };
        let Some(worker) = self.attempts.get(&attempt_id) else {
            return;
        };
        if matches!(event, SocketEvent::ExecutionStart { .. }) {
            self.begun_last.insert(backend_id, attempt_id);
        }
        // A worker that lags asks the backend itself; only what the next event makes up for can be missed.
        let signal = attempt::Signal::Event(Box::new(event));
        worker.signals.try_send(signal).ok();
    }

    /// Forgets the worker of an attempt that ended, and remembers attempts that may still live at a silent backend. Gives the
    /// backend if it does not let go of the attempt.
    pub(super) fn note_end(&mut self, fact: &Input) -> Option<BackendId> {
        let Input::AttemptEnded {
            attempt_id,
            outcome,
        } = fact
        else {
            return None;
        };
        let worker = self.attempts.remove(attempt_id)?;
        let hanging = (self.shared.hanging(worker.backend_id) == Some(*attempt_id))
            .then_some(worker.backend_id);
        if let Some(backend_id) = hanging {
            self.wait_for_release(backend_id, *attempt_id);
        }
        if let Err(failure) = outcome
            && matches!(
                failure.class,
                FailureClass::Offline | FailureClass::Timeout | FailureClass::Lost
            )
        {
            self.orphans
                .entry(worker.backend_id)
                .or_default()
                .push(*attempt_id);
        }
        hanging
    }

    /// Takes a backend that does not let go of an attempt out of the game until it does: what waits behind it there is taken
    /// back, and nothing new is sent.
    pub(super) fn wait_for_release(&mut self, backend_id: BackendId, attempt_id: AttemptId) {
        for worker in self
            .attempts
            .values()
            .filter(|worker| worker.backend_id == backend_id)
        {
            // A worker that is busy finds out when it looks for itself.
            worker.signals.try_send(attempt::Signal::Hanging).ok();
        }
        let shared = self.shared.clone();
        self.spawn(async move {
            attempt::until_released(&shared, backend_id, attempt_id).await;
            shared.note_let_go(backend_id);
            // What the machine knows of the backend is made anew with its answer.
            shared.fleet.refresh(backend_id);
        });
    }

    pub(super) fn call_off_orphans(&mut self, backend_id: BackendId) {
        let Some(attempt_ids) = self.orphans.remove(&backend_id) else {
            return;
        };
        let Some(client) = self.shared.fleet.client(backend_id) else {
            return;
        };
        self.spawn(async move {
            for attempt_id in attempt_ids {
                if let Err(error) = attempt::call_off(&client, attempt_id).await {
                    tracing::warn!(%error, %attempt_id, "a given-up attempt could not be called off");
                }
            }
        });
    }
}
