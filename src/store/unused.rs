//! Files of the artifact store that nothing names: found on the reader a piece at a time, so that nobody waits for the search,
//! and removed on the writer, so that nobody notes one in between.

use super::Store;
use super::error::StoreError;
use super::worker::CallError;
use crate::artifacts::{Artifact, ArtifactError, ContentHash, Measures};
use crate::project::DataType;
use rusqlite::{Connection, TransactionBehavior, params};
use std::sync::Arc;

/// Known files that are looked through at once.
const FILES_PER_LOOK: i64 = 2_000;
/// Files that one transaction removes.
const FILES_PER_REMOVAL: usize = 100;

/// That nothing names the file `known`: no log of a run, no kept result, no picture of a workflow or of the library.
const IS_UNNAMED: &str = "NOT EXISTS (SELECT 1 FROM run_files WHERE hash = known.hash)
     AND NOT EXISTS (SELECT 1 FROM cache_files WHERE hash = known.hash)
     AND NOT EXISTS (SELECT 1 FROM workflow_pictures WHERE artifact = known.hash)
     AND NOT EXISTS (SELECT 1 FROM library_workflows WHERE thumbnail = known.hash)";

/// What was removed of the artifact store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files.
    pub files: u64,
    /// All of them together, bytes.
    pub bytes: u64,
    /// Files that could not be removed. Their turn comes again.
    pub stayed: u64,
}

impl Store {
    /// Removes the files of the artifact store that no run, no kept result and no picture of a workflow or of the library
    /// names, and that were noted last before a moment (Unix time in milliseconds).
    ///
    /// `remove` removes one and says whether it was there. It is called on the thread that writes, inside the transaction that
    /// takes the file out of the known ones: who notes the file later finds out afterwards whether it is still there. A file
    /// that cannot be removed stays known and keeps no other from going.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed before stays so.
    pub async fn remove_unused_artifacts<F>(
        &self,
        before_ms: u64,
        remove: F,
    ) -> Result<Removed, StoreError>
    where
        F: Fn(&Artifact) -> Result<bool, ArtifactError> + Send + Sync + 'static,
    {
        let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
        let remove = Arc::new(remove);
        let mut removed = Removed::default();
        let mut after = Some(i64::MIN);
        while let Some(from) = after {
            let look = self
                .reader
                .call(move |connection| look(connection, before_ms, from))
                .await?;
            after = look.next;
            for unused in look.unused.chunks(FILES_PER_REMOVAL) {
                let (unused, remove) = (unused.to_vec(), remove.clone());
                let part = self
                    .writer
                    .call(move |connection| take_out(connection, before_ms, &unused, &*remove))
                    .await?;
                removed.add(part);
            }
        }
        Ok(removed)
    }

    /// Removes those of some files of the artifact store that are neither known nor named: whoever stored them was gone before
    /// they were noted. `remove` as in [`Self::remove_unused_artifacts`].
    ///
    /// # Errors
    /// [`StoreError`]; what was removed before stays so.
    pub async fn remove_unknown_artifacts<F>(
        &self,
        files: Vec<Artifact>,
        remove: F,
    ) -> Result<Removed, StoreError>
    where
        F: Fn(&Artifact) -> Result<bool, ArtifactError> + Send + Sync + 'static,
    {
        let unknown = self
            .reader
            .call(move |connection| unknown_among(connection, files))
            .await?;
        let remove = Arc::new(remove);
        let mut removed = Removed::default();
        for unknown in unknown.chunks(FILES_PER_REMOVAL) {
            let (unknown, remove) = (unknown.to_vec(), remove.clone());
            let part = self
                .writer
                .call(move |connection| {
                    let transaction =
                        connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    let mut removed = Removed::default();
                    for file in unknown_among(&transaction, unknown)? {
                        removed.count(&file, remove(&file));
                    }
                    // Held until here, so that nobody could note one in between.
                    transaction.commit()?;
                    Ok(removed)
                })
                .await?;
            removed.add(part);
        }
        Ok(removed)
    }
}

impl Removed {
    /// Counts what came of the removal of a file. Says whether it is gone.
    fn count(&mut self, file: &Artifact, outcome: Result<bool, ArtifactError>) -> bool {
        match outcome {
            Ok(was_there) => {
                if was_there {
                    self.files += 1;
                    self.bytes += file.byte_len;
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a file that nothing names stays");
                self.stayed += 1;
                false
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.stayed += other.stayed;
    }
}

/// What a look through some of the known files found.
struct Look {
    unused: Vec<Artifact>,
    /// After which row the next look begins; none when all have been looked at.
    next: Option<i64>,
}

fn look(connection: &Connection, before_ms: i64, after: i64) -> Result<Look, CallError> {
    let last: Option<i64> = connection
        .prepare_cached(
            "SELECT max(rowid) FROM (SELECT rowid FROM artifacts WHERE rowid > ?1 ORDER BY rowid LIMIT ?2)",
        )?
        .query_row([after, FILES_PER_LOOK], |row| row.get(0))?;
    let Some(last) = last else {
        return Ok(Look {
            unused: Vec::new(),
            next: None,
        });
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT hash, byte_len, extension FROM artifacts AS known
         WHERE known.rowid > ?2 AND known.rowid <= ?3 AND known.created_ms < ?1 AND {IS_UNNAMED}"
    ))?;
    let mut rows = statement.query([before_ms, after, last])?;
    let mut unused = Vec::new();
    while let Some(row) = rows.next()? {
        let hash: String = row.get(0)?;
        let Ok(hash) = hash.parse::<ContentHash>() else {
            tracing::warn!(hash, "the hash of a file cannot be read; it is left");
            continue;
        };
        unused.push(Artifact {
            hash,
            byte_len: row.get::<_, i64>(1)? as u64,
            extension: row.get(2)?,
            // Where a file lies depends on none of these.
            data_type: DataType::File,
            measures: Measures::default(),
            origin: None,
        });
    }
    Ok(Look {
        unused,
        next: Some(last),
    })
}

fn take_out(
    connection: &mut Connection,
    before_ms: i64,
    unused: &[Artifact],
    remove: &impl Fn(&Artifact) -> Result<bool, ArtifactError>,
) -> Result<Removed, CallError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut removed = Removed::default();
    {
        // Something may have come to name it since it was found.
        let mut is_unused = transaction.prepare_cached(&format!(
            "SELECT 1 FROM artifacts AS known WHERE known.hash = ?2 AND known.created_ms < ?1 AND {IS_UNNAMED}"
        ))?;
        let mut forget = transaction.prepare_cached("DELETE FROM artifacts WHERE hash = ?1")?;
        for artifact in unused {
            let hash = artifact.hash.to_string();
            if !is_unused.exists(params![before_ms, hash])? {
                continue;
            }
            if removed.count(artifact, remove(artifact)) {
                forget.execute([&hash])?;
            }
        }
    }
    // Where this fails the files are gone and still known; the next time finds nothing to remove and forgets them.
    transaction.commit()?;
    Ok(removed)
}

/// Those of some files that are neither known nor named.
fn unknown_among(
    connection: &Connection,
    files: Vec<Artifact>,
) -> Result<Vec<Artifact>, CallError> {
    let mut is_unknown = connection.prepare_cached(&format!(
        "SELECT 1 FROM (SELECT ?1 AS hash) AS known
         WHERE NOT EXISTS (SELECT 1 FROM artifacts WHERE hash = known.hash) AND {IS_UNNAMED}"
    ))?;
    let mut unknown = Vec::new();
    for file in files {
        if is_unknown.exists([file.hash.to_string()])? {
            unknown.push(file);
        }
    }
    Ok(unknown)
}
