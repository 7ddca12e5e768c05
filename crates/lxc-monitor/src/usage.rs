//! Computes the record of the metrics file from two samples.
//!
//! These functions are pure: the previous sample, this one and the state of the node go in, a record comes out. They
//! read no clock and no file.
//!
//! ## What is absent, and why
//!
//! A value that was not read is absent, with its reason in `missing`. A *rate* is also absent if two samples say
//! nothing about the time between them: at the first sample, after a restart of the container, when a counter went
//! back, when the wall clock was set in between (the record's times would not match its counters), and when the result
//! is more than the node has. An unknown rate is never zero, and never a spike: readers make rates of the totals of I/O
//! and traffic, so these grow by what was done since the last sample and not by what a new device, dataset or interface
//! counted before.

mod container;
mod gaps;
mod io;
mod node;
mod traffic;

pub use container::{Baseline, NodeFacts, container_record, placed};
pub use io::IoCounter;
pub use node::{RunningTotals, node_record};

use std::time::Duration;

use lxc_autoscale_core::snapshot::ContainerRecord;

use crate::sample::{Missing, Moment, Reading};

/// The unit of `io_stats`, of `/proc/diskstats` and of the Python original, in bytes.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// Samples closer together say more about the scheduler than about the container.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// A wall clock that deviates this much from the time since boot was set, not slewed (NTP slews by at most 500 ppm),
/// whatever the interval.
const CLOCK_STEP: Duration = Duration::from_millis(500);

/// The fields of a record that are absent and without which the learning daemon cannot use it.
pub fn absent_required(record: &ContainerRecord) -> Vec<&'static str> {
    let required = [
        ("cpu_usage_usec", record.cpu_usage_usec.is_some()),
        ("memory_usage_mb", record.memory_usage_mb.is_some()),
    ];
    required.into_iter().filter_map(|(field, is_there)| (!is_there).then_some(field)).collect()
}

/// The time between two moments.
///
/// # Errors
/// When it is too short to divide by, or the wall clock was set in between.
fn elapsed(previous: Moment, now: Moment) -> Reading<Duration> {
    let Some(elapsed) = now.since_boot.checked_sub(previous.since_boot) else {
        return Err(Missing::because("the node was restarted between the samples"));
    };
    if elapsed < SHORTEST_INTERVAL {
        return Err(Missing::because("the samples are too close to each other"));
    }
    let on_the_wall = now.wall.duration_since(previous.wall).as_secs_f64();
    let tolerance = CLOCK_STEP.as_secs_f64().max(elapsed.as_secs_f64() * 0.001);
    if tolerance < (on_the_wall - elapsed.as_secs_f64()).abs() {
        return Err(Missing::because("the clock was set between the samples"));
    }
    Ok(elapsed)
}

/// The increase of a counter.
///
/// # Errors
/// When it went back, which only a new counter does.
fn increase(previous: u64, now: u64) -> Reading<u64> {
    now.checked_sub(previous).ok_or_else(|| Missing::because("the counter was reset between the samples"))
}

#[cfg(test)]
#[path = "usage/tests.rs"]
mod tests;
