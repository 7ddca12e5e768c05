//! The tables, for their writer and their readers.

/// Version of the tables, in `PRAGMA user_version`.
pub const VERSION: i64 = 2;
/// The oldest version that is read; its writer brings it up to date.
pub const OLDEST_VERSION: i64 = 1;
/// The version from which on there are epochs.
pub(super) const EPOCHS_SINCE: i64 = 2;

/// Brings the tables of version 1 up to date.
pub const FROM_VERSION_1: &str = "
    CREATE TABLE epochs (
        series INTEGER NOT NULL,
        begins_ms INTEGER NOT NULL,
        former TEXT NOT NULL
    );
    CREATE UNIQUE INDEX epochs_by_series ON epochs (series, begins_ms);
";

/// Creates the tables.
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
    CREATE TABLE epochs (
        series INTEGER NOT NULL,
        begins_ms INTEGER NOT NULL,
        former TEXT NOT NULL
    );
    CREATE UNIQUE INDEX epochs_by_series ON epochs (series, begins_ms);
";
