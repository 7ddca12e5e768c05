//! Replays the findings of the fuzz targets on the properties they check.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of this is test code")]

#[path = "../../fuzz/properties/monitor.rs"]
mod properties;

use std::path::Path;

/// Every file of a target's corpus.
fn replay(target: &str, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut n_replayed = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        // Shown if the property fails.
        println!("{}", path.display());
        property(&std::fs::read(&path).unwrap());
        n_replayed += 1;
    }
    assert!(0 < n_replayed, "the corpus of {target} is missing");
}

#[test]
fn cgroup() {
    replay("cgroup", properties::cgroup);
}

#[test]
fn monitor_config() {
    replay("monitor_config", properties::monitor_config);
}

#[test]
fn import_scan() {
    replay("import_scan", properties::import_scan);
}

#[test]
fn alert_state() {
    replay("alert_state", properties::alert_state);
}

#[test]
fn anomaly_state() {
    replay("anomaly_state", properties::anomaly_state);
}
