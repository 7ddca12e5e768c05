//! The result of one look at a container or at the node: raw counters and gauges, nothing derived.
//!
//! Every value is a [`Reading`]: the value, or the reason why it is missing. [`crate::usage`] computes rates and
//! records from two samples.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::container_config::ContainerConfig;
pub use lxc_autoscale_core::missing::Missing;
pub use lxc_autoscale_core::procfs::{NodeCpuTime, NodeMemory};
use lxc_autoscale_core::snapshot::{
    CpuTopology, DeviceIo, InterfaceTraffic, IoStats, MemoryEvents, MemorySwapEvents, NetworkUsage, Paging,
    PidsEvents, Pressure, Throttling,
};
use lxc_autoscale_core::table::Table;
use lxc_autoscale_core::{BootId, ErrorChain};

use crate::kernel_file::ReadError;

impl From<ReadError> for Missing {
    fn from(error: ReadError) -> Self {
        ErrorChain(&error).to_string().into()
    }
}

/// A value, or why there is none.
pub type Reading<T> = Result<T, Missing>;

/// One instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, which may be set.
    pub wall: Timestamp,
    /// Time since boot, suspended time included (`CLOCK_BOOTTIME`), which cannot be set.
    pub since_boot: Duration,
}

/// CPU time used so far, and when exactly that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    /// Cumulative, in microseconds.
    pub usage_usec: u64,
    /// The middle of the time the read took.
    pub at: Moment,
    /// How long the read took; the time of the counter is uncertain by this much.
    pub read_took: Duration,
}

/// The memory charged to a container, in bytes, including its subtree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The total.
    pub current: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Page cache, including shared memory and tmpfs.
    pub file: u64,
    /// Shared memory and tmpfs.
    pub shmem: u64,
    /// File pages that were not used recently.
    pub inactive_file: u64,
    /// File pages in active use.
    pub active_file: u64,
    /// Modified file pages that are not on disk yet.
    pub dirty: u64,
    /// File pages being written to disk.
    pub writeback: u64,
}

impl MemoryUse {
    /// The memory the container needs: everything charged to it, less the page cache that can be reclaimed.
    ///
    /// The kernel can reclaim at once what is on the two file LRU lists and clean: `inactive_file + active_file -
    /// file_dirty - file_writeback` (Documentation/admin-guide/cgroup-v2.rst, `memory.stat`; on v1 the `total_` fields
    /// of the same names). Shared memory and tmpfs are on the *anon* lists because only swap could take them
    /// (mm/shmem.c, `folio_is_file_lru`), locked pages are on the unevictable list, so neither is mistaken for cache.
    ///
    /// The active list counts as cache: a page is put there when it is read a second time, and stays until there is
    /// pressure, so that a nightly backup alone would otherwise look like a need for memory. The cost of evicting it
    /// shows in `paging.refault_file` and in the pressure, which are recorded separately. Reclaimable slab counts as
    /// needed, because whether it can be freed is known only by trying.
    pub fn working_set(&self) -> u64 {
        let cache = self.inactive_file.saturating_add(self.active_file);
        let droppable = cache.saturating_sub(self.dirty).saturating_sub(self.writeback);
        // `memory.stat` may be up to two seconds behind `memory.current`: cache that was just evicted must not be
        // subtracted from memory that is not cache.
        let not_cache = self.anon.saturating_add(self.shmem).min(self.current);
        self.current.saturating_sub(droppable).max(not_cache)
    }
}

/// Pressure of the three resources; `None` if the kernel has none.
#[derive(Clone, Debug, PartialEq)]
pub struct PressureReadings {
    /// Tasks waiting for a CPU.
    pub cpu: Reading<Option<Pressure>>,
    /// Tasks waiting for memory.
    pub memory: Reading<Option<Pressure>>,
    /// Tasks waiting for I/O.
    pub io: Reading<Option<Pressure>>,
}

impl PressureReadings {
    /// The readings if the kernel has no pressure stall information.
    pub const NONE: Self = Self { cpu: Ok(None), memory: Ok(None), io: Ok(None) };
}

/// The block I/O of a container, as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockIo {
    /// What makes up its total.
    pub counts: IoCounts,
    /// By the name of the device, without idle and excluded ones.
    pub devices: Table<DeviceIo>,
}

/// What makes up the total of a container's block I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoCounts {
    /// Devices and datasets, those included that are not counted.
    Parts(Arc<[IoPart]>),
    /// What its processes did, where the kernel counts nothing else; it falls when one of them ends.
    Processes(IoStats),
}

/// The I/O of a container at one device or dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoPart {
    /// Where.
    pub place: IoPlace,
    /// What it adds to.
    pub counted: CountedAs,
    /// The counters.
    pub io: DeviceIo,
}

/// A device or dataset, whatever its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoPlace {
    /// A block device by its numbers. The kernel counts apart for each container, from zero.
    Device((u32, u32)),
    /// A dataset of ZFS by the file of its counters, which count since it was mounted, for whoever uses it.
    Dataset(Arc<Path>),
}

/// What a part of the I/O adds to, so that each byte counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedAs {
    /// To the sum of the disks.
    Disk,
    /// To that of the loop devices: the larger one of these two sums counts.
    Loop,
    /// To that of the datasets, which counts beside them.
    Dataset,
    /// To nothing: excluded, or counted at the devices below.
    Nothing,
}

/// The network traffic of a container since it started, in its own directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// All of it.
    pub total: NetworkUsage,
    /// By the name of the device.
    pub interfaces: Table<InterfaceTraffic>,
}

/// The values of a container's control groups except its pressure, which is read at each look and never reused.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupSample {
    /// CPU time used.
    pub cpu: Reading<CpuTime>,
    /// Throttling by the CPU quota.
    pub throttling: Reading<Throttling>,
    /// CPU quota in cores; `None` without one.
    pub quota_cores: Reading<Option<f64>>,
    /// CPUs in the effective cpuset; `None` if no cpuset restricts the container.
    pub cpuset_cpus: Reading<Option<u32>>,
    /// Memory in use.
    pub memory: Reading<MemoryUse>,
    /// Memory limit in bytes; `None` without one.
    pub memory_limit: Reading<Option<u64>>,
    /// Swap in use, in bytes.
    pub swap: Reading<u64>,
    /// Swap limit in bytes; `None` without one.
    pub swap_limit: Reading<Option<u64>>,
    /// Cumulative memory events.
    pub memory_events: Reading<MemoryEvents>,
    /// Cumulative swap events; `None` if the kernel counts none.
    pub memory_swap_events: Reading<Option<MemorySwapEvents>>,
    /// Cumulative paging counters.
    pub paging: Reading<Paging>,
    /// Processes and threads.
    pub pids: Reading<u64>,
    /// Limit of the same; `None` without one.
    pub pids_limit: Reading<Option<u64>>,
    /// Cumulative events of that limit; `None` if the kernel counts none for the container as a whole.
    pub pids_events: Reading<Option<PidsEvents>>,
    /// Cumulative block I/O.
    pub io: Reading<BlockIo>,
}

/// The first process of a container, as the node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProcess {
    /// Process id on the node.
    pub pid: u32,
    /// Clock ticks from the node's boot to its start; together with the pid it identifies one process for ever.
    pub start_ticks: u64,
}

/// The inodes of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeUse {
    /// All of them.
    pub total: u64,
    /// In use.
    pub used: u64,
}

/// The root filesystem of a container, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesystemUse {
    /// Size.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// Space still available to ordinary processes.
    pub available: u64,
    /// Inodes; `None` if their number is not fixed.
    pub inodes: Option<InodeUse>,
    /// Whether it is a ZFS dataset, whose I/O is charged to no control group (see [`crate::zfs`]).
    pub is_zfs: bool,
}

/// One look at one running container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSample {
    /// When.
    pub at: Moment,
    /// The values of its control groups.
    pub cgroup: CgroupSample,
    /// Its pressure.
    pub pressure: PressureReadings,
    /// Its first process.
    pub init: Reading<InitProcess>,
    /// Seconds since its first process started.
    pub uptime_seconds: Reading<f64>,
    /// Cumulative traffic, in the container's directions.
    pub network: Reading<Traffic>,
    /// Its root filesystem.
    pub filesystem: Reading<FilesystemUse>,
    /// Its configuration in Proxmox; `None` on a node without Proxmox.
    pub configuration: Reading<Option<Arc<ContainerConfig>>>,
}

/// ZFS's cache (ARC), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArcUse {
    /// Its size.
    pub size: u64,
    /// Size below which it does not shrink.
    pub min: u64,
    /// Size to which it may grow.
    pub max: u64,
}

/// Cumulative counters of the whole node's memory management (`/proc/vmstat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodePaging {
    /// Paging.
    pub paging: Paging,
    /// Processes killed by the OOM killer; `None` before Linux 4.13.
    pub oom_kill: Option<u64>,
}

/// One look at the node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSample {
    /// Its host name, without the domain.
    pub name: Reading<String>,
    /// Release of its kernel.
    pub kernel: Reading<String>,
    /// Seconds since it booted.
    pub uptime_seconds: Reading<f64>,
    /// Which boot that is since.
    pub boot_id: Reading<BootId>,
    /// CPU time.
    pub cpu: Reading<NodeCpuTime>,
    /// The layout of its CPUs; `None` if the kernel does not provide it.
    pub topology: Reading<Option<Arc<CpuTopology>>>,
    /// The 1, 5 and 15 minute load averages.
    pub load: Reading<[f64; 3]>,
    /// Processes and threads.
    pub threads: Reading<u64>,
    /// Memory and swap.
    pub memory: Reading<NodeMemory>,
    /// Paging.
    pub paging: Reading<NodePaging>,
    /// ZFS's cache; `None` without ZFS.
    pub zfs_arc: Reading<Option<ArcUse>>,
    /// Pressure of the whole node.
    pub pressure: PressureReadings,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(memory: MemoryUse, want_mib: u64) {
        assert_eq!(memory.working_set() / MIB, want_mib, "{memory:?}");
    }

    #[test]
    fn clean_cache_is_dropped_on_either_list_and_everything_else_counts() {
        let busy = MemoryUse { current: 500 * MIB, anon: 200 * MIB, ..MemoryUse::default() };
        check(busy, 500);
        check(MemoryUse { file: 300 * MIB, inactive_file: 300 * MIB, ..busy }, 200);
        check(MemoryUse { file: 300 * MIB, active_file: 300 * MIB, ..busy }, 200);
        check(MemoryUse { file: 300 * MIB, inactive_file: 300 * MIB, dirty: 100 * MIB, ..busy }, 300);
        check(MemoryUse { file: 300 * MIB, inactive_file: 300 * MIB, writeback: 50 * MIB, ..busy }, 250);
        // tmpfs counts as `file` and `shmem`, and is on no file list.
        check(MemoryUse { file: 300 * MIB, shmem: 300 * MIB, ..busy }, 500);
    }

    #[test]
    fn a_list_that_runs_ahead_of_the_total_gives_zero_at_least() {
        check(MemoryUse { current: MIB, inactive_file: 2 * MIB, ..MemoryUse::default() }, 0);
        check(MemoryUse { current: MIB, inactive_file: MIB, dirty: 2 * MIB, ..MemoryUse::default() }, 1);
    }

    #[test]
    fn cache_that_is_gone_already_is_not_taken_off_the_rest() {
        let behind = MemoryUse { current: 60 * MIB, inactive_file: 100 * MIB, ..MemoryUse::default() };
        check(MemoryUse { anon: 30 * MIB, shmem: 20 * MIB, ..behind }, 50);
        check(MemoryUse { anon: 80 * MIB, ..behind }, 60);
    }
}
