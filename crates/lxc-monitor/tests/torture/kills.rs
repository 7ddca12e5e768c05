//! The monitor killed at random moments, and started twice.

use std::time::Duration;

use lxc_autoscale_core::metrics_file::MetricsReader;

use crate::daemon::{Daemon, node};
use crate::python::PythonReader;
use crate::random::{Random, setting};

/// How often it is killed unless `LXC_TORTURE_KILLS` says otherwise.
const DEFAULT_KILLS: u64 = 20;

#[test]
fn a_monitor_that_is_killed_loses_nothing_and_readers_see_whole_files() {
    let kills = setting("LXC_TORTURE_KILLS", DEFAULT_KILLS);
    let mut random = Random::new();
    let node = node();
    let file = node.path("metrics.json");
    let python = PythonReader::start(&file, false);
    let mut reader = MetricsReader::new(&file);
    let (mut in_file, mut said_written) = (0, 0);
    for kill in 0..kills {
        let daemon = Daemon::start(&node);
        // Not a wait for anything: the moment of the kill is random. Some happen during the start.
        std::thread::sleep(Duration::from_micros(random.below(300_000)));
        let written = daemon.kill();
        said_written += written;
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let snapshots: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
        assert!(in_file + written <= snapshots.len(), "kill {kill}: a snapshot that was written is lost");
        // The log line follows the write, so the file may have one more.
        assert!(snapshots.len() <= in_file + written + 1, "kill {kill}");
        let found = reader.read_new().unwrap();
        assert_eq!(
            found.snapshots.len(),
            snapshots.len() - in_file,
            "kill {kill}: our reader skips or repeats"
        );
        assert!(found.unreadable.is_empty());
        in_file = snapshots.len();
    }
    let reads = python.finish();
    println!(
        "{kills} kills, {said_written} snapshots said to be written, {in_file} in the file, {reads} reads by Python"
    );
    assert!(0 < said_written && 0 < reads);
    assert!(
        !std::fs::read_dir(node.path(""))
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().contains("before") }),
        "no kill may leave a damaged file"
    );
}

#[test]
fn a_second_monitor_is_refused_by_name_and_code_and_the_first_goes_on() {
    let node = node();
    let mut first = Daemon::start(&node);
    first.wait_for_snapshots(2);
    let (status, said) = Daemon::start(&node).end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("another lxc-monitor is writing") && said.contains("stop it first"), "{said}");
    first.wait_for_snapshots(2);
    assert!(first.is_alive());
}
