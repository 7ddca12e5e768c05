//! Decisions that are not carried out: one row per distinct decision, with its number and duration.
//!
//! Most decisions change nothing and repeat the one of a minute before. Such a **stretch** is one row: its inputs are
//! those of its first decision, `times` and `last_at_us` tell how often and until when it was repeated. Alternating
//! between two decisions makes two rows, not one per turn. A stretch ends after a day, which bounds the age of its
//! inputs. The counts are written when the decision changes, and once an hour; a crash costs an hour of counting and no
//! row.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use rusqlite::params;

use super::{
    Entry, Inputs, Ledger, LedgerError, Outcome, entry, read_json, read_timestamp, read_vmid, resource_name,
};
use crate::decide::{Decision, Mode, Resource};

/// Longest duration of a stretch.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// The counts are written at least this often.
const WRITE_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Most distinct decisions kept per resource: more than its reasons in a day, and few enough for a node.
const MOST: usize = 12;

/// A decision that is not carried out.
#[derive(Clone, Copy, Debug)]
pub struct Quiet<'a> {
    /// The container.
    pub id: Vmid,
    /// The decision.
    pub decision: &'a Decision,
    /// Its inputs.
    pub inputs: &'a Inputs,
    /// The mode in force.
    pub mode: Mode,
}

/// A repeated decision about one resource of one container.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    number: i64,
    since: Timestamp,
    last: Timestamp,
    written: Timestamp,
    /// Repetitions since it was last written.
    unwritten: u64,
    decision: Decision,
}

impl Stretch {
    fn goes_on(&self, at: Timestamp, decision: &Decision) -> bool {
        at.duration_since(self.since).abs() < LONGEST && entry::says_the_same(&self.decision, decision)
    }
}

/// Adds one. Most resources have only one, and by default there would be room for four.
fn push(stretches: &mut Vec<Stretch>, stretch: Stretch) {
    stretches.reserve_exact(1);
    stretches.push(stretch);
}

impl Ledger {
    /// Writes decisions that are not carried out: new ones as rows, others as counts; all or none.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn note<'a>(
        &mut self,
        at: Timestamp,
        decisions: impl IntoIterator<Item = Quiet<'a>>,
    ) -> Result<(), LedgerError> {
        let mut news = Vec::new();
        let mut counts = Vec::new();
        for quiet in decisions {
            let key = (quiet.id, quiet.decision.resource);
            let stretches = self.stretches.entry(key).or_default();
            let Some(place) = stretches.iter().position(|stretch| stretch.goes_on(at, quiet.decision)) else {
                news.push(quiet);
                counts.extend(stretches.iter_mut().filter_map(|stretch| stretch.count(at)));
                continue;
            };
            // The newest stretch is the last.
            let is_turn = place + 1 != stretches.len();
            if is_turn {
                counts.extend(stretches.iter_mut().filter_map(|stretch| stretch.count(at)));
                stretches[place..].rotate_left(1);
            }
            if let Some(stretch) = stretches.last_mut() {
                (stretch.last, stretch.unwritten) = (at, stretch.unwritten + 1);
                let is_due = is_turn || WRITE_AFTER <= at.duration_since(stretch.written).abs();
                counts.extend(is_due.then(|| stretch.count(at)).flatten());
            }
        }
        if news.is_empty() && counts.is_empty() {
            return Ok(());
        }
        let mut numbers = Vec::with_capacity(news.len());
        self.in_transaction(|ledger| {
            ledger.write_counts(&counts)?;
            for Quiet { id, decision, inputs, mode } in &news {
                let outcome = Outcome::unasked(decision, *mode);
                numbers.push(ledger.insert(at, *id, decision, inputs, &outcome)?);
            }
            Ok(())
        })?;
        for (quiet, number) in news.into_iter().zip(numbers) {
            let decision = quiet.decision.clone();
            let stretch = Stretch { number, since: at, last: at, written: at, unwritten: 0, decision };
            let stretches = self.stretches.entry((quiet.id, quiet.decision.resource)).or_default();
            stretches.retain(|it| at.duration_since(it.since).abs() < LONGEST);
            if MOST <= stretches.len() {
                stretches.remove(0);
            }
            push(stretches, stretch);
        }
        Ok(())
    }

    /// Writes the pending counts.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn write_stretches(&mut self, at: Timestamp) -> Result<(), LedgerError> {
        let every = self.stretches.values_mut().flatten();
        let counts: Vec<Count> = every.filter_map(|stretch| stretch.count(at)).collect();
        if counts.is_empty() { Ok(()) } else { self.in_transaction(|ledger| ledger.write_counts(&counts)) }
    }

    /// Ends the stretches of a resource: after a change every decision is a new entry.
    pub(super) fn end_stretches(&mut self, id: Vmid, resource: Resource) -> Result<(), LedgerError> {
        let ended = self.stretches.remove(&(id, resource)).unwrap_or_default();
        let counts: Vec<Count> =
            ended.into_iter().filter_map(|mut stretch| stretch.count(stretch.last)).collect();
        if counts.is_empty() { Ok(()) } else { self.in_transaction(|ledger| ledger.write_counts(&counts)) }
    }

    /// Continues the stretches from before a restart.
    pub(super) fn restore_stretches(&mut self) -> Result<(), LedgerError> {
        let read = || -> rusqlite::Result<Vec<(Vmid, Stretch)>> {
            let mut statement = self.connection.prepare(
                "SELECT number, at_us, last_at_us, vmid, decision FROM decisions AS it
                 WHERE outcome_kind IN ('nothing', 'shown', 'proposed')
                     AND (SELECT max(last_at_us) FROM decisions) - ?1 < at_us
                     AND NOT EXISTS (SELECT 1 FROM decisions AS later WHERE later.vmid = it.vmid
                         AND later.resource = it.resource AND it.number < later.number
                         AND later.outcome_kind NOT IN ('nothing', 'shown', 'proposed'))
                 ORDER BY last_at_us, number",
            )?;
            let longest = i64::try_from(LONGEST.as_micros()).unwrap_or(i64::MAX);
            let rows = statement.query_map([longest], |row| {
                let (since, last) = (read_timestamp(1, row.get(1)?)?, read_timestamp(2, row.get(2)?)?);
                let decision = read_json(row, 4)?;
                let stretch =
                    Stretch { number: row.get(0)?, since, last, written: last, unwritten: 0, decision };
                Ok((read_vmid(row, 3)?, stretch))
            })?;
            rows.collect()
        };
        for (id, stretch) in read().map_err(|source| self.failed(source))? {
            push(self.stretches.entry((id, stretch.decision.resource)).or_default(), stretch);
        }
        Ok(())
    }

    /// The decisions about each resource of a container at a time: the newest stretch at that time, and all others
    /// that span it.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn of_container_at(&self, id: Vmid, at: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        let columns = super::COLUMNS;
        let sql = format!(
            "SELECT {columns} FROM decisions AS it WHERE vmid = ?1 AND at_us <= ?3 AND (?3 <= last_at_us OR number =
                (SELECT number FROM decisions WHERE vmid = ?1 AND resource = it.resource AND at_us <= ?3
                    ORDER BY last_at_us DESC, number DESC LIMIT 1)) AND resource = ?2
             ORDER BY at_us DESC, number DESC"
        );
        let mut entries = Vec::new();
        for resource in [Resource::Cpu, Resource::Memory] {
            let row = params![id.get(), resource_name(resource), at.as_microsecond()];
            entries.extend(self.entries(&sql, row)?);
        }
        Ok(entries)
    }

    fn write_counts(&self, counts: &[Count]) -> Result<(), LedgerError> {
        let sql =
            "UPDATE decisions SET times = times + ?2, last_at_us = max(last_at_us, ?3) WHERE number = ?1";
        let write = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(sql)?;
            for Count { number, times, last } in counts {
                statement.execute(params![
                    number,
                    i64::try_from(*times).unwrap_or(i64::MAX),
                    last.as_microsecond()
                ])?;
            }
            Ok(())
        };
        write().map_err(|source| self.failed(source))
    }
}

/// How often a stretch was repeated since it was written, and until when.
#[derive(Clone, Copy, Debug)]
struct Count {
    number: i64,
    times: u64,
    last: Timestamp,
}

impl Stretch {
    /// What is to be written at `at`; `None` if nothing is.
    fn count(&mut self, at: Timestamp) -> Option<Count> {
        let times = std::mem::take(&mut self.unwritten);
        self.written = at;
        (0 < times).then_some(Count { number: self.number, times, last: self.last })
    }
}
