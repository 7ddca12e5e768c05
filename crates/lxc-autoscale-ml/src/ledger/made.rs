//! What was changed and what containers had at first, for reports.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::Row;

use super::{Ledger, LedgerError, read_json, read_timestamp, read_vmid};
use crate::decide::{Decision, Resource};

/// The first size of a resource of a container that a decision found, in cores or MiB, and when that was.
pub type FirstSizes = BTreeMap<(Vmid, Resource), (Timestamp, f64)>;

/// A change that was carried out, or was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The container.
    pub id: Vmid,
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub decision: Decision,
    /// Whether it was done.
    pub is_done: bool,
    /// Whether somebody wanted it: a proposal or a plan.
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
            "SELECT vmid, at_us, decision, outcome_kind = 'done', {authors} FROM decisions
             WHERE outcome_kind IN ('done', 'failed', 'unknown') ORDER BY at_us, number"
        );
        let read = || -> rusqlite::Result<Vec<Tried>> {
            self.connection.prepare(&sql)?.query_map([], read_tried)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// The first size of each resource of each container that a decision found, and when that was.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn first_sizes(&self) -> Result<FirstSizes, LedgerError> {
        let sql = "SELECT vmid, at_us, decision FROM decisions WHERE number IN
            (SELECT min(number) FROM decisions WHERE json_extract(decision, '$.from') IS NOT NULL
             GROUP BY vmid, resource)";
        let read = || -> rusqlite::Result<FirstSizes> {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut sizes = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let decision: Decision = read_json(row, 2)?;
                if let Some(from) = decision.from {
                    let at = read_timestamp(1, row.get(1)?)?;
                    sizes.insert((read_vmid(row, 0)?, decision.resource), (at, from));
                }
            }
            Ok(sizes)
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
        by_people: row.get(4)?,
    })
}
