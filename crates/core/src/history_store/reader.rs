//! Reads the history, whether or not the monitor is writing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::bucket::{self, Bucket, Sample, Tier};
use super::{Damaged, Epoch, Metric, Period, Series, chunk, code, frame, schema};

/// How long a statement waits for the writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most buckets that are shown when the tier is chosen automatically.
const MOST_AUTOMATIC_BUCKETS: i64 = 2100;

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It was written by a newer version of this program.
    #[error("the history `{}` has version {found}, and this program knows version {known}; install the newer one again, or move the file away", path.display())]
    Version {
        /// The database.
        path: PathBuf,
        /// The version of the database.
        found: i64,
        /// The version that this program knows.
        known: i64,
    },
    /// Something else is in its place; opening a FIFO would wait for ever.
    #[error("the history `{}` is not a regular file; remove it, or set `history.file` to another place", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("cannot use the history `{}`", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// An open history database.
#[derive(Debug)]
pub struct HistoryReader {
    connection: Connection,
    path: PathBuf,
    has_epochs: bool,
    now_ms: i64,
}

/// A container that was ever recorded, or the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesInfo {
    /// Its number.
    pub series: Series,
    /// The container's or the node's name when it was last seen; empty if it had none.
    pub name: String,
    /// When it had that number.
    pub epoch: Epoch,
}

/// One bucket of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Start of the bucket, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Samples it was made from.
    pub samples: u32,
    /// The smallest, in the metric's unit.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// The 95th percentile by nearest rank.
    pub p95: f64,
}

/// The values of a metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// Its buckets in order of time; buckets without samples are absent.
    pub points: Vec<Point>,
    /// Number of damaged blocks that were left out.
    pub damaged_blocks: u64,
}

impl HistoryReader {
    /// Opens a history for reading; `None` if there is none (yet).
    ///
    /// # Errors
    /// [`HistoryError`] if it exists but cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, HistoryError> {
        let failed = |source| HistoryError::Database { path: path.to_owned(), source };
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(HistoryError::Foreign { path: path.to_owned() });
        }
        let connection = match open_read_only(path) {
            Ok(connection) => connection,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) && !path.exists() => {
                return Ok(None);
            }
            // It was made between the two looks at it.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
                open_read_only(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        match connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)? {
            0 => Ok(None),
            schema::VERSION => {
                let has_epochs =
                    connection.query_row(schema::HAS_EPOCHS, [], |row| row.get(0)).map_err(failed)?;
                Ok(Some(Self { connection, path: path.to_owned(), has_epochs, now_ms: i64::MAX }))
            }
            found => Err(HistoryError::Version { path: path.to_owned(), found, known: schema::VERSION }),
        }
    }

    /// Leaves out what was noted of the time after `now_ms`, when a clock was ahead: no container has got an id yet at a
    /// time to come. Otherwise the present one would have no history until then.
    #[must_use]
    pub fn as_of(self, now_ms: i64) -> Self {
        Self { now_ms, ..self }
    }

    /// The node and the container that has each number now, or had it last, by number.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn series(&self) -> Result<Vec<SeriesInfo>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<SeriesInfo>> {
            // A number beyond 32 bits is not one of ours.
            let sql = "SELECT id, name FROM series WHERE id BETWEEN 0 AND 4294967295 ORDER BY id";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let series = Series::from_raw(row.get(0)?);
                found.push(SeriesInfo { series, name: text(row, 1)?, epoch: self.present_epoch(series)? });
            }
            Ok(found)
        };
        read().map_err(|source| self.failed(source))
    }

    /// The containers whose number has gone to another one, by number and in order of time.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn former(&self) -> Result<Vec<SeriesInfo>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<SeriesInfo>> {
            let mut found: Vec<SeriesInfo> = Vec::new();
            if !self.has_epochs {
                return Ok(found);
            }
            let sql = "SELECT series, begins_ms, former FROM epochs
                WHERE series BETWEEN 0 AND 4294967295 AND typeof(begins_ms) = 'integer' AND begins_ms <= ?1
                ORDER BY series, begins_ms";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([self.now_ms])?;
            while let Some(row) = rows.next()? {
                let series = Series::from_raw(row.get(0)?);
                let before = found.last().filter(|before| before.series == series);
                let begins_ms = before.map_or(i64::MIN, |before| before.epoch.ends_ms);
                let epoch = Epoch { begins_ms, ends_ms: row.get(1)? };
                found.push(SeriesInfo { series, name: text(row, 2)?, epoch });
            }
            Ok(found)
        };
        read().map_err(|source| self.failed(source))
    }

    /// Since when a number belongs to the container that has it now.
    fn present_epoch(&self, series: Series) -> rusqlite::Result<Epoch> {
        if !self.has_epochs {
            return Ok(Epoch::ALL);
        }
        let sql = "SELECT max(begins_ms) FROM epochs
            WHERE series = ?1 AND typeof(begins_ms) = 'integer' AND begins_ms <= ?2";
        let key = (series.get(), self.now_ms);
        let begins_ms: Option<i64> = self.connection.query_row(sql, key, |row| row.get(0))?;
        Ok(Epoch { begins_ms: begins_ms.unwrap_or(i64::MIN), ..Epoch::ALL })
    }

    /// The tier for showing a period of time: the finest one with few enough buckets, unless only a coarser one
    /// reaches back that far.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn automatic_tier(&self, from_ms: i64, to_ms: i64) -> Result<Tier, HistoryError> {
        let is_fine = |tier: &Tier| (to_ms - from_ms) / tier.bucket_ms() <= MOST_AUTOMATIC_BUCKETS;
        let finest = Tier::ALL.into_iter().find(is_fine).unwrap_or(Tier::Hour);
        let mut chosen = finest;
        let mut reaches = self.oldest(finest)?.unwrap_or(i64::MAX);
        for tier in Tier::ALL.into_iter().filter(|tier| finest < *tier) {
            let oldest = self.oldest(tier)?.unwrap_or(i64::MAX).max(from_ms);
            // A chunk begins before its first bucket; only a real difference justifies the coarser tier.
            if oldest.saturating_add(tier.chunk_ms()) < reaches.max(from_ms) {
                (chosen, reaches) = (tier, oldest);
            }
        }
        Ok(chosen)
    }

    /// Start of the oldest chunk of a tier, in milliseconds since the epoch.
    fn oldest(&self, tier: Tier) -> Result<Option<i64>, HistoryError> {
        let sql = "SELECT min(start_ms) FROM chunks WHERE tier = ?1";
        let oldest = |row: &Row<'_>| Ok(row.get_ref(0)?.as_i64().ok());
        self.connection.query_row(sql, [tier.id()], oldest).map_err(|source| self.failed(source))
    }

    /// The buckets of one metric of one series in a period; of an id that belonged to another container before, only
    /// those of the present one.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn read(&self, series: Series, metric: Metric, period: Period) -> Result<Points, HistoryError> {
        let mut all = self.read_many(series, &[metric], period)?;
        let points = all.0.remove(&metric).unwrap_or_default();
        Ok(Points { points, damaged_blocks: all.1 })
    }

    /// As [`HistoryReader::read`] for several metrics at once; also returns the number of damaged blocks.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn read_many(
        &self,
        series: Series,
        metrics: &[Metric],
        period: Period,
    ) -> Result<(BTreeMap<Metric, Vec<Point>>, u64), HistoryError> {
        let epoch = self.present_epoch(series).map_err(|source| self.failed(source))?;
        self.read_many_of(series, epoch, metrics, period)
    }

    /// As [`HistoryReader::read`] for the container of which [`HistoryReader::series`] or [`HistoryReader::former`]
    /// tells.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn read_of(
        &self,
        container: &SeriesInfo,
        metric: Metric,
        period: Period,
    ) -> Result<Points, HistoryError> {
        let (series, epoch) = (container.series, container.epoch);
        let mut all = self.read_many_of(series, epoch, &[metric], period)?;
        let points = all.0.remove(&metric).unwrap_or_default();
        Ok(Points { points, damaged_blocks: all.1 })
    }

    /// The metrics that have a value of the container in a period, by number; also the number of damaged blocks.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub fn kept_of(
        &self,
        container: &SeriesInfo,
        period: Period,
    ) -> Result<(BTreeSet<Metric>, u64), HistoryError> {
        let (series, epoch) = (container.series, container.epoch);
        let (buckets, damaged) = self
            .buckets(series, epoch, Metric::ALL, epoch.buckets_of(period))
            .map_err(|source| self.failed(source))?;
        let kept = buckets.into_values().flat_map(|bucket| bucket.metrics).map(|(metric, _)| metric);
        Ok((kept.collect(), damaged))
    }

    fn read_many_of(
        &self,
        series: Series,
        epoch: Epoch,
        metrics: &[Metric],
        period: Period,
    ) -> Result<(BTreeMap<Metric, Vec<Point>>, u64), HistoryError> {
        let mut metrics = metrics.to_vec();
        metrics.sort_unstable();
        let period = epoch.buckets_of(period);
        let (buckets, damaged) =
            self.buckets(series, epoch, &metrics, period).map_err(|source| self.failed(source))?;
        let mut found: BTreeMap<Metric, Vec<Point>> = BTreeMap::new();
        for (start_ms, bucket) in buckets {
            for (metric, stats) in bucket.metrics {
                let value = |stored| code::decode(stored, metric.resolution());
                found.entry(metric).or_default().push(Point {
                    start_ms,
                    samples: stats.count,
                    min: value(stats.min),
                    mean: value(stats.mean),
                    max: value(stats.max),
                    p95: value(stats.p95),
                });
            }
        }
        Ok((found, damaged))
    }

    fn buckets(
        &self,
        series: Series,
        epoch: Epoch,
        metrics: &[Metric],
        period: Period,
    ) -> rusqlite::Result<(BTreeMap<i64, Bucket>, u64)> {
        let Period { tier, from_ms, to_ms } = period;
        // Reads both tables in one transaction, because compaction moves data from one to the other.
        let view = self.connection.unchecked_transaction()?;
        let (mut buckets, mut damaged) = (BTreeMap::new(), 0);
        let mut put = |start_ms: i64, bucket: Bucket| {
            let fuller = |old: &Bucket| bucket.samples <= old.samples;
            if (from_ms..to_ms).contains(&start_ms) && !buckets.get(&start_ms).is_some_and(fuller) {
                buckets.insert(start_ms, bucket);
            }
        };
        // First the existing starts, then one look-up each: a range over all series would read the others, too.
        let mut starts = view.prepare(
            "SELECT min(start_ms) FROM chunks WHERE tier = ?1 AND ?2 <= start_ms AND start_ms < ?3",
        )?;
        let mut one =
            view.prepare("SELECT data FROM chunks WHERE tier = ?1 AND start_ms = ?2 AND series = ?3")?;
        let mut next_ms = tier.chunk_start(from_ms);
        while let Some(start) =
            starts.query_row(params![tier.id(), next_ms, to_ms], |row| row.get::<_, Option<i64>>(0))?
        {
            let data: Option<Vec<u8>> = one
                .query_row(params![tier.id(), start, series.get()], |row| Ok(stored_bytes(row, 0)?.to_vec()))
                .optional()?;
            match data.map(|data| chunk::decode(&data, |metric| metrics.contains(&metric))) {
                Some(Ok(chunk)) => {
                    for (place, bucket) in chunk {
                        put(start + i64::from(place) * tier.bucket_ms(), bucket);
                    }
                }
                Some(Err(_)) => damaged += 1,
                None => {}
            }
            next_ms = start + tier.chunk_ms();
        }
        let mut samples = Vec::new();
        let mut recent =
            view.prepare("SELECT at_ms, frame FROM recent WHERE ?1 <= at_ms AND at_ms < ?2 AND shard = ?3")?;
        // A frame covers less than a minute; an incomplete first bucket is not returned.
        let mut rows = recent.query(params![from_ms - 60_000, to_ms, series.shard()])?;
        while let Some(row) = rows.next()? {
            // A roll-up of both containers is split when its window is rolled up, and here until then.
            let each = |_, sample: Sample| samples.extend(epoch.contains(sample.at_ms).then_some(sample));
            let found = row.get_ref(0)?.as_i64().map_err(|_| Damaged);
            let found = found.and_then(|first_ms| {
                frame::decode(
                    stored_bytes(row, 1).unwrap_or_default(),
                    first_ms,
                    |found| found == series,
                    each,
                )
            });
            damaged += u64::from(found.is_err());
        }
        for (start_ms, bucket) in bucket::roll_up(&mut samples, tier, metrics) {
            put(start_ms, bucket);
        }
        Ok((buckets, damaged))
    }

    fn failed(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError::Database { path: self.path.clone(), source }
    }
}

fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let begin = |connection: Connection| -> rusqlite::Result<Connection> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", -1024)?;
        // Reads the header and, with it, what a write-ahead log needs.
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(connection)
    };
    let opened = Connection::open_with_flags(path, flags).and_then(begin);
    match opened {
        // A process that may not write next to the file cannot use its write-ahead log; without a writer there is
        // none.
        Err(error)
            if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
                && !with_suffix(path, "-wal").exists()
                && path.is_file() =>
        {
            let uri = format!("file:{}?immutable=1", escaped(path));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).and_then(begin)
        }
        opened => opened,
    }
}

/// The bytes of a column with a blob or text; empty for a number or NULL.
///
/// A single flipped bit in the header of a row turns a blob into text, or either into a number. That damages only
/// this one value, which its checksum shows, and is no reason to return nothing.
///
/// # Errors
/// If there is no such column.
pub fn stored_bytes<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => &[],
    })
}

/// A column with text, as far as it can be read.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(stored_bytes(row, column)?).into_owned())
}

/// A path in the form of a URI.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/.-_".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The path of a file that belongs to the database.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
