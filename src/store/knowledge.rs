//! What backends said of their node classes, kept for when none of them answers.

use super::error::StoreError;
use super::worker::CallError;
use crate::artifacts::ContentHash;
use crate::project::BackendId;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::io::{Read as _, Write as _};

/// Backends whose node classes are remembered; those seen longest ago are forgotten first.
pub const MAX_REMEMBERED_BACKENDS: u32 = 64;

/// Compressed bytes of all remembered descriptions together. A stock backend has 0.1 MB, large installations a megabyte.
pub const MAX_REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;

/// Largest description that is unpacked: what the client takes from a backend.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;

/// What a backend last said of its node classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObjectInfo {
    /// Its address, as a person reads it.
    pub server: String,
    /// Unix time in milliseconds when it said so.
    pub seen_ms: u64,
    /// The body of `GET /object_info`.
    pub json: Vec<u8>,
}

/// A description, compressed for keeping. Made off the threads that serve others: it takes milliseconds per megabyte.
#[derive(Clone, Debug)]
pub struct PackedObjectInfo {
    hash: ContentHash,
    packed: Vec<u8>,
}

impl PackedObjectInfo {
    /// Compresses the body of `GET /object_info`.
    #[must_use]
    pub fn new(json: &[u8]) -> Self {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        // Writing into memory does not fail.
        let packed = encoder
            .write_all(json)
            .and_then(|()| encoder.finish())
            .unwrap_or_default();
        Self {
            hash: ContentHash::of(json),
            packed,
        }
    }
}

pub(super) fn put(
    connection: &mut Connection,
    backend_id: BackendId,
    server: &str,
    seen_ms: u64,
    info: &PackedObjectInfo,
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO object_info_bodies (hash, packed) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![info.hash.to_string(), info.packed],
    )?;
    transaction.execute(
        "INSERT INTO object_info (backend_id, server, seen_ms, hash) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (backend_id) DO UPDATE SET server = ?2, seen_ms = ?3, hash = ?4",
        params![
            backend_id.to_string(),
            server,
            seen_ms as i64,
            info.hash.to_string()
        ],
    )?;
    transaction.execute(
        "DELETE FROM object_info WHERE backend_id IN
         (SELECT backend_id FROM object_info ORDER BY seen_ms DESC, backend_id LIMIT -1 OFFSET ?1)",
        [MAX_REMEMBERED_BACKENDS],
    )?;
    // What was seen last is kept as long as all that was seen later fits as well.
    transaction.execute(
        "DELETE FROM object_info WHERE hash IN (
           SELECT hash FROM (
             SELECT hash, sum(length(packed)) OVER (ORDER BY last_ms DESC, hash) AS so_far FROM (
               SELECT hash, packed, (SELECT max(seen_ms) FROM object_info WHERE object_info.hash = bodies.hash) AS last_ms
               FROM object_info_bodies AS bodies))
           WHERE so_far > ?1)",
        [MAX_REMEMBERED_BYTES as i64],
    )?;
    forget_unused(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Removes descriptions that no backend refers to.
pub(super) fn forget_unused(connection: &Connection) -> Result<(), CallError> {
    connection.execute(
        "DELETE FROM object_info_bodies WHERE hash NOT IN (SELECT hash FROM object_info)",
        [],
    )?;
    Ok(())
}

pub(super) fn of_backend(
    connection: &Connection,
    backend_id: BackendId,
) -> Result<Option<StoredObjectInfo>, CallError> {
    let row = connection
        .prepare_cached(
            "SELECT server, seen_ms, packed FROM object_info JOIN object_info_bodies USING (hash)
             WHERE backend_id = ?1",
        )?
        .query_row([backend_id.to_string()], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?))
        })
        .optional()?;
    row.map(|(server, seen_ms, packed)| stored(server, seen_ms, packed))
        .transpose()
}

/// What all backends said, newest first, each description once.
pub(super) fn all(connection: &Connection) -> Result<Vec<StoredObjectInfo>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT server, max(seen_ms), packed FROM object_info JOIN object_info_bodies USING (hash)
         GROUP BY hash ORDER BY max(seen_ms) DESC, hash",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(stored(row.get(0)?, row.get(1)?, row.get(2)?)?);
    }
    Ok(found)
}

fn stored(server: String, seen_ms: i64, packed: Vec<u8>) -> Result<StoredObjectInfo, CallError> {
    let mut json = Vec::new();
    ZlibDecoder::new(packed.as_slice())
        .take(MAX_UNPACKED_BYTES)
        .read_to_end(&mut json)
        .map_err(|error| StoreError::unreadable(format!("what {server} said of itself"), error))?;
    Ok(StoredObjectInfo {
        server,
        seen_ms: seen_ms as u64,
        json,
    })
}
