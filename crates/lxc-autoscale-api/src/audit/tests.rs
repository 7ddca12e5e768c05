//! The chain holds through restarts, rotation and crashes, and breaks if somebody tampers with it.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn config(directory: &Path) -> AuditConfig {
    AuditConfig { file: directory.join("audit.jsonl"), max_size_mib: 1, backup_count: 3 }
}

fn subject(change: u64) -> Subject {
    Subject {
        address: None,
        change,
        caller: "uid:0".to_owned(),
        action: format!("set the cores of container 104 to {change}"),
        why: "request".to_owned(),
        containers: vec![Vmid::try_from(104).unwrap()],
        happened: None,
    }
}

fn write(log: &AuditLog, change: u64) -> String {
    log.write(&subject(change), &Event::Begun, Timestamp::UNIX_EPOCH).unwrap()
}

/// A log with this many records.
fn written(records: u64) -> (tempfile::TempDir, AuditConfig) {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let log = AuditLog::new(config.clone());
    for change in 1..=records {
        write(&log, change);
    }
    (directory, config)
}

fn verdict(config: &AuditConfig) -> Verdict {
    verify(&config.file, config.backup_count).unwrap()
}

#[test]
fn the_chain_goes_on_over_a_restart() {
    let (_directory, config) = written(3);
    let last = write(&AuditLog::new(config.clone()), 4);
    let verdict = verdict(&config);
    assert_eq!((verdict.records, verdict.first, verdict.last), (4, Some(1), Some(4)));
    assert_eq!(
        (verdict.last_hash.as_deref(), verdict.findings.as_slice()),
        (Some(last.as_str()), [].as_slice())
    );
}

#[test]
fn a_line_says_who_did_what_and_what_came_of_it() {
    let (_directory, config) = written(0);
    let log = AuditLog::new(config.clone());
    let event = Event::Done { result: serde_json::json!({"before": 2, "after": 4}), duration_ms: 700 };
    log.write(&subject(1), &event, Timestamp::UNIX_EPOCH).unwrap();
    let text = fs::read_to_string(&config.file).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&line["caller"], &line["containers"][0], &line["event"]),
        (&"uid:0".into(), &104.into(), &"done".into())
    );
    assert_eq!((&line["result"]["after"], &line["seq"]), (&4.into(), &1.into()));
}

#[test]
fn the_chain_goes_on_over_a_rotation_and_the_files_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_size_mib: 0, backup_count: 2, ..config(directory.path()) };
    let log = AuditLog::new(config.clone());
    for change in 1..=9 {
        write(&log, change);
    }
    // Each record filled a file; the last two and the newest are kept.
    let verdict = verdict(&config);
    assert_eq!((verdict.first, verdict.last, verdict.holds()), (Some(7), Some(9), true));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4, "three files and a lock");
    // The same after a restart, though the newest file may be empty.
    fs::write(&config.file, "").unwrap();
    write(&AuditLog::new(config.clone()), 10);
    assert!(!verify(&config.file, 2).unwrap().findings.iter().any(Finding::is_tampering));
}

/// With a lower number from now on, the older files are still the beginning of the chain until a rotation removes them.
#[test]
fn a_lower_number_of_files_is_no_tampering_and_the_surplus_goes() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_size_mib: 0, backup_count: 5, ..config(directory.path()) };
    let log = AuditLog::new(config.clone());
    for change in 1..=6 {
        write(&log, change);
    }
    let lower = AuditConfig { backup_count: 2, ..config.clone() };
    assert_eq!((verdict(&lower).first, verdict(&lower).findings), (Some(1), vec![]));
    log.bound(0, 2);
    for change in 7..=8 {
        write(&log, change);
        let verdict = verdict(&lower);
        assert_eq!((verdict.first, verdict.last, verdict.findings), (Some(change - 2), Some(change), vec![]));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4, "three files and a lock");
    log.bound(0, 0);
    write(&log, 9);
    let verdict = verdict(&AuditConfig { backup_count: 0, ..config });
    assert_eq!((verdict.first, verdict.last, verdict.findings), (Some(9), Some(9), vec![]));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "a file and a lock");
}

#[test]
fn older_files_lie_where_a_link_leads() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("own");
    fs::create_dir(&own).unwrap();
    let config = AuditConfig { max_size_mib: 0, backup_count: 2, ..config(directory.path()) };
    std::os::unix::fs::symlink("own/audit.jsonl", &config.file).unwrap();
    let log = AuditLog::new(config.clone());
    for change in 1..=5 {
        write(&log, change);
    }
    let verdict = verdict(&config);
    assert_eq!((verdict.first, verdict.last, verdict.holds()), (Some(3), Some(5), true));
    assert!(config.file.is_symlink());
    assert_eq!(fs::read_dir(&own).unwrap().count(), 4, "three files and a lock");
}

/// Root creates a key before a server that does not run as root has written anything.
#[test]
fn what_root_begins_is_the_servers() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (directory, config) = written(0);
    std::os::unix::fs::chown(directory.path(), Some(1234), Some(1234)).unwrap();
    write(&AuditLog::new(config.clone()), 1);
    for name in ["audit.jsonl", "audit.jsonl.lock"] {
        let made = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o777), (1234, 0o600), "{name}");
    }
}

#[test]
fn half_a_line_of_a_crash_is_told_and_breaks_nothing() {
    let (_directory, config) = written(2);
    let mut file = File::options().append(true).open(&config.file).unwrap();
    file.write_all(b"{\"seq\":3,\"time\":\"1970").unwrap();
    write(&AuditLog::new(config.clone()), 3);
    let verdict = verdict(&config);
    assert!(verdict.holds());
    assert_eq!((verdict.records, verdict.last), (3, Some(3)));
    assert!(matches!(verdict.findings.as_slice(), [Finding::CutOff { line: 3, .. }]), "{verdict:?}");
}

#[test]
fn an_altered_a_removed_an_inserted_and_a_moved_line_are_found() {
    let (_directory, config) = written(5);
    let good = fs::read_to_string(&config.file).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let check = |lines: &[&str], what: &str| {
        fs::write(&config.file, lines.join("\n") + "\n").unwrap();
        assert!(!verdict(&config).holds(), "{what}");
    };
    let altered = lines[2].replace("to 3", "to 2");
    check(&[lines[0], lines[1], &altered, lines[3], lines[4]], "altered");
    check(&[lines[0], lines[1], lines[3], lines[4]], "removed");
    check(&[lines[0], lines[0], lines[1], lines[2], lines[3], lines[4]], "inserted");
    check(&[lines[0], lines[2], lines[1], lines[3], lines[4]], "moved");
    // The hash does not cover what follows it, and many readers use the last of two fields with the same name.
    for behind in [",\"caller\":\"uid:1000\"", ",\"seq\":3", " ", ",\"hash\":\"0\""] {
        let longer = lines[2].replace("\"}", &format!("\"{behind}}}"));
        check(&[lines[0], lines[1], &longer, lines[3], lines[4]], &longer);
    }
    fs::write(&config.file, &good).unwrap();
    assert!(verdict(&config).holds());
}

#[test]
fn lines_that_are_removed_at_the_beginning_are_missed() {
    let (_directory, config) = written(5);
    let good = fs::read_to_string(&config.file).unwrap();
    let without = |removed: usize| {
        let kept: Vec<&str> = good.lines().skip(removed).collect();
        fs::write(&config.file, kept.join("\n") + "\n").unwrap();
        verdict(&config).findings
    };
    let gone = |first| vec![Finding::Beginning { file: config.file.clone(), first, oldest: 1 }];
    assert_eq!((without(0), without(1), without(4)), (vec![], gone(2), gone(5)));
}

/// Rotation records what it kept.
#[test]
fn a_file_that_is_removed_from_a_rotated_log_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_size_mib: 0, backup_count: 2, ..config(directory.path()) };
    let log = AuditLog::new(config.clone());
    for change in 1..=9 {
        write(&log, change);
    }
    assert_eq!(verdict(&config).findings, []);
    let oldest = directory.path().join("audit.jsonl.2");
    fs::remove_file(oldest).unwrap();
    let file = directory.path().join("audit.jsonl.1");
    assert_eq!(verdict(&config).findings, [Finding::Beginning { file, first: 8, oldest: 7 }]);
}

/// One of the files beyond the number that is kept cannot be removed.
#[test]
fn a_surplus_file_that_cannot_be_removed_holds_up_neither_a_change_nor_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_size_mib: 0, backup_count: 5, ..config(directory.path()) };
    let log = AuditLog::new(config.clone());
    for change in 1..=6 {
        write(&log, change);
    }
    let kept = |number: u32| directory.path().join(format!("audit.jsonl.{number}"));
    fs::remove_file(kept(4)).unwrap();
    fs::create_dir(kept(4)).unwrap();
    let config = AuditConfig { backup_count: 2, ..config };
    let log = AuditLog::new(config.clone());
    write(&log, 7);
    write(&log, 8);
    assert_eq!([1, 2, 3, 4, 5].map(|number| kept(number).exists()), [true, true, false, true, false]);
    assert_eq!(verdict(&config).findings, []);
}

/// A server continues to write after somebody has emptied or removed its file.
#[test]
fn what_is_removed_while_the_log_is_written_shows() {
    for remove in [|path: &Path| fs::write(path, "").unwrap(), |path: &Path| fs::remove_file(path).unwrap()] {
        let (_directory, config) = written(0);
        let log = AuditLog::new(config.clone());
        for change in 1..=3 {
            write(&log, change);
        }
        remove(&config.file);
        write(&log, 4);
        let file = config.file.clone();
        assert_eq!(verdict(&config).findings, [Finding::Beginning { file, first: 4, oldest: 1 }]);
    }
}

/// As the server and a concurrent `key create` do.
#[test]
fn two_writers_make_one_chain() {
    for max_size_mib in [0, 1] {
        let directory = tempfile::tempdir().unwrap();
        let config = AuditConfig { max_size_mib, backup_count: 200, ..config(directory.path()) };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let log = AuditLog::new(config.clone());
                scope.spawn(move || (1..=20).for_each(|change| drop(write(&log, change))));
            }
        });
        let verdict = verdict(&config);
        assert_eq!((verdict.records, verdict.last, verdict.findings), (80, Some(80), vec![]));
    }
}

/// The longest record is found again after a restart: a configuration change in which every text is long.
#[test]
fn the_longest_record_is_one_of_the_chain() {
    let (_directory, config) = written(1);
    let text = "\u{1f4a5}".repeat(200);
    let change = serde_json::json!({"key": text, "before": text, "after": text});
    let event = Event::Done { result: vec![change; 50].into(), duration_ms: 0 };
    AuditLog::new(config.clone()).write(&subject(2), &event, Timestamp::UNIX_EPOCH).unwrap();
    write(&AuditLog::new(config.clone()), 3);
    assert_eq!((verdict(&config).last, verdict(&config).findings), (Some(3), vec![]));
}

#[test]
fn what_cannot_be_written_is_an_error_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        AuditConfig { file: directory.path().join("missing/audit.jsonl"), ..config(directory.path()) };
    let log = AuditLog::new(config.clone());
    assert!(log.write(&subject(1), &Event::Begun, Timestamp::UNIX_EPOCH).is_err());
    fs::create_dir(directory.path().join("missing")).unwrap();
    write(&log, 2);
    assert_eq!(verdict(&config).records, 1);
}

proptest! {
    /// Whatever byte is changed, it is noticed, unless it is not part of a record (a line end).
    #[test]
    fn no_byte_can_be_changed_unseen(at in 0usize..2000, byte in 0x20u8..0x7f) {
        let (_directory, config) = written(5);
        let mut bytes = fs::read(&config.file).unwrap();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte && bytes[at] != b'\n');
        bytes[at] = byte;
        fs::write(&config.file, &bytes).unwrap();
        let verdict = verdict(&config);
        prop_assert!(!verdict.findings.is_empty(), "{}", String::from_utf8_lossy(&bytes));
    }

    /// Whatever is inserted, wherever, is noticed; at most it passes for a line half written in a crash. The end of a
    /// line is where something could stand that its hash does not cover.
    #[test]
    fn nothing_can_be_put_in_unseen(
        line in 0usize..5,
        back in prop_oneof![0usize..4, 0usize..400],
        more in prop_oneof![
            "[\\x20-\\x7e]{1,40}",
            "(,\"(seq|caller|hash|previous|oldest|change)\":(\"uid:0\"|7)){1,3}",
        ],
    ) {
        let (_directory, config) = written(5);
        let mut bytes = fs::read(&config.file).unwrap();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
        let at = ends.collect::<Vec<_>>()[line].saturating_sub(back);
        bytes.splice(at..at, more.bytes());
        fs::write(&config.file, &bytes).unwrap();
        let verdict = verdict(&config);
        prop_assert!(!verdict.findings.is_empty(), "{}", String::from_utf8_lossy(&bytes));
    }
}

/// Whoever reloads the configuration must not wait: all requests would wait for that.
#[test]
fn the_bounds_can_be_set_while_a_writer_waits_for_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let log = Arc::new(AuditLog::new(config.clone()));
    let other = turn(&config.file).unwrap();
    let writer = std::thread::spawn({
        let log = Arc::clone(&log);
        move || write(&log, 1)
    });
    while log.inner.try_lock().is_ok() {
        std::thread::yield_now();
    }
    let (done, bounded) = mpsc::channel();
    std::thread::spawn({
        let log = Arc::clone(&log);
        move || {
            log.bound(1, 1);
            done.send(())
        }
    });
    let bounded = bounded.recv_timeout(Duration::from_secs(20));
    drop(other);
    writer.join().unwrap();
    bounded.unwrap();
}
