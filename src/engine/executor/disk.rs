//! A disk of this machine that takes nothing for now (full, read-only, no permission): what is to be written waits until it
//! does, nothing is failed for it, and no prompt is sent whose result could not be kept.

use super::shared::Shared;
use crate::engine::event::{RunEvent, RunEventBody, RunState};
use crate::engine::failure::Failure;
use crate::engine::id::RunId;
use crate::engine::live::EngineEvent;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Pause before a disk is tried again.
const DISK_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Whose writing a disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Results that are fetched from backends.
    Results,
    /// Work on this machine: files in output folders, contact sheets.
    LocalWork,
}

/// What is known of the disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    results_refused: AtomicBool,
    local_work_refused: AtomicBool,
    /// Runs that are being cancelled: nothing of them waits for a disk.
    called_off: Mutex<HashSet<RunId>>,
}

impl Disks {
    fn refused(&self, writer: Writer) -> &AtomicBool {
        match writer {
            Writer::Results => &self.results_refused,
            Writer::LocalWork => &self.local_work_refused,
        }
    }

    /// Heeds what became known of runs.
    pub(super) fn note(&self, events: &[RunEvent]) {
        for event in events {
            if let RunEventBody::RunStateChanged { state } = event.body {
                let mut called_off = self
                    .called_off
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if state == RunState::Cancelling {
                    called_off.insert(event.run_id);
                } else {
                    called_off.remove(&event.run_id);
                }
            }
        }
    }

    /// Whether a run is being cancelled.
    pub(super) fn is_called_off(&self, run_id: RunId) -> bool {
        self.called_off
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&run_id)
    }
}

impl Shared {
    /// Says, once, that a disk takes nothing, and waits before the next try.
    pub(super) async fn wait_for_disk(&self, writer: Writer, failure: &Failure) {
        if !self.disks.refused(writer).swap(true, Ordering::SeqCst) {
            tracing::error!(message = %failure.message, "a disk takes nothing; runs wait");
            // Nobody listens any more: the engine is ending.
            self.live
                .send(EngineEvent::Trouble(failure.clone()))
                .await
                .ok();
        }
        tokio::time::sleep(DISK_RETRY_DELAY).await;
    }

    /// What waited was written.
    pub(super) fn disk_works(&self, writer: Writer) {
        if self.disks.refused(writer).swap(false, Ordering::SeqCst) {
            tracing::info!("the disk takes files again; runs go on");
        }
    }

    /// Waits until results can be kept, as far as is known.
    pub(super) async fn until_results_can_be_kept(&self) {
        while self.disks.results_refused.load(Ordering::SeqCst) {
            tokio::time::sleep(DISK_RETRY_DELAY).await;
            let artifacts = self.artifacts.clone();
            let probed = tokio::task::spawn_blocking(move || artifacts.probe()).await;
            if matches!(probed, Ok(Ok(()))) {
                self.disk_works(Writer::Results);
            }
        }
    }
}
