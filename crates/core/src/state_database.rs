//! The SQLite file with a daemon's own state. Opening it brings its schema up to date; a corrupt file is renamed and
//! a new one is created.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};

use crate::ownership::make_for_owner_of_directory;

/// How long a statement waits for a reader or writer in another process.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDatabaseError {
    /// The state directory cannot be used.
    #[error("cannot write to the state directory `{}`; set `state.directory` to one that can be written", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is using it.
    #[error("another process works with `{}`; stop it first", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by a newer version of this program.
    #[error("`{}` has version {found}, and this program knows version {known}; install the newer one again, or move the file away", path.display())]
    Version {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A corrupt file cannot be renamed.
    #[error("`{}` is corrupt and cannot be put aside", path.display())]
    PutAside {
        /// The database.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite reports an error.
    #[error("cannot use `{}`", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// Opens the database for writing, creating it if necessary, in WAL mode with every commit synced to the disk.
///
/// `migrations[n]` upgrades its tables from version `n` (`PRAGMA user_version`, 0 for a new file) to `n + 1`. Also
/// returns the new path of a corrupt file, if there was one.
///
/// # Errors
/// [`StateDatabaseError`] if the directory or the file cannot be used, or is of a newer version.
pub fn open(path: &Path, migrations: &[&str]) -> Result<(Connection, Option<PathBuf>), StateDatabaseError> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| StateDatabaseError::Directory { path: directory.to_owned(), source })?;
    }
    make(path)?;
    match open_and_check(path, migrations) {
        Ok(connection) => Ok((connection, None)),
        Err(StateDatabaseError::Database { source, .. }) if is_corrupt(&source) => {
            let aside = put_aside(path)?;
            make(path)?;
            Ok((open_and_check(path, migrations)?, Some(aside)))
        }
        Err(error) => Err(error),
    }
}

/// Creates an empty file, which is an empty database, and belongs to the daemon even if root runs one of its
/// commands.
fn make(path: &Path) -> Result<(), StateDatabaseError> {
    make_for_owner_of_directory(path).map_err(|source| {
        let directory = path.parent().unwrap_or(Path::new("/"));
        StateDatabaseError::Directory { path: directory.to_owned(), source }
    })
}

/// Whether the database itself is corrupt, as opposed to full, locked or forbidden.
pub fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The version of its tables; 0 if there are none yet.
///
/// # Errors
/// The error of SQLite.
pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn open_and_check(path: &Path, migrations: &[&str]) -> Result<Connection, StateDatabaseError> {
    let failed = |source| StateDatabaseError::Database { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // What is about to be done must be on the disk before it begins.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(failed(rusqlite::Error::SqliteFailure(corrupt, Some(verdict))));
    }
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let found = version(&connection).map_err(failed)?;
    let Some(done) = usize::try_from(found).ok().filter(|done| *done <= migrations.len()) else {
        return Err(StateDatabaseError::Version { path: path.to_owned(), found, known });
    };
    if done < migrations.len() {
        let transaction = connection.transaction().map_err(failed)?;
        for migration in &migrations[done..] {
            transaction.execute_batch(migration).map_err(failed)?;
        }
        transaction.pragma_update(None, "user_version", known).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(connection)
}

/// Keeps other daemons out of a state directory for as long as this value lives.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Locks the directory for this process with the file `name`; creates both if necessary.
    ///
    /// # Errors
    /// [`StateDatabaseError::InUse`] if another process has locked it; [`StateDatabaseError::Directory`] if it cannot
    /// be written.
    pub fn take(directory: &Path, name: &str) -> Result<Self, StateDatabaseError> {
        let failed = |source| StateDatabaseError::Directory { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        make_for_owner_of_directory(&directory.join(name)).map_err(failed)?;
        let mut options = File::options();
        let file =
            options.write(true).create(true).truncate(false).open(directory.join(name)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateDatabaseError::InUse { path: directory.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Renames the database and the files that belong to it to `…corrupt-<time>`.
fn put_aside(path: &Path) -> Result<PathBuf, StateDatabaseError> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%3f").to_string();
    let aside = with_suffix(path, &format!(".corrupt-{stamp}"));
    let failed = |source| StateDatabaseError::PutAside { path: path.to_owned(), source };
    std::fs::rename(path, &aside).map_err(failed)?;
    for suffix in ["-wal", "-shm"] {
        let companion = with_suffix(path, suffix);
        match std::fs::rename(&companion, with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
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

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7;";

    #[test]
    fn tables_are_brought_up_to_date_and_newer_ones_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/state.sqlite");
        drop(open(&path, &[FIRST]).unwrap());
        let (connection, aside) = open(&path, &[FIRST, SECOND]).unwrap();
        let row: (i64, i64) =
            connection.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((row, aside, version(&connection).unwrap()), ((1, 7), None, 2));
        drop(connection);
        assert!(matches!(open(&path, &[FIRST]), Err(StateDatabaseError::Version { found: 2, known: 1, .. })));
    }

    #[test]
    fn a_broken_file_is_put_aside_and_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.sqlite");
        std::fs::write(&path, "this is no database, and long enough to be looked at as one".repeat(99))
            .unwrap();
        let (connection, aside) = open(&path, &[FIRST]).unwrap();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(std::fs::read(aside.unwrap()).unwrap().starts_with(b"this is no database"));
    }
}
