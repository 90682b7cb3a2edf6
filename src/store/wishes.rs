//! Commands for a run that another program works on: left in the database, taken by the program that owns the run.

use super::worker::CallError;
use crate::engine::RunId;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Leaves a command and gives its number.
pub(super) fn leave(
    connection: &Connection,
    run_id: RunId,
    command: &str,
) -> Result<i64, CallError> {
    connection
        .prepare_cached("INSERT INTO wishes (run_id, command) VALUES (?1, ?2)")?
        .execute(params![run_id.to_string(), command])?;
    Ok(connection.last_insert_rowid())
}

/// Whether a command is still there.
pub(super) fn is_left(connection: &Connection, wish_id: i64) -> Result<bool, CallError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM wishes WHERE wish_id = ?1")?
        .query_row([wish_id], |_| Ok(()))
        .optional()?
        .is_some())
}

/// Removes a command. False when it is not there any more.
pub(super) fn remove(connection: &Connection, wish_id: i64) -> Result<bool, CallError> {
    let deleted = connection
        .prepare_cached("DELETE FROM wishes WHERE wish_id = ?1")?
        .execute([wish_id])?;
    Ok(deleted > 0)
}

/// The commands for runs of this instance with their numbers, oldest first. They stay until what they ask is in the log.
pub(super) fn left_for(
    connection: &Connection,
    instance: &str,
) -> Result<Vec<(i64, String)>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT wish_id, command FROM wishes JOIN runs USING (run_id)
         WHERE owner = ?1 ORDER BY wish_id",
    )?;
    let rows = statement.query_map([instance], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
