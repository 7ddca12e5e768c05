//! What the containers are called, and when a number went from one to another.
//!
//! A container is another one than before if its name differs, and it was away or has been restarted. Where its name
//! cannot be read just then, that is kept in mind until it can. Where nothing is known of the time before but what is stored,
//! it is the same if it was running already when it was last recorded.

use std::collections::HashMap;

use lxc_autoscale_core::history_store::{Series, Tier, chunk, frame, reader::stored_bytes};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError};

/// Notes that a number went to another container; the same again changes nothing.
pub(super) const PUT_EPOCH: &str =
    "INSERT OR IGNORE INTO epochs (series, begins_ms, former) VALUES (?1, ?2, ?3)";
/// Notes that a number may have gone to another container.
pub(super) const PUT_UNCONFIRMED: &str =
    "INSERT OR IGNORE INTO unconfirmed (series, since_ms) VALUES (?1, ?2)";
/// How much the start of a container and the times of its samples may deviate.
const APART_MS: i64 = 1000;

/// A series in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its number.
    pub series: Series,
    /// The name of the container or the node, if known.
    pub name: Option<&'a str>,
    /// Whether it may be another container than the one that had the number before ([`Rates::may_be_another`]).
    ///
    /// [`Rates::may_be_another`]: crate::history::readings::Rates::may_be_another
    pub may_be_another: bool,
    /// Since when it has been running, where that is all that is known: then the store tells whether it was there before.
    pub up_since_ms: Option<i64>,
}

/// A number that went from one container to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The number.
    pub series: Series,
    /// What the one before was called.
    pub former: String,
    /// What the present one is called.
    pub name: String,
}

/// The names of the series.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Series, String>,
    /// Those that may be other containers, whose names could not be read yet, and since when.
    unconfirmed: HashMap<Series, i64>,
    /// Those that were noted to have been replaced at a time to come, by a clock that was ahead, and the one before that.
    replaced_ahead: HashMap<Series, String>,
}

impl Names {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut names = Self::default();
        let mut statement = connection.prepare("SELECT id, name FROM series")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // A damaged one is rewritten when the series occurs again.
            if let (Ok(id), Ok(name)) = (row.get(0), row.get(1)) {
                names.known.insert(Series::from_raw(id), name);
            }
        }
        let mut statement = connection.prepare("SELECT series, since_ms FROM unconfirmed")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let (Ok(id), Ok(since_ms)) = (row.get(0), row.get(1)) {
                names.unconfirmed.insert(Series::from_raw(id), since_ms);
            }
        }
        Ok(names)
    }
}

impl Store {
    /// Tells what time it is: what was stored by a clock that was ahead has no say in what a container is called now.
    ///
    /// # Errors
    /// [`StoreError::History`].
    pub fn it_is(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if now_ms < self.newest_ms {
            self.newest_ms = self.read_newest(now_ms).map_err(|source| self.failed(source))?;
        }
        self.names.replaced_ahead = self.read_ahead(now_ms).map_err(|source| self.failed(source))?;
        Ok(())
    }

    fn read_ahead(&self, now_ms: i64) -> rusqlite::Result<HashMap<Series, String>> {
        let sql = "SELECT series, former FROM epochs
            WHERE ?1 < begins_ms AND typeof(begins_ms) = 'integer' AND series BETWEEN 0 AND 4294967295
            ORDER BY begins_ms DESC";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([now_ms])?;
        let mut ahead = HashMap::new();
        while let Some(row) = rows.next()? {
            // The earliest comes last: it tells who had the number before the clock was ahead.
            if let (Ok(id), Ok(former)) = (row.get(0), row.get(1)) {
                ahead.insert(Series::from_raw(id), former);
            }
        }
        Ok(ahead)
    }

    /// Takes the names in a cycle; unchanged names cost nothing. Returns the numbers that went to another container:
    /// its name differs, and it may be another one.
    ///
    /// # Errors
    /// [`StoreError::History`].
    pub fn name<'a>(
        &mut self,
        at_ms: i64,
        cycle: impl Iterator<Item = Seen<'a>>,
    ) -> Result<Vec<Replaced>, StoreError> {
        let mut replaced = Vec::new();
        for seen in cycle {
            replaced.extend(self.name_one(at_ms, seen).map_err(|source| self.failed(source))?);
        }
        Ok(replaced)
    }

    fn name_one(&mut self, at_ms: i64, seen: Seen<'_>) -> rusqlite::Result<Option<Replaced>> {
        let (is_older, series) = (at_ms <= self.newest_ms, seen.series);
        let names = if is_older { &self.earlier_names } else { &self.names };
        let known = names.known.get(&series);
        let doubt_since = names.unconfirmed.get(&series).copied();
        match (seen.name, known) {
            (Some(name), Some(known)) if name == known => {
                if let Some(former) = names.replaced_ahead.get(&series).cloned() {
                    let change = Change { begins_ms: at_ms, former: Some(&former), name, is_older };
                    self.write_name(series, &change)?;
                    self.names.replaced_ahead.remove(&series);
                }
                if doubt_since.is_some() {
                    self.end_doubt(series, is_older)?;
                }
                return Ok(None);
            }
            (None, Some(known)) => {
                if doubt_since.is_none() && !known.is_empty() && self.may_be_another(at_ms, seen)? {
                    self.begin_doubt(series, at_ms, is_older)?;
                }
                return Ok(None);
            }
            (_, None) | (Some(_), Some(_)) => {}
        }
        let known = known.filter(|known| !known.is_empty()).cloned();
        let begins_ms = match doubt_since {
            None if known.is_some() && self.may_be_another(at_ms, seen)? => Some(at_ms),
            since => since,
        };
        let former = known.filter(|_| begins_ms.is_some());
        let name = seen.name.unwrap_or_default();
        let begins_ms = begins_ms.unwrap_or(at_ms);
        self.write_name(series, &Change { begins_ms, former: former.as_deref(), name, is_older })?;
        let names = if is_older { &mut self.earlier_names } else { &mut self.names };
        names.known.insert(series, name.to_owned());
        names.unconfirmed.remove(&series);
        names.replaced_ahead.remove(&series);
        if is_older {
            self.names.known.entry(series).or_insert_with(|| name.to_owned());
        }
        Ok(former.map(|former| Replaced { series, former, name: name.to_owned() }))
    }

    fn may_be_another(&self, at_ms: i64, seen: Seen<'_>) -> rusqlite::Result<bool> {
        let Some(up_since_ms) = seen.up_since_ms.filter(|_| seen.may_be_another) else {
            return Ok(seen.may_be_another);
        };
        let newest_ms = self.newest_of(seen.series, at_ms)?;
        Ok(newest_ms.is_none_or(|newest_ms| newest_ms.saturating_add(APART_MS) < up_since_ms))
    }

    /// When a series was recorded last before a time, as far as the lengths of the roll-ups tell.
    fn newest_of(&self, series: Series, before_ms: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT at_ms, frame FROM recent WHERE at_ms < ?1 AND shard = ?2 ORDER BY at_ms DESC";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(params![before_ms, series.shard()])?;
        while let Some(row) = rows.next()? {
            let mut newest_ms = None;
            let each = |_, sample: lxc_autoscale_core::history_store::bucket::Sample| {
                newest_ms = newest_ms.max(Some(sample.at_ms).filter(|at_ms| *at_ms < before_ms));
            };
            // A damaged one tells nothing; it is counted when it is rolled up.
            let _ = frame::decode(stored_bytes(row, 1)?, row.get(0)?, |of| of == series, each);
            if newest_ms.is_some() {
                return Ok(newest_ms);
            }
        }
        let sql = "SELECT start_ms, data FROM chunks
            WHERE tier = ?1 AND series = ?2 AND start_ms < ?3 ORDER BY start_ms DESC LIMIT 1";
        let mut newest_ms = None;
        for tier in Tier::ALL {
            let last = |row: &rusqlite::Row<'_>| {
                let start_ms: i64 = row.get(0)?;
                let chunk = chunk::decode(stored_bytes(row, 1)?, |_| false).unwrap_or_default();
                let begins = chunk.keys().map(|place| start_ms + i64::from(*place) * tier.bucket_ms());
                Ok(begins.filter(|begins_ms| *begins_ms < before_ms).max())
            };
            let key = params![tier.id(), series.get(), before_ms];
            newest_ms = newest_ms.max(self.connection.query_row(sql, key, last).optional()?.flatten());
        }
        Ok(newest_ms)
    }

    fn begin_doubt(&mut self, series: Series, since_ms: i64, is_older: bool) -> rusqlite::Result<()> {
        if is_older {
            self.earlier_names.unconfirmed.insert(series, since_ms);
            return Ok(());
        }
        self.connection.execute(PUT_UNCONFIRMED, params![series.get(), since_ms])?;
        self.names.unconfirmed.insert(series, since_ms);
        Ok(())
    }

    fn end_doubt(&mut self, series: Series, is_older: bool) -> rusqlite::Result<()> {
        if is_older {
            self.earlier_names.unconfirmed.remove(&series);
            return Ok(());
        }
        self.connection.execute(DELETE_UNCONFIRMED, [series.get()])?;
        self.names.unconfirmed.remove(&series);
        Ok(())
    }

    fn write_name(&mut self, series: Series, change: &Change<'_>) -> rusqlite::Result<()> {
        let Change { begins_ms, former, name, is_older } = *change;
        let transaction = self.connection.transaction()?;
        if let Some(former) = former {
            transaction.execute(PUT_EPOCH, params![series.get(), begins_ms, former])?;
        }
        if is_older {
            let sql = "INSERT OR IGNORE INTO series (id, name) VALUES (?1, ?2)";
            transaction.execute(sql, params![series.get(), name])?;
        } else {
            let sql =
                "INSERT INTO series (id, name) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET name = ?2";
            transaction.execute(sql, params![series.get(), name])?;
            transaction.execute(DELETE_UNCONFIRMED, [series.get()])?;
        }
        transaction.commit()
    }
}

const DELETE_UNCONFIRMED: &str = "DELETE FROM unconfirmed WHERE series = ?1";

/// A name, and the container that had the number before, if it was another one.
#[derive(Debug)]
struct Change<'a> {
    begins_ms: i64,
    former: Option<&'a str>,
    name: &'a str,
    is_older: bool,
}
