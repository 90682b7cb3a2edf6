//! A thread that owns a connection and works off a bounded queue.
//!
//! Requests to write that wait together are committed together: one write to the disk answers them all.

use super::error::StoreError;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait. Whoever asks more waits for a place.
const QUEUE_CAPACITY: usize = 256;

/// Rows that one commit may hold, so that no caller waits long for others.
const ROWS_PER_COMMIT: usize = 4096;

/// A question for the connection; answers through a channel of its own.
type Call = Box<dyn FnOnce(&Path, &mut Connection) + Send>;

/// Something to write, within whatever transaction it is committed in.
type Change = Box<dyn FnOnce(&Connection) -> Result<(), CallError> + Send>;

/// Rows to write, and who waits for them.
struct Write {
    row_count: usize,
    change: Change,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

enum Job {
    Write(Write),
    Call(Call),
}

/// A handle to the thread. Dropping the last one waits until what was asked is done and the connection is closed.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
    // Dropped after `jobs`, whose end ends the thread.
    _thread: Arc<JoinOnDrop>,
}

struct JoinOnDrop(Option<JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A thread that panicked has said so itself.
            thread.join().ok();
        }
    }
}

impl Worker {
    /// Starts a thread of this name for a connection to the database at `path`.
    pub(super) fn start(
        name: &str,
        path: PathBuf,
        connection: Connection,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE_CAPACITY);
        let thread_path = path.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&thread_path, connection, queue))
            .map_err(|error| StoreError::CannotOpen {
                path,
                detail: format!("no thread: {error}"),
            })?;
        Ok(Self {
            jobs,
            _thread: Arc::new(JoinOnDrop(Some(thread))),
        })
    }

    /// Runs a closure on the thread.
    pub(super) async fn call<T, F>(&self, closure: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, CallError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let call: Call = Box::new(move |path, connection| {
            let outcome = closure(connection).map_err(|error| error.at(path));
            // Whoever asked may have lost interest.
            answer.send(outcome).ok();
        });
        self.jobs
            .send(Job::Call(call))
            .await
            .map_err(|_closed| StoreError::Closed)?;
        result.await.map_err(|_dropped| StoreError::Closed)?
    }

    /// Writes about so many rows, all or none of them, in one commit with what others wait to write; returns when it is on
    /// the disk.
    pub(super) async fn write<F>(&self, row_count: usize, change: F) -> Result<(), StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), CallError> + Send + 'static,
    {
        self.begin_write(row_count, change).await?.written().await
    }

    /// The same, but returns as soon as it has its place before whatever is asked for later.
    pub(super) async fn begin_write<F>(
        &self,
        row_count: usize,
        change: F,
    ) -> Result<Writing, StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), CallError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        self.jobs
            .send(Job::Write(Write {
                row_count,
                change: Box::new(change),
                answer,
            }))
            .await
            .map_err(|_closed| StoreError::Closed)?;
        Ok(Writing(result))
    }
}

/// Something on its way to the disk. It gets there also when nobody waits for it.
#[derive(Debug)]
pub struct Writing(oneshot::Receiver<Result<(), StoreError>>);

impl Writing {
    /// Waits until it is on the disk. May be broken off and called again, but not after it has answered.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of it is written then.
    pub async fn written(&mut self) -> Result<(), StoreError> {
        (&mut self.0).await.map_err(|_dropped| StoreError::Closed)?
    }
}

/// What goes wrong inside a call, before it is known at which file.
#[derive(Debug)]
pub(super) enum CallError {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl CallError {
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => StoreError::from_sqlite(path, &error),
            Self::Store(error) => error,
        }
    }
}

impl From<rusqlite::Error> for CallError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn work(path: &Path, mut connection: Connection, mut queue: mpsc::Receiver<Job>) {
    let mut next = queue.blocking_recv();
    while let Some(job) = next.take() {
        match job {
            Job::Call(call) => call(path, &mut connection),
            Job::Write(first) => {
                let mut row_count = first.row_count;
                let mut writes = vec![first];
                while row_count < ROWS_PER_COMMIT {
                    match queue.try_recv() {
                        Ok(Job::Write(write)) => {
                            row_count += write.row_count;
                            writes.push(write);
                        }
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_empty_or_closed) => break,
                    }
                }
                commit(path, &mut connection, writes);
            }
        }
        if next.is_none() {
            next = queue.blocking_recv();
        }
    }
}

/// Commits requests together. One that is refused does not take the others with it; a failed commit fails them all.
fn commit(path: &Path, connection: &mut Connection, writes: Vec<Write>) {
    let mut outcomes = Vec::with_capacity(writes.len());
    let mut waiting = Vec::with_capacity(writes.len());
    let mut changes = Vec::with_capacity(writes.len());
    for write in writes {
        waiting.push(write.answer);
        changes.push(write.change);
    }
    let committed = (|| -> Result<(), CallError> {
        let mut transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for change in changes {
            let savepoint = transaction.savepoint()?;
            match change(&savepoint) {
                Ok(()) => {
                    savepoint.commit()?;
                    outcomes.push(Ok(()));
                }
                Err(CallError::Store(refusal)) => {
                    drop(savepoint);
                    outcomes.push(Err(refusal));
                }
                // A full disk and the like: `SQLite` may have rolled everything back already.
                Err(error @ CallError::Sqlite(_)) => return Err(error),
            }
        }
        transaction.commit()?;
        Ok(())
    })();
    match committed {
        Ok(()) => {
            for (answer, outcome) in waiting.into_iter().zip(outcomes) {
                // Whoever asked may have lost interest.
                answer.send(outcome).ok();
            }
        }
        Err(error) => {
            let error = error.at(path);
            for answer in waiting {
                answer.send(Err(error.clone())).ok();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::{NewRun, Store, StoreError, wait};
    use crate::engine::{RunEvent, RunEventBody, RunFolders, RunId};
    use crate::project::ProjectId;
    use std::collections::BTreeMap;

    fn event(run_id: RunId, seq: u64) -> RunEvent {
        RunEvent {
            run_id,
            seq,
            at_ms: 0,
            body: RunEventBody::RunCreated {
                project_id: ProjectId::from_uuid(run_id.uuid()),
                project_name: "x".repeat(2000),
            },
        }
    }

    /// `SQLite` reports a file that reached its page limit in the same way as a disk that is full.
    #[test]
    fn a_full_disk_is_told_and_what_was_confirmed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
        let run_id = RunId::new_now();
        wait(store.create_run(NewRun {
            run_id,
            project_id: ProjectId::new_now(),
            name: String::new(),
            created_ms: 0,
            snapshot: String::new(),
            folders: RunFolders {
                output: "/".into(),
                inputs: "/".into(),
            },
            backends: Vec::new(),
            workflow_outputs: BTreeMap::new(),
        }))
        .unwrap();
        let limit_pages = |pages: u32| {
            wait(store.writer.call(move |connection| {
                Ok(connection
                    .pragma_update_and_check(None, "max_page_count", pages, |_row| Ok(()))?)
            }))
            .unwrap();
        };
        limit_pages(100);
        let mut confirmed = 0;
        let error = loop {
            match wait(store.append_events(vec![event(run_id, confirmed)])) {
                Ok(()) => confirmed += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        assert!(confirmed > 0);
        let count = || wait(store.events(run_id, 0, usize::MAX)).unwrap().len() as u64;
        assert_eq!(count(), confirmed);
        // With space again the same request succeeds.
        limit_pages(1_000_000);
        wait(store.append_events(vec![event(run_id, confirmed)])).unwrap();
        assert_eq!(count(), confirmed + 1);
    }
}
