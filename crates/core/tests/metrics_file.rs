//! The exchange file through its public interface: what a reader sees, whatever happened to the writer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::metrics_file::{
    Bounds, MetricsReader, MetricsWriter, ReadError, Recovery, WriteError,
};
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot, Summary};
use lxc_autoscale_core::{RecordTime, Vmid};
use proptest::prelude::*;

const ROOMY: Bounds = Bounds { max_bytes: 16 << 20, max_age: Duration::from_hours(24 * 30) };

fn snapshot(second: i64) -> Snapshot {
    let time = RecordTime::utc(jiff::Timestamp::from_second(1_700_000_000 + second).unwrap());
    let mut record = ContainerRecord::empty(time);
    record.memory_usage_mb = Some(512.25);
    Snapshot {
        containers: [(Vmid::try_from(104).unwrap(), record)].into(),
        summary: Summary {
            collection_start_time: time,
            collection_end_time: time,
            total_containers: 1,
            total_duration_seconds: 0.004,
            monitor_cpu_percent: None,
            monitor_memory_usage_mb: None,
            schema_version: Some(1),
            stopped_containers: Vec::new(),
            node: None,
        },
    }
}

fn seconds(snapshots: &[Snapshot]) -> Vec<i64> {
    let second = |s: &Snapshot| s.summary.collection_start_time.instant().as_second() - 1_700_000_000;
    snapshots.iter().map(second).collect()
}

/// The file as seen by an independent reader: the whole file as one JSON value.
fn as_plain_json(path: &Path) -> Vec<serde_json::Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn open(path: &Path) -> (MetricsWriter, Recovery) {
    MetricsWriter::open(path, ROOMY).unwrap()
}

struct Fixture {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lxc_metrics.json");
    Fixture { _directory: directory, path }
}

#[test]
fn every_append_leaves_valid_json_and_a_reader_gets_each_snapshot_once() {
    let file = fixture();
    let (mut writer, recovery) = open(&file.path);
    assert_eq!(recovery, Recovery::Created);
    assert_eq!(as_plain_json(&file.path).len(), 0);
    let mut reader = MetricsReader::new(&file.path);
    for second in 0..50 {
        writer.append(&snapshot(second)).unwrap();
        assert_eq!(as_plain_json(&file.path).len(), usize::try_from(second).unwrap() + 1);
        let found = reader.read_new().unwrap();
        assert_eq!(seconds(&found.snapshots), [second]);
        assert!(found.unreadable.is_empty());
    }
    assert!(reader.read_new().unwrap().snapshots.is_empty());
    let newest = MetricsReader::read_newest(&file.path).unwrap().unwrap();
    assert_eq!(seconds(&[newest]), [49]);
}

#[test]
fn an_open_reader_never_sees_the_file_change_under_it() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    writer.append(&snapshot(0)).unwrap();
    let opened_before = fs::File::open(&file.path).unwrap();
    let before = fs::read(&file.path).unwrap();
    // A slow reader: it has as long as it takes until its copy is written to again.
    for second in 1..8 {
        writer.append(&snapshot(second)).unwrap();
    }
    assert_eq!(std::io::read_to_string(opened_before).unwrap().into_bytes(), before);
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let file = fixture();
    let (writer, _) = open(&file.path);
    assert!(matches!(MetricsWriter::open(&file.path, ROOMY), Err(WriteError::InUse { .. })));
    drop(writer);
    assert_eq!(open(&file.path).1, Recovery::Intact);
}

#[test]
fn size_stays_bounded_and_the_newest_records_are_kept() {
    let file = fixture();
    let bounds = Bounds { max_bytes: 8 << 10, ..ROOMY };
    let (mut writer, _) = MetricsWriter::open(&file.path, bounds).unwrap();
    let mut reader = MetricsReader::new(&file.path);
    let mut seen = Vec::new();
    for second in 0..500 {
        writer.append(&snapshot(second)).unwrap();
        assert!(fs::metadata(&file.path).unwrap().len() <= (8 << 10) + 512);
        if second % 7 == 0 {
            seen.extend(seconds(&reader.read_new().unwrap().snapshots));
        }
    }
    seen.extend(seconds(&reader.read_new().unwrap().snapshots));
    assert_eq!(seen, (0..500).collect::<Vec<_>>(), "a reader that keeps up loses nothing to trimming");
}

#[test]
fn age_stays_bounded() {
    let file = fixture();
    let bounds = Bounds { max_age: Duration::from_secs(100), ..ROOMY };
    let (mut writer, _) = MetricsWriter::open(&file.path, bounds).unwrap();
    for second in 0..1000 {
        writer.append(&snapshot(second)).unwrap();
    }
    let kept = seconds(&MetricsReader::new(&file.path).read_new().unwrap().snapshots);
    assert!((87..=102).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last(), Some(&999));
}

#[test]
fn a_clock_set_back_loses_no_snapshot() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    let mut reader = MetricsReader::new(&file.path);
    for second in [100, 101, 5, 6] {
        writer.append(&snapshot(second)).unwrap();
        assert_eq!(seconds(&reader.read_new().unwrap().snapshots), [second]);
    }
}

#[test]
fn a_file_of_the_original_is_taken_over_with_every_record() {
    let file = fixture();
    let records: Vec<_> = (0..3).map(|second| serde_json::to_value(snapshot(second)).unwrap()).collect();
    fs::write(&file.path, serde_json::to_string_pretty(&records).unwrap()).unwrap();
    let mut reader = MetricsReader::new(&file.path);
    assert_eq!(seconds(&reader.read_new().unwrap().snapshots), [0, 1, 2]);

    let (mut writer, recovery) = open(&file.path);
    let Recovery::Rewritten { kept_records: 3, damage: None, left_bytes: 0, put_aside } = recovery else {
        panic!("{recovery:?}");
    };
    assert_eq!(as_plain_json(&put_aside), records);
    writer.append(&snapshot(3)).unwrap();
    assert_eq!(seconds(&reader.read_new().unwrap().snapshots), [3]);
    assert_eq!(as_plain_json(&file.path).len(), 4);
}

/// The file may be gigabytes, and nothing is measured before it is taken over.
#[test]
fn of_a_large_file_of_the_original_the_newest_records_are_taken_over() {
    let file = fixture();
    let records: Vec<_> = (0..2000).map(|second| serde_json::to_value(snapshot(second)).unwrap()).collect();
    let indented = indented_by_four(&records);
    fs::write(&file.path, &indented).unwrap();
    let bounds = Bounds { max_bytes: indented.len() as u64 / 10, ..ROOMY };
    let (mut writer, recovery) = MetricsWriter::open(&file.path, bounds).unwrap();
    let Recovery::Rewritten { kept_records, damage: None, left_bytes, put_aside } = recovery else {
        panic!("{recovery:?}");
    };
    // A tenth, minus a part of a record.
    assert!((198..=200).contains(&kept_records), "{kept_records}");
    assert!(9 * bounds.max_bytes <= left_bytes && left_bytes < indented.len() as u64);
    assert_eq!(as_plain_json(&put_aside), records);
    writer.append(&snapshot(2000)).unwrap();
    let found = seconds(&MetricsReader::new(&file.path).read_new().unwrap().snapshots);
    let first = 2000 - i64::try_from(kept_records).unwrap();
    assert_eq!(found, (first..=2000).collect::<Vec<_>>());
}

/// The layout of `json.dump(records, file, indent=4)`.
fn indented_by_four(records: &[serde_json::Value]) -> Vec<u8> {
    use serde::Serialize;
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(Vec::new(), formatter);
    records.serialize(&mut serializer).unwrap();
    serializer.into_inner()
}

#[test]
fn a_record_that_is_no_snapshot_costs_only_itself() {
    let file = fixture();
    let good = serde_json::to_string(&snapshot(1)).unwrap();
    fs::write(&file.path, format!("[\n{{\"web\":{{}}}},\n{good}\n]\n")).unwrap();
    let found = MetricsReader::new(&file.path).read_new().unwrap();
    assert_eq!(seconds(&found.snapshots), [1]);
    assert_eq!(found.unreadable[0].position, 1);
}

#[test]
fn what_is_no_metrics_file_is_said_to_be_none() {
    let file = fixture();
    let mut reader = MetricsReader::new(&file.path);
    assert!(matches!(reader.read_new(), Err(ReadError::Read { .. })));
    fs::write(&file.path, "not json").unwrap();
    assert!(matches!(reader.read_new(), Err(ReadError::NotAMetricsFile { .. })));
    fs::remove_file(&file.path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file.path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(reader.read_new(), Err(ReadError::Read { .. })));
    assert!(matches!(MetricsWriter::open(&file.path, ROOMY), Ok((_, Recovery::Replaced { .. }))));
    // What holds something is not ours to move.
    fs::remove_file(&file.path).unwrap();
    fs::create_dir_all(file.path.join("others")).unwrap();
    assert!(matches!(reader.read_new(), Err(ReadError::Read { .. })));
    assert!(matches!(MetricsWriter::open(&file.path, ROOMY), Err(WriteError::Write { .. })));
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    let file = fixture();
    let target = file.path.with_file_name("pair");
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink("pair/metrics.json", &file.path).unwrap();
    let (mut writer, _) = open(&file.path);
    writer.append(&snapshot(0)).unwrap();
    assert!(fs::symlink_metadata(&file.path).unwrap().is_symlink());
    assert_eq!(as_plain_json(&target.join("metrics.json")).len(), 1);
}

type Append = fn(&mut MetricsWriter, i64) -> Result<(), WriteError>;

/// What was published last is kept as text, as its snapshot or, if large, in a file.
const WAYS_TO_APPEND: [Append; 3] = [
    |writer, second| writer.append(&snapshot(second)),
    |writer, second| writer.append_shared(&snapshot(second).into()).map(|kept| assert!(kept.is_none())),
    |writer, second| {
        let large = Arc::new(large_snapshot(second));
        // A record written together with earlier failed ones is not kept by itself.
        writer
            .append_shared(&large)
            .map(|kept| assert!(kept.is_none_or(|kept| kept.read().unwrap() == *large)))
    },
];

/// A snapshot with so many containers that it is not kept in memory.
fn large_snapshot(second: i64) -> Snapshot {
    snapshot_of(second, 6000)
}

fn snapshot_of(second: i64, containers: u32) -> Snapshot {
    let mut large = snapshot(second);
    let record = ContainerRecord::empty(large.summary.collection_start_time);
    let ids = (0..containers).map(|n| Vmid::try_from(100 + n).unwrap());
    large.containers = ids.map(|vmid| (vmid, record.clone())).collect();
    large
}

/// A kept record does not change, whatever is published after it and whatever happens to the file.
#[test]
fn a_kept_record_outlives_its_place_in_the_file() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    let large = Arc::new(large_snapshot(0));
    let kept = writer.append_shared(&large).unwrap().unwrap();
    for second in 1..4 {
        writer.append_shared(&Arc::new(large_snapshot(second))).unwrap();
    }
    fs::write(&file.path, "").unwrap();
    drop(writer);
    assert_eq!(kept.read().unwrap(), *large);
}

/// The file of a record that nobody needs any more is that of another one, which may be longer or shorter.
#[test]
fn a_kept_record_is_its_own_whatever_was_in_its_file_before() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    let mut being_read = None;
    for (second, containers) in [6000, 6000, 8000, 5600, 9000, 7000, 6000, 5600].into_iter().enumerate() {
        let large = Arc::new(snapshot_of(i64::try_from(second).unwrap(), containers));
        let kept = writer.append_shared(&large).unwrap().unwrap();
        assert_eq!(kept.read().unwrap(), *large);
        if second == 3 {
            being_read = Some((kept, large));
        }
    }
    let (kept, large) = being_read.unwrap();
    assert_eq!(kept.read().unwrap(), *large, "nothing is written over what somebody may read");
}

#[test]
fn a_published_file_that_others_spoilt_or_removed_is_whole_again_after_the_next_append() {
    type Spoil = fn(&Path);
    let ways: [Spoil; 10] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "[\n]\n").unwrap(),
        |path| {
            // Somebody copies, edits and renames it, as editors do.
            let edited = path.with_file_name("edited");
            fs::write(&edited, "[1, 2, 3]").unwrap();
            fs::rename(edited, path).unwrap();
        },
        |path| {
            // The same size, but different bytes.
            let mut bytes = fs::read(path).unwrap();
            bytes[20..40].fill(0);
            let file = fs::File::options().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir_all(path.join("of/somebody")).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644));
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/nonexistent/target", path).unwrap();
        },
        |path| fs::File::options().append(true).open(path).unwrap().write_all(b"garbage").unwrap(),
    ];
    for spoil in ways {
        for append in WAYS_TO_APPEND {
            for spoilt_after in [1, 3] {
                let file = fixture();
                let (mut writer, _) = open(&file.path);
                for second in 0..5 {
                    if second == spoilt_after {
                        spoil(&file.path);
                    }
                    append(&mut writer, second).unwrap();
                }
                let found = MetricsReader::new(&file.path).read_new().unwrap();
                assert_eq!(seconds(&found.snapshots), [0, 1, 2, 3, 4]);
            }
        }
    }
}

#[test]
fn a_spare_that_others_removed_or_cut_is_made_anew() {
    type Spoil = fn(&Path);
    let ways: [Spoil; 3] = [
        |spare| fs::remove_file(spare).unwrap(),
        |spare| fs::write(spare, "").unwrap(),
        |spare| fs::File::options().write(true).open(spare).unwrap().set_len(7).unwrap(),
    ];
    for spoil in ways {
        let file = fixture();
        let (mut writer, _) = open(&file.path);
        for second in 0..3 {
            writer.append(&snapshot(second)).unwrap();
        }
        spoil(&file.path.with_file_name(".lxc_metrics.json.spare"));
        for second in 3..6 {
            writer.append(&snapshot(second)).unwrap();
            assert_eq!(as_plain_json(&file.path).len(), usize::try_from(second).unwrap() + 1);
        }
        let found = MetricsReader::new(&file.path).read_new().unwrap();
        assert_eq!(seconds(&found.snapshots), [0, 1, 2, 3, 4, 5]);
    }
}

/// A file of a terabyte without a line break must use up neither memory nor time.
#[test]
fn the_newest_record_of_a_file_that_is_no_metrics_file_is_refused_in_bounded_memory() {
    let file = fixture();
    fs::File::create(&file.path).unwrap().set_len(1 << 40).unwrap();
    let error = MetricsReader::read_newest(&file.path).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("its last line is longer than"), "{error}: {cause}");
}

#[test]
fn a_spare_that_cannot_be_written_loses_nothing_and_heals() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    writer.append(&snapshot(0)).unwrap();
    // A directory in place of the spare makes every write to it fail, even for root.
    let spare = file.path.with_file_name(".lxc_metrics.json.spare");
    let aside = file.path.with_file_name("aside");
    fs::rename(&spare, &aside).unwrap();
    fs::create_dir_all(spare.join("full")).unwrap();
    for second in 1..4 {
        assert!(matches!(writer.append(&snapshot(second)), Err(WriteError::Write { .. })));
        assert_eq!(as_plain_json(&file.path).len(), 1);
    }
    fs::remove_dir_all(&spare).unwrap();
    writer.append(&snapshot(4)).unwrap();
    let found = MetricsReader::new(&file.path).read_new().unwrap();
    assert_eq!(seconds(&found.snapshots), [0, 1, 2, 3, 4]);
}

/// The published copy is completed from the one before it, also after a snapshot that could not be written.
#[test]
fn a_file_that_is_spoilt_while_nothing_can_be_written_is_whole_again_afterwards() {
    WAYS_TO_APPEND.into_iter().for_each(spoilt_while_nothing_can_be_written);
}

fn spoilt_while_nothing_can_be_written(append: Append) {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    for second in 0..4 {
        append(&mut writer, second).unwrap();
    }
    // Without its lock nothing is written, and a directory in place of the lock is not a lock.
    let lock = file.path.with_file_name(".lxc_metrics.json.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(matches!(append(&mut writer, 4), Err(WriteError::Write { .. })));
    // In place, so that the copy that the writer holds open is damaged, too.
    fs::write(&file.path, "gone").unwrap();
    assert!(matches!(append(&mut writer, 5), Err(WriteError::Write { .. })));
    fs::remove_dir(&lock).unwrap();
    append(&mut writer, 6).unwrap();
    let found = MetricsReader::new(&file.path).read_new().unwrap();
    assert_eq!(seconds(&found.snapshots), [0, 1, 2, 3, 4, 5, 6]);
}

/// Something that somebody put in place of the file cannot be moved away, because all places for that are taken.
#[test]
fn a_snapshot_that_was_published_is_not_written_again_when_tidying_up_fails() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    for second in 0..3 {
        writer.append(&snapshot(second)).unwrap();
    }
    for number in 1..=9 {
        fs::create_dir_all(file.path.with_file_name(format!("lxc_metrics.json.before-{number}/of/somebody")))
            .unwrap();
    }
    fs::remove_file(&file.path).unwrap();
    fs::create_dir(&file.path).unwrap();
    for second in 3..6 {
        writer.append(&snapshot(second)).unwrap();
        assert_eq!(as_plain_json(&file.path).len(), usize::try_from(second).unwrap() + 1);
    }
    let found = MetricsReader::new(&file.path).read_new().unwrap();
    assert_eq!(seconds(&found.snapshots), [0, 1, 2, 3, 4, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A crash can leave the spare in any state; only the published copy counts.
    #[test]
    fn after_a_crash_with_any_spare_nothing_published_is_lost(
        appended in 1_i64..6, spare in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..400)),
    ) {
        let file = fixture();
        {
            let (mut writer, _) = open(&file.path);
            for second in 0..appended {
                writer.append(&snapshot(second)).unwrap();
            }
        }
        if let Some(bytes) = spare {
            fs::write(file.path.with_file_name(".lxc_metrics.json.spare"), bytes).unwrap();
        }
        let (mut writer, recovery) = open(&file.path);
        prop_assert_eq!(recovery, Recovery::Intact);
        writer.append(&snapshot(appended)).unwrap();
        let found = MetricsReader::new(&file.path).read_new().unwrap();
        prop_assert_eq!(seconds(&found.snapshots), (0..=appended).collect::<Vec<_>>());
    }

    /// Wherever it is truncated, every complete record is kept, and the file is valid JSON again.
    #[test]
    fn a_truncated_file_keeps_its_whole_records(appended in 1_i64..6, cut in any::<prop::sample::Index>()) {
        let file = fixture();
        {
            let (mut writer, _) = open(&file.path);
            for second in 0..appended {
                writer.append(&snapshot(second)).unwrap();
            }
        }
        let bytes = fs::read(&file.path).unwrap();
        let length = cut.index(bytes.len());
        fs::write(&file.path, &bytes[..length]).unwrap();
        let whole = bytes[..length].split(|byte| *byte == b'\n').filter(|line| {
            serde_json::from_slice::<Snapshot>(line.strip_suffix(b",").unwrap_or(line)).is_ok()
        }).count();

        let (_writer, _) = open(&file.path);
        prop_assert_eq!(as_plain_json(&file.path).len(), whole);
    }

    /// Any bytes in place of the file: opening and reading do not panic, and appending works.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = fixture();
        fs::write(&file.path, &bytes).unwrap();
        let _ = MetricsReader::new(&file.path).read_new();
        let (mut writer, _) = open(&file.path);
        writer.append(&snapshot(1)).unwrap();
        prop_assert_eq!(as_plain_json(&file.path).len(), 1);
    }
}

/// A reader that is delayed for longer than a copy rests finds the next record beginning where the footer was when it
/// began to read.
#[test]
fn a_record_that_is_being_written_under_a_slow_reader_is_read_next_time() {
    let file = fixture();
    let (mut writer, _) = open(&file.path);
    // More than a reader reads from the file at once.
    for second in 0..40 {
        writer.append(&snapshot(second)).unwrap();
    }
    drop(writer);
    let mut reader = MetricsReader::new(&file.path);
    let (mut taken, mut broken) = (Vec::new(), 0);
    let mut appended = false;
    reader
        .each_new(|record| {
            if !appended {
                append_in_place(&file.path, &snapshot(40));
                appended = true;
            }
            match record {
                Ok(snapshot) => taken.extend(seconds(&[snapshot])),
                Err(_) => broken += 1,
            }
        })
        .unwrap();
    assert_eq!((taken, broken), ((0..40).collect(), 0));
    // No part of it was taken for a record: it is found later, and nothing is read twice.
    let found = reader.read_new().unwrap();
    assert_eq!((seconds(&found.snapshots), found.unreadable.len()), (vec![40], 0));
}

/// Does what the writer does to a copy that has rested: writes a record over the footer, in the file that the reader
/// holds.
fn append_in_place(path: &Path, snapshot: &Snapshot) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::End(-3)).unwrap();
    write!(file, ",\n{}\n]\n", serde_json::to_string(snapshot).unwrap()).unwrap();
}
