//! What the executor's workers share.

use super::disk::Disks;
use super::local_work::LocalTasks;
use crate::artifacts::{ArtifactStore, ContentHash};
use crate::comfy::StoredFile;
use crate::engine::id::AttemptId;
use crate::engine::live::EngineEvent;
use crate::engine::machine::Input;
use crate::fleet::Fleet;
use crate::project::BackendId;
use crate::store::Store;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{RwLock, mpsc};

/// Uploads remembered of one backend. Beyond that all are forgotten, and what is used again is sent once more.
const MOST_UPLOADS: usize = 100_000;

/// Handles that every worker needs, and what they learn for each other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) artifacts: ArtifactStore,
    pub(super) fleet: Fleet,
    /// Facts for the machine.
    pub(super) facts: mpsc::Sender<Input>,
    /// Progress and previews for whoever looks.
    pub(super) live: mpsc::Sender<EngineEvent>,
    /// Disks of this machine that take nothing for now.
    pub(super) disks: Disks,
    /// Work on this machine that is under way.
    pub(super) local_tasks: LocalTasks,
    /// What was uploaded where, and the name the backend gave it.
    uploads: Mutex<HashMap<BackendId, HashMap<ContentHash, StoredFile>>>,
    /// Loader classes that take no file from where a backend made it.
    refuses_in_place: Mutex<HashSet<(BackendId, String)>>,
    /// Held for writing while a backend is told to free its memory, for reading while a prompt is sent there: a backend
    /// frees nothing before the prompt that came first has run.
    memory_gates: Mutex<HashMap<BackendId, Arc<RwLock<()>>>>,
    /// Backends that do not let go of an attempt that was called off, with the attempt.
    hanging: Mutex<HashMap<BackendId, AttemptId>>,
}

impl Shared {
    pub(super) fn new(
        store: Store,
        artifacts: ArtifactStore,
        fleet: Fleet,
        facts: mpsc::Sender<Input>,
        live: mpsc::Sender<EngineEvent>,
    ) -> Self {
        Self {
            store,
            artifacts,
            fleet,
            facts,
            live,
            disks: Disks::default(),
            local_tasks: LocalTasks::default(),
            uploads: Mutex::default(),
            refuses_in_place: Mutex::default(),
            memory_gates: Mutex::default(),
            hanging: Mutex::default(),
        }
    }

    /// Where a file was uploaded to earlier by this process.
    pub(super) fn uploaded(
        &self,
        backend_id: BackendId,
        content: &ContentHash,
    ) -> Option<StoredFile> {
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&backend_id)?
            .get(content)
            .cloned()
    }

    /// Remembers an upload.
    pub(super) fn note_upload(
        &self,
        backend_id: BackendId,
        content: ContentHash,
        file: StoredFile,
    ) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let of_backend = uploads.entry(backend_id).or_default();
        if of_backend.len() >= MOST_UPLOADS {
            of_backend.clear();
        }
        of_backend.insert(content, file);
    }

    /// Forgets what lies at a backend that was removed, and what its loaders take.
    pub(super) fn forget_files_at(&self, backend_id: BackendId) {
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&backend_id);
        self.refuses_in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(of, _)| *of != backend_id);
    }

    /// Whether loaders of a class take files from the backend's input folder only.
    pub(super) fn refuses_in_place(&self, backend_id: BackendId, class: &str) -> bool {
        self.refuses_in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&(backend_id, class.to_owned()))
    }

    /// Remembers that they do.
    pub(super) fn note_refuses_in_place(&self, backend_id: BackendId, class: &str) {
        self.refuses_in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((backend_id, class.to_owned()));
    }

    /// What keeps prompts and the freeing of memory apart on a backend.
    pub(super) fn memory_gate(&self, backend_id: BackendId) -> Arc<RwLock<()>> {
        self.memory_gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(backend_id)
            .or_default()
            .clone()
    }

    /// Notes that a backend does not let go of an attempt.
    pub(super) fn note_hanging(&self, backend_id: BackendId, attempt_id: AttemptId) {
        self.hanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(backend_id, attempt_id);
    }

    /// Notes that it did, or that the backend was restarted.
    pub(super) fn note_let_go(&self, backend_id: BackendId) {
        self.hanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&backend_id);
    }

    /// The attempt that a backend does not let go of.
    pub(super) fn hanging(&self, backend_id: BackendId) -> Option<AttemptId> {
        self.hanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&backend_id)
            .copied()
    }
}
