//! Stores each decision with its inputs and its outcome.
//!
//! A decision to be carried out is written as pending **before** the API is called, and settled with the answer. After
//! a crash in between, the next daemon finds it pending and treats it as a change that may have happened: cool-downs
//! apply, but it is not reported as done.
//!
//! A decision that is not carried out and repeats an earlier one is counted with that entry (`stretches`); a repeated
//! failure becomes one entry with a count, too. Inputs are stored in compact form (`compact`). Entries are removed by
//! age and by number.

mod applied;
mod compact;
mod entry;
mod first_sizes;
mod guards;
mod interrupted;
mod made;
mod policies;
mod proposals;
mod set_backs;
mod shadows;
mod store;
mod stretches;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lxc_autoscale_core::state_database::StateDatabaseError;
use lxc_autoscale_core::{Mebibytes, Vmid};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use applied::Applied;
pub use entry::{Entry, Inputs, Outcome};
pub use first_sizes::FirstSize;
pub use interrupted::Interrupted;
pub use made::Tried;
pub use proposals::NewProposal;
pub use store::StateLock;
pub use stretches::Quiet;

use self::stretches::Stretch;
use crate::decide::{Action, Decision, LastChanges, Resource, Unsure};
use crate::guard::LastingStates;

/// The columns in the order in which [`read_entry`] takes them.
const COLUMNS: &str = "number, at_us, last_at_us, times, vmid, decision, inputs, outcome";

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another daemon is using it.
    #[error("another lxc-autoscale-ml is using `{}`; stop it first, or look with `plan`, `why` and `decisions`", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by an older version of this program.
    #[error("`{}` was written by an older version; restart lxc_autoscale_ml, which upgrades it", path.display())]
    Older {
        /// The database.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("cannot use the ledger `{}`", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Its directory or its file cannot be used.
    #[error(transparent)]
    State(StateDatabaseError),
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    /// The present stretches of each resource, newest last.
    stretches: HashMap<(Vmid, Resource), Vec<Stretch>>,
    /// The guards' state as last written.
    guards: LastingStates,
    /// Keys of the rules that are certainly stored.
    policies: BTreeSet<String>,
    /// The names under which a first size is certainly stored.
    named: HashMap<(Vmid, Resource), String>,
}

impl Ledger {
    /// Opens it for writing and creates it if it is missing; a broken one is moved to the path that is returned, and a
    /// new one is created.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be written.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>), LedgerError> {
        let (connection, aside) = store::open(path)?;
        let mut ledger = Self::new(connection, path);
        ledger.guards = ledger.guards()?;
        ledger.restore_stretches()?;
        Ok((ledger, aside))
    }

    fn new(connection: Connection, path: &Path) -> Self {
        Self {
            connection,
            path: path.to_owned(),
            stretches: HashMap::new(),
            guards: LastingStates::new(),
            policies: BTreeSet::new(),
            named: HashMap::new(),
        }
    }

    /// Opens it for reading; `None` if there is none yet.
    ///
    /// # Errors
    /// [`LedgerError`] when it exists and cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Option<Self>, LedgerError> {
        Ok(store::open_read_only(path)?.map(|connection| Self::new(connection, path)))
    }

    /// Opens an existing one for writing beside a running daemon; `None` if there is none yet.
    ///
    /// # Errors
    /// [`LedgerError`] when it exists and cannot be used.
    pub fn open_beside(path: &Path) -> Result<Option<Self>, LedgerError> {
        Ok(store::open_beside(path)?.map(|connection| Self::new(connection, path)))
    }

    fn in_transaction(
        &self,
        write: impl FnOnce(&Self) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let transaction = self.connection.unchecked_transaction().map_err(|source| self.failed(source))?;
        write(self)?;
        transaction.commit().map_err(|source| self.failed(source))
    }

    /// Writes a decision that is about to be carried out; [`Ledger::settle`] completes it.
    ///
    /// # Errors
    /// [`LedgerError::Database`]; it must then not be carried out.
    pub fn begin(
        &mut self,
        at: Timestamp,
        vmid: Vmid,
        decision: &Decision,
        inputs: &Inputs,
    ) -> Result<i64, LedgerError> {
        // A repetition after it is a new entry.
        self.end_stretches(vmid, decision.resource)?;
        self.insert(at, vmid, decision, inputs, &Outcome::Pending)
    }

    /// Like [`Ledger::begin`], for `who` by way of `how`, beside a running daemon.
    ///
    /// # Errors
    /// [`LedgerError::Database`]; it must then not be carried out.
    pub fn begin_for(
        &mut self,
        at: Timestamp,
        vmid: Vmid,
        decision: &Decision,
        inputs: &Inputs,
        (who, how): (&str, &str),
    ) -> Result<i64, LedgerError> {
        self.end_stretches(vmid, decision.resource)?;
        // In one transaction: a pending entry without an author is the daemon's own.
        let mut number = 0;
        self.in_transaction(|ledger| {
            number = ledger.insert(at, vmid, decision, inputs, &Outcome::Pending)?;
            ledger.note_author(number, who, how)
        })?;
        Ok(number)
    }

    /// Writes the outcome of a decision. A repetition of the previous failure is counted there.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn settle(&mut self, number: i64, outcome: &Outcome) -> Result<(), LedgerError> {
        let text = self.to_json(outcome)?;
        self.settle_in_database(number, outcome, &text, None).map_err(|source| self.failed(source))
    }

    /// Like [`Ledger::settle`], for a change completed at `done` beside a daemon, which takes it over if it may have
    /// been made.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn settle_beside(
        &mut self,
        number: i64,
        outcome: &Outcome,
        done: Timestamp,
    ) -> Result<(), LedgerError> {
        let text = self.to_json(outcome)?;
        self.settle_in_database(number, outcome, &text, Some(done)).map_err(|source| self.failed(source))
    }

    fn settle_in_database(
        &mut self,
        number: i64,
        outcome: &Outcome,
        text: &str,
        beside: Option<Timestamp>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let is_undone =
            matches!(outcome, Outcome::Failed { .. } | Outcome::Overtaken { .. } | Outcome::Already { .. });
        if is_undone {
            // One that has an author stays: a proposal may refer to it.
            let sql = "UPDATE decisions AS old SET times = old.times + 1, last_at_us = new.at_us
                FROM decisions AS new
                WHERE new.number = ?1 AND old.outcome = ?2 AND new.number NOT IN (SELECT number FROM authors)
                    AND json_extract(old.decision, '$.to') IS json_extract(new.decision, '$.to')
                    AND old.number = (SELECT max(number) FROM decisions
                        WHERE vmid = new.vmid AND resource = new.resource AND number < new.number)";
            if 0 < transaction.execute(sql, params![number, text])? {
                transaction.execute("DELETE FROM decisions WHERE number = ?1", [number])?;
                return transaction.commit();
            }
        }
        let sql = "UPDATE decisions SET outcome_kind = ?2, outcome = ?3 WHERE number = ?1";
        transaction.execute(sql, params![number, outcome.kind(), text])?;
        if let Some(done) = beside.filter(|_| outcome.may_be_done()) {
            let sql = "INSERT OR REPLACE INTO applied (entry, done_us) VALUES (?1, ?2)";
            transaction.execute(sql, params![number, done.as_microsecond()])?;
        }
        transaction.commit()
    }

    /// When each container was last changed, or may have been.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn last_changes(&self) -> Result<BTreeMap<Vmid, LastChanges>, LedgerError> {
        let at = self.counted_at()?;
        self.read_last_changes(at).map_err(|source| self.failed(source))
    }

    fn read_last_changes(&self, at: &str) -> rusqlite::Result<BTreeMap<Vmid, LastChanges>> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT vmid, resource, action, max({at}), outcome_kind IN ('done', 'already') AS is_done, json_extract(decision, '$.to')
             FROM decisions WHERE outcome_kind IN ('pending', 'done', 'unknown')
                OR outcome_kind = 'already' AND resource = 'memory' AND action = 'grow'
             GROUP BY vmid, resource, action, is_done ORDER BY is_done DESC"
        ))?;
        let mut changes: BTreeMap<Vmid, LastChanges> = BTreeMap::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let vmid = read_vmid(row, 0)?;
            let (resource, action, at): (String, String, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let (at, is_done, to): (_, bool, Option<f64>) =
                (read_timestamp(3, at)?, row.get(4)?, row.get(5)?);
            let slot = changes.entry(vmid).or_default();
            let sure = slot.memory_up;
            let place = match (resource.as_str(), action.as_str()) {
                ("cpu", "grow") => &mut slot.cpu_up,
                ("cpu", "shrink") => &mut slot.cpu_down,
                ("memory", "grow") => &mut slot.memory_up,
                ("memory", "shrink") => &mut slot.memory_down,
                _ => continue,
            };
            // Those that were made come first.
            if Some(at) <= *place {
                continue;
            }
            *place = Some(at);
            if !is_done && slot.memory_up == Some(at) && sure != Some(at) {
                let to = to.and_then(Mebibytes::from_f64_ceil);
                slot.memory_up_unsure = to.map(|to| Unsure { to, sure });
            }
        }
        Ok(changes)
    }

    /// The last decisions about one container, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn of_container(&self, vmid: Vmid, limit: u32) -> Result<Vec<Entry>, LedgerError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM decisions WHERE vmid = ?1
             ORDER BY last_at_us DESC, number DESC LIMIT ?2"
        );
        self.entries(&sql, params![vmid.get(), limit])
    }

    /// The decisions about one container from `since` on, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn of_container_since(&self, vmid: Vmid, since: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        let sql =
            format!("SELECT {COLUMNS} FROM decisions WHERE vmid = ?1 AND ?2 <= last_at_us ORDER BY number");
        self.entries(&sql, params![vmid.get(), since.as_microsecond()])
    }

    /// The newest decision about each resource of each container, by id.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn newest(&self) -> Result<Vec<Entry>, LedgerError> {
        let sql = format!(
            "WITH things AS (SELECT DISTINCT vmid, resource FROM decisions)
             SELECT {COLUMNS} FROM decisions WHERE number IN
                (SELECT (SELECT number FROM decisions AS it WHERE it.vmid = things.vmid AND it.resource = things.resource
                    ORDER BY last_at_us DESC, number DESC LIMIT 1) FROM things)
             ORDER BY vmid, resource"
        );
        self.entries(&sql, [])
    }

    /// Removes entries older than `before`, and beyond `max_entries` the oldest that changed nothing; returns how many
    /// were removed.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn trim(&mut self, before: Timestamp, max_entries: u64) -> Result<usize, LedgerError> {
        let trimmed = self.trim_database(before, max_entries).map_err(|source| self.failed(source))?;
        self.trim_proposals(before).map_err(|source| self.failed(source))?;
        self.trim_applied().map_err(|source| self.failed(source))?;
        self.trim_set_backs().map_err(|source| self.failed(source))?;
        self.trim_first_sizes().map_err(|source| self.failed(source))?;
        Ok(trimmed)
    }

    fn trim_database(&mut self, before: Timestamp, max_entries: u64) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let aged =
            transaction.execute("DELETE FROM decisions WHERE last_at_us < ?1", [before.as_microsecond()])?;
        let count: i64 = transaction.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0))?;
        let excess = count.saturating_sub(i64::try_from(max_entries).unwrap_or(i64::MAX));
        let mut crowded = 0;
        if 0 < excess {
            let sql = "DELETE FROM decisions WHERE number IN
                (SELECT number FROM decisions ORDER BY outcome_kind NOT IN ('nothing', 'shown', 'proposed'), last_at_us LIMIT ?1)";
            crowded = transaction.execute(sql, [excess])?;
        }
        let sql = "DELETE FROM policies WHERE key NOT IN
            (SELECT policy FROM decisions WHERE policy IS NOT NULL)";
        transaction.execute(sql, [])?;
        transaction.commit()?;
        self.policies.clear();
        Ok(aged + crowded)
    }

    fn insert(
        &self,
        at: Timestamp,
        vmid: Vmid,
        decision: &Decision,
        inputs: &Inputs,
        outcome: &Outcome,
    ) -> Result<i64, LedgerError> {
        let (decision_text, outcome_text) = (self.to_json(decision)?, self.to_json(outcome)?);
        let packed = compact::pack(&self.to_json(&inputs.kept_about(decision.resource))?)
            .map_err(|error| self.failed(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
        let sql = "INSERT INTO decisions
            (number, at_us, last_at_us, vmid, resource, action, outcome_kind, decision, inputs, outcome, policy)
            SELECT 1 + max(ifnull((SELECT max(number) FROM decisions), 0), ifnull((SELECT newest FROM retired), 0)),
                ?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9";
        let (resource, action) = (resource_name(decision.resource), action_name(decision.action));
        let row = params![
            at.as_microsecond(),
            vmid.get(),
            resource,
            action,
            outcome.kind(),
            decision_text,
            packed,
            outcome_text,
            inputs.policy
        ];
        self.connection.execute(sql, row).map_err(|source| self.failed(source))?;
        Ok(self.connection.last_insert_rowid())
    }

    fn entries(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Entry>, LedgerError> {
        let read = || -> rusqlite::Result<Vec<Entry>> {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map(params, read_entry)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    fn to_json(&self, value: &impl Serialize) -> Result<String, LedgerError> {
        serde_json::to_string(value)
            .map_err(|error| self.failed(rusqlite::Error::ToSqlConversionFailure(error.into())))
    }

    fn failed(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::Database { path: self.path.clone(), source }
    }
}

fn resource_name(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
    }
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Grow => "grow",
        Action::Shrink => "shrink",
        Action::Keep => "keep",
    }
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let decision: Decision = read_json(row, 5)?;
    Ok(Entry {
        number: row.get(0)?,
        at: read_timestamp(1, row.get(1)?)?,
        last_at: read_timestamp(2, row.get(2)?)?,
        times: row.get::<_, i64>(3)?.unsigned_abs(),
        id: read_vmid(row, 4)?,
        reason: decision.reason.to_string(),
        decision,
        inputs: read_inputs(row, 6)?,
        outcome: read_json(row, 7)?,
    })
}

fn read_timestamp(column: usize, microseconds: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(microseconds).map_err(|error| unreadable(column, error))
}

fn read_vmid(row: &Row<'_>, column: usize) -> rusqlite::Result<Vmid> {
    Vmid::try_from(row.get::<_, u32>(column)?).map_err(|error| unreadable(column, error))
}

/// The inputs of a decision: compressed, or as text written by an older version.
fn read_inputs(row: &Row<'_>, column: usize) -> rusqlite::Result<Inputs> {
    match row.get_ref(column)? {
        ValueRef::Blob(packed) => {
            let text = compact::unpack(packed).map_err(|error| unreadable(column, error))?;
            serde_json::from_str(&text).map_err(|error| unreadable(column, error))
        }
        _ => read_json(row, column),
    }
}

fn read_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests;
