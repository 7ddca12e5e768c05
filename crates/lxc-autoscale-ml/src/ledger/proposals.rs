//! Proposals and their answers, stored beside the decisions.
//!
//! The daemon and `lxc-autoscale-ml proposals` write concurrently. Each change of a proposal names the state it
//! expects, so that one superseded at the same moment cannot be accepted any more; and an index ensures at most one
//! waiting proposal per resource of a container.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};

use super::{Ledger, LedgerError, action_name, read_json, read_timestamp, read_vmid, resource_name};
use crate::decide::Decision;
use crate::proposals::{Answer, Record, State};

/// If more than this many proposals have ended, the oldest of them are removed.
const MOST_ENDED: i64 = 10_000;

const COLUMNS: &str = "number, vmid, name, decision, state, made_us, expires_us, answered_us, answered_by, \
                       answer_reason, note, closed_us, entry";

/// A new proposal.
#[derive(Clone, Copy, Debug)]
pub struct NewProposal<'a> {
    /// The container.
    pub id: Vmid,
    /// Its name.
    pub name: Option<&'a str>,
    /// The proposed change.
    pub decision: &'a Decision,
    /// When it is made.
    pub made_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Ledger {
    /// The waiting proposals, by container and resource.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn waiting_proposals(&self) -> Result<Vec<Record>, LedgerError> {
        self.read_proposals("WHERE state IN ('open', 'accepted') ORDER BY vmid, resource", [])
    }

    /// The last rejection for each resource of each container.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn rejected_proposals(&self) -> Result<Vec<Record>, LedgerError> {
        let rest = "WHERE number IN (SELECT max(number) FROM proposals WHERE state = 'rejected'
            GROUP BY vmid, resource) ORDER BY vmid, resource";
        self.read_proposals(rest, [])
    }

    /// All proposals, newest first; of one container if given.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn all_proposals(&self, id: Option<Vmid>, limit: u32) -> Result<Vec<Record>, LedgerError> {
        let rest = "WHERE ?1 IS NULL OR vmid = ?1 ORDER BY number DESC LIMIT ?2";
        self.read_proposals(rest, params![id.map(Vmid::get), limit])
    }

    /// One proposal; `None` if there is none with this number.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn proposal(&self, number: i64) -> Result<Option<Record>, LedgerError> {
        Ok(self.read_proposals("WHERE number = ?1", [number])?.pop())
    }

    /// Makes a proposal; returns its number, or `None` if one is waiting already.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn open_proposal(&mut self, new: NewProposal<'_>) -> Result<Option<i64>, LedgerError> {
        let text = self.to_json(new.decision)?;
        let sql = "INSERT OR IGNORE INTO proposals
            (vmid, resource, action, name, decision, state, made_us, expires_us)
            VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?7)";
        let row = params![
            new.id.get(),
            resource_name(new.decision.resource),
            action_name(new.decision.action),
            new.name,
            text,
            new.made_at.as_microsecond(),
            new.expires_at.as_microsecond(),
        ];
        let made = self.connection.execute(sql, row).map_err(|source| self.failed(source))?;
        Ok((made == 1).then(|| self.connection.last_insert_rowid()))
    }

    /// Ends a waiting proposal; `false` if it is not waiting any more.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn close_proposal(
        &mut self,
        number: i64,
        state: State,
        note: Option<&str>,
        entry: Option<i64>,
        at: Timestamp,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE proposals SET state = ?2, note = ?3, entry = ?4, closed_us = ?5
            WHERE number = ?1 AND state IN ('open', 'accepted')";
        let row = params![number, state.word(), note, entry, at.as_microsecond()];
        Ok(self.connection.execute(sql, row).map_err(|source| self.failed(source))? == 1)
    }

    /// Notes what an accepted proposal waits for.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn hold_proposal(&mut self, number: i64, note: &str) -> Result<(), LedgerError> {
        let sql = "UPDATE proposals SET note = ?2 WHERE number = ?1 AND state = 'accepted'";
        self.connection.execute(sql, params![number, note]).map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Records that somebody accepted or rejected an open proposal; `false` if it is not open any more.
    ///
    /// An accepted one is valid until `expires_at`.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn answer_proposal(
        &mut self,
        number: i64,
        state: State,
        answer: &Answer,
        expires_at: Timestamp,
    ) -> Result<bool, LedgerError> {
        let closed = (!state.is_waiting()).then(|| answer.at.as_microsecond());
        let sql = "UPDATE proposals SET state = ?2, answered_us = ?3, answered_by = ?4, answer_reason = ?5,
                expires_us = max(expires_us, ?6), closed_us = ?7
            WHERE number = ?1 AND state = 'open' AND ?3 < expires_us";
        let row = params![
            number,
            state.word(),
            answer.at.as_microsecond(),
            answer.who,
            answer.reason,
            expires_at.as_microsecond(),
            closed
        ];
        Ok(self.connection.execute(sql, row).map_err(|source| self.failed(source))? == 1)
    }

    /// Records who wanted the change of an entry, and by which way: `proposal 7`, or `plan 3f2a9c81d04b`.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn note_author(&self, entry: i64, who: &str, how: &str) -> Result<(), LedgerError> {
        let sql = "INSERT OR REPLACE INTO authors (number, who, how) VALUES (?1, ?2, ?3)";
        self.connection.execute(sql, params![entry, who, how]).map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Who wanted the change of an entry, and by which way; `None` for the daemon's own changes.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn author(&self, entry: i64) -> Result<Option<(String, String)>, LedgerError> {
        if !self.has_table("authors")? {
            return Ok(None);
        }
        let sql = "SELECT who, how FROM authors WHERE number = ?1";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.connection.query_row(sql, [entry], read).optional().map_err(|source| self.failed(source))
    }

    /// Removes proposals that ended before `before`, the oldest ended ones if there are too many, and the authors of
    /// removed entries.
    pub(super) fn trim_proposals(&mut self, before: Timestamp) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ended = "state NOT IN ('open', 'accepted')";
        let sql = format!("DELETE FROM proposals WHERE {ended} AND closed_us < ?1");
        transaction.execute(&sql, [before.as_microsecond()])?;
        let sql = format!(
            "DELETE FROM proposals WHERE {ended} AND number NOT IN
                (SELECT number FROM proposals WHERE {ended} ORDER BY number DESC LIMIT ?1)"
        );
        transaction.execute(&sql, [MOST_ENDED])?;
        transaction.execute("DELETE FROM authors WHERE number NOT IN (SELECT number FROM decisions)", [])?;
        transaction.commit()
    }

    fn read_proposals(&self, rest: &str, params: impl rusqlite::Params) -> Result<Vec<Record>, LedgerError> {
        // A ledger opened for reading may be from before this table.
        if !self.has_table("proposals")? {
            return Ok(Vec::new());
        }
        let read = || -> rusqlite::Result<Vec<Record>> {
            let mut statement =
                self.connection.prepare(&format!("SELECT {COLUMNS} FROM proposals {rest}"))?;
            statement.query_map(params, read_record)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    pub(super) fn has_table(&self, name: &str) -> Result<bool, LedgerError> {
        let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
        let tables: rusqlite::Result<i64> = self.connection.query_row(sql, [name], |row| row.get(0));
        Ok(0 < tables.map_err(|source| self.failed(source))?)
    }
}

fn read_record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let time = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        let microseconds: Option<i64> = row.get(column)?;
        microseconds.map(|microseconds| read_timestamp(column, microseconds)).transpose()
    };
    let word: String = row.get(4)?;
    let who: Option<String> = row.get(8)?;
    let answer = match (time(7)?, who) {
        (Some(at), Some(who)) => Some(Answer { at, who, reason: row.get(9)? }),
        _ => None,
    };
    Ok(Record {
        number: row.get(0)?,
        id: read_vmid(row, 1)?,
        name: row.get(2)?,
        decision: read_json(row, 3)?,
        state: State::from_word(&word).ok_or(rusqlite::Error::InvalidColumnType(
            4,
            word,
            rusqlite::types::Type::Text,
        ))?,
        made_at: read_timestamp(5, row.get(5)?)?,
        expires_at: read_timestamp(6, row.get(6)?)?,
        answer,
        note: row.get(10)?,
        closed_at: time(11)?,
        entry: row.get(12)?,
    })
}
