//! What the kernel tells about a container or the node, field by field.

use serde::{Deserialize, Serialize};

/// Cumulative block I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IoStats {
    /// Sectors of 512 bytes read (the unit of the original).
    pub reads: u64,
    /// Sectors of 512 bytes written.
    pub writes: u64,
    /// Read operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ops: Option<u64>,
    /// Write operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_ops: Option<u64>,
}

/// Cumulative network traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkUsage {
    /// Bytes the container received.
    pub rx_bytes: u64,
    /// Bytes the container sent.
    pub tx_bytes: u64,
}

/// Cumulative block I/O at one device (`io.stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceIo {
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Read operations.
    pub rios: u64,
    /// Write operations.
    pub wios: u64,
}

/// Cumulative traffic of one network device, in the container's directions (`/proc/net/dev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InterfaceTraffic {
    /// Bytes the container received.
    pub rx_bytes: u64,
    /// Packets the container received.
    pub rx_packets: u64,
    /// Packets to the container with errors.
    pub rx_errors: u64,
    /// Packets to the container that were dropped.
    pub rx_dropped: u64,
    /// Bytes the container sent.
    pub tx_bytes: u64,
    /// Packets the container sent.
    pub tx_packets: u64,
    /// Packets from the container with errors.
    pub tx_errors: u64,
    /// Packets from the container that were dropped.
    pub tx_dropped: u64,
}

/// Cumulative counters of CPU bandwidth control (`cpu.stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Throttling {
    /// Enforcement periods that had elapsed.
    pub nr_periods: u64,
    /// Periods in which the limit was hit.
    pub nr_throttled: u64,
    /// Time for which tasks were held back, in microseconds.
    pub throttled_usec: u64,
}

/// Limits in force in the kernel; an absent one is unlimited or unknown (which `missing` tells).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// The most cores that the container may use: the smaller of quota, cpuset and the node's CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<f64>,
    /// The quota alone (`cpu.max`), in cores; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_cores: Option<f64>,
    /// CPUs in the effective cpuset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_cores: Option<u32>,
    /// Memory limit, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
    /// Swap limit, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_mb: Option<f64>,
    /// Process limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// The parts of a container's memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryBreakdown {
    /// All memory charged to the container (`memory.current`).
    pub current_mb: f64,
    /// Anonymous memory.
    pub anon_mb: f64,
    /// Page cache, including shared memory and tmpfs (`memory.stat: file`).
    pub file_mb: f64,
    /// Shared memory and tmpfs.
    pub shmem_mb: f64,
    /// Page cache that the kernel has not seen used recently (`inactive_file`).
    pub inactive_file_mb: f64,
    /// Page cache in active use (`active_file`).
    pub active_file_mb: f64,
    /// File pages that are not on disk yet.
    pub dirty_mb: f64,
}

/// Cumulative memory events of a container and its subtree (`memory.events`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryEvents {
    /// Times memory below `memory.low` was reclaimed all the same; absent on cgroup v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<u64>,
    /// Times `memory.high` throttled and reclaimed; absent on cgroup v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<u64>,
    /// Times the limit was hit.
    pub max: u64,
    /// Times reclaim at the limit failed; absent on cgroup v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<u64>,
    /// Processes killed by the OOM killer; absent if the kernel does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kill: Option<u64>,
    /// Times a whole group was killed (`memory.oom.group`); absent on cgroup v1 and before Linux 5.17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_group_kill: Option<u64>,
}

/// Cumulative swap events of a container and its subtree (`memory.swap.events`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemorySwapEvents {
    /// Times swap use was above `memory.swap.high`; absent before Linux 5.8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<u64>,
    /// Times the swap limit was hit.
    pub max: u64,
    /// Times swap was wanted but not available, because of the limit or because the node's swap was full.
    pub fail: u64,
}

/// Cumulative events of the process limit (`pids.events`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PidsEvents {
    /// Times a process or thread could not be started because of the limit, in the container or below it.
    pub max: u64,
}

/// Cumulative paging counters, in pages (`memory.stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Paging {
    /// Page-cache pages read again after they were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refault_file: Option<u64>,
    /// Anonymous pages read back from swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refault_anon: Option<u64>,
    /// Pages swapped in; absent for containers before Linux 6.13, where `refault_anon` replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_in: Option<u64>,
    /// Pages swapped out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_out: Option<u64>,
    /// Major page faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
}

/// Pressure stall information of the three resources; absent if the kernel does not provide it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PressureSet {
    /// Tasks waiting for a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Pressure>,
    /// Tasks waiting for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Pressure>,
    /// Tasks waiting for I/O.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<Pressure>,
}

impl PressureSet {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One pressure file (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pressure {
    /// At least one task was stalled.
    pub some: PressureLine,
    /// All tasks were stalled at once; absent for `cpu` on kernels before 5.13.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<PressureLine>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PressureLine {
    /// Percent of the last 10 s.
    pub avg10: f64,
    /// Percent of the last 60 s.
    pub avg60: f64,
    /// Percent of the last 300 s.
    pub avg300: f64,
    /// Cumulative stall time, in microseconds (`total`).
    pub total_usec: u64,
}
