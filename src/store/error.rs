//! Why the database did not do what it was asked.

use crate::engine::RunId;
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the database did not do what it was asked. Cloneable, because one failed commit answers many callers.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The file or its folder cannot be opened.
    #[error(
        "the database cannot be opened ({detail}); check that the folder exists and is writable: {path}"
    )]
    CannotOpen {
        /// The database file.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// A newer version of the program made it. It was not touched.
    #[error(
        "the database is of format {found}, this program knows up to {supported}; it was not touched. Update the program, or choose another data folder: {path}"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this program knows.
        supported: u32,
    },
    /// A file of another program lies there. It was not touched.
    #[error(
        "this is a database of another program; it was not touched. Choose another data folder: {path}"
    )]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file is damaged. It is never overwritten.
    #[error(
        "the database is damaged ({detail}); it was left as it is. Move it away to start with a new one, or put a backup in its place: {path}"
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// `SQLite`'s words.
        detail: String,
    },
    /// Another program keeps it locked.
    #[error(
        "the database has been locked by another program for more than {waited_ms} ms; close that program and try again: {path}"
    )]
    Locked {
        /// The database file.
        path: PathBuf,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The disk is full. Nothing of the request was written.
    #[error("the disk is full, nothing of this was written; free some space, then go on: {path}")]
    DiskFull {
        /// The database file.
        path: PathBuf,
    },
    /// The file or its folder is read-only.
    #[error("the database cannot be written (read-only); check its permissions: {path}")]
    ReadOnly {
        /// The database file.
        path: PathBuf,
    },
    /// An event came out of turn: the log has no gaps, and an event once written never changes.
    #[error(
        "event {seq} of run {run_id} came out of turn, {expected} was expected; this is a fault of the program"
    )]
    OutOfTurn {
        /// The run.
        run_id: RunId,
        /// The event's number.
        seq: u64,
        /// The number that was expected.
        expected: u64,
    },
    /// There is no such run.
    #[error("run {run_id} is not in the database; it may have been deleted")]
    UnknownRun {
        /// The run.
        run_id: RunId,
    },
    /// Something stored cannot be read back.
    #[error("{what} in the database cannot be read ({detail})")]
    Unreadable {
        /// What it is.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The thread of the database has ended.
    #[error("the database is closed; restart the program (nothing that was confirmed is lost)")]
    Closed,
    /// Anything else `SQLite` says.
    #[error("the database reports: {detail}: {path}")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// `SQLite`'s words.
        detail: String,
    },
}

/// How long to wait for a lock that another program holds, milliseconds. Long enough for its commit, short enough for a
/// person who waits for an answer.
pub(super) const BUSY_TIMEOUT_MS: u64 = 3000;

impl StoreError {
    /// The error in our words.
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked {
                path,
                waited_ms: BUSY_TIMEOUT_MS,
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, detail }
            }
            // What a header with impossible values gives.
            _ if detail.contains("unsupported file format") => Self::Corrupt { path, detail },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::CannotOpen { path, detail }
            }
            _ => Self::Sqlite { path, detail },
        }
    }

    /// What is stored but cannot be read back.
    pub(super) fn unreadable(what: impl Into<String>, error: impl ToString) -> Self {
        Self::Unreadable {
            what: what.into(),
            detail: error.to_string(),
        }
    }
}
