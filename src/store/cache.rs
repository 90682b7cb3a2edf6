//! Results of earlier items by what determined them.

use super::runs::{from_json, to_json};
use super::worker::CallError;
use crate::artifacts::ContentHash;
use crate::engine::Value;
use rusqlite::{Connection, OptionalExtension as _, params};

/// How much is kept for later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Results.
    pub results: u64,
    /// Their files together, bytes; a file of several results counts each time.
    pub bytes: u64,
    /// Files of the artifact store that are known.
    pub files: u64,
    /// All of them together, bytes: what the artifact store takes on the disk.
    pub file_bytes: u64,
    /// Those among them that runs of the history name, bytes: they stay until the runs are forgotten.
    pub run_bytes: u64,
    /// Unix time in milliseconds when the least recently used one was used; none when there is none.
    pub oldest_used_ms: Option<u64>,
}

/// One kept result.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedResult {
    /// What it is known by.
    pub key: ContentHash,
    /// The values, one per output.
    pub outputs: Vec<Value>,
}

pub(super) fn cached(
    connection: &Connection,
    key: ContentHash,
) -> Result<Option<Vec<Value>>, CallError> {
    let outputs: Option<String> = connection
        .prepare_cached("SELECT outputs FROM cache WHERE key = ?1")?
        .query_row([key.to_string()], |row| row.get(0))
        .optional()?;
    outputs
        .map(|outputs| from_json(&outputs, "a cached result"))
        .transpose()
}

/// Those used last are kept longest. Their files count as noted now: whoever used the result may name them soon, and it may be
/// forgotten before.
pub(super) fn note_use(
    connection: &Connection,
    key: ContentHash,
    now_ms: u64,
) -> Result<(), CallError> {
    let (key, now_ms) = (key.to_string(), now_ms as i64);
    connection
        .prepare_cached("UPDATE cache SET used_ms = ?2 WHERE key = ?1")?
        .execute(params![key, now_ms])?;
    connection
        .prepare_cached(
            "UPDATE artifacts SET created_ms = max(created_ms, ?2)
             WHERE hash IN (SELECT hash FROM cache_files WHERE key = ?1)",
        )?
        .execute(params![key, now_ms])?;
    Ok(())
}

pub(super) fn put_cached(
    connection: &Connection,
    key: ContentHash,
    outputs: &[Value],
    now_ms: u64,
) -> Result<(), CallError> {
    let bytes: u64 = outputs
        .iter()
        .flat_map(Value::artifacts)
        .map(|artifact| artifact.byte_len)
        .sum();
    connection
        .prepare_cached(
            "INSERT INTO cache (key, outputs, created_ms, used_ms, bytes) VALUES (?1, ?2, ?3, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET outputs = ?2, created_ms = ?3, used_ms = ?3, bytes = ?4",
        )?
        .execute(params![
            key.to_string(),
            to_json(&outputs, "a result")?,
            now_ms as i64,
            bytes as i64
        ])?;
    let key = key.to_string();
    connection
        .prepare_cached("DELETE FROM cache_files WHERE key = ?1")?
        .execute([&key])?;
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO cache_files (key, hash) VALUES (?1, ?2)")?;
    for artifact in outputs.iter().flat_map(Value::artifacts) {
        insert.execute([&key, &artifact.hash.to_string()])?;
    }
    Ok(())
}

pub(super) fn forget_cached(connection: &Connection, key: ContentHash) -> Result<(), CallError> {
    connection
        .prepare_cached("DELETE FROM cache WHERE key = ?1")?
        .execute([key.to_string()])?;
    Ok(())
}

pub(super) fn trim_cache(connection: &Connection, keep: u32) -> Result<usize, CallError> {
    Ok(connection.execute(
        "DELETE FROM cache WHERE key IN
         (SELECT key FROM cache ORDER BY used_ms DESC, key LIMIT -1 OFFSET ?1)",
        [keep],
    )?)
}

/// Keeps the results used last whose files together are not larger than this.
pub(super) fn trim_cache_to(connection: &Connection, max_bytes: u64) -> Result<usize, CallError> {
    Ok(connection.execute(
        "DELETE FROM cache WHERE key IN
         (SELECT key FROM (SELECT key, sum(bytes) OVER (ORDER BY used_ms DESC, key) AS total FROM cache)
          WHERE total > ?1)",
        [i64::try_from(max_bytes).unwrap_or(i64::MAX)],
    )?)
}

pub(super) fn stats(connection: &Connection) -> Result<CacheStats, CallError> {
    Ok(connection.query_row(
        "SELECT count(*), coalesce(sum(bytes), 0), min(used_ms),
         (SELECT count(*) FROM artifacts), (SELECT coalesce(sum(byte_len), 0) FROM artifacts),
         (SELECT coalesce(sum(byte_len), 0) FROM artifacts
          WHERE EXISTS (SELECT 1 FROM run_files WHERE run_files.hash = artifacts.hash))
         FROM cache",
        [],
        |row| {
            Ok(CacheStats {
                results: row.get::<_, i64>(0)? as u64,
                bytes: row.get::<_, i64>(1)? as u64,
                files: row.get::<_, i64>(3)? as u64,
                file_bytes: row.get::<_, i64>(4)? as u64,
                run_bytes: row.get::<_, i64>(5)? as u64,
                oldest_used_ms: row.get::<_, Option<i64>>(2)?.map(|used| used as u64),
            })
        },
    )?)
}

/// At most `limit` results in the order of their keys, after `after`.
pub(super) fn page(
    connection: &Connection,
    after: Option<ContentHash>,
    limit: usize,
) -> Result<Vec<CachedResult>, CallError> {
    let mut statement = connection
        .prepare_cached("SELECT key, outputs FROM cache WHERE key > ?1 ORDER BY key LIMIT ?2")?;
    let after = after.map_or_else(String::new, |key| key.to_string());
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        found.push(CachedResult {
            key: key.parse().map_err(|error| {
                super::error::StoreError::unreadable("the key of a cached result", error)
            })?,
            outputs: from_json(&row.get::<_, String>(1)?, "a cached result")?,
        });
    }
    Ok(found)
}

/// The content hashes that a JSON text names: 64 hexadecimal digits between quotation marks.
pub(super) fn hashes_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('"')
        .filter(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::{Store, wait};
    use crate::artifacts::ContentHash;
    use crate::engine::Value;

    #[test]
    fn a_result_is_found_also_where_its_use_cannot_be_noted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
        let (key, result) = (ContentHash::of(b"key"), vec![Value::Trigger]);
        wait(store.put_cached(key, result.clone(), 1)).unwrap();
        wait(
            store
                .writer
                .call(|connection| Ok(connection.pragma_update(None, "query_only", true)?)),
        )
        .unwrap();
        assert!(wait(store.put_cached(key, Vec::new(), 2)).is_err());
        assert_eq!(wait(store.cached(key, 2)).unwrap(), Some(result));
    }
}
