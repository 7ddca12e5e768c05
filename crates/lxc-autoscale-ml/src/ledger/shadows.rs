//! The candidates' state saved across restarts: one row per candidate and container.

use rusqlite::params;

use super::{Ledger, LedgerError, read_vmid};
use crate::shadow::KeptShadows;

impl Ledger {
    /// The saved state of each candidate and container. A row that cannot be parsed is left out: its candidate starts
    /// anew there.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn shadows(&self) -> Result<KeptShadows, LedgerError> {
        let read = || -> rusqlite::Result<KeptShadows> {
            // A ledger opened for reading may be from before this table.
            let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'shadows'";
            if self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(KeptShadows::new());
            }
            let mut statement = self.connection.prepare("SELECT vmid, name, kept FROM shadows")?;
            let mut rows = statement.query([])?;
            let mut shadows = KeptShadows::new();
            while let Some(row) = rows.next()? {
                let (vmid, name, text): (_, String, String) = (read_vmid(row, 0)?, row.get(1)?, row.get(2)?);
                match serde_json::from_str(&text) {
                    Ok(kept) => {
                        shadows.insert((name, vmid), kept);
                    }
                    Err(error) => {
                        tracing::warn!(container = %vmid, name, %error, "the saved state of a candidate cannot be read; it starts over");
                    }
                }
            }
            Ok(shadows)
        };
        read().map_err(|source| self.failed(source))
    }

    /// Saves the present state of the candidates; rows of others are removed.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn keep_shadows(&mut self, shadows: &KeptShadows) -> Result<(), LedgerError> {
        self.in_transaction(|ledger| {
            let failed = |source| ledger.failed(source);
            ledger.connection.execute("DELETE FROM shadows", []).map_err(failed)?;
            for ((name, vmid), kept) in shadows {
                let sql = "INSERT INTO shadows (name, vmid, kept) VALUES (?1, ?2, ?3)";
                let row = params![name, vmid.get(), ledger.to_json(kept)?];
                ledger.connection.execute(sql, row).map_err(failed)?;
            }
            Ok(())
        })
    }
}
