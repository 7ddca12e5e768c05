//! Snapshots of the Python original: the true part of their content, and their times.
//!
//! Each field counts for itself: what is no sane number is unknown, and costs neither its container nor the others.
//!
//! The original wrote zeros for what it could not read, because `pct exec` had failed. Such zeros are unknown, not
//! measured: no container uses no memory, and none has a root filesystem of no size. Where no traffic in both directions,
//! or no swap at all, was true, it is lost with them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::history_store::{Metric, Series};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::history::readings::{Cycle, Readings};

/// The first whole number from which on not all have a floating-point form (2^53).
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// What Python writes for numbers that JSON does not have.
const NO_JSON: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];

#[derive(Deserialize)]
struct Summary<'a> {
    #[serde(borrow)]
    collection_start_time: Option<&'a RawValue>,
    #[serde(borrow)]
    schema_version: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    memory_usage_mb: Option<&'a RawValue>,
    #[serde(borrow)]
    swap_usage_mb: Option<&'a RawValue>,
    #[serde(borrow)]
    swap_total_mb: Option<&'a RawValue>,
    #[serde(borrow)]
    network_usage: Option<&'a RawValue>,
    #[serde(borrow)]
    filesystem_usage_gb: Option<&'a RawValue>,
    #[serde(borrow)]
    filesystem_total_gb: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Network<'a> {
    #[serde(borrow)]
    rx_bytes: Option<&'a RawValue>,
    #[serde(borrow)]
    tx_bytes: Option<&'a RawValue>,
}

/// Why a text is not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum NoSnapshot {
    /// It is not an object with a summary.
    #[error("it is not a JSON object as expected")]
    Json(#[from] serde_json::Error),
    /// No time in it can be read.
    #[error("it has no readable time")]
    Time,
    /// It has members, but none is a container with a time.
    #[error("nothing in it is a container's record")]
    NoContainer,
}

/// Converts a snapshot of the original to a cycle, with the number of fields that were unusable; `None` for one of
/// ours.
///
/// # Errors
/// [`NoSnapshot`].
pub fn parse(text: &[u8], times: &mut LocalTimes) -> Result<Option<(Cycle, u64)>, NoSnapshot> {
    match parse_json(text, times) {
        Err(NoSnapshot::Json(error)) => match without_constants(text) {
            Some(text) => parse_json(&text, times),
            None => Err(NoSnapshot::Json(error)),
        },
        parsed => parsed,
    }
}

fn parse_json(text: &[u8], times: &mut LocalTimes) -> Result<Option<(Cycle, u64)>, NoSnapshot> {
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_slice(text)?;
    let summary: Option<Summary<'_>> =
        members.remove("summary").map(|summary| serde_json::from_str(summary.get())).transpose()?;
    if summary.as_ref().is_some_and(|summary| summary.schema_version.is_some()) {
        return Ok(None);
    }
    let mut fields = Fields::default();
    let n_members = members.len();
    let mut records = Vec::with_capacity(n_members);
    for (key, value) in members {
        let record = key.parse::<Vmid>().ok().zip(serde_json::from_str::<Record<'_>>(value.get()).ok());
        let placed = record.and_then(|(vmid, record)| Some((vmid, fields.text(record.timestamp)?, record)));
        match placed {
            Some((vmid, time, record)) => records.push((Series::from(vmid), time, record)),
            None => fields.unusable += 1,
        }
    }
    records.sort_by_key(|(series, ..)| *series);
    let begun = summary.and_then(|summary| fields.text(summary.collection_start_time));
    let begun = begun.into_iter().chain(records.iter().map(|(_, time, _)| time.clone()));
    let at_ms = begun.into_iter().find_map(|time| times.resolve(&time)).ok_or(NoSnapshot::Time)?;
    let mut series = Vec::with_capacity(records.len());
    for (id, time, record) in records {
        match times.beside(&time, at_ms) {
            Some(taken_ms) => series.push((id, None, readings(taken_ms, &record, &mut fields))),
            None => fields.unusable += 1,
        }
    }
    if series.is_empty() && 0 < n_members {
        return Err(NoSnapshot::NoContainer);
    }
    Ok(Some((Cycle { at_ms, series }, fields.unusable)))
}

fn readings(at_ms: i64, record: &Record<'_>, fields: &mut Fields) -> Readings {
    let mut readings = Readings::empty(at_ms);
    let is_above_zero = |value: &f64| 0.0 < *value;
    // Its total and available memory come from lxcfs, which counts all page cache as available.
    let memory = fields.level(record.memory_usage_mb).filter(is_above_zero);
    readings.levels.set(Metric::MemoryWithoutCache, memory);
    let (swap, swap_total) = (fields.level(record.swap_usage_mb), fields.level(record.swap_total_mb));
    let is_swap_known = swap.into_iter().chain(swap_total).any(|mib| is_above_zero(&mib));
    readings.levels.set(Metric::Swap, swap.filter(|_| is_swap_known));
    let (used, total) = (fields.level(record.filesystem_usage_gb), fields.level(record.filesystem_total_gb));
    let is_rootfs_known = total.is_none_or(|gib| is_above_zero(&gib));
    readings.levels.set(Metric::RootfsUsed, used.filter(|_| is_rootfs_known).map(|gib| 1024.0 * gib));
    readings.levels.set(Metric::RootfsTotal, total.filter(is_above_zero).map(|gib| 1024.0 * gib));
    let network = record.network_usage.and_then(|network| fields.network(network));
    if let Some(network) = network {
        let (received, sent) = (fields.counter(network.rx_bytes), fields.counter(network.tx_bytes));
        // Without a counter there is no rate to the next snapshot, either.
        let is_known = received.into_iter().chain(sent).any(|bytes| 0 < bytes);
        readings.count(Metric::NetRx, received.filter(|_| is_known));
        readings.count(Metric::NetTx, sent.filter(|_| is_known));
    }
    readings
}

/// Reads fields one by one. An absent one and `null` are unknown; anything else that is not what it should be is
/// unknown, too, and is counted.
#[derive(Debug, Default)]
struct Fields {
    unusable: u64,
}

impl Fields {
    fn read<'a, T>(&mut self, raw: Option<&'a RawValue>, parse: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        let value = parse(raw?.get());
        self.unusable += u64::from(value.is_none());
        value
    }

    fn text(&mut self, raw: Option<&RawValue>) -> Option<String> {
        self.read(raw, |text| serde_json::from_str::<String>(text).ok())
    }

    fn level(&mut self, raw: Option<&RawValue>) -> Option<f64> {
        self.read(raw, |text| {
            serde_json::from_str(text).ok().filter(|value: &f64| value.is_finite() && 0.0 <= *value)
        })
    }

    /// A whole number, with or without decimal places.
    fn counter(&mut self, raw: Option<&RawValue>) -> Option<u64> {
        self.read(raw, |text| {
            if let Ok(count) = serde_json::from_str(text) {
                return Some(count);
            }
            let value: f64 = serde_json::from_str(text).ok()?;
            let is_whole = value.fract() == 0.0 && (0.0..EXACT_BELOW).contains(&value);
            // Written without decimal places, it is read exactly.
            if is_whole { format!("{value:.0}").parse().ok() } else { None }
        })
    }

    fn network<'a>(&mut self, raw: &'a RawValue) -> Option<Network<'a>> {
        self.read(Some(raw), |text| serde_json::from_str(text).ok())
    }
}

/// The same text with quotes around Python's `NaN` and `Infinity`, so that they are fields that are no numbers; `None`
/// if there are none.
fn without_constants(text: &[u8]) -> Option<Vec<u8>> {
    let (mut quoted, mut copied) = (Vec::new(), 0);
    let (mut in_string, mut is_escaped) = (false, false);
    let mut place = 0;
    while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
        let found = if in_string { None } else { NO_JSON.iter().find(|word| rest.starts_with(word)) };
        if let Some(word) = found {
            quoted.extend_from_slice(&text[copied..place]);
            quoted.push(b'"');
            quoted.extend_from_slice(word);
            quoted.push(b'"');
            place += word.len();
            copied = place;
            continue;
        }
        match rest[0] {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        place += 1;
    }
    if copied == 0 {
        return None;
    }
    quoted.extend_from_slice(&text[copied..]);
    Some(quoted)
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
