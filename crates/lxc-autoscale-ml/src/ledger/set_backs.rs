//! Times at which the clock was set back. An earlier entry dated after one of them counts as made at that time, now and
//! after restarts; its own date is not changed.

use jiff::Timestamp;
use rusqlite::params;

use super::{Ledger, LedgerError};

impl Ledger {
    /// Notes that the clock was found set back at `now`.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn note_set_back(&mut self, now: Timestamp) -> Result<(), LedgerError> {
        let sql = "INSERT INTO set_backs (newest, at_us)
            SELECT ifnull(max(number), 0), ?1 FROM decisions WHERE true
            ON CONFLICT (newest) DO UPDATE SET at_us = min(at_us, excluded.at_us)";
        self.connection.execute(sql, params![now.as_microsecond()]).map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// The expression for the time, in microseconds, at which a row of `decisions` counts as made.
    pub(super) fn counted_at(&self) -> Result<&'static str, LedgerError> {
        // A ledger opened for reading may be older.
        let is_kept = self.has_table("set_backs")?;
        Ok(if is_kept {
            "min(at_us, ifnull((SELECT min(set_backs.at_us) FROM set_backs
                WHERE decisions.number <= set_backs.newest), at_us))"
        } else {
            "at_us"
        })
    }

    pub(super) fn trim_set_backs(&mut self) -> rusqlite::Result<()> {
        let sql = "DELETE FROM set_backs WHERE newest < (SELECT ifnull(min(number), 0) FROM decisions)";
        self.connection.execute(sql, [])?;
        Ok(())
    }
}
