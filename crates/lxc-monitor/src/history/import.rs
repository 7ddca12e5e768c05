//! `lxc-monitor import FILE`: imports other metrics files into the history.
//!
//! ## What is imported from a file of the Python original
//!
//! Only what is true: network traffic, swap and the root filesystem in use, and memory under its real meaning, charged
//! memory without all page cache (`memory_without_cache`). Left out are `cpu_usage_percent` (the mean since boot in its
//! first releases, and nothing in the file says which release wrote it), `process_count` (it counts processes, not
//! tasks, including its own), `io_stats` (devices are left out or counted twice, and a container on LVM reads zero),
//! and `swap_total_mb` (the node's, not the container's, if lxcfs does not limit it). The daemon, which reads what it
//! missed from the metrics file, takes the same.
//!
//! ## Its local times
//!
//! They have no offset and are read in the time zone of this machine, or the given one. In the hour that occurs twice
//! when summer time ends, a time that is not after the one before belongs to the second pass; an hour that does not
//! exist is read with the offset before the change.

pub mod original;
pub mod scan;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::history_store::Tier;
use lxc_autoscale_core::progress::Progress;

use super::config::HistoryConfig;
use super::readings::Rates;
use super::record::{self, Record};
use super::store::{Block, SampledCycle, Store, StoreError};
use original::LocalTimes;
use scan::{Element, Scanner};

/// Cycles per transaction.
const BATCH: usize = 64;
/// Most damaged places that are listed.
const MOST_NAMED: usize = 10;

/// Why an import ended early; the part imported before remains, and the same command continues from there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No record of it could be read.
    #[error("`{}` holds no snapshot; is it a metrics file?", path.display())]
    NoMetricsFile {
        /// The file.
        path: PathBuf,
    },
    /// The time zone.
    #[error("there is no time zone `{name}`; write one such as Europe/Rome")]
    TimeZone {
        /// The requested zone.
        name: String,
    },
    /// The history.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Number of those by the Python original.
    pub of_the_original: u64,
    /// Fields of those with something else than a sane value.
    pub unusable_fields: u64,
    /// Places that could not be read.
    pub damaged: u64,
    /// Where in the file the first of them are, in bytes.
    pub damaged_at: Vec<u64>,
    /// First and last moment, in milliseconds since the epoch.
    pub range_ms: Option<(i64, i64)>,
    /// Roll-ups that are new, and kept.
    pub roll_ups: u64,
    /// New blocks of samples that wait to be rolled up.
    pub new_frames: u64,
}

/// Imports a file into the history; repeating it changes nothing.
///
/// # Errors
/// [`ImportError`].
pub fn run(
    config: &HistoryConfig,
    path: &Path,
    zone: TimeZone,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<Report, ImportError> {
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let (mut store, _) = Store::open(config)?;
    store.it_is(now.as_millisecond())?;
    let mut import = Import {
        store,
        rates: Rates::default(),
        times: LocalTimes::new(zone),
        pending: Vec::new(),
        report: Report::default(),
        roll_ups: BTreeMap::new(),
        frames: BTreeMap::new(),
        last_ms: i64::MIN,
    };
    let mut scanner = Scanner::new(file);
    while let Some(element) = scanner.next().map_err(failed)? {
        match element {
            Element::Object { offset, text } => import.take(offset, text)?,
            Element::Damaged { offset } => import.damaged(offset),
        }
        progress.at(scanner.position(), size);
    }
    import.finish(now.as_millisecond())?;
    if import.report.snapshots == 0 {
        return Err(ImportError::NoMetricsFile { path: path.to_owned() });
    }
    Ok(import.report)
}

struct Import {
    store: Store,
    rates: Rates,
    times: LocalTimes,
    pending: Vec<SampledCycle>,
    report: Report,
    /// New roll-ups, by the block that holds them.
    roll_ups: BTreeMap<Block, u64>,
    /// New frames, by their window.
    frames: BTreeMap<i64, u64>,
    last_ms: i64,
}

impl Import {
    fn take(&mut self, offset: u64, text: &[u8]) -> Result<(), StoreError> {
        let Some(Record { cycle, is_of_the_original, unusable_fields }) = record::read(text, &mut self.times)
        else {
            self.damaged(offset);
            return Ok(());
        };
        self.report.of_the_original += u64::from(is_of_the_original);
        self.report.unusable_fields += unusable_fields;
        self.report.snapshots += 1;
        let (first, last) = self.report.range_ms.unwrap_or((cycle.at_ms, cycle.at_ms));
        self.report.range_ms = Some((first.min(cycle.at_ms), last.max(cycle.at_ms)));
        let is_next_minute =
            self.pending.last().is_some_and(|last| last.at_ms / 60_000 != cycle.at_ms / 60_000);
        if BATCH <= self.pending.len() && is_next_minute {
            self.flush()?;
            self.compact(self.last_ms)?;
        }
        self.store.name(cycle.at_ms, cycle.seen(&self.rates))?;
        self.last_ms = cycle.at_ms;
        self.pending.push(SampledCycle { at_ms: cycle.at_ms, samples: self.rates.samples(&cycle) });
        Ok(())
    }

    fn damaged(&mut self, offset: u64) {
        self.report.damaged += 1;
        if self.report.damaged_at.len() < MOST_NAMED {
            self.report.damaged_at.push(offset);
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        for window in self.pending.chunk_by(|a, b| window_of(a) == window_of(b)) {
            let n_new = self.store.append(window)? as u64;
            *self.frames.entry(window_of(&window[0])).or_default() += n_new;
        }
        self.pending.clear();
        Ok(())
    }

    fn compact(&mut self, now_ms: i64) -> Result<(), StoreError> {
        loop {
            let step = self.store.compact_step(now_ms)?;
            // Of what a daemon that was stopped held as samples, the roll-ups are nothing new.
            let is_new =
                step.window_ms.is_some_and(|window_ms| 0 < self.frames.get(&window_ms).copied().unwrap_or(0));
            for (block, merged) in step.merged.into_iter().filter(|_| is_new) {
                *self.roll_ups.entry(block).or_default() += merged.added + merged.replaced;
            }
            if !step.more {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.flush()?;
        self.compact(now_ms)?;
        // What age and size have let go again, and what was there before in another form, is nothing new.
        for (block, n_new) in &self.roll_ups {
            self.report.roll_ups += if self.store.holds(*block)? { *n_new } else { 0 };
        }
        for (window_ms, n_new) in &self.frames {
            self.report.new_frames += if self.store.awaits(*window_ms)? { *n_new } else { 0 };
        }
        Ok(())
    }
}

/// The window in which a cycle is rolled up.
fn window_of(cycle: &SampledCycle) -> i64 {
    Tier::Minute.chunk_start(cycle.at_ms)
}

#[cfg(test)]
#[path = "import/tests.rs"]
mod tests;
