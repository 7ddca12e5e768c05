//! Where a container is worse off since it was changed.

use jiff::Timestamp;
use serde::Serialize;

use super::account::first_change;
use super::{Hour, Known};
use crate::decide::Resource;

const HOUR_SECONDS: i64 = 3600;
/// Fewest hours on either side of our first change: comparing a morning with an evening says nothing.
const LEAST_HOURS: usize = 6;
/// Length of the time before that is compared: a week, which contains all weekdays.
const BEFORE_SECONDS: i64 = 7 * 86_400;
/// A smaller rise does not count, in percent of the time.
const LEAST_RISE_PERCENT: f64 = 0.5;

/// A sign of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The CPU was throttled, in percent of the enforcement periods.
    Throttling,
    /// Tasks waited for memory, in percent of the time.
    MemoryPressure,
    /// Processes killed by the OOM killer, per day.
    OomKills,
}

/// A sign that got worse since our first change; the load may have changed, too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worse {
    /// The sign.
    pub sign: Sign,
    /// Its mean in the week before.
    pub before: f64,
    /// Its mean since.
    pub after: f64,
    /// Measured hours before.
    pub hours_before: usize,
    /// Measured hours since.
    pub hours_after: usize,
}

/// A value of an hour.
type Of = fn(&Hour) -> Option<f64>;

/// The signs that could be compared, and those that are worse.
pub(super) struct Comparison {
    pub(super) compared: usize,
    pub(super) worse: Vec<Worse>,
}

/// Compares the week before our first change of a resource with the part of the period after it.
pub(super) fn compare(known: &Known, since: Timestamp, until: Timestamp) -> Comparison {
    let signs: [(Sign, Resource, Of); 3] = [
        (Sign::Throttling, Resource::Cpu, |hour| hour.throttled_percent),
        (Sign::MemoryPressure, Resource::Memory, |hour| hour.pressure_percent),
        (Sign::OomKills, Resource::Memory, |hour| hour.oom_kills.map(|kills| 24.0 * kills)),
    ];
    let mut comparison = Comparison { compared: 0, worse: Vec::new() };
    for (sign, resource, of) in signs {
        let Some(changed) = first_change(known, resource) else { continue };
        let values = |from: i64, to: i64| -> Vec<f64> {
            let within = |hour: &&Hour| from <= hour.start_seconds && hour.start_seconds + HOUR_SECONDS <= to;
            known.hours.iter().filter(within).filter_map(of).collect()
        };
        let before = values(changed - BEFORE_SECONDS, changed);
        let after = values(changed.max(since.as_second()), until.as_second());
        if before.len() < LEAST_HOURS || after.len() < LEAST_HOURS {
            continue;
        }
        comparison.compared += 1;
        let found = Worse {
            sign,
            before: mean(&before),
            after: mean(&after),
            hours_before: before.len(),
            hours_after: after.len(),
        };
        let least = if sign == Sign::OomKills { 0.0 } else { LEAST_RISE_PERCENT };
        if found.before + least < found.after {
            comparison.worse.push(found);
        }
    }
    comparison
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
