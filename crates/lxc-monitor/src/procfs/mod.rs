//! Reads `/proc`: the node, its network devices, and the first process of a container.

pub mod parse;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::IoStats;

use crate::block_devices::io_from_bytes;
use crate::cgroup;
use crate::kept_files::{KeptFile, KeptFiles};
use crate::kernel_file::{ReadError, read_parsed, read_text};
use crate::sample::{InitProcess, Missing, NodeSample, Reading};
use parse::NetworkDevices;

/// Most processes of one container whose I/O is read.
const MAX_PROCESSES: usize = 4096;

/// The first process of a container, with a cheap check that it still runs.
#[derive(Clone, Debug)]
pub struct Init {
    /// The process.
    pub process: InitProcess,
    /// A file of the process: once open, reading it fails after the process has ended, even if its pid is reused.
    witness: Option<Arc<KeptFile>>,
}

/// A `/proc`, real or not.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
}

impl Procfs {
    /// Takes the directory where it is mounted.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Containers whose command socket is open.
    ///
    /// # Errors
    /// When the table of sockets cannot be read.
    pub fn command_sockets(&self, files: &KeptFiles, lxc: &Path) -> Result<BTreeSet<Vmid>, ReadError> {
        let lxc = lxc.to_string_lossy();
        files.parsed_list(&*self.root, "net/unix", |text| Ok(parse::command_sockets(text, &lxc)))
    }

    /// Traffic of the node's network devices.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn network_devices(&self, files: &KeptFiles) -> Result<NetworkDevices, ReadError> {
        files.parsed_list(&*self.root, "net/dev", parse::network_devices)
    }

    /// Traffic of the network devices that a process sees.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn network_devices_of(&self, pid: u32) -> Result<NetworkDevices, ReadError> {
        read_parsed(&self.process(pid).join("net/dev"), parse::network_devices)
    }

    /// One look at the node, as far as `/proc` describes it; the layout of its CPUs is in sysfs.
    pub fn node(&self, files: &KeptFiles) -> NodeSample {
        let root = &*self.root;
        let arc = read_parsed(&self.root.join("spl/kstat/zfs/arcstats"), parse::arc);
        let load = files.parsed(root, "loadavg", |text| Ok(text.to_owned())).map_err(Missing::from);
        let load_path = self.root.join("loadavg");
        NodeSample {
            kernel: files
                .parsed(root, "sys/kernel/osrelease", |release| Ok(release.trim().to_owned()))
                .map_err(Missing::from),
            uptime_seconds: files.parsed(root, "uptime", parse::uptime_seconds).map_err(Missing::from),
            boot_id: files.parsed(root, "sys/kernel/random/boot_id", parse::boot_id).map_err(Missing::from),
            topology: Ok(None),
            threads: cgroup::from_text(&load_path, &load, parse::threads),
            paging: files.parsed_list(root, "vmstat", parse::vmstat).map_err(Missing::from),
            name: self.host_name(files).map_err(Missing::from),
            cpu: files.parsed_list(root, "stat", parse::cpu_time).map_err(Missing::from),
            load: cgroup::from_text(&load_path, &load, parse::load_averages),
            memory: files.parsed_list(root, "meminfo", parse::meminfo).map_err(Missing::from),
            zfs_arc: match arc {
                Err(error) if error.is_gone() => Ok(None),
                other => other.map(Some).map_err(Missing::from),
            },
            pressure: cgroup::read_pressure(
                files,
                self.root.join("pressure").as_path(),
                cgroup::NODE_PRESSURE,
            ),
        }
    }

    /// The node's name as Proxmox uses it: the host name without the domain.
    fn host_name(&self, files: &KeptFiles) -> Result<String, ReadError> {
        files.parsed(&*self.root, "sys/kernel/hostname", |name| {
            let name = name.trim();
            Ok(name.split_once('.').map_or(name, |(first, _)| first).to_owned())
        })
    }

    /// Finds the first process of a container among those of its group.
    ///
    /// # Errors
    /// Why it was not found.
    pub fn init_of(&self, files: &KeptFiles, group: &Path) -> Reading<Init> {
        let is_init = |pid| {
            read_text(&self.process(pid).join("status")).is_ok_and(|text| parse::is_container_init(&text))
        };
        let Some(pid) = cgroup::find_process(files, group, is_init)? else {
            return Err(Missing::because("none of the container's processes is its init"));
        };
        // The cheapest of all files to read. It is opened first: while it can be read, the pid has not passed to
        // another process, so that the start time is that of the same one.
        let witness = KeptFile::open(files.budget(), &self.process(pid).join("oom_score_adj")).map(Arc::new);
        Ok(Init { process: InitProcess { pid, start_ticks: self.start_ticks(pid)? }, witness })
    }

    /// Whether the process still runs, and its pid was not reused.
    pub fn is_still(&self, init: &Init) -> bool {
        init.witness.as_ref().is_some_and(|witness| witness.is_readable())
            || self.start_ticks(init.process.pid).is_ok_and(|ticks| ticks == init.process.start_ticks)
    }

    fn start_ticks(&self, pid: u32) -> Result<u64, ReadError> {
        read_parsed(&self.process(pid).join("stat"), parse::start_ticks)
    }

    /// Block I/O of a container as counted by its processes.
    ///
    /// The kernel adds a process's counters to the parent that waits for it, so init's include those of all that have
    /// ended in the container; a process whose parent ignores it is lost. Used if the control groups count nothing (see
    /// `cgroup::v1`).
    ///
    /// # Errors
    /// When a process may not be read, or there is none.
    pub fn io_of(&self, files: &KeptFiles, group: &Path) -> Reading<IoStats> {
        let (mut read_bytes, mut write_bytes) = (0_u64, 0_u64);
        let (mut processes, mut problem) = (0, None);
        cgroup::find_process(files, group, |pid| {
            processes += 1;
            // Not kept open: there may be thousands, and each would keep its process's entries in the kernel's memory.
            match read_parsed(&self.process(pid).join("io"), parse::process_io) {
                Ok((read, written)) => {
                    read_bytes = read_bytes.saturating_add(read);
                    write_bytes = write_bytes.saturating_add(written);
                }
                // It has ended; its parent has its counters now.
                Err(error) if error.is_gone() => {}
                Err(error) => problem = Some(error),
            }
            problem.is_some() || MAX_PROCESSES <= processes
        })?;
        match problem {
            Some(error) => Err(error.into()),
            None if processes == 0 => Err(Missing::because("the container has no processes to ask")),
            None => Ok(io_from_bytes(read_bytes, write_bytes)),
        }
    }

    /// The path of a process's root directory.
    pub fn root_of(&self, pid: u32) -> PathBuf {
        self.process(pid).join("root")
    }

    fn process(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string())
    }
}
