//! Changes under way when a daemon ended: requested and, as far as the ledger knows, not answered.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::{Row, params};

use super::{Ledger, LedgerError, Outcome, read_json, read_timestamp, read_vmid};
use crate::decide::Decision;

/// Pending entries of the daemon itself. Those applied by somebody beside it have an author, and may still be answered.
const OWN_PENDING: &str = "outcome_kind = 'pending' AND number NOT IN (SELECT number FROM authors)";

/// A change that may have been made.
#[derive(Clone, Debug, PartialEq)]
pub struct Interrupted {
    /// The container.
    pub id: Vmid,
    /// The requested change.
    pub decision: Decision,
    /// When.
    pub at: Timestamp,
}

impl Ledger {
    /// The daemon's own changes that were pending when it ended, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn interrupted(&self) -> Result<Vec<Interrupted>, LedgerError> {
        let sql = format!("SELECT vmid, decision, at_us FROM decisions WHERE {OWN_PENDING} ORDER BY number");
        let read = || -> rusqlite::Result<Vec<Interrupted>> {
            self.connection.prepare(&sql)?.query_map([], read_interrupted)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// Marks them as possibly made; returns their number.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn settle_interrupted(&mut self) -> Result<usize, LedgerError> {
        let outcome = Outcome::Unknown { error: "the daemon ended before the API had answered".to_owned() };
        let text = self.to_json(&outcome)?;
        let sql = format!("UPDATE decisions SET outcome_kind = ?1, outcome = ?2 WHERE {OWN_PENDING}");
        let row = params![outcome.kind(), text];
        self.connection.execute(&sql, row).map_err(|source| self.failed(source))
    }
}

fn read_interrupted(row: &Row<'_>) -> rusqlite::Result<Interrupted> {
    Ok(Interrupted {
        id: read_vmid(row, 0)?,
        decision: read_json(row, 1)?,
        at: read_timestamp(2, row.get(2)?)?,
    })
}
