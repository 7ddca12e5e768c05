//! The database, opened for writing.
//!
//! ## Consistency
//!
//! A frame of samples is one transaction. After the end of a window of four hours, its samples are rolled up shard by
//! shard, one transaction each, and then deleted; a process that dies in between repeats that, and the same samples
//! again change nothing ([`chunk::merge`]). The write-ahead log makes transactions atomic; a power failure may cost the
//! last ones, which are restored from the metrics file.
//!
//! ## Size
//!
//! Chunks are dropped by age, counted in time with measurements, so that a clock that jumps ahead deletes nothing; and
//! when the file reaches its bound, the oldest of the finest tier first.

mod file;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lxc_autoscale_core::history_store::bucket::{Codes, Sample, WINDOW_MS, roll_up};
use lxc_autoscale_core::history_store::chunk::{self, Chunk, Merged};
use lxc_autoscale_core::history_store::frame::{self, Frame};
use lxc_autoscale_core::history_store::reader::stored_bytes;
use lxc_autoscale_core::history_store::{Epoch, HistoryError, Metric, Series, Tier};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use self::names::Names;
pub use self::names::{Replaced, Seen};
use super::config::HistoryConfig;

/// Samples unpacked at once; bounds the memory of a compaction to about a MiB.
const MOST_SAMPLES: usize = 8192;
/// Inserts a frame. A longer frame with the same beginning replaces the one before, as happens when it is read again
/// from the metrics file; it counts as new, so that a roll-up in progress leaves it for the next time.
const PUT_FRAME: &str = "INSERT INTO recent (at_ms, shard, last_ms, frame) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (at_ms, shard) DO UPDATE
    SET number = (SELECT max(number) + 1 FROM recent), last_ms = excluded.last_ms, frame = excluded.frame
    WHERE last_ms < excluded.last_ms";
/// Delay between the end of a window and its roll-up, for samples still under way.
const GRACE_MS: i64 = 10 * 60 * 1000;

/// Why the history cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its directory cannot be created.
    #[error("cannot create the directory `{}` for the history; set `history.file` to another place", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be created.
    #[error("cannot create the history `{}`; set `history.file` to another place", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else is in its place, so somebody else could choose what is written to.
    #[error("the history `{}` is not a regular file but a link, a FIFO or similar; remove it, or set `history.file` to another place", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What was found.
        source: std::io::Error,
    },
    /// It was removed, renamed or replaced since it was opened: what is written to it, nobody can read.
    #[error("the history `{}` was removed, renamed or replaced while it was open", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// A broken one could not be moved aside.
    #[error("the history `{}` is broken and cannot be renamed", path.display())]
    PutAside {
        /// The database.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database has an error.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl StoreError {
    /// Whether the database is broken, so that opening it again helps (it creates a new one).
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::History(HistoryError::Database { source, .. }) if file::is_corrupt(source))
    }
}

/// The samples of one cycle, by series in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledCycle {
    /// When the cycle began, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Each series with its sample.
    pub samples: Vec<(Series, Codes)>,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Which file it is.
    identity: Option<file::Identity>,
    config: HistoryConfig,
    /// Of the time since it was opened.
    names: Names,
    /// The newest data when it was opened, in milliseconds since the epoch. What is older and comes now has no say in
    /// what a container is called.
    newest_ms: i64,
    /// Of what is older.
    earlier_names: Names,
    compaction: Option<Compaction>,
}

/// A window being rolled up.
#[derive(Debug)]
struct Compaction {
    window_ms: i64,
    /// Later rows wait for the next time.
    last_number: i64,
    shards: Vec<u32>,
    /// The tiers that keep roll-ups of that time; those of the others would be deleted again at once.
    tiers: Vec<Tier>,
}

/// The result of a step of compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Whether there is more to do.
    pub more: bool,
    /// The window whose samples were rolled up.
    pub window_ms: Option<i64>,
    /// The new roll-ups of each block of time.
    pub merged: Vec<(Block, Merged)>,
    /// Stored blocks that were damaged and are lost.
    pub damaged: u64,
}

/// A block of time in which roll-ups of one length are kept, and deleted, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Their length.
    pub tier: Tier,
    /// When it begins, in milliseconds since the epoch.
    pub start_ms: i64,
}

impl Store {
    /// Opens it and creates it if it is missing; a broken one is put aside, its readable part is copied to the new one,
    /// and its path is returned.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub fn open(config: &HistoryConfig) -> Result<(Self, Option<PathBuf>), StoreError> {
        let (connection, aside) = file::open(&config.file, config.max_bytes())?;
        let mut store = Self {
            connection,
            path: config.file.clone(),
            identity: file::identity(&config.file),
            config: config.clone(),
            names: Names::default(),
            newest_ms: i64::MIN,
            earlier_names: Names::default(),
            compaction: None,
        };
        match store.read_known() {
            Ok(()) => {}
            Err(source) if file::is_corrupt(&source) && aside.is_none() => {
                let (store, aside) = store.begin_again()?;
                return Ok((store, Some(aside)));
            }
            Err(source) => return Err(store.failed(source)),
        }
        Ok((store, aside))
    }

    /// Closes a broken database, puts it aside, and creates a new one with its readable part.
    ///
    /// # Errors
    /// [`StoreError`] when that fails, too.
    pub fn begin_again(self) -> Result<(Self, PathBuf), StoreError> {
        let Self { connection, path, config, .. } = self;
        drop(connection);
        let aside = file::put_aside(&path)?;
        let (mut store, _) = Self::open(&config)?;
        file::salvage(&aside, &mut store.connection).map_err(|source| store.failed(source))?;
        store.read_known().map_err(|source| store.failed(source))?;
        Ok((store, aside))
    }

    /// Closes a database that is gone. Wherever it is now, it has everything that was written to it.
    pub fn leave(self) {
        // Otherwise the end of it would stay in the log, which keeps its name. If that fails, there is nobody to tell.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Applies new bounds; another file needs another store.
    pub fn reconfigure(&mut self, config: &HistoryConfig) {
        self.config = config.clone();
    }

    /// Writes cycles in one transaction; returns how many frames were new, or longer than before.
    ///
    /// # Errors
    /// [`StoreError::History`] or [`StoreError::Gone`]; nothing was written then.
    pub fn append(&mut self, cycles: &[SampledCycle]) -> Result<usize, StoreError> {
        if self.identity.is_some() && file::identity(&self.path) != self.identity {
            return Err(StoreError::Gone { path: self.path.clone() });
        }
        self.append_in_transaction(cycles).map_err(|source| self.failed(source))
    }

    fn append_in_transaction(&mut self, cycles: &[SampledCycle]) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let mut added = 0;
        {
            let mut insert = transaction.prepare(PUT_FRAME)?;
            // A frame stays within a minute, so that it belongs to one bucket of every tier.
            let same_minute = |a: &SampledCycle, b: &SampledCycle| {
                Tier::Minute.bucket_start(a.at_ms) == Tier::Minute.bucket_start(b.at_ms)
            };
            for minute in cycles.chunk_by(same_minute) {
                let (first_ms, last_ms) = (minute[0].at_ms, minute[minute.len() - 1].at_ms);
                for (shard, frame) in frames(minute) {
                    added += insert.execute(params![first_ms, shard, last_ms, frame::encode(&frame)])?;
                }
            }
        }
        transaction.commit()?;
        Ok(added)
    }

    /// Whether there are roll-ups of a block.
    ///
    /// # Errors
    /// [`StoreError::History`].
    pub fn holds(&self, block: Block) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM chunks WHERE tier = ?1 AND start_ms = ?2)";
        let key = params![block.tier.id(), block.start_ms];
        self.connection.query_row(sql, key, |row| row.get(0)).map_err(|source| self.failed(source))
    }

    /// Whether samples of a window wait to be rolled up.
    ///
    /// # Errors
    /// [`StoreError::History`].
    pub fn awaits(&self, window_ms: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM recent WHERE ?1 <= at_ms AND at_ms < ?2)";
        let window = params![window_ms, window_ms + WINDOW_MS];
        self.connection.query_row(sql, window, |row| row.get(0)).map_err(|source| self.failed(source))
    }

    /// The time of the last sample, in milliseconds since the epoch; `None` in a new store.
    ///
    /// # Errors
    /// [`StoreError::History`].
    pub fn newest_ms(&self) -> Result<Option<i64>, StoreError> {
        let last = "SELECT last_ms FROM recent ORDER BY number DESC LIMIT 1";
        self.connection.query_row(last, [], |row| row.get(0)).optional().map_err(|source| self.failed(source))
    }

    /// Rolls up a part of the oldest window that has ended at `now_ms`, or completes it; does nothing if there is none.
    ///
    /// # Errors
    /// [`StoreError::History`]; the next call tries the same part again.
    pub fn compact_step(&mut self, now_ms: i64) -> Result<Step, StoreError> {
        self.compact_step_in_database(now_ms).map_err(|source| self.failed(source))
    }

    fn compact_step_in_database(&mut self, now_ms: i64) -> rusqlite::Result<Step> {
        if self.compaction.is_none() {
            self.compaction = self.next_window(now_ms)?;
        }
        let Some(Compaction { window_ms, last_number, ref mut shards, ref tiers }) = self.compaction else {
            return Ok(Step::default());
        };
        let Some(shard) = shards.last().copied() else {
            let delete = "DELETE FROM recent WHERE ?1 <= at_ms AND at_ms < ?2 AND number <= ?3";
            let deleted =
                self.connection.execute(delete, params![window_ms, window_ms + WINDOW_MS, last_number])?;
            self.compaction = None;
            if deleted == 0 && self.still_holds(window_ms, last_number)? {
                return Err(file::contradiction("samples that are there cannot be deleted"));
            }
            self.trim()?;
            return Ok(Step { more: true, ..Step::default() });
        };
        let (merged, damaged) = compact_shard(&mut self.connection, window_ms, last_number, shard, tiers)?;
        shards.pop();
        Ok(Step { more: true, window_ms: Some(window_ms), merged, damaged })
    }

    /// Whether the oldest sample is one that should have been deleted: then the index contradicts the table, and
    /// rolling it up would never end. (If another process deleted it, it is not there.)
    fn still_holds(&self, window_ms: i64, last_number: i64) -> rusqlite::Result<bool> {
        let oldest = "SELECT number, at_ms FROM recent ORDER BY at_ms LIMIT 1";
        let oldest: Option<(i64, i64)> =
            self.connection.query_row(oldest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(oldest.is_some_and(|(number, at_ms)| number <= last_number && at_ms < window_ms + WINDOW_MS))
    }

    fn next_window(&self, now_ms: i64) -> rusqlite::Result<Option<Compaction>> {
        let oldest: Option<i64> =
            self.connection.query_row("SELECT min(at_ms) FROM recent", [], |row| row.get(0))?;
        let Some(window_ms) = oldest.map(|at_ms| Tier::Minute.chunk_start(at_ms)) else { return Ok(None) };
        if now_ms < window_ms + WINDOW_MS + GRACE_MS {
            return Ok(None);
        }
        let last = "SELECT coalesce(max(number), 0) FROM recent";
        let last_number = self.connection.query_row(last, [], |row| row.get(0))?;
        let mut shards = self.connection.prepare(
            "SELECT DISTINCT shard FROM recent WHERE ?1 <= at_ms AND at_ms < ?2 ORDER BY shard DESC",
        )?;
        let shards = shards
            .query_map(params![window_ms, window_ms + WINDOW_MS], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut tiers = Vec::with_capacity(Tier::ALL.len());
        for tier in Tier::ALL {
            if self.oldest_kept(tier)?.is_none_or(|kept| kept <= tier.chunk_start(window_ms)) {
                tiers.push(tier);
            }
        }
        Ok(Some(Compaction { window_ms, last_number, shards, tiers }))
    }

    /// Enforces age and size; called by the daemon now and then, and by every compaction.
    ///
    /// # Errors
    /// [`StoreError::History`].
    pub fn enforce_bounds(&mut self) -> Result<(), StoreError> {
        self.trim().map_err(|source| self.failed(source))
    }

    fn trim(&mut self) -> rusqlite::Result<()> {
        for tier in Tier::ALL {
            if let Some(kept) = self.oldest_kept(tier)? {
                let delete = "DELETE FROM chunks WHERE tier = ?1 AND start_ms < ?2";
                self.connection.execute(delete, params![tier.id(), kept])?;
            }
        }
        let max_pages = i64::try_from(self.config.max_bytes() / file::PAGE_BYTES).unwrap_or(i64::MAX);
        // Leaves some space until the next time.
        let target = max_pages - max_pages / 16;
        let mut trimmed = false;
        while target < self.used_pages()? && self.drop_oldest()? {
            trimmed = true;
        }
        if trimmed || max_pages < self.pragma("page_count")? {
            self.connection.execute_batch("PRAGMA incremental_vacuum")?;
        }
        file::bound(&self.connection, self.config.max_bytes())
    }

    /// The block before which none of a tier is kept; `None` while there are not so many.
    fn oldest_kept(&self, tier: Tier) -> rusqlite::Result<Option<i64>> {
        let oldest_kept = "SELECT DISTINCT start_ms FROM chunks WHERE tier = ?1
            ORDER BY start_ms DESC LIMIT 1 OFFSET ?2";
        let parameters = params![tier.id(), self.config.chunks_kept(tier) - 1];
        self.connection.query_row(oldest_kept, parameters, |row| row.get(0)).optional()
    }

    fn used_pages(&self) -> rusqlite::Result<i64> {
        Ok(self.pragma("page_count")? - self.pragma("freelist_count")?)
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<i64> {
        self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
    }

    /// Deletes the oldest chunks of the finest tier that has any, finally the oldest samples; returns whether there was
    /// something to delete.
    fn drop_oldest(&self) -> rusqlite::Result<bool> {
        for tier in Tier::ALL {
            let delete = "DELETE FROM chunks WHERE tier = ?1
                AND start_ms = (SELECT min(start_ms) FROM chunks WHERE tier = ?1)";
            if 0 < self.connection.execute(delete, [tier.id()])? {
                return Ok(true);
            }
        }
        let delete = "DELETE FROM recent WHERE at_ms < (SELECT min(at_ms) + ?1 FROM recent)";
        Ok(0 < self.connection.execute(delete, [Tier::FiveMinutes.bucket_ms()])?)
    }

    fn read_known(&mut self) -> rusqlite::Result<()> {
        self.names = Names::read(&self.connection)?;
        self.newest_ms = self.read_newest(i64::MAX)?;
        Ok(())
    }

    /// The newest data up to `now_ms`.
    fn read_newest(&self, now_ms: i64) -> rusqlite::Result<i64> {
        let newest =
            "SELECT max(coalesce((SELECT max(at_ms) FROM recent WHERE typeof(at_ms) = 'integer' AND at_ms <= ?2), ?1),
            coalesce((SELECT max(start_ms) FROM chunks WHERE typeof(start_ms) = 'integer' AND start_ms <= ?2), ?1))";
        self.connection.query_row(newest, [i64::MIN, now_ms], |row| row.get(0))
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        file::failed(&self.path, source)
    }
}

/// The frames of a minute, by shard.
fn frames(minute: &[SampledCycle]) -> BTreeMap<u32, Frame> {
    let series: BTreeSet<Series> =
        minute.iter().flat_map(|cycle| cycle.samples.iter().map(|(series, _)| *series)).collect();
    let at_ms: Vec<i64> = minute.iter().map(|cycle| cycle.at_ms).collect();
    let mut frames: BTreeMap<u32, Frame> = BTreeMap::new();
    // The position in each cycle's list; both are in order.
    let mut next = vec![0; minute.len()];
    for series in series {
        let of_cycle = |(cycle, next): (&SampledCycle, &mut usize)| match cycle.samples.get(*next) {
            Some((found, codes)) if *found == series => {
                *next += 1;
                // Without any values there is no sample.
                (codes.mask() != 0).then_some(*codes)
            }
            _ => None,
        };
        let samples: Vec<_> = minute.iter().zip(&mut next).map(of_cycle).collect();
        let frame = frames
            .entry(series.shard())
            .or_insert_with(|| Frame { at_ms: at_ms.clone(), series: Vec::new() });
        frame.series.push((series, samples));
    }
    frames
}

/// Rolls up one shard of a window, in one transaction.
fn compact_shard(
    connection: &mut Connection,
    window_ms: i64,
    last_number: i64,
    shard: u32,
    tiers: &[Tier],
) -> rusqlite::Result<(Vec<(Block, Merged)>, u64)> {
    let transaction = connection.transaction()?;
    let mut counts: BTreeMap<Series, usize> = BTreeMap::new();
    let mut damaged = 0;
    read_frames(&transaction, window_ms, last_number, shard, |first_ms, blob| {
        let count = |series, _| *counts.entry(series).or_default() += 1;
        damaged += u64::from(frame::decode(blob, first_ms, |_| true, count).is_err());
    })?;
    let most = counts.values().copied().max().unwrap_or(1).max(1);
    let series: Vec<Series> = counts.into_keys().collect();
    let block = |tier: &Tier| Block { tier: *tier, start_ms: tier.chunk_start(window_ms) };
    let mut total: Vec<_> = tiers.iter().map(|tier| (block(tier), Merged::default())).collect();
    let epochs = epochs_of(&transaction, window_ms)?;
    for group in series.chunks((MOST_SAMPLES / most).max(1)) {
        let mut samples: BTreeMap<Series, Vec<Sample>> = BTreeMap::new();
        read_frames(&transaction, window_ms, last_number, shard, |first_ms, blob| {
            let each = |series, sample| samples.entry(series).or_default().push(sample);
            // Damage was counted above.
            let _ = frame::decode(blob, first_ms, |series| group.contains(&series), each);
        })?;
        for (series, mut samples) in samples {
            let begun: Vec<i64> =
                epochs.iter().filter(|(of, _)| *of == series).map(|(_, begins_ms)| *begins_ms).collect();
            for (block, total) in &mut total {
                let (merged, lost) = if begun.is_empty() {
                    put(&transaction, series, block.tier, &mut samples)?
                } else {
                    let is_cut_off = |sample: &&Sample| {
                        begun.iter().any(|begins_ms| Epoch::is_cut_off(*begins_ms, block.tier, sample.at_ms))
                    };
                    let mut own = samples.iter().filter(|sample| !is_cut_off(sample)).cloned().collect();
                    put(&transaction, series, block.tier, &mut own)?
                };
                total.added += merged.added;
                total.replaced += merged.replaced;
                damaged += lost;
            }
        }
    }
    transaction.commit()?;
    Ok((total, damaged))
}

/// The numbers that went to another container in a window, and when: what is measured of both in one roll-up is the
/// later one's alone.
fn epochs_of(transaction: &Transaction<'_>, window_ms: i64) -> rusqlite::Result<Vec<(Series, i64)>> {
    let sql = "SELECT series, begins_ms FROM epochs
        WHERE ?1 <= begins_ms AND begins_ms < ?2 AND series BETWEEN 0 AND 4294967295";
    let mut statement = transaction.prepare(sql)?;
    let epochs = statement.query_map(params![window_ms, window_ms + WINDOW_MS], |row| {
        Ok((Series::from_raw(row.get(0)?), row.get(1)?))
    })?;
    epochs.collect()
}

fn read_frames(
    transaction: &Transaction<'_>,
    window_ms: i64,
    last_number: i64,
    shard: u32,
    mut each: impl FnMut(i64, &[u8]),
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare(
        "SELECT at_ms, frame FROM recent
         WHERE ?1 <= at_ms AND at_ms < ?2 AND shard = ?3 AND number <= ?4",
    )?;
    let mut rows = statement.query(params![window_ms, window_ms + WINDOW_MS, shard, last_number])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, stored_bytes(row, 1)?);
    }
    Ok(())
}

/// Adds the roll-ups of a window's samples to their chunk; returns how many stored blocks were damaged, too.
fn put(
    transaction: &Transaction<'_>,
    series: Series,
    tier: Tier,
    samples: &mut Vec<Sample>,
) -> rusqlite::Result<(Merged, u64)> {
    let buckets = roll_up(samples, tier, Metric::ALL);
    let Some((first_ms, _)) = buckets.first() else { return Ok((Merged::default(), 0)) };
    let start_ms = tier.chunk_start(*first_ms);
    let key = params![tier.id(), start_ms, series.get()];
    let select = "SELECT data FROM chunks WHERE tier = ?1 AND start_ms = ?2 AND series = ?3";
    let stored = transaction
        .query_row(select, key, |row| Ok(chunk::decode(stored_bytes(row, 0)?, |_| true)))
        .optional()?;
    let damaged = u64::from(matches!(stored, Some(Err(_))));
    let mut chunk: Chunk = stored.and_then(Result::ok).unwrap_or_default();
    let place = |at_ms: i64| u32::try_from((at_ms - start_ms) / tier.bucket_ms()).unwrap_or(u32::MAX);
    let new = buckets.into_iter().map(|(at_ms, bucket)| (place(at_ms), bucket));
    let merged = chunk::merge(&mut chunk, new);
    if merged != Merged::default() {
        let insert = "INSERT INTO chunks (tier, start_ms, series, data) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (tier, start_ms, series) DO UPDATE SET data = ?4";
        let row = params![tier.id(), start_ms, series.get(), chunk::encode(&chunk)];
        transaction.execute(insert, row)?;
    }
    Ok((merged, damaged))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
