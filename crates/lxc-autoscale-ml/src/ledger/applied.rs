//! Changes carried out beside the daemon by `lxc-autoscale-ml apply`.
//!
//! The daemon takes them over at the beginning of its next cycle, as if it had made them: cool-downs apply, a shrink is
//! watched, and the new size is not taken for a manual one.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::{Row, params};

use super::{Ledger, LedgerError, Outcome, read_json, read_timestamp, read_vmid, resource_name};
use crate::decide::{Decision, Resource};

/// One such change.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Its entry in the ledger.
    pub entry: i64,
    /// The container.
    pub id: Vmid,
    /// The change, which was made or may have been.
    pub decision: Decision,
    /// When it was begun.
    pub begun: Timestamp,
    /// When it was done.
    pub done: Timestamp,
    /// The value read back, in cores or MiB; `None` if it may not have been made.
    pub after: Option<f64>,
}

impl Ledger {
    /// The changes made beside the daemon that were not taken over yet, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn applied(&self) -> Result<Vec<Applied>, LedgerError> {
        // A version before there were plans may have written it.
        if !self.has_table("applied")? {
            return Ok(Vec::new());
        }
        let read = || -> rusqlite::Result<Vec<Applied>> {
            let mut statement = self.connection.prepare(
                "SELECT number, vmid, decision, at_us, done_us, outcome FROM applied JOIN decisions ON number = entry
                 ORDER BY entry",
            )?;
            statement.query_map([], read_applied)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// Notes that the daemon has taken over these entries.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn note_taken_in(&mut self, entries: &[i64]) -> Result<(), LedgerError> {
        self.in_transaction(|ledger| {
            for entry in entries {
                let sql = "DELETE FROM applied WHERE entry = ?1";
                ledger.connection.execute(sql, [entry]).map_err(|source| ledger.failed(source))?;
            }
            Ok(())
        })
    }

    /// The newest entry; 0 if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn newest_number(&self) -> Result<i64, LedgerError> {
        self.number("SELECT ifnull(max(number), 0) FROM decisions", [])
    }

    /// The number of entries.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn count(&self) -> Result<u64, LedgerError> {
        Ok(self.number("SELECT count(*) FROM decisions", [])?.unsigned_abs())
    }

    /// Whether somebody is applying a change to a resource beside the daemon, or has and it was not taken over yet.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn is_applied_to(&self, id: Vmid, resource: Resource) -> Result<bool, LedgerError> {
        // A pending entry without an author is the daemon's own.
        let sql = "SELECT EXISTS (SELECT 1 FROM decisions JOIN authors USING (number)
                WHERE vmid = ?1 AND resource = ?2 AND outcome_kind = 'pending')
            OR EXISTS (SELECT 1 FROM applied JOIN decisions ON number = entry
                WHERE vmid = ?1 AND resource = ?2)";
        Ok(self.number(sql, params![id.get(), resource_name(resource)])? != 0)
    }

    /// Whether a change of a resource is pending, or was made with an entry after `entry`.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn is_changed_after(&self, id: Vmid, resource: Resource, entry: i64) -> Result<bool, LedgerError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM decisions WHERE vmid = ?1 AND resource = ?2
            AND (outcome_kind = 'pending' OR (?3 < number AND outcome_kind IN ('done', 'unknown'))))";
        Ok(self.number(sql, params![id.get(), resource_name(resource), entry])? != 0)
    }

    /// Marks changes begun beside the daemon before `before` and never completed, so that they are taken over; returns
    /// their number.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn settle_abandoned(&mut self, before: Timestamp, now: Timestamp) -> Result<usize, LedgerError> {
        let outcome = Outcome::Unknown { error: "`apply` ended before the API had answered".to_owned() };
        let text = self.to_json(&outcome)?;
        let mut settled = 0;
        self.in_transaction(|ledger| {
            let failed = |source| ledger.failed(source);
            let sql = "INSERT OR IGNORE INTO applied (entry, done_us)
                SELECT number, ?2 FROM decisions JOIN authors USING (number)
                WHERE outcome_kind = 'pending' AND at_us < ?1";
            let times = params![before.as_microsecond(), now.as_microsecond()];
            settled = ledger.connection.execute(sql, times).map_err(failed)?;
            let sql = "UPDATE decisions SET outcome_kind = ?2, outcome = ?3
                WHERE outcome_kind = 'pending' AND at_us < ?1 AND number IN (SELECT number FROM authors)";
            let row = params![before.as_microsecond(), outcome.kind(), text];
            ledger.connection.execute(sql, row).map_err(failed)?;
            Ok(())
        })?;
        Ok(settled)
    }

    pub(super) fn trim_applied(&mut self) -> rusqlite::Result<()> {
        let sql = "DELETE FROM applied WHERE entry NOT IN (SELECT number FROM decisions)";
        self.connection.execute(sql, [])?;
        Ok(())
    }

    fn number(&self, sql: &str, params: impl rusqlite::Params) -> Result<i64, LedgerError> {
        self.connection.query_row(sql, params, |row| row.get(0)).map_err(|source| self.failed(source))
    }
}

fn read_applied(row: &Row<'_>) -> rusqlite::Result<Applied> {
    let after = match read_json::<Outcome>(row, 5)? {
        Outcome::Done { after, .. } => after,
        _ => None,
    };
    Ok(Applied {
        entry: row.get(0)?,
        id: read_vmid(row, 1)?,
        decision: read_json(row, 2)?,
        begun: read_timestamp(3, row.get(3)?)?,
        done: read_timestamp(4, row.get(4)?)?,
        after,
    })
}
