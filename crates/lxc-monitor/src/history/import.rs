//! `lxc-monitor import FILE`: what other metrics files hold becomes history.
//!
//! ## What is taken of a file of the Python original
//!
//! Only what is true: network traffic, swap and the root filesystem in use, and memory as what it is, charged
//! memory without all page cache (`memory_without_cache`). Left out are `cpu_usage_percent` (the mean since boot in its
//! first releases, and nothing in the file says which release wrote it), `process_count` (it counts processes, not
//! tasks, its own among them), `io_stats` (devices are left out or counted twice, and a container on LVM reads
//! zero), and `swap_total_mb` (the node's, not the container's, where lxcfs does not limit it).
//!
//! ## Its local times
//!
//! They carry no offset and are read in the time zone of this machine, or the one that is given. In the hour that comes
//! twice when summer time ends, a time that is not after the one before it belongs to the second pass; an hour
//! that does not exist is read with the offset before the change.

pub mod original;
pub mod scan;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::progress::Progress;
use lxc_autoscale_core::snapshot::Snapshot;

use super::config::HistoryConfig;
use super::readings::{Cycle, Rates};
use super::store::{SampledCycle, Store, StoreError};
use original::LocalTimes;
use scan::{Element, Scanner};

/// Cycles that are written in one transaction.
const BATCH: usize = 64;
/// Damaged places that are named.
const MOST_NAMED: usize = 10;

/// Why an import ended early; what was imported before stands, and the same command goes on from there.
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
        /// What was asked for.
        name: String,
    },
    /// The history.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Of those, by the Python original.
    pub of_the_original: u64,
    /// Places that could not be read.
    pub damaged: u64,
    /// Where in the file the first of them are, in bytes.
    pub damaged_at: Vec<u64>,
    /// First and last moment, in milliseconds since the epoch.
    pub range_ms: Option<(i64, i64)>,
    /// Roll-ups that are new.
    pub roll_ups: u64,
    /// Blocks of samples that were written; those of a time that is rolled up already may change nothing.
    pub new_frames: u64,
}

/// Imports a file into the history; a second time, it changes nothing.
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
    let (store, _) = Store::open(config)?;
    let mut import = Import {
        store,
        rates: Rates::default(),
        times: LocalTimes::new(zone),
        pending: Vec::new(),
        report: Report::default(),
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
    last_ms: i64,
}

impl Import {
    fn take(&mut self, offset: u64, text: &[u8]) -> Result<(), StoreError> {
        let read = match original::parse(text, &mut self.times) {
            Ok(None) => {
                let snapshot = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Snapshot>().ok());
                snapshot.map(|snapshot| Cycle::from(&snapshot))
            }
            Ok(of_the_original) => {
                self.report.of_the_original += 1;
                of_the_original
            }
            Err(_) => None,
        };
        let Some(cycle) = read else {
            self.damaged(offset);
            return Ok(());
        };
        self.report.snapshots += 1;
        let (first, last) = self.report.range_ms.unwrap_or((cycle.at_ms, cycle.at_ms));
        self.report.range_ms = Some((first.min(cycle.at_ms), last.max(cycle.at_ms)));
        let is_next_minute =
            self.pending.last().is_some_and(|last| last.at_ms / 60_000 != cycle.at_ms / 60_000);
        if BATCH <= self.pending.len() && is_next_minute {
            self.flush()?;
            self.compact(self.last_ms)?;
        }
        self.store.name(cycle.series.iter().map(|(series, name, _)| (*series, name.as_deref())))?;
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
        self.report.new_frames += self.store.append(&self.pending)? as u64;
        self.pending.clear();
        Ok(())
    }

    fn compact(&mut self, now_ms: i64) -> Result<(), StoreError> {
        loop {
            let step = self.store.compact_step(now_ms)?;
            self.report.roll_ups += step.merged.added + step.merged.replaced;
            if !step.more {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.flush()?;
        self.compact(now_ms)?;
        // What is rolled up is counted as such.
        if self.store.newest_ms()?.is_none() {
            self.report.new_frames = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "import/tests.rs"]
mod tests;
