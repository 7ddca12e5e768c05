use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::{ContainerRecords, Summary};

use super::*;
use crate::clock;
use crate::config::ReadableBy;

fn snapshot() -> Snapshot {
    let now = clock::record_time(clock::now().wall);
    let summary = Summary {
        collection_start_time: now,
        collection_end_time: now,
        total_containers: 0,
        total_duration_seconds: 0.0,
        monitor_cpu_percent: None,
        monitor_memory_usage_mb: None,
        schema_version: Some(1),
        stopped_containers: Vec::new(),
        node: None,
    };
    Snapshot { containers: ContainerRecords::new(), summary }
}

fn config(file: std::path::PathBuf) -> OutputConfig {
    OutputConfig { file, ..OutputConfig::default() }
}

#[test]
fn a_second_monitor_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path().join("metrics.json"));
    let _first = Output::open(&config).unwrap();
    let error = Output::open(&config).unwrap_err();
    assert!(error.to_string().contains("another lxc-monitor is writing"), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_is_taken_up_when_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("logs");
    // A file is in the place of the directory.
    std::fs::write(&parent, "").unwrap();
    let file = parent.join("metrics.json");
    let mut output = Output::open(&config(file.clone())).unwrap();
    assert!(matches!(output.append(&snapshot().into()), Err(WriteError::Write { .. })));

    std::fs::remove_file(&parent).unwrap();
    std::fs::create_dir(&parent).unwrap();
    output.append(&snapshot().into()).unwrap();
    let read = MetricsReader::new(file).read_new().unwrap().snapshots;
    assert_eq!(read.len(), 2, "that from before was kept");
}

#[test]
fn what_is_no_file_is_put_aside_at_the_start_unless_it_holds_something() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("metrics.json");
    let written = || {
        let mut output = Output::open(&config(file.clone())).unwrap();
        output.append(&snapshot().into()).map(|_| ())
    };
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &file, fifo, 0o600.into(), 0).unwrap();
    written().unwrap();
    assert_eq!(MetricsReader::new(file.clone()).read_new().unwrap().snapshots.len(), 1);
    assert!(directory.path().join("metrics.json.before-1").symlink_metadata().is_ok());
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    written().unwrap();
    assert!(file.is_file() && directory.path().join("metrics.json.before-2").is_dir());
    // As `output.file = "/var/log"` would be.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("others")).unwrap();
    let error = written().unwrap_err();
    assert!(ErrorChain(&error).to_string().contains("a directory that is not empty is there"), "{error}");
    assert!(file.join("others").is_dir());
}

#[test]
fn another_file_is_used_from_the_next_snapshot_on() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("a.json"), directory.path().join("b.json"));
    let mut output = Output::open(&config(first.clone())).unwrap();
    output.append(&snapshot().into()).unwrap();
    output.reconfigure(&config(second.clone()));
    output.append(&snapshot().into()).unwrap();
    for file in [first, second] {
        assert_eq!(MetricsReader::new(file).read_new().unwrap().snapshots.len(), 1);
    }
}

#[test]
fn a_file_that_is_too_small_for_the_interval_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = OutputConfig { max_size_mib: 1, ..config(directory.path().join("metrics.json")) };
    let mut output = Output::open(&config).unwrap();
    let begun = clock::now().wall;
    // A thousand containers, 60 KB of a record, every second.
    let append = |output: &mut Output, second: i64| {
        let at = clock::record_time(begun + jiff::SignedDuration::from_secs(second));
        let mut snapshot = snapshot();
        snapshot.summary.collection_start_time = at;
        let record = lxc_autoscale_core::snapshot::ContainerRecord::empty(at);
        snapshot.containers =
            (100..1100).map(|id| (lxc_autoscale_core::Vmid::try_from(id).unwrap(), record.clone())).collect();
        output.append(&snapshot.into()).unwrap();
    };
    for second in 0..12 {
        append(&mut output, second);
    }
    assert!(output.notices.is_quiet(), "it was not full yet");
    for second in 12..24 {
        append(&mut output, second);
    }
    assert!(!output.notices.is_quiet());
    config.max_size_mib = 64;
    output.reconfigure(&config);
    append(&mut output, 24);
    assert!(output.notices.is_quiet());
}

#[test]
fn who_may_read_the_file_is_settled_at_once_and_after_a_reload() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path().join("metrics.json"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut output = Output::open(&config).unwrap();
    for (readable_by, wanted) in [
        (ReadableBy::Group, 0o640),
        (ReadableBy::All, 0o644),
        (ReadableBy::Owner, 0o600),
        (ReadableBy::Group, 0o640),
    ] {
        config.readable_by = readable_by;
        output.reconfigure(&config);
        for _ in 0..3 {
            assert_eq!(mode(&config.file), wanted);
            output.append(&snapshot().into()).unwrap();
        }
    }
}

#[test]
fn a_place_where_anybody_could_replace_the_file_is_refused_until_it_is_safe() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let set_mode = |mode| {
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(0o777);
    let file = directory.path().join("metrics.json");
    let mut output = Output::open(&config(file.clone())).unwrap();
    let error = output.append(&snapshot().into()).unwrap_err();
    assert!(
        ErrorChain(&error).to_string().contains("everybody may replace files in its directory"),
        "{error}"
    );
    assert!(!file.exists());
    set_mode(0o755);
    output.append(&snapshot().into()).unwrap();
    assert_eq!(MetricsReader::new(file).read_new().unwrap().snapshots.len(), 2);
}
