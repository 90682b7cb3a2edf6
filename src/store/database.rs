//! Opening the file: what it is, whose it is, which format, and the way to the newest one.

use super::error::{BUSY_TIMEOUT_MS, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Marks a file as ours: `COrc` in ASCII, as `PRAGMA application_id`.
const APPLICATION_ID: i32 = 0x434F_7263;

/// Every migration in order; the first makes format 1.
const MIGRATIONS: [&str; 10] = [
    include_str!("../../migrations/0001_begin.sql"),
    include_str!("../../migrations/0002_object_info.sql"),
    include_str!("../../migrations/0003_run_backends.sql"),
    include_str!("../../migrations/0004_library.sql"),
    include_str!("../../migrations/0005_cache_size.sql"),
    include_str!("../../migrations/0006_workflow_pictures.sql"),
    include_str!("../../migrations/0007_library_prompts.sql"),
    include_str!("../../migrations/0008_wishes.sql"),
    include_str!("../../migrations/0009_file_uses.sql"),
    include_str!("../../migrations/0010_unused_files.sql"),
];

/// The newest format this program knows.
pub(super) const FORMAT: u32 = MIGRATIONS.len() as u32;

/// Opens the database for writing, creates it when it is not there, and brings it to the newest format.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let wrap = |error: &rusqlite::Error| StoreError::from_sqlite(path, error);
    if let Some(folder) = path.parent() {
        crate::durable::make_folder(folder).map_err(|error| StoreError::CannotOpen {
            path: path.to_path_buf(),
            detail: error.to_string(),
        })?;
    }
    // A connection that can write changes a file even by closing it (the log is folded into it). What is not ours to
    // change is found out over one that cannot.
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        let probe = open_reader(path)?;
        check_ownership(path, &probe)?;
    }
    let mut connection = Connection::open(path).map_err(|error| wrap(&error))?;
    connection
        .busy_handler(Some(wait_for_the_lock))
        .and_then(|()| {
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |_row| Ok(()))
        })
        .map_err(|error| wrap(&error))?;
    prepare(&mut connection).map_err(|error| wrap(&error))?;
    Ok(connection)
}

/// Opens the database for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let wrap = |error: &rusqlite::Error| StoreError::from_sqlite(path, error);
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| wrap(&error))?;
    connection
        .busy_handler(Some(wait_for_the_lock))
        .map_err(|error| wrap(&error))?;
    Ok(connection)
}

/// How long to sleep between two tries for a locked database. `SQLite`'s own handler soon sleeps 100 ms at a time, so whoever asks
/// now and then never hits the moments between the commits of a program that writes without a pause.
const LOCK_PERIOD: Duration = Duration::from_millis(2);

/// Says whether to try again after so many tries.
fn wait_for_the_lock(tries: i32) -> bool {
    let waited = LOCK_PERIOD.saturating_mul(tries.unsigned_abs());
    if waited >= Duration::from_millis(BUSY_TIMEOUT_MS) {
        return false;
    }
    std::thread::sleep(LOCK_PERIOD);
    true
}

/// A database that lives as long as the connection, for tests.
pub(super) fn open_in_memory() -> Result<Connection, StoreError> {
    Connection::open_in_memory()
        .and_then(|mut connection| prepare(&mut connection).map(|()| connection))
        .map_err(|error| StoreError::from_sqlite(Path::new(":memory:"), &error))
}

/// Refuses what another program or a newer version made.
fn check_ownership(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let (format, application_id, tables) = connection
        .query_row(
            "SELECT (SELECT user_version FROM pragma_user_version),
                    (SELECT application_id FROM pragma_application_id),
                    (SELECT count(*) FROM sqlite_schema)",
            [],
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i32>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            },
        )
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    if application_id != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Foreign {
            path: path.to_path_buf(),
        });
    }
    // A negative format is none of ours either; as unsigned it is newer than anything.
    let format = format as u32;
    if format > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_path_buf(),
            found: format,
            supported: FORMAT,
        });
    }
    Ok(())
}

/// Settings of a writing connection, and the migrations that are missing.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        // FULL: a prompt's id is on the disk before the prompt is POSTed. NORMAL would flush at checkpoints only, and a power
        // cut would forget prompts that backends have. fullfsync: on macOS a plain flush leaves it in the disk's own cache.
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;",
    )?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let format: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (migration, number) in MIGRATIONS.iter().zip(1_i64..) {
        if number > format {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}
