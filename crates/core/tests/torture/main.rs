//! Torture tests of the exchange file: killed writers, full and read-only disks, flipped bits, steps of the clock.
//!
//! The guarantees: a snapshot whose `append` returned `Ok` is in the file from then on; the file is always valid JSON
//! for a reader that polls it with Python; and our own reader delivers each snapshot once.
//!
//! `LXC_TORTURE_KILLS` sets how many writers are killed (`cargo xtask torture` sets 1,000), and `LXC_TORTURE_SEED`
//! determines the moments at which they are killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of this is test code")]

mod clock;
mod damage;
mod disks;
mod kills;
mod python;
mod writer_process;

use std::path::Path;
use std::time::Duration;

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::metrics_file::{Bounds, MetricsReader};
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot, Summary};

/// Limits that no test here reaches.
const ROOMY: Bounds = Bounds { max_bytes: 64 << 20, max_age: Duration::from_hours(24 * 365) };

/// The snapshot with this number, taken at this second.
fn snapshot_at(number: u64, second: i64) -> Snapshot {
    let time = RecordTime::utc(jiff::Timestamp::from_second(second).unwrap());
    let mut record = ContainerRecord::empty(time);
    record.memory_usage_mb = Some(512.25);
    Snapshot {
        containers: [(104.try_into().unwrap(), record)].into(),
        summary: Summary {
            collection_start_time: time,
            collection_end_time: time,
            total_containers: number,
            total_duration_seconds: 0.004,
            monitor_cpu_percent: None,
            monitor_memory_usage_mb: None,
            schema_version: Some(1),
            stopped_containers: Vec::new(),
            node: None,
        },
    }
}

/// The snapshot with this number, one minute after the one before.
fn snapshot(number: u64) -> Snapshot {
    snapshot_at(number, 1_700_000_000 + 60 * i64::try_from(number).unwrap())
}

fn number_of(snapshot: &Snapshot) -> u64 {
    snapshot.summary.total_containers
}

/// The numbers in the file, read as any program would read it; it must be valid JSON.
#[track_caller]
fn numbers_in(path: &Path) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    records.iter().map(|record| record["summary"]["total_containers"].as_u64().unwrap()).collect()
}

/// The numbers of the snapshots that a reader delivers next.
#[track_caller]
fn new_numbers(reader: &mut MetricsReader) -> Vec<u64> {
    let mut numbers = Vec::new();
    reader.each_new(|record| numbers.push(number_of(&record.unwrap()))).unwrap();
    numbers
}

/// Whether this test may mount file systems; prints a message if not.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: it takes root");
    }
    is_root
}
