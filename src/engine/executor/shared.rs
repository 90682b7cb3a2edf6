//! What the executor's workers share.

use crate::artifacts::{ArtifactStore, ContentHash};
use crate::comfy::StoredFile;
use crate::engine::live::EngineEvent;
use crate::engine::machine::Input;
use crate::fleet::Fleet;
use crate::project::BackendId;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

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
    /// What was uploaded where, and the name the server gave it.
    uploads: Mutex<HashMap<(BackendId, ContentHash), StoredFile>>,
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
            uploads: Mutex::default(),
        }
    }

    /// Where a file was uploaded to earlier by this process.
    pub(super) fn uploaded(&self, key: &(BackendId, ContentHash)) -> Option<StoredFile> {
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Remembers an upload.
    pub(super) fn note_upload(&self, key: (BackendId, ContentHash), file: StoredFile) {
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, file);
    }
}
