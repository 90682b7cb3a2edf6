//! The watchdog: what became of a prompt, asked over HTTP. For after silence, lost answers, reconnects and restarts.

use super::client::{Client, Queue};
use super::error::ComfyError;
use super::outcome::HistoryEntry;
use std::time::Duration;

/// Pause before the second look at a prompt that was nowhere.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(250);

/// Where a prompt is.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptState {
    /// It waits.
    Pending {
        /// Prompts that will run before it, not counting what runs now.
        position: usize,
    },
    /// It executes.
    Running,
    /// It ended.
    Finished(Box<HistoryEntry>),
    /// The server does not know it: never arrived, deleted from the queue, or the server restarted.
    Unknown,
}

/// Finds out where a prompt is.
///
/// Prompts move from waiting to running to history, never back, so the queue is asked before the history: one that ends
/// between the two questions is found by the second, while the other order could miss it. What is found nowhere is looked
/// for once more after a moment, in case its POST was still on the way in. Let that POST end (answered, or its connection
/// dropped) before calling, or `Unknown` may become untrue later.
///
/// # Errors
/// Whatever kept the question from being answered; the prompt's state is then not known.
pub async fn reconcile(client: &Client, prompt_id: &str) -> Result<PromptState, ComfyError> {
    match look(client, prompt_id).await? {
        PromptState::Unknown => {
            tokio::time::sleep(SECOND_LOOK_AFTER).await;
            look(client, prompt_id).await
        }
        known => Ok(known),
    }
}

async fn look(client: &Client, prompt_id: &str) -> Result<PromptState, ComfyError> {
    if let Some(state) = in_queue(&client.queue().await?, prompt_id) {
        return Ok(state);
    }
    Ok(match client.history(prompt_id).await? {
        Some(entry) => PromptState::Finished(Box::new(entry)),
        None => PromptState::Unknown,
    })
}

/// Where a prompt is in a queue; none if it is not there.
#[must_use]
pub fn in_queue(queue: &Queue, prompt_id: &str) -> Option<PromptState> {
    if queue.running.iter().any(|item| item.prompt_id == prompt_id) {
        return Some(PromptState::Running);
    }
    queue
        .pending
        .iter()
        .position(|item| item.prompt_id == prompt_id)
        .map(|position| PromptState::Pending { position })
}
