//! The guards' state saved across restarts: one row per container, written when it changed.

use lxc_autoscale_core::Vmid;
use rusqlite::params;

use super::{Ledger, LedgerError, read_vmid};
use crate::guard::{LastingState, LastingStates};

impl Ledger {
    /// The saved state of each container's guards. A row that cannot be parsed is left out: its container starts anew,
    /// with growth at once and shrinks as careful as ever.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn guards(&self) -> Result<LastingStates, LedgerError> {
        self.read_guards().map_err(|source| self.failed(source))
    }

    fn read_guards(&self) -> rusqlite::Result<LastingStates> {
        // A ledger opened for reading may be from before this table.
        let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'guards'";
        let tables: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        if tables == 0 {
            return Ok(LastingStates::new());
        }
        let mut statement = self.connection.prepare("SELECT vmid, kept FROM guards")?;
        let mut rows = statement.query([])?;
        let mut guards = LastingStates::new();
        while let Some(row) = rows.next()? {
            let (vmid, text): (Vmid, String) = (read_vmid(row, 0)?, row.get(1)?);
            match serde_json::from_str(&text) {
                Ok(lasting) => {
                    guards.insert(vmid, lasting);
                }
                Err(error) => {
                    tracing::warn!(container = %vmid, %error, "the saved state of the guards cannot be read; they start over");
                }
            }
        }
        Ok(guards)
    }

    /// Saves the present state of the guards if it changed; rows of other containers are removed.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn keep_guards<'a>(
        &mut self,
        guards: impl IntoIterator<Item = (Vmid, &'a LastingState)>,
    ) -> Result<(), LedgerError> {
        let now: Vec<(Vmid, &LastingState)> = guards.into_iter().collect();
        let is_news = |(id, lasting): &&(Vmid, &LastingState)| {
            self.guards.get(id).is_none_or(|written| !written.says_the_same(lasting))
        };
        let news: Vec<(Vmid, &LastingState)> = now.iter().filter(is_news).copied().collect();
        let is_gone = |id: &&Vmid| !now.iter().any(|(present, _)| present == *id);
        let gone: Vec<Vmid> = self.guards.keys().filter(is_gone).copied().collect();
        if news.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.in_transaction(|ledger| {
            for (id, lasting) in &news {
                let sql = "INSERT OR REPLACE INTO guards (vmid, kept) VALUES (?1, ?2)";
                let text = ledger.to_json(lasting)?;
                ledger
                    .connection
                    .execute(sql, params![id.get(), text])
                    .map_err(|source| ledger.failed(source))?;
            }
            for id in &gone {
                let sql = "DELETE FROM guards WHERE vmid = ?1";
                ledger.connection.execute(sql, [id.get()]).map_err(|source| ledger.failed(source))?;
            }
            Ok(())
        })?;
        for id in gone {
            self.guards.remove(&id);
        }
        self.guards.extend(news.into_iter().map(|(id, lasting)| (id, Box::new(lasting.clone()))));
        Ok(())
    }
}
