//! A disk that hangs delays the next cycle, but neither scrapes nor the watchdog.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_e2e::http::get;

use crate::program::{Daemon, PROGRAM, node};

/// An ext4 file system in a file; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` if it cannot be mounted.
    fn mount(image: &Path, root: PathBuf) -> Option<Self> {
        File::create(image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir_all(&root).unwrap();
        let made = ran(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image));
        (made && ran(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&root))).then_some(Self(root))
    }

    fn freeze(&self) -> Option<Frozen<'_>> {
        ran(Command::new("fsfreeze").arg("--freeze").arg(&self.0)).then_some(Frozen(self))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        ran(Command::new("umount").arg(&self.0));
    }
}

/// While it exists, every write to the disk blocks.
struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        ran(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0.0));
    }
}

fn ran(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_disk_that_hangs_holds_up_neither_scrapes_nor_the_watchdog() {
    let node = node();
    let Some(disk) = Disk::mount(&node.path("disk.img"), node.path("disk")) else {
        println!("skipped: a file system cannot be made and mounted here");
        return;
    };
    let text = std::fs::read_to_string(node.config_file()).unwrap();
    let (usual, file) = (node.path("metrics.json"), node.path("disk/metrics.json"));
    let text = text.replace(&usual.display().to_string(), &file.display().to_string());
    node.write("lxc_monitor.toml", &text);
    let manager = UnixDatagram::bind(node.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(node.path("lxc_monitor.toml"));
    command
        .env("NOTIFY_SOCKET", node.path("notify"))
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID");
    let mut daemon = Daemon::of(command);
    daemon.wait_for("metrics for Prometheus are at http://");
    daemon.wait_for("measured 1 running container");

    let Some(frozen) = disk.freeze() else {
        println!("skipped: fsfreeze does not work here");
        return;
    };
    // Its cycles end, each with one log line, and it notifies the watchdog.
    let mut in_a_row = 0;
    while in_a_row < 10 {
        let mut said = [0; 4096];
        let length = manager.recv(&mut said).unwrap();
        in_a_row = if said[..length].starts_with(b"WATCHDOG=1") { in_a_row + 1 } else { 0 };
    }
    let address = std::fs::read_to_string(node.path("exporter.address")).unwrap().trim().parse().unwrap();
    let answer = get(address, "/metrics", "");
    assert!(answer.status == 200 && answer.body.contains("lxc_monitor_"), "{answer:?}");
    drop(frozen);

    daemon.wait_for("measured 1 running container");
    daemon.wait_for("measured 1 running container");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
    assert!(!log.contains("not written"), "{log}");
    let found = MetricsReader::new(&file).read_new().unwrap();
    assert_eq!(found.snapshots.len(), log.matches("measured 1 running container").count());
    drop(daemon);
}
