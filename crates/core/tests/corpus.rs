//! Replays the findings of the fuzz targets with the same properties.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of this is test code")]

#[path = "../../fuzz/properties/core.rs"]
mod properties;

use std::path::Path;

/// Replays every file of a target's corpus.
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
fn metrics_reader() {
    replay("metrics_reader", properties::metrics_reader);
}

#[test]
fn metrics_recovery() {
    replay("metrics_recovery", properties::metrics_recovery);
}

#[test]
fn record_time() {
    replay("record_time", properties::record_time);
}

#[test]
fn snapshot_json() {
    replay("snapshot_json", properties::snapshot_json);
}

#[test]
fn container_config() {
    replay("container_config", properties::container_config);
}

#[test]
fn procfs() {
    replay("procfs", properties::procfs);
}

#[test]
fn history_blob() {
    replay("history_blob", properties::history_blob);
}
