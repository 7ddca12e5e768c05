//! The tables, for their writer and their readers.

/// Version of the tables, in `PRAGMA user_version`.
pub const VERSION: i64 = 1;

/// Adds the epochs, which the first programs with this version do not have. They can still read and write the file, so that
/// a daemon that is put back after an update goes on with it.
pub const EPOCHS: &str = "
    CREATE TABLE IF NOT EXISTS epochs (
        series INTEGER NOT NULL,
        begins_ms INTEGER NOT NULL,
        former TEXT NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS epochs_by_series ON epochs (series, begins_ms);
";
/// Whether there are epochs.
pub const HAS_EPOCHS: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'epochs')";

/// Adds the containers that may have been replaced by others whose names could not be read yet, and since when. For the
/// writer alone: readers learn of it when the name is known, by the epoch.
pub const UNCONFIRMED: &str = "
    CREATE TABLE IF NOT EXISTS unconfirmed (series INTEGER PRIMARY KEY, since_ms INTEGER NOT NULL);
";

/// Creates the other tables.
pub const SQL: &str = "
    CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE recent (
        number INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        shard INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        frame BLOB NOT NULL
    );
    CREATE UNIQUE INDEX recent_by_time ON recent (at_ms, shard);
    CREATE TABLE chunks (
        number INTEGER PRIMARY KEY,
        tier INTEGER NOT NULL,
        start_ms INTEGER NOT NULL,
        series INTEGER NOT NULL,
        data BLOB NOT NULL
    );
    CREATE UNIQUE INDEX chunks_by_time ON chunks (tier, start_ms, series);
";
