//! Opens the ledger's database, and creates a new one if the old one is broken.

use std::path::{Path, PathBuf};

use lxc_autoscale_core::state_database::{self, BUSY_TIMEOUT, StateDatabaseError};
use rusqlite::{Connection, OpenFlags};

use super::LedgerError;

/// Version of the tables below, in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 3;
/// The oldest readable version.
const OLDEST_READABLE: i64 = 1;
/// SQLite's page cache, in KiB (negative, as the pragma has it). By default it would hold 2 MB of a ledger of some
/// weeks; a cycle writes to few pages, and the kernel caches the others.
const CACHE_KIB: i64 = -256;

pub(super) const FIRST_SCHEMA: &str = "
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

/// From here on inputs are compressed, so fields that are searched have columns of their own; and the latest entries
/// are found by when they were last repeated.
pub(super) const PACKED: &str = "
    DROP INDEX IF EXISTS decisions_by_policy;
    ALTER TABLE decisions ADD COLUMN policy TEXT;
    UPDATE decisions SET policy = json_extract(inputs, '$.policy');
    CREATE INDEX decisions_policy ON decisions (policy);
    CREATE INDEX decisions_by_last ON decisions (vmid, resource, last_at_us);
";

/// First sizes outlive the decisions that found them; names were not stored before. Times at which the clock was set
/// back are stored. A row of `applied` now means that the daemon has not taken it over yet: older ones are taken over.
pub(super) const OUTLIVING: &str = "
    CREATE TABLE first_sizes (
        vmid INTEGER NOT NULL,
        resource TEXT NOT NULL,
        name TEXT NOT NULL,
        at_us INTEGER NOT NULL,
        size REAL NOT NULL,
        PRIMARY KEY (vmid, resource, name)
    ) WITHOUT ROWID;
    INSERT INTO first_sizes (vmid, resource, name, at_us, size)
        SELECT vmid, resource, '', at_us, json_extract(decision, '$.from') FROM decisions WHERE number IN
            (SELECT min(number) FROM decisions WHERE json_extract(decision, '$.from') IS NOT NULL GROUP BY vmid, resource);
    CREATE TABLE set_backs (
        newest INTEGER PRIMARY KEY,
        at_us INTEGER NOT NULL
    );
    DROP TABLE IF EXISTS applied;
";

/// Later tables. They only add, so a database without them, or with more of them, works as well.
///
/// `retired` holds the highest number whose row was removed: numbers name decisions in the API's audit log, so none is
/// given twice. `AUTOINCREMENT` would have meant another table, which earlier versions could not open. The trigger also
/// acts if one of those removes rows.
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
    CREATE TABLE IF NOT EXISTS proposals (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        vmid INTEGER NOT NULL,
        resource TEXT NOT NULL,
        action TEXT NOT NULL,
        name TEXT,
        decision TEXT NOT NULL,
        state TEXT NOT NULL,
        made_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,
        answered_us INTEGER,
        answered_by TEXT,
        answer_reason TEXT,
        note TEXT,
        closed_us INTEGER,
        entry INTEGER
    );
    CREATE UNIQUE INDEX IF NOT EXISTS proposals_waiting ON proposals (vmid, resource)
        WHERE state IN ('open', 'accepted');
    CREATE TABLE IF NOT EXISTS authors (
        number INTEGER PRIMARY KEY,
        who TEXT NOT NULL,
        how TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS applied (
        entry INTEGER PRIMARY KEY,
        done_us INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS retired (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        newest INTEGER NOT NULL
    );
    CREATE TRIGGER IF NOT EXISTS decisions_retired AFTER DELETE ON decisions
        WHEN ifnull((SELECT newest FROM retired), 0) < old.number
        BEGIN INSERT OR REPLACE INTO retired (only, newest) VALUES (1, old.number); END;
    CREATE INDEX IF NOT EXISTS decisions_pending ON decisions (vmid, resource) WHERE outcome_kind = 'pending';
";

/// Opens the database for writing, and prepares a new one.
///
/// Returns the path to which a broken one was moved, if that was necessary.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<PathBuf>), LedgerError> {
    let (connection, aside) = state_database::open(path, &[FIRST_SCHEMA, PACKED, OUTLIVING])?;
    let failed = |source| LedgerError::Database { path: path.to_owned(), source };
    connection.pragma_update(None, "cache_size", CACHE_KIB).map_err(failed)?;
    connection.execute_batch(ADDITIONS).map_err(failed)?;
    Ok((connection, aside))
}

impl From<StateDatabaseError> for LedgerError {
    fn from(error: StateDatabaseError) -> Self {
        match error {
            StateDatabaseError::InUse { path } => Self::InUse { path },
            StateDatabaseError::Database { path, source } => Self::Database { path, source },
            other => Self::State(other),
        }
    }
}

/// Opens an existing database for reading; `None` if there is none.
pub(super) fn open_read_only(path: &Path) -> Result<Option<Connection>, LedgerError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| LedgerError::Database { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    match state_database::version(&connection).map_err(failed)? {
        // The daemon has created the file but not yet the tables.
        0 => Ok(None),
        OLDEST_READABLE..=SCHEMA_VERSION => Ok(Some(connection)),
        found => Err(newer(path, found)),
    }
}

fn newer(path: &Path, found: i64) -> LedgerError {
    StateDatabaseError::Version { path: path.to_owned(), found, known: SCHEMA_VERSION }.into()
}

/// Opens an existing database for a few writes beside a running daemon; `None` if there is none.
///
/// It is neither checked nor moved aside: that is up to the daemon.
pub(super) fn open_beside(path: &Path) -> Result<Option<Connection>, LedgerError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| LedgerError::Database { path: path.to_owned(), source };
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    match state_database::version(&connection).map_err(failed)? {
        0 => Ok(None),
        SCHEMA_VERSION => {
            connection.execute_batch(ADDITIONS).map_err(failed)?;
            Ok(Some(connection))
        }
        OLDEST_READABLE..SCHEMA_VERSION => Err(LedgerError::Older { path: path.to_owned() }),
        found => Err(newer(path, found)),
    }
}

/// Keeps a second daemon out while it exists.
#[derive(Debug)]
pub struct StateLock {
    _lock: state_database::StateLock,
}

impl StateLock {
    /// Locks the state directory for this process, and creates it if it is missing.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] while another process holds it; [`StateDatabaseError::Directory`] when it cannot be
    /// written.
    pub fn take(directory: &Path) -> Result<Self, LedgerError> {
        Ok(Self { _lock: state_database::StateLock::take(directory, "lock")? })
    }
}
