//! One look at one running container.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::InterfaceTraffic;

use crate::block_devices::BlockDevices;
use crate::cgroup::ContainerGroups;
use crate::clock;
use crate::network;
use crate::procfs::Procfs;
use crate::sample::{BlockIo, ContainerSample, InitProcess, Missing, Reading};
use crate::zfs::Datasets;

/// What is read once in a cycle and needed for every container.
#[derive(Debug)]
pub struct NodeTables {
    /// The node's block devices.
    pub block_devices: BlockDevices,
    /// What ZFS counts for the datasets of containers.
    pub datasets: Datasets,
    /// Traffic of the node's network devices.
    pub network_devices: Reading<BTreeMap<String, InterfaceTraffic>>,
    /// Seconds since the node booted.
    pub uptime_seconds: Reading<f64>,
    /// Clock ticks in a second, the unit of process start times.
    pub ticks_per_second: u64,
}

/// Reads everything but the filesystem; `None` when the container vanished meanwhile.
pub fn read(
    procfs: &Procfs,
    tables: &NodeTables,
    vmid: Vmid,
    groups: &ContainerGroups,
    configuration: Reading<Option<ContainerConfig>>,
    hint: Option<InitProcess>,
) -> Option<ContainerSample> {
    let at = clock::now();
    let mut cgroup = groups.read(&tables.block_devices, clock::now);
    let processes = groups.process_group()?;
    cgroup.io = match groups {
        // Here a group without I/O may be one that the kernel does not count (see `cgroup::v1`).
        ContainerGroups::V1 { .. } => tables.datasets.add_to(cgroup.io, vmid, |_| {
            procfs.io_of(processes).map(|total| BlockIo { total, devices: BTreeMap::new() })
        }),
        ContainerGroups::V2(_) => cgroup.io.and_then(|io| tables.datasets.add_to(Ok(io), vmid, Err)),
    };
    let init = procfs.init_of(processes, hint);
    let network = network::read(procfs, &tables.network_devices, vmid, &init);
    // Files that went away under our hands say nothing about a container that still runs.
    if !groups.exist() || groups.is_populated() == Some(false) {
        return None;
    }
    let uptime_seconds = match (&init, &tables.uptime_seconds) {
        (Ok(init), Ok(node_uptime)) => {
            let started = init.start_ticks as f64 / tables.ticks_per_second as f64;
            // Both are known to a hundredth of a second.
            Ok(((node_uptime - started).max(0.0) * 100.0).round() / 100.0)
        }
        (Err(missing), _) | (_, Err(missing)) => Err(missing.clone()),
    };
    Some(ContainerSample {
        at,
        cgroup,
        init,
        uptime_seconds,
        network,
        filesystem: Err(Missing::because("not read yet")),
        configuration,
    })
}
