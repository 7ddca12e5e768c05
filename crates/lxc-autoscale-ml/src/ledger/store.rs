//! Opens the ledger's database, and begins a new one where the old one is broken.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::LedgerError;

/// Version of the tables below, in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 1;

/// How long a statement waits for a reader or writer in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE decisions (
        number INTEGER PRIMARY KEY,
        at_us INTEGER NOT NULL,
        last_at_us INTEGER NOT NULL,
        times INTEGER NOT NULL DEFAULT 1,
        vmid INTEGER NOT NULL,
        resource TEXT NOT NULL,
        action TEXT NOT NULL,
        outcome_kind TEXT NOT NULL,
        decision TEXT NOT NULL,
        inputs TEXT NOT NULL,
        outcome TEXT NOT NULL
    );
    CREATE INDEX decisions_by_container ON decisions (vmid, resource, number);
    CREATE INDEX decisions_by_time ON decisions (last_at_us);
";

/// Tables that came later. They only add, so a database without them, or with more of them, is as good.
const ADDITIONS: &str = "
    CREATE TABLE IF NOT EXISTS guards (
        vmid INTEGER PRIMARY KEY,
        kept TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS policies (
        key TEXT PRIMARY KEY,
        kept TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS shadows (
        name TEXT NOT NULL,
        vmid INTEGER NOT NULL,
        kept TEXT NOT NULL,
        PRIMARY KEY (name, vmid)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS decisions_by_policy ON decisions (json_extract(inputs, '$.policy'));
";

/// Opens the database for writing, with all that is needed to begin it.
///
/// Returns the path under which a broken one was put aside, if that was necessary.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<PathBuf>), LedgerError> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| LedgerError::Directory { path: directory.to_owned(), source })?;
    }
    match open_and_check(path) {
        Ok(connection) => Ok((connection, None)),
        Err(LedgerError::Database { source, .. }) if is_corrupt(&source) => {
            let aside = put_aside(path)?;
            Ok((open_and_check(path)?, Some(aside)))
        }
        Err(error) => Err(error),
    }
}

/// Opens an existing database for reading; `None` when there is none.
pub(super) fn open_read_only(path: &Path) -> Result<Option<Connection>, LedgerError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| LedgerError::Database { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    match version(&connection).map_err(failed)? {
        // The daemon has made the file and not yet the tables.
        0 => Ok(None),
        SCHEMA_VERSION => Ok(Some(connection)),
        found => Err(LedgerError::Version { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
}

/// Whether the database itself is broken, as opposed to full, locked or forbidden.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn open_and_check(path: &Path) -> Result<Connection, LedgerError> {
    let failed = |source| LedgerError::Database { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // A decision must be on disk before it is carried out.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(failed(rusqlite::Error::SqliteFailure(corrupt, Some(verdict))));
    }
    match version(&connection).map_err(failed)? {
        0 => {
            let transaction = connection.transaction().map_err(failed)?;
            transaction.execute_batch(SCHEMA).map_err(failed)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
            transaction.commit().map_err(failed)?;
        }
        SCHEMA_VERSION => {}
        found => return Err(LedgerError::Version { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
    connection.execute_batch(ADDITIONS).map_err(failed)?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Renames the database and what belongs to it to `…corrupt-<time>`.
fn put_aside(path: &Path) -> Result<PathBuf, LedgerError> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%3f").to_string();
    let aside = with_suffix(path, &format!(".corrupt-{stamp}"));
    let failed = |source| LedgerError::PutAside { path: path.to_owned(), source };
    std::fs::rename(path, &aside).map_err(failed)?;
    for suffix in ["-wal", "-shm"] {
        let companion = with_suffix(path, suffix);
        match std::fs::rename(&companion, with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps a second daemon out as long as it lives.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the state directory for this process, and creates it where it is missing.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] while another process has it; [`LedgerError::Directory`] when it cannot be
    /// written.
    pub fn take(directory: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Directory { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("lock"))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::InUse { path: directory.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
