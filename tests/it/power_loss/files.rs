//! The database and the files of a data folder as they lie on the disk at an instant.

use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::{RunEvent, RunEventBody};
use comfyui_orchestrator::store::{Store, wait};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The files of a database as they lie at an instant, flushed or not.
#[derive(Clone, Default)]
pub(super) struct Files {
    pub(super) database: Vec<u8>,
    pub(super) log: Vec<u8>,
    pub(super) index: Vec<u8>,
    pub(super) journal: Vec<u8>,
}

impl Files {
    pub(super) const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

    pub(super) fn read(database: &Path) -> Self {
        let [database, log, index, journal] = Self::SUFFIXES
            .map(|suffix| std::fs::read(beside(database, suffix)).unwrap_or_default());
        Self {
            database,
            log,
            index,
            journal,
        }
    }

    pub(super) fn write(&self, database: &Path) {
        let contents = [&self.database, &self.log, &self.index, &self.journal];
        for (suffix, bytes) in Self::SUFFIXES.into_iter().zip(contents) {
            let path = beside(database, suffix);
            if bytes.is_empty() && !suffix.is_empty() {
                std::fs::remove_file(path).ok();
            } else {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}

pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

pub(super) fn number_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// A page in the write-ahead log.
pub(super) struct Frame {
    pub(super) page: usize,
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// The frames of a write-ahead log that count (<https://sqlite.org/fileformat2.html#walformat>).
#[derive(Default)]
pub(super) struct Frames {
    pub(super) page_bytes: usize,
    pub(super) pages: Vec<Frame>,
    /// Where transactions end.
    pub(super) commits: Vec<usize>,
}

impl Frames {
    pub(super) const HEADER: usize = 32;
    pub(super) const FRAME_HEADER: usize = 24;

    pub(super) fn of(log: &[u8]) -> Self {
        let mut found = Self::default();
        if log.len() < Self::HEADER {
            return found;
        }
        found.page_bytes = number_at(log, 8);
        let salt = &log[16..24];
        let mut begin = Self::HEADER;
        // Those of an earlier round of the log bear another salt.
        while log.len() >= begin + Self::FRAME_HEADER && &log[begin + 8..begin + 16] == salt {
            let end = begin + Self::FRAME_HEADER + found.page_bytes;
            found.pages.push(Frame {
                page: number_at(log, begin),
                begin,
                end: end.min(log.len()),
            });
            if number_at(log, begin + 4) != 0 {
                found.commits.push(end.min(log.len()));
            }
            begin = end;
        }
        found
    }

    pub(super) fn end(&self) -> usize {
        self.pages.last().map_or(0, |frame| frame.end)
    }

    /// How many bytes of the log a checkpoint has begun to carry over: it flushes them first.
    pub(super) fn carried_over(&self, log: &[u8], index: &[u8]) -> usize {
        // https://sqlite.org/walformat.html#the_wal_index_file_format: the salts at 32, nBackfillAttempted at 128.
        if index.len() < 132 || log.len() < Self::HEADER || index[32..40] != log[16..24] {
            return 0;
        }
        let frames = u32::from_ne_bytes(index[128..132].try_into().unwrap()) as usize;
        match frames {
            0 => 0,
            _ => Self::HEADER + frames * (Self::FRAME_HEADER + self.page_bytes),
        }
    }
}

/// What a database says.
pub(super) struct Contents {
    pub(super) events: Vec<RunEvent>,
    /// Names of the files in the artifact store that it knows.
    pub(super) artifacts: BTreeSet<String>,
}

impl Contents {
    /// Opens a copy as the program does, and reads it.
    pub(super) fn of(files: &Files) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("orchestrator.sqlite");
        files.write(&path);
        let store = Store::open(&path).unwrap();
        let runs = wait(store.runs()).unwrap();
        let events = runs.first().map_or_else(Vec::new, |run| {
            wait(store.events(run.run_id, 0, 1_000_000)).unwrap()
        });
        let database = rusqlite::Connection::open(&path).unwrap();
        let answer: String = database
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(answer, "ok");
        let artifacts = database
            .prepare("SELECT hash || '.' || extension FROM artifacts")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        Self { events, artifacts }
    }

    pub(super) fn placed(&self) -> BTreeSet<String> {
        let placed = self.events.iter().filter_map(|event| match &event.body {
            RunEventBody::AttemptPlaced { attempt_id, .. } => Some(attempt_id.to_string()),
            _ => None,
        });
        placed.collect()
    }

    /// The files that the log says were written.
    pub(super) fn written(&self) -> BTreeSet<PathBuf> {
        let written = self.events.iter().filter_map(|event| match &event.body {
            RunEventBody::FilesWritten { paths, .. } => Some(paths),
            _ => None,
        });
        written.flatten().map(PathBuf::from).collect()
    }

    /// All it names is there, and is what it is called.
    pub(super) fn check_files(&self, artifacts: &Path) {
        for name in &self.artifacts {
            let bytes = std::fs::read(artifacts.join(&name[..2]).join(name))
                .unwrap_or_else(|error| panic!("{name} is known, but {error}"));
            let hash = ContentHash::of(&bytes).to_string();
            assert!(name.starts_with(&hash), "{name} holds something else");
        }
        for event in &self.events {
            let body = serde_json::to_value(&event.body).unwrap();
            for name in artifacts_in(&body) {
                assert!(self.artifacts.contains(&name), "{name} was never noted");
            }
        }
        for path in self.written() {
            image::open(&path)
                .unwrap_or_else(|error| panic!("{} is written, but {error}", path.display()));
        }
    }
}

/// The names of the artifacts that a document describes.
pub(super) fn artifacts_in(json: &serde_json::Value) -> Vec<String> {
    let inner = |values: &mut dyn Iterator<Item = &serde_json::Value>| {
        values.flat_map(artifacts_in).collect()
    };
    match json {
        serde_json::Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(|value| value.as_str());
            match (text("hash"), text("extension")) {
                (Some(hash), Some(extension)) => vec![format!("{hash}.{extension}")],
                _ => inner(&mut members.values()),
            }
        }
        serde_json::Value::Array(values) => inner(&mut values.iter()),
        _ => Vec::new(),
    }
}
