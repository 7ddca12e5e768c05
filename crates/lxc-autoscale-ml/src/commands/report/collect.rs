//! Combines the monitor's measurements with the ledger.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::history_store::{HistoryReader, Metric, Point, Series, Tier};
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::progress::Bar;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use super::super::CommandError;
use crate::config::Config;
use crate::decide::{Action, Reason, Resource};
use crate::history::{Hours, names_differ};
use crate::ledger::{Ledger, Tried};
use crate::report::{First, Hour, Known, Made};

/// Length of the time before the period that is read for comparison.
const BEFORE: SignedDuration = SignedDuration::from_hours(7 * 24);

const METRICS: [Metric; 7] = [
    Metric::Cpu,
    Metric::Throttled,
    Metric::Memory,
    Metric::CoresLimit,
    Metric::MemoryLimit,
    Metric::PressureMemorySome,
    Metric::OomKills,
];

/// The source of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// The monitor's history, which reaches back for months.
    History,
    /// The metrics file, which reaches back for hours.
    MetricsFile,
}

/// Everything known of all containers.
pub(super) struct Collected {
    pub(super) source: Source,
    pub(super) known: Vec<Known>,
    pub(super) notes: Vec<String>,
}

/// The measurements of each container: its name and its hours.
type Measured = BTreeMap<Vmid, (Option<String>, Vec<Hour>)>;

pub(super) fn collect(
    config: &Config,
    since: Timestamp,
    until: Timestamp,
) -> Result<Collected, CommandError> {
    let mut notes = Vec::new();
    let from = since.checked_sub(BEFORE).unwrap_or(Timestamp::MIN);
    let (source, measured) = match of_history(config, from, until, &mut notes) {
        Some(measured) => (Source::History, measured),
        None => (Source::MetricsFile, of_file(config)?),
    };
    let ledger = Ledger::open_read_only(&config.state.ledger())?;
    if ledger.is_none() {
        notes.push("there is no ledger: no decision has been made yet".to_owned());
    }
    let tried = ledger.as_ref().map_or_else(|| Ok(Vec::new()), Ledger::tried)?;
    let first = ledger.as_ref().map_or_else(|| Ok(Vec::new()), Ledger::first_sizes)?;
    let known = measured
        .into_iter()
        .map(|(id, (name, hours))| {
            let first_of = |resource: Resource, size: fn(&Hour) -> Option<f64>| {
                let measured = hours.iter().find_map(|hour| Some((instant(hour.start_seconds), size(hour)?)));
                // Sizes of another container with the same id are not its own.
                let of_it = first.iter().filter(|it| {
                    it.id == id
                        && it.resource == resource
                        && !names_differ(it.name.as_deref(), name.as_deref())
                });
                let found = of_it.map(|it| (it.at, it.size));
                found.chain(measured).min_by_key(|(at, _)| *at).map(|(at, size)| First { size, at })
            };
            let of_it = || tried.iter().filter(|tried| tried.id == id);
            let failed = of_it().filter(|it| !it.is_done && since <= it.at && it.at < until).count();
            let first_cores = first_of(Resource::Cpu, |hour| hour.cores);
            let first_memory = first_of(Resource::Memory, |hour| hour.memory_mib);
            Known {
                id,
                name,
                first_cores,
                first_memory,
                forgotten_before: until.checked_sub(config.state.retention()).unwrap_or(Timestamp::MIN),
                changes: of_it().filter_map(made).collect(),
                failed,
                hours,
            }
        })
        .collect();
    Ok(Collected { source, known, notes })
}

/// A change that was made, or may have been; `None` if it was only attempted.
fn made(tried: &Tried) -> Option<Made> {
    let decision = &tried.decision;
    let is_made = (tried.is_done || tried.is_unsure) && decision.action != Action::Keep;
    Some(Made {
        at: tried.at,
        resource: decision.resource,
        from: decision.from.filter(|_| is_made)?,
        to: decision.to?,
        is_revert: matches!(decision.reason, Reason::Undone { .. }),
        by_people: tried.by_people,
        is_unsure: tried.is_unsure,
    })
}

/// The hours in the monitor's history; `None` if there is none, with a note if it cannot be read.
fn of_history(
    config: &Config,
    from: Timestamp,
    until: Timestamp,
    notes: &mut Vec<String>,
) -> Option<Measured> {
    let path = &config.metrics.history;
    if path.as_os_str().is_empty() {
        return None;
    }
    let read = || -> Result<Option<Measured>, lxc_autoscale_core::history_store::HistoryError> {
        let Some(reader) = HistoryReader::open(path)? else { return Ok(None) };
        let (from_ms, to_ms) = (from.as_millisecond(), until.as_millisecond());
        let reader = reader.as_of(to_ms);
        let mut measured = Measured::new();
        for info in reader.series()? {
            let Ok(id) = Vmid::try_from(info.series.get()) else { continue };
            let (points, damaged) =
                reader.read_many(Series::from(id), &METRICS, Tier::Hour.between(from_ms, to_ms))?;
            if 0 < damaged {
                tracing::warn!(container = %id, "{damaged} blocks of the monitor's history are damaged and left out");
            }
            let hours = hours(points);
            if !hours.is_empty() {
                measured.insert(id, (Some(info.name).filter(|name| !name.is_empty()), hours));
            }
        }
        Ok(Some(measured).filter(|measured| !measured.is_empty()))
    };
    read().unwrap_or_else(|error| {
        notes.push(format!("the monitor's history cannot be read: {}", ErrorChain(&error)));
        None
    })
}

fn hours(points: BTreeMap<Metric, Vec<Point>>) -> Vec<Hour> {
    let mut hours: BTreeMap<i64, Hour> = BTreeMap::new();
    for (metric, points) in points {
        for point in points {
            let start_seconds = point.start_ms.div_euclid(1000);
            let hour = hours.entry(start_seconds).or_insert(Hour { start_seconds, ..Hour::default() });
            let mean = Some(point.mean);
            match metric {
                Metric::Cpu => hour.cores_used = mean,
                Metric::Throttled => hour.throttled_percent = mean,
                Metric::Memory => hour.memory_used_mib = mean,
                Metric::CoresLimit => hour.cores = mean,
                Metric::MemoryLimit => hour.memory_mib = mean,
                Metric::PressureMemorySome => hour.pressure_percent = mean,
                // The sum of the events of all samples.
                Metric::OomKills => hour.oom_kills = Some(point.mean * f64::from(point.samples)),
                _ => {}
            }
        }
    }
    hours.into_values().collect()
}

/// The hours in the metrics file.
fn of_file(config: &Config) -> Result<Measured, CommandError> {
    let mut hours = Hours::default();
    let bar = Bar::of_bytes(format!("reading {}", config.metrics.file.display()));
    MetricsReader::new(&config.metrics.file).each_new_watched(&bar, |record| {
        if let Ok(snapshot) = record {
            hours.take(&snapshot);
        }
    })?;
    Ok(hours.into_measured())
}

fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
