//! One look at one running container.

use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_autoscale_core::table::Table;

use crate::block_devices::BlockDevices;
use crate::cgroup::{ContainerGroups, Depth, GroupLook, Hierarchy};
use crate::clock;
use crate::discovery::{self, Liveness};
use crate::full_look::FullLook;
use crate::kept_files::{HandleBudget, KeptFiles};
use crate::kernel_gaps::CgroupVersion;
use crate::network;
use crate::procfs::parse::NetworkDevices;
use crate::procfs::{Init, Procfs};
use crate::sample::{BlockIo, ContainerSample, FilesystemUse, IoCounts, IoPlace, Missing, Reading};
use crate::usage::{self, Baseline, NodeFacts};
use crate::zfs::Datasets;

/// What is read once in a cycle and needed for every container.
#[derive(Debug)]
pub struct NodeTables {
    /// The node's block devices.
    pub block_devices: Arc<BlockDevices>,
    /// What ZFS counts for the datasets of containers.
    pub datasets: Arc<Datasets>,
    /// Traffic of the node's network devices.
    pub network_devices: Reading<NetworkDevices>,
    /// Seconds since the node booted.
    pub uptime_seconds: Reading<f64>,
    /// What the records need of the node.
    pub facts: NodeFacts,
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
    Measured(Measured, Known),
    /// It does not.
    Stopped,
    /// It cannot be told running or stopped.
    Unclear(&'static str),
    /// It ended while it was looked at.
    Vanished,
}

/// What was measured of one container.
#[derive(Debug)]
pub enum Measured {
    /// All of it.
    Whole {
        /// Its record.
        record: Box<ContainerRecord>,
        /// What its next rates need.
        baseline: Arc<Baseline>,
    },
    /// All but its root filesystem, which may hang when the rest does not and is read apart.
    ButFilesystem(Box<ContainerSample>),
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
    /// What the rates need of the last sample.
    pub previous: Option<Arc<Baseline>>,
    /// What the last look left behind.
    pub known: Option<Known>,
}

/// Finds out whether a container runs and reads everything but its filesystem.
pub fn look(
    procfs: &Procfs,
    hierarchy: &Arc<Hierarchy>,
    tables: &NodeTables,
    budget: &Arc<HandleBudget>,
    mut task: Task,
) -> Look {
    if task.socket != Some(false)
        && let Some(known) = task.known.take()
        && let Ok(look) = read(procfs, tables, &task, known, Proof::Init)
    {
        return look;
    }
    match discovery::liveness(task.socket, hierarchy.container(task.vmid)) {
        Liveness::Running(groups) => {
            let files = KeptFiles::new(budget);
            let known = Known { groups, init: None, files, depth: Depth::Full, full_look: None };
            read(procfs, tables, &task, known, Proof::Processes).unwrap_or(Look::Vanished)
        }
        Liveness::Stopped => Look::Stopped,
        Liveness::Unclear(why) => Look::Unclear(why),
    }
}

/// The I/O by what the processes did, as at the looks before, where devices have begun to count as well: on version 1 those
/// have what was direct or synchronous alone, and nobody could tell what of it the processes had counted already.
fn by_processes(io: BlockIo, of_processes: impl FnOnce() -> Reading<IoCounts>) -> BlockIo {
    let is_of_devices = match &io.counts {
        IoCounts::Parts(parts) => parts.iter().all(|part| matches!(part.place, IoPlace::Device(_))),
        IoCounts::Processes(_) => false,
    };
    match is_of_devices.then(of_processes) {
        Some(Ok(counts)) => BlockIo { counts, ..io },
        Some(Err(_)) | None => io,
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
    task: &Task,
    mut known: Known,
    proof: Proof,
) -> Result<Look, NotProved> {
    let (vmid, configuration) = (task.vmid, &task.configuration);
    let at = clock::now();
    let (groups, files) = (&known.groups, &known.files);
    let every = tables.full_look_every;
    let last = known.full_look.take().filter(|last| last.holds(vmid, at.since_boot, every, configuration));
    let last_groups = last.as_deref().map(FullLook::cgroup);
    let GroupLook { sample: mut cgroup, pressure, depth } =
        groups.read(files, &tables.block_devices, last_groups, clock::now).ok_or(NotProved)?;
    let processes = groups.process_group().ok_or(NotProved)?;
    cgroup.io = match groups.version() {
        // With what was added to it then.
        _ if depth == Depth::Quiet => cgroup.io,
        // Here a group without I/O may be one that the kernel does not count (see `cgroup::v1`).
        CgroupVersion::V1 => {
            let of_processes = || procfs.io_of(files, &processes.path()).map(IoCounts::Processes);
            let io = tables.datasets.add_to(cgroup.io, vmid, |_| {
                of_processes().map(|counts| BlockIo { counts, devices: Table::default() })
            });
            let goes_on = task.previous.as_deref().is_some_and(Baseline::is_of_processes);
            io.map(|io| if goes_on { by_processes(io, of_processes) } else { io })
        }
        CgroupVersion::V2 => cgroup.io.and_then(|io| tables.datasets.add_to(Ok(io), vmid, Err)),
    };
    let init = match (proof, known.init.take()) {
        (Proof::Init, Some(init)) if procfs.is_still(&init) && cgroup.cpu.is_ok() => Ok(init),
        (Proof::Init, _) => return Err(NotProved),
        (Proof::Processes, _) => procfs.init_of(files, &processes.path()),
    };
    let (init, init_files) = match init {
        Ok(init) => (Ok(init.process), Some(init)),
        Err(missing) => (Err(missing), None),
    };
    let before = task.previous.as_deref().and_then(Baseline::interfaces);
    let network = network::read(procfs, &tables.network_devices, vmid, &init, before);
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
    let seen = last.as_ref().filter(|_| depth == Depth::Quiet).and_then(|last| last.filesystem());
    let filesystem = match (&init, seen) {
        (Ok(_), Some(seen)) => Some(Ok(seen)),
        (Ok(_), None) => None,
        (Err(missing), _) => Some(Err(missing.clone())),
    };
    if depth == Depth::Quiet {
        known.full_look = last;
    } else {
        known.full_look = (!every.is_zero())
            .then(|| Box::new(FullLook::new(at.since_boot, cgroup.clone(), configuration.clone())));
        known.files.end_of_look();
    }
    let sample = |filesystem| {
        let configuration = configuration.clone();
        ContainerSample { at, cgroup, pressure, init, uptime_seconds, network, filesystem, configuration }
    };
    let measured = match filesystem {
        Some(filesystem) => {
            let sample = sample(filesystem);
            let previous = usage::placed(task.previous.as_ref(), &sample.cgroup.io, &tables.block_devices);
            let (record, baseline) = usage::container_record(previous.as_deref(), sample, tables.facts);
            Measured::Whole { record: record.into(), baseline: baseline.into() }
        }
        None => Measured::ButFilesystem(sample(Err(Missing::because("not read yet"))).into()),
    };
    Ok(Look::Measured(measured, known))
}
