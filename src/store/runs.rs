//! Runs and their event logs.

use super::cache::hashes_in;
use super::error::StoreError;
use super::pictures;
use super::worker::CallError;
use crate::artifacts::ContentHash;
use crate::engine::{RunEvent, RunEventBody, RunFolders, RunId, RunState};
use crate::fleet::BackendConfig;
use crate::project::{PortId, ProjectId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

/// A run to be stored before its first event.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub run_id: RunId,
    /// The project it is a run of.
    pub project_id: ProjectId,
    /// The project's name now.
    pub name: String,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// The project as it is now, in its portable form (JSON).
    pub snapshot: String,
    /// Where it writes and reads.
    pub folders: RunFolders,
    /// Backends that are used beside the registered ones.
    pub backends: Vec<BackendConfig>,
    /// Outputs of its Workflow nodes → hash of their workflow's file, under which the last picture of a workflow is kept.
    pub workflow_outputs: BTreeMap<PortId, ContentHash>,
}

/// Whether a program works on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// One that lives does, this one or another.
    Attended,
    /// None does: it has ended, or the program that worked on it is gone.
    Unattended,
}

/// A stored run without its snapshot, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Its id.
    pub run_id: RunId,
    /// The project it is a run of.
    pub project_id: ProjectId,
    /// The project's name when it started.
    pub name: String,
    /// Unix time in milliseconds when it was created.
    pub created_ms: u64,
    /// Where it is.
    pub state: RunState,
    /// Whether a program works on it.
    pub attendance: Attendance,
    /// How many events its log has.
    pub event_count: u64,
}

/// A stored run with what is needed to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// What lists show.
    pub summary: RunSummary,
    /// The project as it was when the run started, in its portable form (JSON).
    pub snapshot: String,
    /// Where it writes and reads.
    pub folders: RunFolders,
    /// Backends that are used beside the registered ones.
    pub backends: Vec<BackendConfig>,
}

impl RunSummary {
    /// Whether it stopped in the middle because its program ended: it goes on when somebody resumes it.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.attendance == Attendance::Unattended
            && !self.state.is_ended()
            && self.state != RunState::Paused
    }
}

const SUMMARY_COLUMNS: &str = "run_id, project_id, name, created_ms, state, next_seq, owner";

pub(super) fn create(connection: &Connection, run: &NewRun, owner: &str) -> Result<(), CallError> {
    connection
        .prepare_cached(
            "INSERT INTO runs (run_id, project_id, name, created_ms, state, snapshot, folders, backends, owner)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            run.run_id.to_string(),
            run.project_id.to_string(),
            run.name,
            run.created_ms as i64,
            state_text(RunState::Running)?,
            run.snapshot,
            to_json(&run.folders, "the folders of the run")?,
            to_json(&run.backends, "the backends of the run")?,
            owner,
        ])?;
    pictures::put_workflows(connection, run.run_id, &run.workflow_outputs)
}

/// Appends events inside the caller's savepoint. Events that are there already, word for word, are passed over, so a
/// caller that did not hear the answer can ask again.
pub(super) fn append(connection: &Connection, events: &[RunEvent]) -> Result<(), CallError> {
    let mut runs: BTreeMap<RunId, (u64, Option<RunState>)> = BTreeMap::new();
    let mut insert = connection
        .prepare_cached("INSERT INTO events (run_id, seq, at_ms, body) VALUES (?1, ?2, ?3, ?4)")?;
    let mut insert_file = connection
        .prepare_cached("INSERT OR IGNORE INTO run_files (run_id, hash) VALUES (?1, ?2)")?;
    for event in events {
        let run_id = event.run_id.to_string();
        let body = to_json(&event.body, "an event")?;
        let (next_seq, state) = match runs.entry(event.run_id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let next_seq = connection
                    .prepare_cached("SELECT next_seq FROM runs WHERE run_id = ?1")?
                    .query_row([&run_id], |row| row.get::<_, i64>(0))
                    .optional()?
                    .ok_or(StoreError::UnknownRun {
                        run_id: event.run_id,
                    })?;
                entry.insert((next_seq as u64, None))
            }
        };
        if event.seq < *next_seq {
            let written: String = connection
                .prepare_cached("SELECT body FROM events WHERE run_id = ?1 AND seq = ?2")?
                .query_row(params![run_id, event.seq as i64], |row| row.get(0))?;
            if written == body {
                continue;
            }
        }
        if event.seq != *next_seq {
            return Err(StoreError::OutOfTurn {
                run_id: event.run_id,
                seq: event.seq,
                expected: *next_seq,
            }
            .into());
        }
        insert.execute(params![run_id, event.seq as i64, event.at_ms as i64, body])?;
        for hash in hashes_in(&body) {
            insert_file.execute([run_id.as_str(), hash])?;
        }
        pictures::note(connection, event)?;
        *next_seq += 1;
        if let RunEventBody::RunStateChanged { state: new_state } = &event.body {
            *state = Some(*new_state);
        }
    }
    let mut update = connection.prepare_cached(
        "UPDATE runs SET next_seq = ?2, state = coalesce(?3, state) WHERE run_id = ?1",
    )?;
    for (run_id, (next_seq, state)) in runs {
        update.execute(params![
            run_id.to_string(),
            next_seq as i64,
            state.map(state_text).transpose()?
        ])?;
        if state.is_some_and(RunState::is_ended) {
            forget_outlook(connection, run_id)?;
        }
    }
    Ok(())
}

/// Setting that holds what the program that works on a run last said of what is to come in it. It goes with the run's end.
#[must_use]
pub fn outlook_setting(run_id: RunId) -> String {
    format!("outlook.{run_id}")
}

fn forget_outlook(connection: &Connection, run_id: RunId) -> Result<(), CallError> {
    connection
        .prepare_cached("DELETE FROM settings WHERE key = ?1")?
        .execute([outlook_setting(run_id)])?;
    Ok(())
}

pub(super) fn list(
    connection: &Connection,
    is_alive: impl Fn(&str) -> bool,
) -> Result<Vec<RunSummary>, CallError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {SUMMARY_COLUMNS} FROM runs ORDER BY created_ms DESC, run_id DESC"
    ))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(summary_of(row, &is_alive)?);
    }
    Ok(found)
}

/// Notes backends that a run uses beside the registered ones, in place of those noted before.
pub(super) fn set_backends(
    connection: &Connection,
    run_id: RunId,
    backends: &[BackendConfig],
) -> Result<(), CallError> {
    connection.execute(
        "UPDATE runs SET backends = ?2 WHERE run_id = ?1",
        params![
            run_id.to_string(),
            to_json(&backends, "the backends of the run")?
        ],
    )?;
    Ok(())
}

/// Makes this instance the owner of every unfinished run whose owner is gone, and returns those and its own.
pub(super) fn claim_unfinished(
    connection: &mut Connection,
    instance: &str,
    is_alive: impl Fn(&str) -> bool,
) -> Result<Vec<RunSummary>, CallError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut claimed = Vec::new();
    {
        let mut owners = transaction.prepare_cached(&format!(
            "SELECT {SUMMARY_COLUMNS} FROM runs ORDER BY created_ms, run_id"
        ))?;
        let mut update =
            transaction.prepare_cached("UPDATE runs SET owner = ?2 WHERE run_id = ?1")?;
        let mut rows = owners.query([])?;
        while let Some(row) = rows.next()? {
            let owner: String = row.get(6)?;
            // Whose it is becomes true below.
            let summary = summary_of(row, &|_owner: &str| true)?;
            if summary.state.is_ended() {
                continue;
            }
            if owner == instance {
                claimed.push(summary);
            } else if !is_alive(&owner) {
                update.execute([summary.run_id.to_string(), instance.to_owned()])?;
                claimed.push(summary);
            }
        }
    }
    transaction.commit()?;
    Ok(claimed)
}

/// Whether there is an unfinished run whose owner is gone.
pub(super) fn any_left(
    connection: &Connection,
    is_alive: impl Fn(&str) -> bool,
) -> Result<bool, CallError> {
    let mut owners = connection
        .prepare_cached("SELECT DISTINCT owner FROM runs WHERE state IN (?1, ?2, ?3, ?4)")?;
    let mut rows = owners.query([
        state_text(RunState::Running)?,
        state_text(RunState::Paused)?,
        state_text(RunState::Cancelling)?,
        state_text(RunState::Stopping)?,
    ])?;
    while let Some(row) = rows.next()? {
        if !is_alive(&row.get::<_, String>(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn claim(
    connection: &mut Connection,
    run_id: RunId,
    instance: &str,
    is_alive: impl Fn(&str) -> bool,
) -> Result<bool, CallError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let owner: String = transaction
        .query_row(
            "SELECT owner FROM runs WHERE run_id = ?1",
            [run_id.to_string()],
            |row| row.get(0),
        )
        .optional()?
        .ok_or(StoreError::UnknownRun { run_id })?;
    if owner != instance && is_alive(&owner) {
        return Ok(false);
    }
    transaction.execute(
        "UPDATE runs SET owner = ?2 WHERE run_id = ?1",
        [run_id.to_string(), instance.to_owned()],
    )?;
    transaction.commit()?;
    Ok(true)
}

pub(super) fn get(
    connection: &Connection,
    run_id: RunId,
    is_alive: impl Fn(&str) -> bool,
) -> Result<StoredRun, CallError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {SUMMARY_COLUMNS}, snapshot, folders, backends FROM runs WHERE run_id = ?1"
    ))?;
    let mut rows = statement.query([run_id.to_string()])?;
    let row = rows.next()?.ok_or(StoreError::UnknownRun { run_id })?;
    Ok(StoredRun {
        summary: summary_of(row, &is_alive)?,
        snapshot: row.get(7)?,
        folders: from_json(&row.get::<_, String>(8)?, "the folders of a run")?,
        backends: from_json(&row.get::<_, String>(9)?, "the backends of a run")?,
    })
}

pub(super) fn delete(connection: &Connection, run_id: RunId) -> Result<bool, CallError> {
    let deleted = connection.execute("DELETE FROM runs WHERE run_id = ?1", [run_id.to_string()])?;
    forget_outlook(connection, run_id)?;
    Ok(deleted > 0)
}

pub(super) fn events(
    connection: &Connection,
    run_id: RunId,
    from_seq: u64,
    limit: usize,
) -> Result<Vec<RunEvent>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at_ms, body FROM events WHERE run_id = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![
        run_id.to_string(),
        i64::try_from(from_seq).unwrap_or(i64::MAX),
        i64::try_from(limit).unwrap_or(i64::MAX)
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)? as u64;
        found.push(RunEvent {
            run_id,
            seq,
            at_ms: row.get::<_, i64>(1)? as u64,
            body: from_json(
                &row.get::<_, String>(2)?,
                format!("event {seq} of run {run_id}"),
            )?,
        });
    }
    Ok(found)
}

fn summary_of(row: &Row, is_alive: &impl Fn(&str) -> bool) -> Result<RunSummary, CallError> {
    let run_id: String = row.get(0)?;
    let project_id: String = row.get(1)?;
    let state: RunState = serde_json::from_value(row.get::<_, String>(4)?.into())
        .map_err(|error| StoreError::unreadable(format!("the state of run {run_id}"), error))?;
    let attendance = if !state.is_ended() && is_alive(&row.get::<_, String>(6)?) {
        Attendance::Attended
    } else {
        Attendance::Unattended
    };
    Ok(RunSummary {
        run_id: run_id
            .parse()
            .map_err(|error| StoreError::unreadable("the id of a run", error))?,
        project_id: project_id
            .parse()
            .map_err(|error| StoreError::unreadable("the project id of a run", error))?,
        name: row.get(2)?,
        created_ms: row.get::<_, i64>(3)? as u64,
        state,
        attendance,
        event_count: row.get::<_, i64>(5)? as u64,
    })
}

/// As in the events, so that a reader of the table sees the same words.
fn state_text(state: RunState) -> Result<String, CallError> {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        other => Err(StoreError::unreadable("the state of a run", format!("{other:?}")).into()),
    }
}

/// JSON text of a value.
pub(super) fn to_json(
    value: &impl serde::Serialize,
    what: &'static str,
) -> Result<String, CallError> {
    serde_json::to_string(value).map_err(|error| StoreError::unreadable(what, error).into())
}

/// The value of JSON text.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(
    text: &str,
    what: impl Into<String>,
) -> Result<T, CallError> {
    serde_json::from_str(text).map_err(|error| StoreError::unreadable(what, error).into())
}
