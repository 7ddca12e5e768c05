//! The real `lxc-monitor`, reading this machine's own files, with a configuration directory of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_autoscale_core::{RecordTime, Vmid};
use lxc_autoscale_e2e::{Process, binary, eventually, output};

/// The locations of the test's containers, and the configuration of the monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    directory: PathBuf,
}

impl Monitor {
    pub(crate) fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory.join("pve/lxc")).unwrap();
        Self { directory: directory.to_owned() }
    }

    /// LXC's directory, in which the containers are created.
    pub(crate) fn containers(&self) -> PathBuf {
        self.directory.join("lxc")
    }

    /// Writes the configuration that Proxmox would have for a container.
    pub(crate) fn configure(&self, id: u32, text: &str) {
        fs::write(self.directory.join(format!("pve/lxc/{id}.conf")), text).unwrap();
    }

    fn config(&self, name: &str, interval_seconds: f64) -> PathBuf {
        let path = self.directory.join(format!("{name}.toml"));
        let below = |name: &str| self.directory.join(name).display().to_string();
        let text = format!(
            "interval_seconds = {interval_seconds:?}\n[paths]\npve = '{}'\nlxc = '{}'\n[output]\nfile = '{}'\n\
             [alerts]\nstate_file = '{}'\n[notifications]\ndirectory = ''\n[logging]\nfile = ''\n",
            below("pve"),
            below("lxc"),
            below(&format!("{name}.json")),
            below(&format!("{name}.alerts.json")),
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// One snapshot now.
    pub(crate) fn once(&self) -> Snapshot {
        let mut command = Command::new(binary("lxc-monitor"));
        command.arg("--config").arg(self.config("once", 1.0)).args(["once", "--interval-ms", "10"]);
        let done = output(&mut command);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// The daemon, measuring at this interval.
    pub(crate) fn run(&self, name: &str, interval_seconds: f64) -> Daemon {
        let mut command = Command::new(binary("lxc-monitor"));
        command.arg("--config").arg(self.config(name, interval_seconds)).arg("run");
        let log = self.directory.join(format!("{name}.log"));
        let process = Process::start(&mut command, &log);
        Daemon { process, file: self.directory.join(format!("{name}.json")) }
    }
}

/// A running `lxc-monitor run`.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Process,
    file: PathBuf,
}

impl Daemon {
    /// All snapshots in the current metrics file, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        match fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Err(_) => Vec::new(),
        }
    }

    /// Waits until there are `n` snapshots.
    pub(crate) fn wait_for(&self, n: usize) -> Vec<Snapshot> {
        eventually("the monitor measures", Duration::from_mins(3), || {
            let snapshots = self.snapshots();
            (n <= snapshots.len()).then_some(snapshots)
        })
    }

    pub(crate) fn stop(mut self) {
        let status = self.process.stop();
        assert!(status.success(), "lxc-monitor: {status}");
    }
}

/// The record of one container.
pub(crate) fn record(snapshot: &Snapshot, id: u32) -> &ContainerRecord {
    let record = snapshot.containers.get(&Vmid::try_from(id).unwrap());
    record.unwrap_or_else(|| panic!("container {id} was not measured: {snapshot:?}"))
}

/// Microseconds since 1970.
pub(crate) fn usec(time: RecordTime) -> f64 {
    time.as_seconds() * 1e6
}
