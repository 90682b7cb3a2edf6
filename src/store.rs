//! `SQLite` on threads of its own: the event log of runs, artifacts, cached results, backends, settings.
//!
//! One thread writes, one reads (write-ahead log, so neither waits for the other); a [`Store`] is a cheap handle to both.
//! Every method is a future that needs no particular runtime; [`wait`] serves threads that have none.

mod cache;
mod database;
mod error;
mod instance;
mod knowledge;
mod library;
mod pictures;
pub mod project_folder;
mod registry;
mod runs;
mod unused;
mod wishes;
mod worker;

pub use cache::{CacheStats, CachedResult};
pub use error::StoreError;
pub use knowledge::{
    MAX_REMEMBERED_BACKENDS, MAX_REMEMBERED_BYTES, PackedObjectInfo, StoredObjectInfo,
};
pub use library::{
    LibraryChange, LibraryEntry, LibraryFile, LibraryQuery, LibraryVersion, LibraryWorkflowId,
    MAX_LIBRARY_VERSIONS, NewLibraryWorkflow,
};
pub use runs::{Attendance, NewRun, RunSummary, StoredRun, outlook_setting};
pub use unused::Removed;
pub use worker::Writing;

use crate::artifacts::{Artifact, ContentHash};
use crate::engine::{RunEvent, RunId, Value};
use crate::fleet::BackendConfig;
use crate::project::BackendId;
use instance::Instance;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use uuid::Uuid;
use worker::Worker;

/// A handle to the database. Clones share it; dropping the last one waits until what was asked is on the disk.
#[derive(Clone)]
pub struct Store {
    // The reader is closed first: only a connection that can write folds the log into the file, and only the last one does.
    reader: Worker,
    writer: Worker,
    instance: Arc<Instance>,
}

impl Store {
    /// Opens the database at `path`, creates it and its folder when they are not there, and brings an older one to the
    /// newest format. Blocks; meant for the start of the program.
    ///
    /// # Errors
    /// [`StoreError`]: a newer, damaged, foreign or locked file is refused and left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let writer = database::open_writer(path)?;
        let reader = database::open_reader(path)?;
        let instance = Instance::begin(path)?;
        Ok(Self {
            writer: Worker::start("store-writer", path.to_path_buf(), writer)?,
            reader: Worker::start("store-reader", path.to_path_buf(), reader)?,
            instance: Arc::new(instance),
        })
    }

    /// A database that is gone with its last handle, for tests.
    ///
    /// # Errors
    /// [`StoreError`] when `SQLite` cannot start.
    pub fn in_memory() -> Result<Self, StoreError> {
        let worker = Worker::start(
            "store-memory",
            ":memory:".into(),
            database::open_in_memory()?,
        )?;
        Ok(Self {
            writer: worker.clone(),
            reader: worker,
            instance: Arc::new(Instance::alone()),
        })
    }

    /// Stores a run, in state `Running`, before its first event.
    ///
    /// # Errors
    /// [`StoreError`]; also when a run of that id is there already.
    pub async fn create_run(&self, run: NewRun) -> Result<(), StoreError> {
        let owner = self.instance.id().to_owned();
        self.writer
            .call(move |connection| runs::create(connection, &run, &owner))
            .await
    }

    /// Appends events and the run states they tell, all or none. Returns when they are on the disk, so that what follows
    /// from them may have an effect. Callers that wait at the same time share one write to the disk. Events that are there
    /// already, word for word, are passed over.
    ///
    /// # Errors
    /// [`StoreError::OutOfTurn`] for a gap or an event that differs from the one written, [`StoreError::UnknownRun`],
    /// [`StoreError::DiskFull`] and others; nothing of `events` is then written.
    pub async fn append_events(&self, events: Vec<RunEvent>) -> Result<(), StoreError> {
        self.begin_append(events, None).await?.written().await
    }

    /// Appends events as [`Self::append_events`] does, and takes the command that asked for what they tell in the same commit:
    /// after a crash it is either in the log or still there, never both, never neither.
    ///
    /// # Errors
    /// As [`Self::append_events`]; the command is then still there.
    pub async fn append_events_of_wish(
        &self,
        events: Vec<RunEvent>,
        wish_id: i64,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin_append(events, Some(wish_id)).await?;
        writing.written().await
    }

    /// Appends events as those two do, but returns as soon as they have their place before whatever is asked for later.
    ///
    /// # Errors
    /// [`StoreError::Closed`]; the others come with [`Writing::written`].
    pub async fn begin_append(
        &self,
        events: Vec<RunEvent>,
        wish_id: Option<i64>,
    ) -> Result<Writing, StoreError> {
        self.writer
            .begin_write(events.len(), move |connection| {
                runs::append(connection, &events)?;
                if let Some(wish_id) = wish_id {
                    wishes::remove(connection, wish_id)?;
                }
                Ok(())
            })
            .await
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        let instance = self.instance.clone();
        self.reader
            .call(move |connection| runs::list(connection, |owner| instance.knows_alive(owner)))
            .await
    }

    /// A run with what is needed to go on with it.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`] and others.
    pub async fn run(&self, run_id: RunId) -> Result<StoredRun, StoreError> {
        let instance = self.instance.clone();
        self.reader
            .call(move |connection| {
                runs::get(connection, run_id, |owner| instance.knows_alive(owner))
            })
            .await
    }

    /// Notes the backends that a run uses beside the registered ones, in place of those noted before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_run_backends(
        &self,
        run_id: RunId,
        backends: Vec<BackendConfig>,
    ) -> Result<(), StoreError> {
        self.writer
            .call(move |connection| runs::set_backends(connection, run_id, &backends))
            .await
    }

    /// At most `limit` events of a run in their order, from number `from_seq` (0 is the first).
    ///
    /// # Errors
    /// [`StoreError`]; an unknown run has no events.
    pub async fn events(
        &self,
        run_id: RunId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<RunEvent>, StoreError> {
        self.reader
            .call(move |connection| runs::events(connection, run_id, from_seq, limit))
            .await
    }

    /// Unfinished runs to go on with, oldest first: those of this instance, and those of instances that are gone, which
    /// become this one's. Runs of another program that lives are left to it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_unfinished_runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        let instance = self.instance.clone();
        self.writer
            .call(move |connection| {
                runs::claim_unfinished(connection, instance.id(), |owner| {
                    instance.knows_alive(owner)
                })
            })
            .await
    }

    /// Whether there is an unfinished run whose program is gone. Costs next to nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn any_run_left(&self) -> Result<bool, StoreError> {
        let instance = self.instance.clone();
        self.reader
            .call(move |connection| runs::any_left(connection, |owner| instance.knows_alive(owner)))
            .await
    }

    /// Makes a run this instance's, ended or not, before it is resumed or retried. False when another program that lives
    /// owns it.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`] and others.
    pub async fn claim_run(&self, run_id: RunId) -> Result<bool, StoreError> {
        let instance = self.instance.clone();
        self.writer
            .call(move |connection| {
                runs::claim(connection, run_id, instance.id(), |owner| {
                    instance.knows_alive(owner)
                })
            })
            .await
    }

    /// Leaves a command (JSON) for the program that works on a run, and gives its number.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is no such run.
    pub async fn leave_wish(&self, run_id: RunId, command: String) -> Result<i64, StoreError> {
        self.writer
            .call(move |connection| wishes::leave(connection, run_id, &command))
            .await
    }

    /// Whether a command that was left has been taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_wish_taken(&self, wish_id: i64) -> Result<bool, StoreError> {
        let is_left = self
            .reader
            .call(move |connection| wishes::is_left(connection, wish_id))
            .await?;
        Ok(!is_left)
    }

    /// Removes a command that was left: it is taken back, or nothing follows from it. False when it was taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_wish(&self, wish_id: i64) -> Result<bool, StoreError> {
        self.writer
            .call(move |connection| wishes::remove(connection, wish_id))
            .await
    }

    /// The commands that were left for runs of this instance with their numbers, oldest first. They stay until
    /// [`Self::append_events_of_wish`] or [`Self::remove_wish`]. Costs next to nothing when there are none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wishes(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let instance = self.instance.clone();
        self.reader
            .call(move |connection| wishes::left_for(connection, instance.id()))
            .await
    }

    /// Lets go of this program's runs: another one may take them over from now on, although handles to this store still live
    /// (work that cannot be stopped, such as a file being written, keeps one). Nothing may be appended to them afterwards.
    pub fn release_runs(&self) {
        self.instance.leave();
    }

    /// Deletes a run and its events; written files stay, and so do artifacts until those that nothing names are removed
    /// ([`Self::remove_unused_artifacts`]). False when there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_run(&self, run_id: RunId) -> Result<bool, StoreError> {
        self.writer
            .call(move |connection| runs::delete(connection, run_id))
            .await
    }

    /// Notes a file of the artifact store; of one that is known, only the time is noted anew. Its origin is not kept here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_artifact(
        &self,
        artifact: Artifact,
        created_ms: u64,
    ) -> Result<(), StoreError> {
        self.writer
            .write(1, move |connection| {
                registry::put_artifact(connection, &artifact, created_ms)
            })
            .await
    }

    /// What is known of a file of the artifact store, without origin.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn artifact(&self, hash: ContentHash) -> Result<Option<Artifact>, StoreError> {
        self.reader
            .call(move |connection| registry::artifact(connection, hash))
            .await
    }

    /// The result stored under a key, which counts as used now, and its files as noted now. One whose use cannot be noted
    /// (the disk is full) is given all the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cached(
        &self,
        key: ContentHash,
        now_ms: u64,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        let look = move |connection: &mut rusqlite::Connection| cache::cached(connection, key);
        if self.reader.call(look).await?.is_none() {
            return Ok(None);
        }
        let noted = self
            .writer
            .write(2, move |connection| {
                cache::note_use(connection, key, now_ms)
            })
            .await;
        // What the disk refuses is complained about where it matters.
        if let Err(error) = noted {
            tracing::debug!(%error, "the use of a kept result cannot be noted");
        }
        // One that was forgotten before its use was noted may have lost its files.
        self.reader.call(look).await
    }

    /// Stores a result under a key, in place of an earlier one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_cached(
        &self,
        key: ContentHash,
        outputs: Vec<Value>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.writer
            .write(1, move |connection| {
                cache::put_cached(connection, key, &outputs, now_ms)
            })
            .await
    }

    /// Forgets the result stored under a key, for example because its files are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_cached(&self, key: ContentHash) -> Result<(), StoreError> {
        self.writer
            .call(move |connection| cache::forget_cached(connection, key))
            .await
    }

    /// Keeps the `keep` results used last; returns how many were forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trim_cache(&self, keep: u32) -> Result<usize, StoreError> {
        self.writer
            .call(move |connection| cache::trim_cache(connection, keep))
            .await
    }

    /// Keeps the results used last whose files together are not larger than this; returns how many were forgotten. Their
    /// files stay until [`Self::remove_unused_artifacts`] removes them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trim_cache_to(&self, max_bytes: u64) -> Result<usize, StoreError> {
        self.writer
            .call(move |connection| cache::trim_cache_to(connection, max_bytes))
            .await
    }

    /// How much is kept for later.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cache_stats(&self) -> Result<CacheStats, StoreError> {
        self.reader
            .call(|connection| cache::stats(connection))
            .await
    }

    /// At most `limit` kept results in the order of their keys, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cached_results(
        &self,
        after: Option<ContentHash>,
        limit: usize,
    ) -> Result<Vec<CachedResult>, StoreError> {
        self.reader
            .call(move |connection| cache::page(connection, after, limit))
            .await
    }

    /// The registered backends in the order of their registration.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backends(&self) -> Result<Vec<BackendConfig>, StoreError> {
        self.reader
            .call(|connection| registry::backends(connection))
            .await
    }

    /// Registers a backend, or replaces the configuration of a registered one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_backend(&self, backend: BackendConfig) -> Result<(), StoreError> {
        self.writer
            .call(move |connection| registry::put_backend(connection, &backend))
            .await
    }

    /// Removes a backend and what it said of itself. False when there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_backend(&self, backend_id: BackendId) -> Result<bool, StoreError> {
        self.writer
            .call(move |connection| registry::remove_backend(connection, backend_id))
            .await
    }

    /// The id under which this installation speaks to a backend: the same across restarts. `fresh` becomes it when there
    /// is none yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn client_id(&self, backend_id: BackendId, fresh: Uuid) -> Result<Uuid, StoreError> {
        self.writer
            .call(move |connection| registry::client_id(connection, backend_id, fresh))
            .await
    }

    /// What a backend last said of its node classes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn object_info(
        &self,
        backend_id: BackendId,
    ) -> Result<Option<StoredObjectInfo>, StoreError> {
        self.reader
            .call(move |connection| knowledge::of_backend(connection, backend_id))
            .await
    }

    /// What all backends that were ever seen last said of their node classes, newest first; what several said alike comes
    /// once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn object_infos(&self) -> Result<Vec<StoredObjectInfo>, StoreError> {
        self.reader
            .call(|connection| knowledge::all(connection))
            .await
    }

    /// Keeps what a backend says of its node classes, within [`MAX_REMEMBERED_BACKENDS`] and [`MAX_REMEMBERED_BYTES`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_object_info(
        &self,
        backend_id: BackendId,
        server: &str,
        seen_ms: u64,
        info: PackedObjectInfo,
    ) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.writer
            .call(move |connection| knowledge::put(connection, backend_id, &server, seen_ms, &info))
            .await
    }

    /// A setting. Keys are dotted names (`window.layout`), values are whatever their owner writes, usually JSON.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.reader
            .call(move |connection| registry::setting(connection, &key))
            .await
    }

    /// Stores a setting; `None` removes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_setting(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let key = key.to_owned();
        let value = value.map(str::to_owned);
        self.writer
            .call(move |connection| registry::put_setting(connection, &key, value.as_deref()))
            .await
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("instance", &self.instance.id())
            .finish_non_exhaustive()
    }
}

/// Waits on this thread for the answer of a [`Store`], for threads without a runtime. Async code awaits instead.
pub fn wait<T>(question: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut question = pin!(question);
    loop {
        match question.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}
