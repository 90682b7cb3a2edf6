//! The log and those who listen: steps of the machine become durable, then known.

use super::Executor;
use crate::engine::event::RunEvent;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::RunId;
use crate::engine::live::EngineEvent;
use crate::engine::machine::{Effect, Input};
use crate::store::StoreError;
use std::time::Duration;
use tokio::sync::mpsc;
/// Events of one page when a run's log is read back.
const LOG_PAGE: usize = 4096;
/// Pause before the store is asked again to write what it could not.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Whether events are on the disk. What is not has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

impl Executor {
    /// Steps the machine with facts, makes what it records durable, tells it, and carries out the rest.
    pub(super) async fn take(&mut self, facts: Vec<Input>) {
        self.take_asked(facts, None).await;
    }

    /// The same for what another program asked by a command that it left: in one commit the command is taken and what follows
    /// from it is written.
    pub(super) async fn take_asked(&mut self, facts: Vec<Input>, wish_id: Option<i64>) {
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
        if self.record(events, wish_id).await == Kept::No {
            return;
        }
        for order in orders {
            self.carry_out(order);
        }
    }

    /// Writes events and tells them. While the store cannot write (full disk, lost folder) nothing else happens: that is
    /// the safe stop. It goes on as soon as the store can, or ends with the engine.
    async fn record(&mut self, events: Vec<RunEvent>, wish_id: Option<i64>) -> Kept {
        if events.is_empty() && wish_id.is_none() {
            return Kept::Yes;
        }
        let mut said = false;
        while let Err(error) = self.write(events.clone(), wish_id).await {
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
        for event in events {
            self.tell(&EngineEvent::Run(event)).await;
        }
        Kept::Yes
    }

    async fn write(&self, events: Vec<RunEvent>, wish_id: Option<i64>) -> Result<(), StoreError> {
        let store = &self.shared.store;
        match wish_id {
            Some(wish_id) => store.append_events_of_wish(events, wish_id).await,
            None => store.append_events(events).await,
        }
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
