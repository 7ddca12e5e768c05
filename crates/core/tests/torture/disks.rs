//! Disks that are full, have no inodes left, or become read-only.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lxc_autoscale_core::metrics_file::{Bounds, MetricsReader, MetricsWriter, WriteError};

use crate::python::PythonReader;
use crate::{ROOMY, is_root, new_numbers, numbers_in, snapshot};

/// A file system for the test, unmounted when dropped.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Mounts with these arguments of mount(8); `None` if that is not possible here.
    fn mount(arguments: &[&str]) -> Option<Self> {
        let disk = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(disk.root()).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(disk.root()).output().unwrap();
        if mounted.status.success() {
            return Some(disk);
        }
        println!("skipped: {}", String::from_utf8_lossy(&mounted.stderr));
        None
    }

    fn tmpfs(options: &str) -> Option<Self> {
        Self::mount(&["-t", "tmpfs", "-o", options, "none"])
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn file(&self) -> PathBuf {
        self.root().join("lxc_metrics.json")
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.root())
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.root()).status();
    }
}

/// Appends until the disk is full, and some more; when there is space again, every snapshot must be there.
fn fill_and_free(disk: &Disk, fill: impl Fn(&Path), free: impl Fn(&Path)) {
    let (mut writer, _) = MetricsWriter::open(disk.file(), ROOMY).unwrap();
    let mut reader = MetricsReader::new(disk.file());
    let python = PythonReader::start(&disk.file(), true);
    let mut next = 0;
    let begun = Instant::now();
    for round in 0..3 {
        for _ in 0..3 {
            append_when_possible(&mut writer, &mut next);
        }
        assert!(numbers_in(&disk.file()).into_iter().eq(0..next));
        fill(&disk.root());
        let mut n_full = 0;
        // The space in the last blocks of the copies may suffice for a few more.
        while n_full < 20 {
            match append_bulky(&mut writer, &mut next, 1000) {
                Ok(()) => assert_eq!(numbers_in(&disk.file()).last(), Some(&(next - 1))),
                Err(error) if is_to_wait(&error) => wait(begun),
                Err(WriteError::Write { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                    n_full += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        let published = numbers_in(&disk.file());
        assert!(published.iter().copied().eq(0..published.len() as u64), "round {round}: {published:?}");
        free(&disk.root());
        append_when_possible(&mut writer, &mut next);
        assert!(numbers_in(&disk.file()).into_iter().eq(0..next), "round {round}");
    }
    assert!(new_numbers(&mut reader).into_iter().eq(0..next));
    assert!(0 < python.finish());
}

/// Lets some time pass until something that must happen soon.
#[track_caller]
fn wait(begun: Instant) {
    assert!(begun.elapsed() < Duration::from_mins(2), "it does not come");
    std::thread::sleep(Duration::from_millis(20));
}

/// Whether the writer waits for readers of the only copy that there is space for.
fn is_to_wait(error: &WriteError) -> bool {
    matches!(error, WriteError::Write { source, .. } if source.kind() == ErrorKind::ResourceBusy)
}

/// Appends snapshots until one is published, together with those before it.
#[track_caller]
fn append_when_possible(writer: &mut MetricsWriter, next: &mut u64) {
    let begun = Instant::now();
    loop {
        let appended = writer.append(&snapshot(*next));
        *next += 1;
        match appended {
            Ok(()) => return,
            Err(error) if is_to_wait(&error) => wait(begun),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Appends a snapshot that lists `n_stopped` containers with five bytes each.
fn append_bulky(writer: &mut MetricsWriter, next: &mut u64, n_stopped: u32) -> Result<(), WriteError> {
    let mut snapshot = snapshot(*next);
    snapshot.summary.stopped_containers =
        (1000..1000 + n_stopped).map(|vmid| vmid.try_into().unwrap()).collect();
    *next += 1;
    writer.append(&snapshot)
}

fn fill_with_ballast(root: &Path) {
    use std::io::Write;
    let mut ballast = fs::File::create(root.join("ballast")).unwrap();
    while ballast.write_all(&[0; 512]).is_ok() {}
    // Fills the last part of a block, too.
    while ballast.write_all(&[0]).is_ok() {}
}

fn remove_ballast(root: &Path) {
    fs::remove_file(root.join("ballast")).unwrap();
}

#[test]
fn a_full_tmpfs_loses_nothing() {
    if let Some(disk) = is_root().then(|| Disk::tmpfs("size=4m")).flatten() {
        fill_and_free(&disk, fill_with_ballast, remove_ballast);
    }
}

/// A real file system on a loop device, with blocks, a journal and delayed allocation.
#[test]
fn a_full_ext4_loses_nothing() {
    if !is_root() {
        return;
    }
    // In memory if possible: the file system must get full, not the machine's disk.
    let images = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let image = images.path().join("disk.img");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("skipped: mkfs.ext4 does not work here");
        return;
    }
    if let Some(disk) = Disk::mount(&["-o", "loop", image.to_str().unwrap()]) {
        fill_and_free(&disk, fill_with_ballast, remove_ballast);
    }
}

#[test]
fn a_disk_without_free_inodes_loses_nothing() {
    let Some(disk) = is_root().then(|| Disk::tmpfs("size=16m,nr_inodes=30")).flatten() else { return };
    let inodes = disk.root().join("inodes");
    fs::create_dir(&inodes).unwrap();
    let fill =
        || (0..100).take_while(|number| fs::File::create(inodes.join(number.to_string())).is_ok()).count();
    let (mut writer, _) = MetricsWriter::open(disk.file(), ROOMY).unwrap();
    assert!(0 < fill());
    // There is no spare yet, and no inode for one.
    for number in 0..5 {
        assert!(matches!(writer.append(&snapshot(number)), Err(WriteError::Write { .. })));
        assert!(numbers_in(&disk.file()).is_empty());
    }
    fs::remove_dir_all(&inodes).unwrap();
    writer.append(&snapshot(5)).unwrap();
    assert!(numbers_in(&disk.file()).into_iter().eq(0..6));
    // From now on there is a spare, and no inode is needed.
    fs::create_dir(&inodes).unwrap();
    assert!(0 < fill());
    let mut next = 6;
    for _ in 0..3 {
        append_when_possible(&mut writer, &mut next);
    }
    assert!(numbers_in(&disk.file()).into_iter().eq(0..next));
}

#[test]
fn a_disk_that_turns_read_only_loses_nothing() {
    let Some(disk) = is_root().then(|| Disk::tmpfs("size=4m")).flatten() else { return };
    let mut next = 0;
    {
        let (mut writer, _) = MetricsWriter::open(disk.file(), ROOMY).unwrap();
        writer.append(&snapshot(next)).unwrap();
        next += 1;
    }
    // A file that is open for writing keeps a file system from being remounted read-only, unlike an error of the
    // disk. So this writer starts on a read-only disk, as the daemon may.
    disk.remount("ro");
    assert!(matches!(MetricsWriter::open(disk.file(), ROOMY), Err(WriteError::Write { .. })));
    assert_eq!(numbers_in(&disk.file()), [0]);
    disk.remount("rw");
    let (mut writer, _) = MetricsWriter::open(disk.file(), ROOMY).unwrap();
    writer.append(&snapshot(next)).unwrap();
    assert_eq!(numbers_in(&disk.file()), [0, 1]);
}

/// The file reaches its size limit on a disk that has no space for another copy.
#[test]
fn a_file_at_its_bound_is_trimmed_on_a_full_disk() {
    let Some(disk) = is_root().then(|| Disk::tmpfs("size=320k")).flatten() else { return };
    let bounds = Bounds { max_bytes: 128 << 10, ..ROOMY };
    let (mut writer, _) = MetricsWriter::open(disk.file(), bounds).unwrap();
    let (mut next, mut n_trimmed, begun) = (0, 0, Instant::now());
    while n_trimmed < 3 {
        let before = numbers_in(&disk.file());
        match append_bulky(&mut writer, &mut next, 150) {
            Ok(()) => {
                let published = numbers_in(&disk.file());
                assert!(published.windows(2).all(|pair| pair[0] + 1 == pair[1]));
                assert_eq!(published.last(), Some(&(next - 1)));
                n_trimmed += u32::from(published.first() != before.first());
            }
            Err(error) if is_to_wait(&error) => wait(begun),
            Err(other) => panic!("{other:?}"),
        }
    }
}
