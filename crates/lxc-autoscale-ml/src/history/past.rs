//! What the monitor's history knows of a container from before its first record in the metrics file.
//!
//! The metrics file holds hours, the monitor's history weeks. A container that is new to us, because this daemon was
//! installed or its state was lost, is learnt from both: first the measured steps of five minutes of the last eight
//! days, then the records; and the hourly peaks of four weeks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::history_store::{HistoryError, HistoryReader, Metric, Point, Series, Tier};
use lxc_autoscale_core::{ErrorChain, Vmid};

use crate::observation::Observation;
use crate::recommend::KEPT_HOURS;
use crate::recommend::series::{KEPT_STEPS, STEP_SECONDS};
use crate::trouble::Trouble;

/// The metrics that are read.
const METRICS: [Metric; 6] = [
    Metric::Cpu,
    Metric::Throttled,
    Metric::CoresLimit,
    Metric::Memory,
    Metric::MemoryLimit,
    Metric::OomKills,
];
/// A file that could not be read is not tried again for this long.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// In a step with so few samples, each of them is a minute.
const MINUTES_OF_A_STEP: u32 = 5;
/// Steps of five minutes in the hours that are kept.
const KEPT_HOURS_STEPS: i64 = KEPT_HOURS * 3600 / STEP_SECONDS;

/// A source of a container's past.
pub trait Past: fmt::Debug {
    /// The steps of a container before `before`, by id, oldest first; `None` while they cannot be read, at `now` by the
    /// records. Data with another name is of another container that had the same id; an unknown name matches any.
    fn of(
        &mut self,
        id: Vmid,
        name: Option<&str>,
        before: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<Observation>>;

    /// The hourly peaks of the last weeks before `before`, like [`Past::of`].
    fn hours_of(
        &mut self,
        id: Vmid,
        name: Option<&str>,
        before: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<HourPeak>>;

    /// No more queries for now: caches can be released.
    fn rest(&mut self);
}

/// The peak usage of a container in an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourPeak {
    /// When it began.
    pub begins: Timestamp,
    /// CPU, in cores.
    pub cpu: Option<f64>,
    /// Memory, in MiB.
    pub memory: Option<f64>,
}

/// The monitor's history in a file; opening it is retried while it is missing or cannot be read.
#[derive(Debug)]
pub struct PastAt {
    path: PathBuf,
    open: Option<StoredPast>,
    /// The time, by the records, of the last failed attempt.
    tried: Option<Timestamp>,
    trouble: Trouble,
}

/// The monitor's history.
#[derive(Debug)]
pub struct StoredPast {
    reader: HistoryReader,
    names: BTreeMap<Series, String>,
}

impl StoredPast {
    /// Opens the history as it is known at `now`; `None` when there is none (yet).
    ///
    /// # Errors
    /// [`HistoryError`] when it exists and cannot be read.
    pub fn open(path: &Path, now: Timestamp) -> Result<Option<Self>, HistoryError> {
        let Some(reader) = HistoryReader::open(path)? else { return Ok(None) };
        let reader = reader.as_of(now.as_millisecond());
        let names = reader.series()?.into_iter().map(|info| (info.series, info.name)).collect();
        Ok(Some(Self { reader, names }))
    }

    /// The `steps` steps of a container before `before`, like [`Past::of`].
    ///
    /// # Errors
    /// [`HistoryError`] when the history cannot be read.
    pub fn steps_of(
        &self,
        id: Vmid,
        name: Option<&str>,
        before: Timestamp,
        steps: i64,
    ) -> Result<Vec<Observation>, HistoryError> {
        if !self.knows(id, name) {
            return Ok(Vec::new());
        }
        let found = self.read(id, &METRICS, before, steps)?;
        let seen = |(start_ms, step): (i64, BTreeMap<Metric, Point>)| {
            let end_ms = start_ms + Tier::FiveMinutes.bucket_ms();
            Some(observation(Timestamp::from_millisecond(end_ms).ok()?, &step))
        };
        Ok(found.into_iter().filter_map(seen).collect())
    }

    /// The hourly peaks of the last weeks before `before`, like [`Past::hours_of`].
    ///
    /// # Errors
    /// [`HistoryError`] when the history cannot be read.
    pub fn hours_of(
        &self,
        id: Vmid,
        name: Option<&str>,
        before: Timestamp,
    ) -> Result<Vec<HourPeak>, HistoryError> {
        if !self.knows(id, name) {
            return Ok(Vec::new());
        }
        // For a whole hour the store does not know the busiest minute.
        let found = self.read(id, &[Metric::Cpu, Metric::Memory], before, KEPT_HOURS_STEPS)?;
        let mut hours: BTreeMap<i64, HourPeak> = BTreeMap::new();
        for (start_ms, step) in found {
            let begins_ms = start_ms.div_euclid(Tier::Hour.bucket_ms()) * Tier::Hour.bucket_ms();
            let Ok(begins) = Timestamp::from_millisecond(begins_ms) else { continue };
            let peak = hours.entry(begins_ms).or_insert(HourPeak { begins, cpu: None, memory: None });
            peak.cpu = highest(peak.cpu, step.get(&Metric::Cpu).map(busiest));
            peak.memory = highest(peak.memory, step.get(&Metric::Memory).map(|point| point.max));
        }
        Ok(hours.into_values().collect())
    }

    /// Whether the store has data of the container, and not of another one with its id.
    fn knows(&self, id: Vmid, name: Option<&str>) -> bool {
        let known = self.names.get(&Series::from(id));
        known.is_some_and(|known| known.is_empty() || name.is_none_or(|name| name == known))
    }

    /// The last `count` complete roll-ups of five minutes before `before`, by their beginning in milliseconds since the Unix epoch.
    fn read(
        &self,
        id: Vmid,
        metrics: &[Metric],
        before: Timestamp,
        count: i64,
    ) -> Result<BTreeMap<i64, BTreeMap<Metric, Point>>, HistoryError> {
        let tier = Tier::FiveMinutes;
        let length_ms = tier.bucket_ms();
        // The present roll-up is covered by the records.
        let to_ms = before.as_millisecond().div_euclid(length_ms) * length_ms;
        let from_ms = to_ms - count * length_ms;
        let (points, damaged) =
            self.reader.read_many(Series::from(id), metrics, tier.between(from_ms, to_ms))?;
        if 0 < damaged {
            tracing::warn!(container = %id, "{damaged} blocks of the monitor's history are damaged and left out");
        }
        let mut found: BTreeMap<i64, BTreeMap<Metric, Point>> = BTreeMap::new();
        for (metric, points) in points {
            for point in points {
                found.entry(point.start_ms).or_default().insert(metric, point);
            }
        }
        Ok(found)
    }
}

impl PastAt {
    /// Does not open the file yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
            tried: None,
            trouble: Trouble::none("the monitor's history"),
        }
    }

    /// Runs a query on the history at `now`; `None` while it cannot be read.
    fn ask<T>(
        &mut self,
        now: Timestamp,
        question: impl Fn(&StoredPast) -> Result<T, HistoryError>,
    ) -> Option<T> {
        if self.tried.is_some_and(|tried| now.duration_since(tried).abs() < RETRY_AFTER) {
            return None;
        }
        let read = match &self.open {
            Some(open) => question(open).map(Some),
            None => StoredPast::open(&self.path, now).and_then(|opened| {
                self.open = opened;
                self.open.as_ref().map(question).transpose()
            }),
        };
        let answer = match read {
            Ok(answer) => {
                self.trouble.is_over();
                answer
            }
            Err(error) => {
                self.trouble.is(format!("what was before is not known: {}", ErrorChain(&error)));
                self.open = None;
                None
            }
        };
        self.tried = answer.is_none().then_some(now);
        answer
    }
}

impl Past for PastAt {
    fn of(
        &mut self,
        id: Vmid,
        name: Option<&str>,
        before: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<Observation>> {
        self.ask(now, |stored| stored.steps_of(id, name, before, KEPT_STEPS))
    }

    fn hours_of(
        &mut self,
        id: Vmid,
        name: Option<&str>,
        before: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<HourPeak>> {
        self.ask(now, |stored| stored.hours_of(id, name, before))
    }

    fn rest(&mut self) {
        // It holds a MiB of pages, and is needed only for an occasional new container.
        self.open = None;
    }
}

/// The higher of the known values.
fn highest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

/// The busiest minute of a step: with many samples, it lies below the largest of them.
fn busiest(point: &Point) -> f64 {
    if MINUTES_OF_A_STEP < point.samples { point.p95.max(point.mean) } else { point.max }
}

/// A step as one observation: the busiest minute of CPU, the peak of memory.
fn observation(at: Timestamp, step: &BTreeMap<Metric, Point>) -> Observation {
    let of = |metric: Metric| step.get(&metric);
    Observation {
        cpu_cores_used: of(Metric::Cpu).map(busiest),
        cpu_throttled_share: of(Metric::Throttled).map(|point| (point.mean / 100.0).min(1.0)),
        cores_limit: of(Metric::CoresLimit).map(|point| point.max),
        memory_used_mib: of(Metric::Memory).map(|point| point.max),
        memory_limit_mib: of(Metric::MemoryLimit).map(|point| point.min),
        oom: of(Metric::OomKills).map(|point| 0.0 < point.max),
        ..Observation::unknown(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(samples: u32, mean: f64, max: f64, p95: f64) -> Point {
        Point { start_ms: 0, samples, min: 0.0, mean, max, p95 }
    }

    #[test]
    fn a_step_counts_by_its_busiest_minute_and_what_was_not_measured_stays_unknown() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let minutes = BTreeMap::from([(Metric::Cpu, point(5, 0.5, 2.0, 1.9))]);
        let seen = observation(at, &minutes);
        assert_eq!((seen.cpu_cores_used, seen.memory_used_mib, seen.oom), (Some(2.0), None, None));
        let seconds = BTreeMap::from([
            (Metric::Cpu, point(150, 0.5, 4.0, 1.25)),
            (Metric::Memory, point(150, 100.0, 180.0, 120.0)),
            (Metric::OomKills, point(150, 0.01, 1.0, 0.0)),
        ]);
        let seen = observation(at, &seconds);
        assert_eq!(
            (seen.cpu_cores_used, seen.memory_used_mib, seen.oom),
            (Some(1.25), Some(180.0), Some(true))
        );
    }
}
