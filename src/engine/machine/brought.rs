//! Which files lie at which backend because we brought them there, as far as that is remembered.

use crate::artifacts::ContentHash;
use crate::project::BackendId;
use std::collections::{HashMap, HashSet};

/// Files remembered of one backend. Beyond that all are forgotten: bringing one is then reckoned with once more, which is less
/// wrong than memory that grows as long as the program lives.
const MOST_OF_A_BACKEND: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Brought(HashMap<BackendId, HashSet<ContentHash>>);

impl Brought {
    /// A file lies at a backend.
    pub fn note(&mut self, backend_id: BackendId, content: ContentHash) {
        let files = self.0.entry(backend_id).or_default();
        if files.len() >= MOST_OF_A_BACKEND {
            files.clear();
        }
        files.insert(content);
    }

    /// Nothing is known of a backend any more.
    pub fn forget(&mut self, backend_id: BackendId) {
        self.0.remove(&backend_id);
    }

    /// Whether a file lies at a backend.
    pub fn has(&self, backend_id: BackendId, content: &ContentHash) -> bool {
        self.0
            .get(&backend_id)
            .is_some_and(|files| files.contains(content))
    }
}
