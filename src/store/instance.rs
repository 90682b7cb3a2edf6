//! Which running program works on which run.
//!
//! The window and the command line may share one database. A run belongs to the instance that started it; another one
//! takes it over only when that instance is gone, so that no prompt is sent twice. An instance lives as long as the lock on
//! its file is held: the operating system lets go of it when the process ends, however it ends.

use super::error::StoreError;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// This instance. Dropping it says that it is gone.
#[derive(Debug)]
pub(super) struct Instance {
    id: String,
    folder: Option<PathBuf>,
    lock: Mutex<Option<File>>,
}

impl Instance {
    /// Registers this instance beside the database at `database`.
    pub(super) fn begin(database: &Path) -> Result<Self, StoreError> {
        let id = Uuid::now_v7().to_string();
        let folder = database.with_extension("instances");
        let cannot_open = |error: std::io::Error| StoreError::CannotOpen {
            path: folder.clone(),
            detail: error.to_string(),
        };
        std::fs::create_dir_all(&folder).map_err(cannot_open)?;
        let lock = File::create(lock_path(&folder, &id)).map_err(cannot_open)?;
        lock.try_lock()
            .map_err(|error| cannot_open(std::io::Error::from(error)))?;
        Ok(Self {
            id,
            folder: Some(folder),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// An instance that has a database in memory to itself.
    pub(super) fn alone() -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            folder: None,
            lock: Mutex::new(None),
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether an instance of this database still runs: this one, or another.
    pub(super) fn knows_alive(&self, id: &str) -> bool {
        id == self.id || is_alive(self.folder.as_deref(), id)
    }

    /// Says that this instance is gone, although handles to it may live a while: others may take over its runs.
    pub(super) fn leave(&self) {
        let lock = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if lock.is_none() {
            return;
        }
        // Windows does not delete a file that is open.
        drop(lock);
        if let Some(folder) = &self.folder {
            // A file that stays is taken for a dead instance, which is true.
            std::fs::remove_file(lock_path(folder, &self.id)).ok();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether an instance still runs. What cannot be found out counts as running: better late than twice.
fn is_alive(folder: Option<&Path>, id: &str) -> bool {
    let Some(folder) = folder else {
        return false;
    };
    // The id comes out of the file; only the form we write may become part of a path.
    if Uuid::parse_str(id).is_err() {
        return false;
    }
    let path = lock_path(folder, id);
    match File::open(&path) {
        Ok(file) => match file.try_lock() {
            Ok(()) => {
                drop(file);
                std::fs::remove_file(&path).ok();
                false
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
        },
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn lock_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.lock"))
}
