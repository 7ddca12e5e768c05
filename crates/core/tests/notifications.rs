//! The notification queue through its public interface: many producers, one consumer, and whatever happens to them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot set up its case must fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::notification::{
    Consumer, Kind, Limits, Notification, NotificationId, Pending, Queue, QueueError, Severity, Source,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const ROOMY: Limits = Limits { max_count: 10_000, max_bytes: 64 << 20 };

fn notification(second: i64) -> Notification {
    let time = RecordTime::utc(jiff::Timestamp::from_second(1_700_000_000 + second).unwrap());
    Notification {
        id: NotificationId::new(time),
        time,
        source: Source::Monitor,
        severity: Severity::Warning,
        kind: Kind::Fired,
        container: Some("104".parse().unwrap()),
        title: format!("title {second}"),
        text: "text".to_owned(),
        details: [("rule".to_owned(), "rootfs".into())].into(),
    }
}

fn put(queue: &Queue, second: i64) -> usize {
    queue.put(&notification(second)).unwrap().dropped
}

fn titles(pending: &Pending) -> Vec<&str> {
    pending.notifications.iter().map(|notification| notification.title.as_str()).collect()
}

/// Checks which notifications are waiting.
#[track_caller]
fn check(directory: &Path, want: &[&str]) {
    let pending = Consumer::open(directory).unwrap().pending(usize::MAX).unwrap();
    assert_eq!(titles(&pending), want);
    assert!(pending.unreadable.is_empty(), "{:?}", pending.unreadable);
}

#[test]
fn what_is_put_waits_in_order_until_it_is_acknowledged() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("state/notifications");
    let queue = Queue::new(&directory, ROOMY);
    for second in [2, 1, 3] {
        put(&queue, second);
    }
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o750);
    check(&directory, &["title 1", "title 2", "title 3"]);
    // They were taken, and then the consumer was killed.
    check(&directory, &["title 1", "title 2", "title 3"]);

    let consumer = Consumer::open(&directory).unwrap();
    let first = consumer.pending(1).unwrap();
    assert_eq!(titles(&first), ["title 1"]);
    consumer.acknowledge(&first.notifications[0].id).unwrap();
    consumer.acknowledge(&first.notifications[0].id).unwrap();
    assert!(matches!(Consumer::open(&directory), Err(QueueError::InUse { .. })));
    drop(consumer);
    check(&directory, &["title 2", "title 3"]);
}

#[test]
fn putting_again_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let queue = Queue::new(scratch.path(), ROOMY);
    let mut begun = notification(1);
    queue.put(&begun).unwrap();
    begun.title = "changed".to_owned();
    queue.put(&begun).unwrap();
    check(scratch.path(), &["title 1"]);
}

#[test]
fn the_oldest_are_dropped_and_counted_at_either_limit() {
    let scratch = tempfile::tempdir().unwrap();
    let by_count = Queue::new(scratch.path(), Limits { max_count: 2, ..ROOMY });
    assert_eq!([1, 2, 3].map(|second| put(&by_count, second)), [0, 0, 1]);
    check(scratch.path(), &["title 2", "title 3"]);

    let size = serde_json::to_vec(&notification(4)).unwrap().len() as u64;
    let by_size = Queue::new(scratch.path(), Limits { max_bytes: size, ..ROOMY });
    assert_eq!(put(&by_size, 4), 2);
    check(scratch.path(), &["title 4"]);
}

#[test]
fn one_that_is_too_large_is_refused_and_named() {
    let scratch = tempfile::tempdir().unwrap();
    let mut large = notification(1);
    large.text = "x".repeat(100 << 10);
    let error = Queue::new(scratch.path(), ROOMY).put(&large).unwrap_err();
    assert!(matches!(&error, QueueError::Encode { id, .. } if *id == large.id), "{error}");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let [link, fifo, folder, junk, misnamed] = [(); 5].map(|()| NotificationId::new(notification(0).time));
    let name = |id: &NotificationId| directory.join(format!("{id}.json"));
    fs::write(directory.join("README.json"), "{}").unwrap();
    fs::write(directory.join(".hidden"), "").unwrap();
    fs::write(directory.join("1-2-3.json"), "").unwrap();
    symlink("/etc/passwd", name(&link)).unwrap();
    fs::create_dir(name(&folder)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        name(&fifo),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fs::write(name(&junk), "{\"id\":").unwrap();
    fs::write(name(&misnamed), serde_json::to_vec(&notification(0)).unwrap()).unwrap();
    let foreign = fs::read_dir(directory).unwrap().count();

    let queue = Queue::new(directory, Limits { max_count: 3, ..ROOMY });
    assert_eq!(put(&queue, 1), 0);
    let consumer = Consumer::open(directory).unwrap();
    let pending = consumer.pending(usize::MAX).unwrap();
    assert_eq!(titles(&pending), ["title 1"]);
    let unreadable: Vec<_> = pending.unreadable.iter().map(|file| file.id.clone()).collect();
    assert_eq!(unreadable, [junk, misnamed], "only files that could have been ours are reported");
    for id in &unreadable {
        consumer.acknowledge(id).unwrap();
    }
    assert_eq!(titles(&consumer.pending(usize::MAX).unwrap()), ["title 1"]);
    // Our notification and the consumer's lock were added, the two unreadable files were removed.
    assert_eq!(fs::read_dir(directory).unwrap().count(), foreign);
}

#[test]
fn files_of_killed_producers_are_cleared_away_when_they_are_old() {
    let scratch = tempfile::tempdir().unwrap();
    let [old, fresh] =
        [1, 2].map(|second| scratch.path().join(format!(".{}.json.new", notification(second).id)));
    fs::write(&old, "{").unwrap();
    fs::write(&fresh, "{").unwrap();
    let two_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    fs::File::options().write(true).open(&old).unwrap().set_modified(two_hours_ago).unwrap();
    put(&Queue::new(scratch.path(), ROOMY), 3);
    assert!(!old.exists());
    assert!(fresh.exists());
    check(scratch.path(), &["title 3"]);
}

#[test]
fn threads_put_at_once_and_nothing_is_lost_or_torn() {
    let scratch = tempfile::tempdir().unwrap();
    let consumer = Consumer::open(scratch.path()).unwrap();
    let mut taken = BTreeSet::new();
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                let queue = Queue::new(scratch.path(), ROOMY);
                scope.spawn(move || {
                    for number in 0..50 {
                        put(&queue, producer * 1000 + number);
                    }
                })
            })
            .collect();
        loop {
            let is_last = producers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let pending = consumer.pending(usize::MAX).unwrap();
            assert!(pending.unreadable.is_empty(), "{:?}", pending.unreadable);
            for notification in pending.notifications {
                consumer.acknowledge(&notification.id).unwrap();
                assert!(taken.insert(notification.title), "delivered twice");
            }
            if is_last {
                break;
            }
        }
    });
    assert_eq!(taken.len(), 200);
}

const CHILD_DIRECTORY: &str = "NOTIFICATIONS_TEST_DIRECTORY";

/// Not a test by itself: the processes of the next test run it.
#[test]
fn a_producing_process() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let queue = Queue::new(directory, Limits { max_count: 60, ..ROOMY });
    for second in 0..40 {
        put(&queue, second);
    }
}

#[test]
fn processes_put_at_once_and_the_limit_holds() {
    let scratch = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_producing_process"])
                .env(CHILD_DIRECTORY, scratch.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let pending = Consumer::open(scratch.path()).unwrap().pending(usize::MAX).unwrap();
    assert!(pending.unreadable.is_empty(), "{:?}", pending.unreadable);
    // Each of the three may miss what another puts at the same time; the next one corrects that.
    let waiting = pending.notifications.len();
    assert!((50..=60).contains(&waiting), "{waiting}");
    let newest: BTreeSet<_> = pending.notifications.iter().map(|one| one.title.clone()).collect();
    assert!(newest.contains("title 39"), "{newest:?}");
}

/// A file system of 64 KiB, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let point = tempfile::tempdir().unwrap();
        mount("tmpfs", point.path(), "tmpfs", MountFlags::empty(), Some(c"size=64k")).ok()?;
        Some(Self(point))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_half_written() {
    let Some(disk) = SmallDisk::new() else {
        println!("skipped: this user may not mount");
        return;
    };
    let directory = disk.0.path().join("notifications");
    let queue = Queue::new(&directory, ROOMY);
    put(&queue, 1);
    fs::write(disk.0.path().join("filler"), vec![0; 1 << 20]).unwrap_err();
    let begun = notification(2);
    let error = queue.put(&begun).unwrap_err();
    let is_full = matches!(&error, QueueError::Write { source, .. }
        if source.kind() == std::io::ErrorKind::StorageFull);
    assert!(is_full, "{error:?}");
    check_names(&directory, 1);

    fs::remove_file(disk.0.path().join("filler")).unwrap();
    queue.put(&begun).unwrap();
    check(&directory, &["title 1", "title 2"]);
}

#[track_caller]
fn check_names(directory: &Path, want: usize) {
    let names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), want, "{names:?}");
}
