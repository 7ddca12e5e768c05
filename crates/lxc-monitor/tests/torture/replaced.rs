//! Others replace or remove the file while the monitor runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use lxc_autoscale_core::metrics_file::MetricsReader;

use crate::daemon::{Daemon, make_group, node};
use crate::fixture::Node;
use crate::python::PythonReader;

fn count(path: &Path) -> usize {
    serde_json::from_slice::<Vec<serde_json::Value>>(&fs::read(path).unwrap()).unwrap().len()
}

#[test]
fn whatever_stands_in_its_place_the_monitor_goes_on_and_loses_nothing() {
    type Replace = fn(&Node, &Path);
    let ways: [(&str, Replace); 8] = [
        ("removed", |_, file| fs::remove_file(file).unwrap()),
        ("emptied", |_, file| fs::write(file, "").unwrap()),
        ("overwritten", |_, file| fs::write(file, "{\"not\": \"ours\"}").unwrap()),
        ("a FIFO", |node, _| node.put_fifo("metrics.json")),
        ("a directory", |node, file| {
            fs::remove_file(file).unwrap();
            node.mkdir("metrics.json/inside");
        }),
        ("a link to a device", |_, file| {
            fs::remove_file(file).unwrap();
            symlink("/dev/zero", file).unwrap();
        }),
        ("a device", |_, file| {
            fs::remove_file(file).unwrap();
            // Only root can; a socket will do as well.
            if !Command::new("mknod").arg(file).args(["c", "1", "5"]).status().unwrap().success() {
                drop(std::os::unix::net::UnixListener::bind(file).unwrap());
            }
        }),
        ("another file", |node, file| {
            node.write("other", "[\n]\n");
            fs::rename(node.path("other"), file).unwrap();
        }),
    ];
    let node = node();
    let file = node.path("metrics.json");
    let mut daemon = Daemon::start(&node);
    daemon.wait_for_snapshots(3);
    for (what, replace) in ways {
        let before = count(&file);
        replace(&node, &file);
        daemon.wait_for_snapshots(3);
        assert!(daemon.is_alive(), "{what}");
        assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{what}");
        assert!(before + 2 <= count(&file), "{what}: snapshots are lost");
    }
}

#[test]
fn copies_and_lock_may_vanish() {
    let node = node();
    let file = node.path("metrics.json");
    let mut daemon = Daemon::start(&node);
    let python = PythonReader::start(&file, false);
    let mut reader = MetricsReader::new(&file);
    let mut seen = 0;
    for _ in 0..5 {
        daemon.wait_for_snapshots(2);
        for entry in fs::read_dir(node.path("")).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_string_lossy().starts_with(".metrics.json.") {
                // It may have been replaced or removed in the meantime.
                let _ = fs::remove_file(entry);
            }
        }
        daemon.wait_for_snapshots(2);
        seen += reader.read_new().unwrap().snapshots.len();
    }
    assert!(20 <= seen && daemon.is_alive());
    let (status, said) = Daemon::start(&node).end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(0 < python.finish());
}

#[test]
fn containers_that_vanish_while_they_are_read_cost_only_themselves() {
    let node = node();
    let file = node.path("metrics.json");
    let mut daemon = Daemon::start(&node);
    daemon.wait_for_snapshots(1);
    for round in 0..5 {
        // In pieces, so that some are incomplete when they are read.
        for part in ["cpu.stat", "cgroup.procs", "memory.current"] {
            for id in 102..106 {
                let _ = fs::remove_file(node.path(&format!("cgroup/lxc/{id}/{part}")));
            }
        }
        for id in 102..106 {
            let _ = fs::remove_dir_all(node.path(&format!("cgroup/lxc/{id}")));
        }
        daemon.wait_for_snapshots(1);
        for id in 102..106 {
            // Not the files shared by all: the kernel never shows half of them, as a file being rewritten would be.
            make_group(&node, id);
        }
        daemon.wait_for_snapshots(1);
        assert!(daemon.is_alive(), "round {round}");
    }
    let found = MetricsReader::new(&file).read_new().unwrap();
    assert!(found.unreadable.is_empty());
    for snapshot in found.snapshots {
        assert!(snapshot.containers.contains_key(&crate::fixture::vmid(101)), "{snapshot:?}");
    }
}

/// A disk that is full for a while; the measurements of that time are written when there is space again.
#[test]
fn a_full_disk_is_waited_out() {
    let node = node();
    node.mkdir("disk");
    let disk = node.path("disk");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&disk).output().unwrap();
    if !mounted.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&mounted.stderr));
        return;
    }
    let _unmount = Unmount(&disk);
    let config = fs::read_to_string(node.path("lxc_monitor.toml")).unwrap();
    let moved = config
        .replace(&node.path("metrics.json").display().to_string(), &format!("{}/m.json", disk.display()));
    node.write("lxc_monitor.toml", &moved);
    let file = disk.join("m.json");
    let mut daemon = Daemon::start(&node);
    daemon.wait_for_snapshots(3);
    let python = PythonReader::start(&file, false);
    fill(&disk);
    for _ in 0..3 {
        daemon.wait_for("not written");
    }
    assert!(daemon.is_alive() && 3 <= count(&file));
    fs::remove_file(disk.join("ballast")).unwrap();
    // The first of them is that of the cycle that could write again. That it can is said a minute later, if it could now
    // and then while the disk was full.
    daemon.wait_for_snapshots(3);
    // Three before, three refused and kept, two after.
    assert!(8 <= count(&file), "{}", count(&file));
    assert!(0 < python.finish());
}

/// Fills the disk.
fn fill(disk: &Path) {
    use std::io::Write;
    let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
