//! The log and those who listen: steps of the machine become durable, then known.

use super::Executor;
use crate::engine::event::RunEvent;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::RunId;
use crate::engine::live::EngineEvent;
use crate::engine::machine::{Effect, Input};
use crate::store::{StoreError, Writing};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;

/// Steps that may be on their way to the disk while the machine takes the next ones. One write to the disk then serves several.
const TURNS_AHEAD: usize = 8;
/// Events of one page when a run's log is read back.
const LOG_PAGE: usize = 4096;
/// Pause before the store is asked again to write what it could not.
pub(super) const STORE_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Whether events are on the disk. What is not has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// What a step of the machine came to, until its events are on the disk.
pub(super) struct Turn {
    events: Vec<RunEvent>,
    /// The command of another program that asked for it, taken with the events.
    wish_id: Option<i64>,
    /// Carried out when the events are on the disk.
    orders: Vec<Effect>,
    /// None where there are no events.
    writing: Option<Writing>,
}

impl Turn {
    /// Whether nothing of it is to be written.
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.wish_id.is_none()
    }
}

/// Waits until the events of the first turn are on the disk, or cannot be written.
pub(super) async fn first_written(turns: &mut VecDeque<Turn>) -> Result<(), StoreError> {
    match turns.front_mut() {
        Some(turn) => match &mut turn.writing {
            Some(writing) => writing.written().await,
            None => Ok(()),
        },
        None => std::future::pending().await,
    }
}

impl Executor {
    /// Steps the machine with facts, makes what it records durable, tells it, and carries out the rest.
    pub(super) async fn take(&mut self, facts: Vec<Input>) {
        self.take_asked(facts, None).await;
    }

    /// The same for what another program asked by a command that it left: in one commit the command is taken and what follows
    /// from it is written.
    pub(super) async fn take_asked(&mut self, facts: Vec<Input>, wish_id: Option<i64>) {
        self.step(facts, wish_id).await;
        self.settle().await;
    }

    /// As [`Self::take`], but does not wait for the disk: the machine can go on in the meantime. What is recorded becomes known
    /// and has its effects in the order of the steps ([`Self::settle_first`]).
    pub(super) async fn take_ahead(&mut self, facts: Vec<Input>) {
        self.step(facts, None).await;
    }

    async fn step(&mut self, facts: Vec<Input>, wish_id: Option<i64>) {
        let now_ms = super::now_ms();
        let mut events = Vec::new();
        let mut orders = Vec::new();
        for fact in facts {
            for effect in self.machine.step(now_ms, fact) {
                match effect {
                    Effect::Record(event) => events.push(event),
                    order => orders.push(order),
                }
            }
        }
        let mut turn = Turn {
            events,
            wish_id,
            orders,
            writing: None,
        };
        if !turn.is_empty() {
            let store = &self.shared.store;
            // A store that is closed says so again when the turn is settled.
            turn.writing = store.begin_append(turn.events.clone(), wish_id).await.ok();
        } else if turn.orders.is_empty() {
            return;
        }
        self.turns.push_back(turn);
        while self.turns.len() > TURNS_AHEAD {
            let written = first_written(&mut self.turns).await;
            self.settle_first(written).await;
        }
    }

    /// Waits until all that was recorded is on the disk, known, and has had its effects.
    pub(super) async fn settle(&mut self) {
        while !self.turns.is_empty() {
            let written = first_written(&mut self.turns).await;
            self.settle_first(written).await;
        }
    }

    /// Tells the events of the first turn and carries out its orders, once they are written.
    pub(super) async fn settle_first(&mut self, written: Result<(), StoreError>) {
        let Some(turn) = self.turns.pop_front() else {
            return;
        };
        let is_written = turn.is_empty() || (turn.writing.is_some() && written.is_ok());
        if !is_written && self.write(&turn).await == Kept::No {
            return;
        }
        for event in turn.events {
            self.tell(&EngineEvent::Run(event)).await;
        }
        for order in turn.orders {
            self.carry_out(order);
        }
    }

    /// Writes events that could not be written. While the store cannot (full disk, lost folder) nothing else happens: that is
    /// the safe stop. It goes on as soon as the store can, or ends with the engine.
    async fn write(&mut self, turn: &Turn) -> Kept {
        let mut said = false;
        while let Err(error) = self.try_write(turn).await {
            if !said {
                tracing::error!(%error, "the history cannot be written; runs wait");
                self.tell(&EngineEvent::Trouble(Failure::new(
                    FailureClass::Local,
                    error.to_string(),
                )))
                .await;
                said = true;
            }
            if matches!(error, StoreError::Closed) {
                return Kept::No;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Kept::No,
                () = tokio::time::sleep(STORE_RETRY_DELAY) => {}
            }
        }
        Kept::Yes
    }

    async fn try_write(&self, turn: &Turn) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let mut writing = store
            .begin_append(turn.events.clone(), turn.wish_id)
            .await?;
        writing.written().await
    }

    /// Tells everybody, waiting for those that lag.
    pub(super) async fn tell(&mut self, event: &EngineEvent) {
        let mut gone = Vec::new();
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            if subscriber.send(event.clone()).await.is_err() {
                gone.push(index);
            }
        }
        for index in gone.into_iter().rev() {
            self.subscribers.swap_remove(index);
        }
    }

    /// Tells everybody who has room: progress and previews are only true now.
    pub(super) fn tell_live(&mut self, event: EngineEvent) {
        self.subscribers.retain(|subscriber| {
            !matches!(
                subscriber.try_send(event.clone()),
                Err(mpsc::error::TrySendError::Closed(_))
            )
        });
    }

    /// Brings a new subscriber up to date: backends, then the log of every run in hand.
    pub(super) async fn welcome(&mut self, subscriber: mpsc::Sender<EngineEvent>) {
        for (backend_id, status) in &self.statuses {
            let mut news = vec![EngineEvent::Backend(status.clone())];
            if self.shared.fleet.object_info(*backend_id).is_some() {
                news.push(EngineEvent::Capabilities(*backend_id));
            }
            for event in news {
                if subscriber.send(event).await.is_err() {
                    return;
                }
            }
        }
        let mut run_ids: Vec<RunId> = self.runs.keys().copied().collect();
        run_ids.sort_unstable();
        for run_id in run_ids {
            let events = match self.log_of(run_id).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, %run_id, "the log of a run cannot be read");
                    continue;
                }
            };
            for event in events {
                if subscriber.send(EngineEvent::Run(event)).await.is_err() {
                    return;
                }
            }
        }
        if !self.unfinished.is_empty() {
            let unfinished = EngineEvent::Unfinished(self.unfinished.clone());
            if subscriber.send(unfinished).await.is_err() {
                return;
            }
        }
        self.subscribers.push(subscriber);
        self.outlooks.somebody_new();
    }

    pub(super) async fn log_of(&self, run_id: RunId) -> Result<Vec<RunEvent>, StoreError> {
        let mut events: Vec<RunEvent> = Vec::new();
        loop {
            let page = self
                .shared
                .store
                .events(run_id, events.len() as u64, LOG_PAGE)
                .await?;
            let is_last = page.len() < LOG_PAGE;
            events.extend(page);
            if is_last {
                return Ok(events);
            }
        }
    }

    pub(super) async fn trouble(&mut self, message: &str) {
        tracing::error!(message, "trouble");
        self.tell(&EngineEvent::Trouble(Failure::new(
            FailureClass::Local,
            message,
        )))
        .await;
    }
}
