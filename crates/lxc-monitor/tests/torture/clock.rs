//! The program while its clock is changed, by Debian's libfaketime.

use std::path::Path;
use std::process::Command;

use lxc_autoscale_core::metrics_file::MetricsReader;

use crate::daemon::{Daemon, PROGRAM, node};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn a_clock_that_is_set_costs_no_snapshot_and_no_rate() {
    if !Path::new(LIBRARY).exists() {
        println!("skipped: libfaketime is not installed");
        return;
    }
    let node = node();
    let steps = node.path("steps");
    std::fs::write(&steps, "+0").unwrap();
    let mut command = Command::new(PROGRAM);
    // Only the wall clock: the kernel cannot set any other either.
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME_TIMESTAMP_FILE", &steps)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut daemon = Daemon::start_with(&node, &mut command);
    let mut reader = MetricsReader::new(node.path("metrics.json"));
    let mut years = Vec::new();
    for step in ["+0", "+400d", "-800d", "+2h", "+0"] {
        std::fs::write(&steps, step).unwrap();
        daemon.wait_for_snapshots(3);
        assert!(daemon.is_alive(), "{step}");
        let found = reader.read_new().unwrap();
        assert!(3 <= found.snapshots.len() && found.unreadable.is_empty(), "{step}: {found:?}");
        years.push(found.snapshots.last().unwrap().summary.collection_start_time.instant().as_second());
        for snapshot in found.snapshots {
            let used = snapshot.summary.node.as_ref().and_then(|node| node.cpu_cores_used);
            assert!(used.is_none_or(|cores| (0.0..=4.0).contains(&cores)), "{step}: {used:?}");
        }
    }
    assert!(years[0] < years[1] && years[2] < years[0], "the clock was really set: {years:?}");
    let all = std::fs::read(node.path("metrics.json")).unwrap();
    assert!(15 <= serde_json::from_slice::<Vec<serde_json::Value>>(&all).unwrap().len());
}
