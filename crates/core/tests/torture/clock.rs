//! Clocks that are set forward and back.

use std::time::Duration;

use lxc_autoscale_core::metrics_file::{Bounds, MetricsReader, MetricsWriter};

use crate::{ROOMY, new_numbers, numbers_in, snapshot_at};

const MONTH: i64 = 30 * 24 * 3600;

/// Steps of the clock in seconds, one before each snapshot; no snapshot may be lost.
#[track_caller]
fn check(steps: &[i64]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lxc_metrics.json");
    let bounds = Bounds { max_age: Duration::from_hours(24 * 30), ..ROOMY };
    let (mut writer, _) = MetricsWriter::open(&path, bounds).unwrap();
    let mut reader = MetricsReader::new(&path);
    let mut second = 1_700_000_000;
    for (number, step) in (0..).zip(steps) {
        second += step;
        writer.append(&snapshot_at(number, second)).unwrap();
        assert_eq!(new_numbers(&mut reader), [number], "after {step:+} s");
    }
    assert!(numbers_in(&path).into_iter().eq(0..steps.len() as u64), "{steps:?}");
}

#[test]
fn steps_of_the_clock_lose_nothing() {
    check(&[0, 60, 60, -3600, 60, 60]);
    check(&[0, 60, 60, 3600, 60, 60]);
    check(&[0, 60, -40 * MONTH, 60, 40 * MONTH, 60]);
    check(&[0, -1, -1, -1, -1]);
    check(&[0, 0, 0, 0]);
    // A year ahead for an hour, which is beyond the age limit of a month, and back again.
    let hour_ahead: Vec<i64> =
        [0, 60, 12 * MONTH].into_iter().chain([60; 60]).chain([-12 * MONTH, 60]).collect();
    check(&hour_ahead);
}
