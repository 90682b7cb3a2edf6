//! The one door to the engine: commands in, events out, and questions about the past.

use super::command::RunCommand;
use super::live::EngineEvent;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use tokio::sync::mpsc;

/// Events a subscriber may lag behind before the engine waits for it.
const SUBSCRIBER_CAPACITY: usize = 4096;

/// A cheap, cloneable handle to a running engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<RunCommand>,
    subscribers: Arc<Mutex<Vec<mpsc::Sender<EngineEvent>>>>,
}

/// Why a command was not taken.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The queue of commands is full.
    #[error("the engine is busy and did not take the command; try again in a moment")]
    Busy,
    /// The engine has ended.
    #[error("the engine has ended; restart the program (runs continue where they were)")]
    Ended,
}

impl EngineHandle {
    /// A handle for an engine that reads `commands` and publishes to `subscribers`.
    #[must_use]
    pub fn new(
        commands: mpsc::Sender<RunCommand>,
        subscribers: Arc<Mutex<Vec<mpsc::Sender<EngineEvent>>>>,
    ) -> Self {
        Self {
            commands,
            subscribers,
        }
    }

    /// Hands a command over without waiting.
    ///
    /// # Errors
    /// [`CommandError`] when the queue is full or the engine has ended.
    pub fn send(&self, command: RunCommand) -> Result<(), CommandError> {
        self.commands
            .try_send(command)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => CommandError::Busy,
                mpsc::error::TrySendError::Closed(_) => CommandError::Ended,
            })
    }

    /// Everything the engine tells from now on, beginning with the state of every backend. The subscriber must keep
    /// reading: run events are never dropped, so one that stops reading stops the engine. Dropping the receiver ends the
    /// subscription.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::Receiver<EngineEvent> {
        let (sender, receiver) = mpsc::channel(SUBSCRIBER_CAPACITY);
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
        receiver
    }
}
