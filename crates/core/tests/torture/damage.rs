//! Files that are truncated or have flipped bits.

use std::path::Path;

use lxc_autoscale_core::metrics_file::{MetricsReader, MetricsWriter, Recovery, trust};
use lxc_autoscale_core::snapshot::Snapshot;

use crate::{ROOMY, number_of, numbers_in, snapshot};

/// Opens a damaged file and appends to it; checks that every record that can be kept is kept.
#[track_caller]
fn check(path: &Path, damaged: &[u8], context: &str) {
    std::fs::write(path, damaged).unwrap();
    // Records that are still on a line of their own are complete.
    let whole: Vec<u64> = damaged
        .split(|byte| *byte == b'\n')
        .filter(|line| std::str::from_utf8(line).is_ok())
        .filter_map(|line| serde_json::from_slice::<Snapshot>(line.strip_suffix(b",").unwrap_or(line)).ok())
        .filter(|snapshot| trust::check_schema(snapshot).is_ok())
        .map(|snapshot| number_of(&snapshot))
        .collect();
    let _ = MetricsReader::new(path).read_new();
    let _ = MetricsReader::read_newest(path);
    let (mut writer, recovery) = MetricsWriter::open(path, ROOMY).unwrap();
    let repaired = MetricsReader::new(path).read_new().unwrap();
    let kept: Vec<u64> = repaired.snapshots.iter().map(number_of).collect();
    assert!(whole.iter().all(|number| kept.contains(number)), "{context}: {whole:?} became {kept:?}");
    if let Recovery::Rewritten { put_aside, .. } = recovery {
        assert_eq!(std::fs::read(&put_aside).unwrap(), damaged, "{context}: the old file is kept as it was");
        std::fs::remove_file(put_aside).unwrap();
    }
    writer.append(&snapshot(77)).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    assert!(std::str::from_utf8(&bytes).is_ok() && kept.len() < all.len(), "{context}");
}

/// A file with this many snapshots.
fn file_of(path: &Path, snapshots: u64) -> Vec<u8> {
    let (mut writer, _) = MetricsWriter::open(path, ROOMY).unwrap();
    for number in 0..snapshots {
        writer.append(&snapshot(number)).unwrap();
    }
    assert!(numbers_in(path).into_iter().eq(0..snapshots));
    std::fs::read(path).unwrap()
}

/// In memory if possible: thousands of files are synced here, and none must outlive the test.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn any_flipped_bit_costs_at_most_the_record_it_is_in() {
    let directory = directory();
    let path = directory.path().join("m.json");
    let bytes = file_of(&path, 3);
    for position in 0..bytes.len() {
        for bit in [position % 8, (position + 5) % 8] {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << bit;
            check(&path, &flipped, &format!("bit {bit} of byte {position}"));
            let kept = numbers_in_readable(&path);
            assert!(3 <= kept, "bit {bit} of byte {position}: only {kept} of 4 records are left");
        }
    }
}

#[test]
fn any_truncation_keeps_the_records_before_it() {
    let directory = directory();
    let path = directory.path().join("m.json");
    let bytes = file_of(&path, 3);
    for length in 0..bytes.len() {
        check(&path, &bytes[..length], &format!("cut to {length} bytes"));
    }
}

#[test]
fn a_large_file_with_many_flipped_bits_keeps_all_other_records() {
    let directory = directory();
    let path = directory.path().join("m.json");
    let bytes = file_of(&path, 2000);
    let mut flipped = bytes.clone();
    let n_flips = 100;
    for flip in 0..n_flips {
        // Spread over the whole file by a prime number.
        let position = (flip * 7_919_003) % bytes.len();
        flipped[position] ^= 1 << (flip % 8);
    }
    check(&path, &flipped, "many flips");
    let kept = numbers_in_readable(&path);
    assert!(2001 - n_flips <= kept, "{kept}");
}

/// The number of readable snapshots in the file.
fn numbers_in_readable(path: &Path) -> usize {
    let found = MetricsReader::new(path).read_new().unwrap();
    found.snapshots.len() + found.unreadable.len()
}
