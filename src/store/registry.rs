//! What is kept besides runs: artifacts, cached results, backends, settings.

use super::error::StoreError;
use super::knowledge;
use super::runs::{from_json, to_json};
use super::worker::CallError;
use crate::artifacts::{Artifact, ContentHash};
use crate::fleet::BackendConfig;
use crate::project::{BackendId, DataType};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

pub(super) fn put_artifact(
    connection: &Connection,
    artifact: &Artifact,
    created_ms: u64,
) -> Result<(), CallError> {
    connection
        .prepare_cached(
            "INSERT INTO artifacts (hash, byte_len, extension, data_type, measures, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (hash) DO UPDATE SET created_ms = ?6",
        )?
        .execute(params![
            artifact.hash.to_string(),
            artifact.byte_len as i64,
            artifact.extension,
            to_json(&artifact.data_type, "the type of an artifact")?,
            to_json(&artifact.measures, "the measures of an artifact")?,
            created_ms as i64,
        ])?;
    Ok(())
}

pub(super) fn artifact(
    connection: &Connection,
    hash: ContentHash,
) -> Result<Option<Artifact>, CallError> {
    let row = connection
        .prepare_cached(
            "SELECT byte_len, extension, data_type, measures FROM artifacts WHERE hash = ?1",
        )?
        .query_row([hash.to_string()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })
        .optional()?;
    row.map(|(byte_len, extension, data_type, measures)| {
        Ok(Artifact {
            hash,
            data_type: from_json::<DataType>(&data_type, "the type of an artifact")?,
            extension,
            byte_len: byte_len as u64,
            measures: from_json(&measures, "the measures of an artifact")?,
            origin: None,
        })
    })
    .transpose()
}

pub(super) fn backends(connection: &Connection) -> Result<Vec<BackendConfig>, CallError> {
    let mut statement = connection
        .prepare_cached("SELECT backend_id, config FROM backends ORDER BY position, backend_id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let backend_id: String = row.get(0)?;
        found.push(from_json(
            &row.get::<_, String>(1)?,
            format!("backend {backend_id}"),
        )?);
    }
    Ok(found)
}

pub(super) fn put_backend(
    connection: &Connection,
    backend: &BackendConfig,
) -> Result<(), CallError> {
    connection.execute(
        "INSERT INTO backends (backend_id, position, config)
         VALUES (?1, (SELECT coalesce(max(position), -1) + 1 FROM backends), ?2)
         ON CONFLICT (backend_id) DO UPDATE SET config = ?2",
        params![backend.id.to_string(), to_json(backend, "a backend")?],
    )?;
    Ok(())
}

pub(super) fn remove_backend(
    connection: &mut Connection,
    backend_id: BackendId,
) -> Result<bool, CallError> {
    let transaction = connection.transaction()?;
    let id = backend_id.to_string();
    let removed = transaction.execute("DELETE FROM backends WHERE backend_id = ?1", [&id])?;
    transaction.execute("DELETE FROM object_info WHERE backend_id = ?1", [&id])?;
    knowledge::forget_unused(&transaction)?;
    transaction.commit()?;
    Ok(removed > 0)
}

pub(super) fn client_id(
    connection: &Connection,
    backend_id: BackendId,
    fresh: Uuid,
) -> Result<Uuid, CallError> {
    connection.execute(
        "INSERT INTO client_ids (backend_id, client_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        [backend_id.to_string(), fresh.to_string()],
    )?;
    let text: String = connection.query_row(
        "SELECT client_id FROM client_ids WHERE backend_id = ?1",
        [backend_id.to_string()],
        |row| row.get(0),
    )?;
    Uuid::parse_str(&text)
        .map_err(|error| StoreError::unreadable("the id of this installation", error).into())
}

pub(super) fn setting(connection: &Connection, key: &str) -> Result<Option<String>, CallError> {
    Ok(connection
        .prepare_cached("SELECT value FROM settings WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?)
}

pub(super) fn put_setting(
    connection: &Connection,
    key: &str,
    value: Option<&str>,
) -> Result<(), CallError> {
    match value {
        Some(value) => connection.execute(
            "INSERT INTO settings (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = ?2",
            [key, value],
        )?,
        None => connection.execute("DELETE FROM settings WHERE key = ?1", [key])?,
    };
    Ok(())
}
