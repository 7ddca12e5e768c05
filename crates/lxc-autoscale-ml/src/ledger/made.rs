//! The changes made, for reports.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::Row;

use super::{Ledger, LedgerError, read_json, read_timestamp, read_vmid};
use crate::decide::Decision;

/// A change that was carried out or tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The container.
    pub id: Vmid,
    /// When.
    pub at: Timestamp,
    /// The decision.
    pub decision: Decision,
    /// Whether it was done.
    pub is_done: bool,
    /// Whether it is not known if it was.
    pub is_unsure: bool,
    /// Whether a person wanted it, by a proposal or a plan.
    pub by_people: bool,
}

impl Ledger {
    /// All changes that were carried out or tried, in order of time.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn tried(&self) -> Result<Vec<Tried>, LedgerError> {
        let authors = if self.has_table("authors")? {
            "EXISTS (SELECT 1 FROM authors WHERE authors.number = decisions.number)"
        } else {
            "0"
        };
        let sql = format!(
            "SELECT vmid, at_us, decision, outcome_kind = 'done', outcome_kind = 'unknown', {authors} FROM decisions
             WHERE outcome_kind IN ('done', 'failed', 'unknown') ORDER BY at_us, number"
        );
        let read = || -> rusqlite::Result<Vec<Tried>> {
            self.connection.prepare(&sql)?.query_map([], read_tried)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }
}

fn read_tried(row: &Row<'_>) -> rusqlite::Result<Tried> {
    Ok(Tried {
        id: read_vmid(row, 0)?,
        at: read_timestamp(1, row.get(1)?)?,
        decision: read_json(row, 2)?,
        is_done: row.get(3)?,
        is_unsure: row.get(4)?,
        by_people: row.get(5)?,
    })
}
