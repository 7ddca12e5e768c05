//! Snapshots of the Python original: the true part of their content, and their times.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::history_store::{Metric, Series};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::history::readings::{Cycle, Readings};

#[derive(Deserialize)]
struct Summary<'a> {
    collection_start_time: Option<&'a str>,
    schema_version: Option<u32>,
}

#[derive(Deserialize)]
struct Record<'a> {
    timestamp: &'a str,
    memory_usage_mb: Option<f64>,
    swap_usage_mb: Option<f64>,
    network_usage: Option<Network>,
    filesystem_usage_gb: Option<f64>,
    filesystem_total_gb: Option<f64>,
}

#[derive(Deserialize)]
struct Network {
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
}

/// Why a text is not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum NoSnapshot {
    /// It is not an object of objects.
    #[error("it is not a JSON object as expected")]
    Json(#[from] serde_json::Error),
    /// A time cannot be read.
    #[error("it has no readable time")]
    Time,
    /// A key is not a container.
    #[error("a key is no container's id")]
    Key,
}

/// Converts a snapshot of the original to a cycle; `None` for one of ours.
///
/// # Errors
/// [`NoSnapshot`].
pub fn parse(text: &[u8], times: &mut LocalTimes) -> Result<Option<Cycle>, NoSnapshot> {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_slice(text)?;
    let summary: Option<Summary<'_>> =
        members.get("summary").map(|summary| serde_json::from_str(summary.get())).transpose()?;
    if summary.as_ref().is_some_and(|summary| summary.schema_version.is_some()) {
        return Ok(None);
    }
    let mut records = Vec::new();
    for (key, value) in members.into_iter().filter(|(key, _)| *key != "summary") {
        let vmid: Vmid = key.parse().map_err(|_| NoSnapshot::Key)?;
        let record: Record<'_> = serde_json::from_str(value.get())?;
        records.push((Series::from(vmid), record));
    }
    records.sort_by_key(|(series, _)| *series);
    let begun = summary.and_then(|summary| summary.collection_start_time);
    let begun = begun.or(records.first().map(|(_, record)| record.timestamp)).ok_or(NoSnapshot::Time)?;
    let at_ms = times.resolve(begun).ok_or(NoSnapshot::Time)?;
    let mut series = Vec::with_capacity(records.len());
    for (id, record) in records {
        let taken_ms = times.beside(record.timestamp, at_ms).ok_or(NoSnapshot::Time)?;
        series.push((id, None, readings(taken_ms, &record)));
    }
    Ok(Some(Cycle { at_ms, series }))
}

fn readings(at_ms: i64, record: &Record<'_>) -> Readings {
    let mut readings = Readings::empty(at_ms);
    // Its total and available memory come from lxcfs, which counts all page cache as available.
    readings.levels.set(Metric::MemoryWithoutCache, record.memory_usage_mb);
    readings.levels.set(Metric::Swap, record.swap_usage_mb);
    readings.levels.set(Metric::RootfsUsed, record.filesystem_usage_gb.map(|gib| 1024.0 * gib));
    readings.levels.set(Metric::RootfsTotal, record.filesystem_total_gb.map(|gib| 1024.0 * gib));
    if let Some(network) = &record.network_usage {
        readings.count(Metric::NetRx, network.rx_bytes);
        readings.count(Metric::NetTx, network.tx_bytes);
    }
    readings
}

/// Reads local times in the order of a file.
#[derive(Debug)]
pub struct LocalTimes {
    zone: TimeZone,
    last_ms: i64,
}

impl LocalTimes {
    /// Local times of a file in this time zone.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, last_ms: i64::MIN }
    }

    /// The moment of the next snapshot, in milliseconds since the epoch.
    fn resolve(&mut self, text: &str) -> Option<i64> {
        let (earlier, later) = self.candidates(text)?;
        // The hour that occurs twice: a time that does not follow in the first pass is in the second.
        let at_ms = if earlier <= self.last_ms { later } else { earlier };
        self.last_ms = at_ms;
        Some(at_ms)
    }

    /// A moment close to another one of the same snapshot.
    fn beside(&self, text: &str, near_ms: i64) -> Option<i64> {
        let (earlier, later) = self.candidates(text)?;
        Some(if (later - near_ms).abs() < (earlier - near_ms).abs() { later } else { earlier })
    }

    fn candidates(&self, text: &str) -> Option<(i64, i64)> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some((instant.as_millisecond(), instant.as_millisecond()));
        }
        let civil: DateTime = text.parse().ok()?;
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
            let instant = ambiguous.compatible().ok()?.as_millisecond();
            return Some((instant, instant));
        }
        Some((ambiguous.earlier().ok()?.as_millisecond(), ambiguous.later().ok()?.as_millisecond()))
    }
}
