//! Opens the database's file, and creates a new one if it is broken.
//!
//! Root opens it, too (`lxc-monitor import`), in a directory of the monitor's user, who might replace it by a link. So
//! no link is followed there, and nothing is written to a file with a second name before SQLite has accepted it as a
//! database.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lxc_autoscale_core::history_store::reader::with_suffix;
use lxc_autoscale_core::history_store::{HistoryError, chunk, frame, schema};
use lxc_autoscale_core::ownership::make_for_owner_of_directory;
use lxc_autoscale_core::regular_file;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, TransactionBehavior, ffi, params};

use super::names::{PUT_EPOCH, PUT_UNCONFIRMED};
use super::{PUT_FRAME, StoreError};

/// Size of a page of the database.
pub(super) const PAGE_BYTES: u64 = 4096;
/// How long a statement waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The beginning of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Whether the tables are there that the first programs with this version do not have.
const HAS_LATER_TABLES: &str =
    "SELECT count(*) = 2 FROM sqlite_master WHERE type = 'table' AND name IN ('epochs', 'unconfirmed')";
/// Most broken databases kept beside the new one.
const MOST_PUT_ASIDE: u64 = 3;

/// Opens the database for writing; returns the path of a broken one that was put aside.
pub(super) fn open(path: &Path, max_bytes: u64) -> Result<(Connection, Option<PathBuf>), StoreError> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
    }
    match open_whole(path, max_bytes) {
        Err(error) if error.is_corrupt() => {
            let aside = put_aside(path)?;
            let mut connection = open_whole(path, max_bytes)?;
            salvage(&aside, &mut connection).map_err(|source| failed(path, source))?;
            Ok((connection, Some(aside)))
        }
        opened => Ok((opened?, None)),
    }
}

fn open_whole(path: &Path, max_bytes: u64) -> Result<Connection, StoreError> {
    let failed = |source| failed(path, source);
    check_head(path)?;
    make_for_owner_of_directory(path)
        .map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // Only effective in a new file: freed space can be returned.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    // What a power failure loses at the end is restored from the metrics file.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    // In KiB; larger than any single read.
    connection.pragma_update(None, "cache_size", -512).map_err(failed)?;
    connection.pragma_update(None, "mmap_size", 0).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", 256).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20).map_err(failed)?;
    make_tables(&mut connection, path)?;
    bound(&connection, max_bytes).map_err(failed)?;
    // If it is broken where nothing is written for hours, writing would work, but not reading.
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(failed(contradiction(&verdict)));
    }
    // Whether the tables are ours.
    connection.query_row("SELECT max(number) FROM recent", [], |_| Ok(())).map_err(failed)?;
    connection.query_row("SELECT max(begins_ms) FROM epochs", [], |_| Ok(())).map_err(failed)?;
    Ok(connection)
}

/// Makes the tables that are not there.
///
/// Another process may be doing the same: what is there is looked at again when this one may write.
fn make_tables(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| failed(path, source);
    let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    let has_all = |connection: &Connection| connection.query_row(HAS_LATER_TABLES, [], |row| row.get(0));
    match version(connection).map_err(failed)? {
        schema::VERSION if has_all(connection).map_err(failed)? => return Ok(()),
        0 | schema::VERSION => {}
        found => {
            let version = HistoryError::Version { path: path.to_owned(), found, known: schema::VERSION };
            return Err(version.into());
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    if version(&transaction).map_err(failed)? == 0 {
        transaction.execute_batch(schema::SQL).map_err(failed)?;
        transaction.pragma_update(None, "user_version", schema::VERSION).map_err(failed)?;
    }
    transaction.execute_batch(schema::EPOCHS).map_err(failed)?;
    transaction.execute_batch(schema::UNCONFIRMED).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// No page is added beyond this size.
pub(super) fn bound(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    let max_pages = i64::try_from(max_bytes / PAGE_BYTES).unwrap_or(i64::MAX);
    connection.query_row(&format!("PRAGMA max_page_count = {max_pages}"), [], |_| Ok(()))
}

/// Whether the database itself is broken, as opposed to full, locked or forbidden: SQLite says so, a value does not
/// have the type we wrote, or a statement of ours does not match the tables.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqlInputError, SqliteFailure,
        Utf8Error,
    };
    match error {
        SqliteFailure(code, _) | SqlInputError { error: code, .. } => {
            matches!(code.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || code.extended_code == ffi::SQLITE_ERROR
        }
        FromSqlConversionFailure(..)
        | IntegralValueOutOfRange(..)
        | InvalidColumnType(..)
        | Utf8Error(..) => true,
        _ => false,
    }
}

/// A contradiction in the database that SQLite does not check.
pub(super) fn contradiction(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(what.to_owned()))
}

/// Checks for what SQLite would treat as a read-only database: the header names the format version needed for writing,
/// and a flipped bit there makes it a future one.
fn check_head(path: &Path) -> Result<(), StoreError> {
    let mut head = [0; 20];
    let opened = regular_file::open_no_link(File::options().read(true), path);
    match opened.and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) if head.starts_with(MAGIC) && !(1..=2).contains(&head[18]) => {
            Err(failed(path, contradiction("the version of its format is none")))
        }
        Err(source) if regular_file::is_foreign(&source) => {
            Err(StoreError::Foreign { path: path.to_owned(), source })
        }
        // A missing file is left to SQLite.
        _ => Ok(()),
    }
}

/// Opens the file of that name without following a link.
fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags
        | OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // SQLite also refuses links in the path of the directory, but those belong to whoever set it up.
    let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
    let place = directory.zip(path.file_name()).map(|(directory, name)| directory.join(name));
    Connection::open_with_flags(place.as_deref().unwrap_or(path), flags)
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// Which file has that name now; `None` if there is none.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

pub(super) fn failed(path: &Path, source: rusqlite::Error) -> StoreError {
    HistoryError::Database { path: path.to_owned(), source }.into()
}

/// Renames the database and its log to `….corrupt-<n>`; the oldest of too many is removed.
pub(super) fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::PutAside { path: path.to_owned(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".corrupt-";
    let mut taken = Vec::new();
    let directory = path.parent().unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        let number = entry.to_str().and_then(|entry| entry.strip_prefix(&name)?.parse::<u64>().ok());
        taken.extend(number);
    }
    let number = taken.iter().max().map_or(1, |last| last + 1);
    let aside = with_suffix(path, &format!(".corrupt-{number}"));
    std::fs::rename(path, &aside).map_err(failed)?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    for old in taken.into_iter().filter(|old| old + MOST_PUT_ASIDE <= number) {
        let old = with_suffix(path, &format!(".corrupt-{old}"));
        for file in [with_suffix(&old, "-wal"), with_suffix(&old, "-shm"), old] {
            // If removal fails, it is tried again when the next one is put aside.
            let _ = std::fs::remove_file(file);
        }
    }
    Ok(aside)
}

/// Copies the readable part of a broken database: from its beginning and from its end up to the damage.
pub(super) fn salvage(aside: &Path, connection: &mut Connection) -> rusqlite::Result<()> {
    // The missing part cannot be read; but if the file is too short, SQLite reads nothing at all.
    if restore_length(aside).is_err() {
        return Ok(());
    }
    let Ok(broken) = connect(aside, OpenFlags::empty()) else { return Ok(()) };
    for order in ["ASC", "DESC"] {
        let names = format!("SELECT id, name FROM series ORDER BY id {order}");
        copy(&broken, connection, &names, |row, new| {
            let (id, name): (u32, String) = (row.get(0)?, row.get(1)?);
            new.execute("INSERT OR IGNORE INTO series VALUES (?1, ?2)", params![id, name])
        })?;
        let epochs = format!("SELECT series, begins_ms, former FROM epochs ORDER BY series {order}");
        copy(&broken, connection, &epochs, |row, new| {
            let (series, begins_ms, former): (u32, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            new.execute(PUT_EPOCH, params![series, begins_ms, former])
        })?;
        let unconfirmed = format!("SELECT series, since_ms FROM unconfirmed ORDER BY series {order}");
        copy(&broken, connection, &unconfirmed, |row, new| {
            let (series, since_ms): (u32, i64) = (row.get(0)?, row.get(1)?);
            new.execute(PUT_UNCONFIRMED, params![series, since_ms])
        })?;
        let chunks = format!("SELECT tier, start_ms, series, data FROM chunks ORDER BY number {order}");
        copy(&broken, connection, &chunks, |row, new| {
            let (tier, start_ms, series): (u8, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let data: Vec<u8> = row.get(3)?;
            if chunk::decode(&data, |_| false).is_err() {
                return Ok(0);
            }
            let sql = "INSERT OR IGNORE INTO chunks (tier, start_ms, series, data) VALUES (?1, ?2, ?3, ?4)";
            new.execute(sql, params![tier, start_ms, series, data])
        })?;
        let frames = format!("SELECT at_ms, shard, last_ms, frame FROM recent ORDER BY number {order}");
        copy(&broken, connection, &frames, |row, new| {
            let (at_ms, shard, last_ms): (i64, u32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let data: Vec<u8> = row.get(3)?;
            if frame::decode(&data, at_ms, |_| false, |_, _| {}).is_err() {
                return Ok(0);
            }
            new.execute(PUT_FRAME, params![at_ms, shard, last_ms, data])
        })?;
    }
    Ok(())
}

/// Extends a truncated file to the length in its header, filled with zeros.
fn restore_length(path: &Path) -> io::Result<()> {
    let mut file = regular_file::open_no_link(File::options().read(true).write(true), path)?;
    let mut header = [0; 32];
    file.read_exact(&mut header)?;
    if !header.starts_with(MAGIC) || 1 < file.metadata()?.nlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no database, or not ours alone"));
    }
    let (_, pages) = header.split_at(28);
    let pages = pages.iter().fold(0_u64, |pages, byte| pages << 8 | u64::from(*byte));
    let length = pages * PAGE_BYTES;
    if file.metadata()?.len() < length { file.set_len(length) } else { Ok(()) }
}

/// Copies rows until one cannot be read.
fn copy(
    broken: &Connection,
    connection: &mut Connection,
    select: &str,
    insert: impl Fn(&Row<'_>, &Connection) -> rusqlite::Result<usize>,
) -> rusqlite::Result<()> {
    let Ok(mut statement) = broken.prepare(select) else { return Ok(()) };
    let Ok(mut rows) = statement.query([]) else { return Ok(()) };
    let mut is_more = true;
    while is_more {
        let transaction = connection.transaction()?;
        for _ in 0..256 {
            let Ok(Some(row)) = rows.next() else {
                is_more = false;
                break;
            };
            match insert(row, &transaction) {
                // A value of the wrong type, caused by the damage.
                Err(error) if error.sqlite_error_code().is_none() => {}
                inserted => {
                    inserted?;
                }
            }
        }
        transaction.commit()?;
    }
    Ok(())
}
