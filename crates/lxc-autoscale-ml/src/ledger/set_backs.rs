//! Times at which the clock was set back. What was written before and lies ahead of one of them counts as made then, in
//! this run of the daemon as in every later one; what the entries say of their time stays.

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
        // A ledger that is only read may be older.
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
