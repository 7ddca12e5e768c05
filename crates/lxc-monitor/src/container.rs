//! One look at one running container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::InterfaceTraffic;
use lxc_autoscale_core::table::Table;

use crate::block_devices::BlockDevices;
use crate::cgroup::{ContainerGroups, Depth, Hierarchy};
use crate::clock;
use crate::discovery::{self, Liveness};
use crate::full_look::FullLook;
use crate::kept_files::{HandleBudget, KeptFiles};
use crate::network;
use crate::procfs::{Init, Procfs};
use crate::sample::{BlockIo, ContainerSample, FilesystemUse, Missing, Reading};
use crate::zfs::Datasets;

/// What is read once in a cycle and needed for every container.
#[derive(Debug)]
pub struct NodeTables {
    /// The node's block devices.
    pub block_devices: Arc<BlockDevices>,
    /// What ZFS counts for the datasets of containers.
    pub datasets: Arc<Datasets>,
    /// Traffic of the node's network devices.
    pub network_devices: Reading<BTreeMap<String, InterfaceTraffic>>,
    /// Seconds since the node booted.
    pub uptime_seconds: Reading<f64>,
    /// Clock ticks in a second, the unit of process start times.
    pub ticks_per_second: u64,
    /// How long a full look may stand for a container that does not run; zero where every look is a full one.
    pub full_look_every: Duration,
}

/// What is kept of a running container from one look to the next.
#[derive(Debug)]
pub struct Known {
    groups: ContainerGroups,
    init: Option<Init>,
    files: KeptFiles,
    /// How much of it was read at the last look.
    depth: Depth,
    /// What stands for a container that has not run since.
    full_look: Option<Box<FullLook>>,
}

impl Known {
    /// Its first process.
    pub fn init(&self) -> Option<&Init> {
        self.init.as_ref()
    }

    /// Whether everything was read at the last look.
    pub fn was_read_in_full(&self) -> bool {
        self.depth == Depth::Full
    }

    /// Keeps what was read of its root filesystem for the next quiet looks.
    pub fn keep_filesystem(&mut self, filesystem: FilesystemUse) {
        if let Some(full_look) = &mut self.full_look {
            full_look.set_filesystem(filesystem);
        }
    }
}

/// What came of looking at one container.
#[derive(Debug)]
pub enum Look {
    /// It runs.
    Measured(Box<ContainerSample>, Known),
    /// It does not.
    Stopped,
    /// It cannot be told running or stopped.
    Unclear(&'static str),
    /// It ended while it was looked at.
    Vanished,
}

/// What is needed to look at one container.
#[derive(Debug)]
pub struct Task {
    /// Which one.
    pub vmid: Vmid,
    /// Whether its command socket is open; `None` where that is not known.
    pub socket: Option<bool>,
    /// What Proxmox stores about it.
    pub configuration: Reading<Option<Arc<ContainerConfig>>>,
    /// What the last look left behind.
    pub known: Option<Known>,
}

/// Finds out whether a container runs and reads everything but its filesystem.
pub fn look(
    procfs: &Procfs,
    hierarchy: &Hierarchy,
    tables: &NodeTables,
    budget: &Arc<HandleBudget>,
    mut task: Task,
) -> Look {
    if task.socket != Some(false)
        && let Some(known) = task.known.take()
    {
        let configuration = task.configuration.clone();
        if let Ok(sample) = read(procfs, tables, task.vmid, known, configuration, Proof::Init) {
            return sample;
        }
    }
    match discovery::liveness(task.socket, hierarchy.container(task.vmid)) {
        Liveness::Running(groups) => {
            let files = KeptFiles::new(budget);
            let known = Known { groups, init: None, files, depth: Depth::Full, full_look: None };
            read(procfs, tables, task.vmid, known, task.configuration, Proof::Processes)
                .unwrap_or(Look::Vanished)
        }
        Liveness::Stopped => Look::Stopped,
        Liveness::Unclear(why) => Look::Unclear(why),
    }
}

/// What shows, once everything was read, that the container still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The init of the last look still runs, and what it needs could be read.
    Init,
    /// Its groups have processes.
    Processes,
}

/// It does not run any more, or not as it did.
struct NotProved;

fn read(
    procfs: &Procfs,
    tables: &NodeTables,
    vmid: Vmid,
    mut known: Known,
    configuration: Reading<Option<Arc<ContainerConfig>>>,
    proof: Proof,
) -> Result<Look, NotProved> {
    let at = clock::now();
    let (groups, files) = (&known.groups, &known.files);
    let every = tables.full_look_every;
    let last = known.full_look.take().filter(|last| last.holds(vmid, at.since_boot, every, &configuration));
    let last_groups = last.as_deref().map(FullLook::cgroup);
    let (mut cgroup, depth) = groups.read(files, &tables.block_devices, last_groups, clock::now);
    let processes = groups.process_group().ok_or(NotProved)?;
    cgroup.io = match groups {
        // With what was added to it then.
        _ if depth == Depth::Quiet => cgroup.io,
        // Here a group without I/O may be one that the kernel does not count (see `cgroup::v1`).
        ContainerGroups::V1 { .. } => tables.datasets.add_to(cgroup.io, vmid, |_| {
            procfs.io_of(files, processes).map(|total| BlockIo { total, devices: Table::default() })
        }),
        ContainerGroups::V2(_) => cgroup.io.and_then(|io| tables.datasets.add_to(Ok(io), vmid, Err)),
    };
    let init = match (proof, known.init.take()) {
        (Proof::Init, Some(init)) if procfs.is_still(&init) && cgroup.cpu.is_ok() => Ok(init),
        (Proof::Init, _) => return Err(NotProved),
        (Proof::Processes, _) => procfs.init_of(files, processes),
    };
    let (init, init_files) = match init {
        Ok(init) => (Ok(init.process), Some(init)),
        Err(missing) => (Err(missing), None),
    };
    let network = network::read(procfs, &tables.network_devices, vmid, &init);
    // Files that went away under our hands say nothing about a container that still runs.
    if proof == Proof::Processes && (!groups.exist() || groups.is_populated() == Some(false)) {
        return Err(NotProved);
    }
    let uptime_seconds = match (&init, &tables.uptime_seconds) {
        (Ok(init), Ok(node_uptime)) => {
            let started = init.start_ticks as f64 / tables.ticks_per_second as f64;
            // Both are known to a hundredth of a second.
            Ok(((node_uptime - started).max(0.0) * 100.0).round() / 100.0)
        }
        (Err(missing), _) | (_, Err(missing)) => Err(missing.clone()),
    };
    (known.init, known.depth) = (init_files, depth);
    let mut filesystem = Err(Missing::because("not read yet"));
    if depth == Depth::Quiet {
        if let Some(seen) = last.as_ref().and_then(|last| last.filesystem()) {
            filesystem = Ok(seen);
        }
        known.full_look = last;
    } else {
        known.full_look = (!every.is_zero())
            .then(|| Box::new(FullLook::new(at.since_boot, cgroup.clone(), configuration.clone())));
        known.files.end_of_look();
    }
    let sample = ContainerSample { at, cgroup, init, uptime_seconds, network, filesystem, configuration };
    Ok(Look::Measured(Box::new(sample), known))
}
