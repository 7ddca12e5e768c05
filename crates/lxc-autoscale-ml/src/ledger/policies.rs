//! The rules of decisions: one row per distinct set, whatever the number of decisions.
//!
//! The key of a set is derived from its text, and the inputs of a decision refer to it. A set is removed with the last
//! decision that refers to it.

use rusqlite::{OptionalExtension, params};

use super::{Ledger, LedgerError};
use crate::policy::InForce;
use crate::policy::in_force::Kept;

impl Ledger {
    /// Stores the rules of decisions that are about to be written.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn keep_policies<'a>(
        &mut self,
        rules: impl IntoIterator<Item = (&'a str, &'a InForce)>,
    ) -> Result<(), LedgerError> {
        let news: Vec<_> = rules.into_iter().filter(|(key, _)| !self.policies.contains(*key)).collect();
        if news.is_empty() {
            return Ok(());
        }
        self.in_transaction(|ledger| {
            for (key, in_force) in &news {
                let sql = "INSERT OR IGNORE INTO policies (key, kept) VALUES (?1, ?2)";
                let text = ledger.to_json(&in_force.kept())?;
                ledger.connection.execute(sql, params![key, text]).map_err(|source| ledger.failed(source))?;
            }
            Ok(())
        })?;
        self.policies.extend(news.into_iter().map(|(key, _)| key.to_owned()));
        Ok(())
    }

    /// The rules with that key; `None` if they are not stored, as for decisions older than this table.
    ///
    /// # Errors
    /// [`LedgerError::Database`] when they cannot be read.
    pub fn policy(&self, key: &str) -> Result<Option<Kept>, LedgerError> {
        let read = || -> rusqlite::Result<Option<Kept>> {
            let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'policies'";
            // A ledger opened for reading may be from before this table.
            if self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(None);
            }
            let sql = "SELECT kept FROM policies WHERE key = ?1";
            self.connection.query_row(sql, [key], |row| super::read_json(row, 0)).optional()
        };
        read().map_err(|source| self.failed(source))
    }
}
