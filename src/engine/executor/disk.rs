//! A disk of this machine that takes nothing for now (full, read-only, no permission): what is to be written waits until it
//! does, nothing is failed for it, and no prompt is sent whose result could not be kept.

use super::shared::Shared;
use crate::engine::failure::Failure;
use crate::engine::id::RunId;
use crate::engine::live::EngineEvent;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pause before a disk is tried again.
pub(super) const DISK_RETRY_DELAY: Duration = Duration::from_secs(2);
/// Longest pause before a large file is tried again that a disk without room refused.
const LONGEST_RETRY_DELAY: Duration = Duration::from_mins(5);
/// What is tried again every two seconds even if in vain: 16 MiB.
const CHEAP_TRY_BYTES: u64 = 16 << 20;

/// Whose writing a disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Writer {
    /// Results that are fetched from backends.
    Results,
    /// Work of a run on this machine: files in output folders, contact sheets.
    LocalWork(RunId),
}

/// What is known of the disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// How many are refused at this moment.
    refused: Mutex<HashMap<Writer, usize>>,
}

impl Disks {
    fn refused(&self) -> MutexGuard<'_, HashMap<Writer, usize>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody whose writing a disk refuses, until it is dropped: what was to be written was, or is no longer to be.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    disks: &'a Disks,
    writer: Writer,
}

impl Drop for Refused<'_> {
    fn drop(&mut self) {
        let mut refused = self.disks.refused();
        if let Some(count) = refused.get_mut(&self.writer) {
            *count -= 1;
            if *count == 0 {
                refused.remove(&self.writer);
                tracing::info!("nothing waits for the disk any more");
            }
        }
    }
}

/// A file that a disk refused because it is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLarge {
    /// What it takes, as far as is known.
    pub(super) needed_bytes: u64,
    /// How much of it was fetched in vain.
    pub(super) in_vain_bytes: u64,
}

impl Shared {
    /// Notes that a disk refuses somebody's writing, and says so where it refused nobody of the kind before.
    pub(super) async fn refused(&self, writer: Writer, failure: &Failure) -> Refused<'_> {
        let refused = Refused {
            disks: &self.disks,
            writer,
        };
        let is_first = {
            let mut counts = self.disks.refused();
            let count = counts.entry(writer).or_default();
            *count += 1;
            *count == 1
        };
        if is_first {
            tracing::error!(message = %failure.message, "a disk takes nothing; runs wait");
            // Nobody listens any more: the engine is ending.
            self.live
                .send(EngineEvent::Trouble(failure.clone()))
                .await
                .ok();
        }
        refused
    }

    /// Waits until there may be room for a file that was refused. `pause` is how long it is left alone at least; it grows with
    /// what is tried in vain.
    pub(super) async fn until_room(&self, file: TooLarge, pause: &mut Duration) {
        tokio::time::sleep(*pause).await;
        if file.in_vain_bytes > CHEAP_TRY_BYTES {
            *pause = (*pause * 2).min(LONGEST_RETRY_DELAY);
        }
        loop {
            let artifacts = self.artifacts.clone();
            let free_bytes = tokio::task::spawn_blocking(move || artifacts.free_bytes()).await;
            match free_bytes {
                Ok(Some(free_bytes)) if free_bytes < file.needed_bytes => {
                    tokio::time::sleep(DISK_RETRY_DELAY).await;
                }
                _ => return,
            }
        }
    }

    /// Waits until results can be kept, as far as is known: whoever is refused tries again.
    pub(super) async fn until_results_can_be_kept(&self) {
        while self.disks.refused().contains_key(&Writer::Results) {
            tokio::time::sleep(DISK_RETRY_DELAY).await;
        }
    }
}
