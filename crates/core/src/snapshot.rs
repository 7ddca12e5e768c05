//! One record of the metrics file: the measurements of every running container and of the node in one cycle.
//!
//! The fields that the Python original wrote keep their names, places and units; if the original got a meaning wrong,
//! the field has the value that its name promises. All other fields are additions. **A field that could not be read
//! is absent**, never zero, and [`ContainerRecord::missing`] says why. Counters are the kernel's own, cumulative
//! ones; to get a rate, take the difference of two records and treat a decrease as a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::container_config::ContainerConfig;
use crate::missing::MissingFields;
use crate::notification::Severity;
pub use crate::records::ContainerRecords;
use crate::table::Table;
use crate::{BootId, RecordTime, Vmid};

/// The version of the fields below, in [`Summary::schema_version`]; files of the original have none.
pub const SCHEMA_VERSION: u32 = 1;

/// Key of the only member of a snapshot that is not a container.
const SUMMARY_KEY: &str = "summary";

/// One collection cycle: `{"<vmid>": {…}, …, "summary": {…}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The measurements of each running container.
    pub containers: ContainerRecords,
    /// The cycle itself and the node.
    pub summary: Summary,
}

/// The measurements of one container in one cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerRecord {
    /// When this container was sampled.
    pub timestamp: RecordTime,

    // --- fields of the original, required by its reader ---
    /// CPU use since the previous sample, in percent of what the container may use (0–100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// Working set in MiB: memory in use minus the page cache that can be dropped; shared memory and tmpfs count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_usage_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_usage_mb: Option<f64>,
    /// Swap the container may use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<f64>,
    /// Processes (cgroup `pids.current`, which counts threads as the kernel does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u64>,
    /// Block I/O since the container started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_stats: Option<IoStats>,
    /// Network traffic since the container started, as the container sees the directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_usage: Option<NetworkUsage>,
    /// Root filesystem in use, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_usage_gb: Option<f64>,
    /// Size of the root filesystem, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_total_gb: Option<f64>,
    /// Space that an ordinary process may still use on the root filesystem, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_free_gb: Option<f64>,

    // --- added by us ---
    /// `running`; containers in other states are counted in the summary and have no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ContainerState>,
    /// Seconds since the container's init started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// CPU use since the previous sample, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// Share of the enforcement periods since the previous sample in which the CPU limit was hit, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_throttled_share: Option<f64>,
    /// Cumulative CPU time, in microseconds (`cpu.stat: usage_usec`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_usec: Option<u64>,
    /// Cumulative throttling counters of the CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
    /// The limits that the kernel enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The parts of the working set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryBreakdown>,
    /// Cumulative memory events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_events: Option<MemoryEvents>,
    /// Cumulative swap events; absent on cgroup v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_events: Option<MemorySwapEvents>,
    /// Cumulative events of the process limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_events: Option<PidsEvents>,
    /// Block I/O by device name, with all layers of the same storage; devices without I/O and excluded ones are left
    /// out. [`Self::io_stats`] counts each byte once.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub io_devices: Table<DeviceIo>,
    /// Network traffic by device name, which is that of the node's end (`veth<id>i<n>`) if there is one.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub network_interfaces: Table<InterfaceTraffic>,
    /// Inodes in use on the root filesystem; absent if the filesystem has no fixed number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_inodes_used: Option<u64>,
    /// Inodes that the root filesystem can hold; absent if it has no fixed number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_inodes_total: Option<u64>,
    /// Cumulative paging counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paging: Option<Paging>,
    /// Pressure stall information.
    #[serde(default, skip_serializing_if = "PressureSet::is_empty")]
    pub pressure: PressureSet,
    /// Proxmox's current configuration (the allocation, tags, locks …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Arc<ContainerConfig>>,
    /// The Proxmox pool that it is in; empty if it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Alerts that are firing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<ActiveAlert>,
    /// Values that are unusual for this container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
    /// Why each absent field is absent, by field name.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub missing: MissingFields,
}

impl ContainerRecord {
    /// A record with nothing but its time.
    pub fn empty(timestamp: RecordTime) -> Self {
        Self {
            timestamp,
            cpu_usage_percent: None,
            memory_usage_mb: None,
            swap_usage_mb: None,
            swap_total_mb: None,
            process_count: None,
            io_stats: None,
            network_usage: None,
            filesystem_usage_gb: None,
            filesystem_total_gb: None,
            filesystem_free_gb: None,
            state: None,
            uptime_seconds: None,
            cpu_cores_used: None,
            cpu_throttled_share: None,
            cpu_usage_usec: None,
            throttling: None,
            limits: None,
            memory: None,
            memory_events: None,
            memory_swap_events: None,
            pids_events: None,
            io_devices: Table::default(),
            network_interfaces: Table::default(),
            filesystem_inodes_used: None,
            filesystem_inodes_total: None,
            paging: None,
            pressure: PressureSet::default(),
            configuration: None,
            pool: None,
            alerts: Vec::new(),
            anomalies: Vec::new(),
            missing: MissingFields::default(),
        }
    }
}

/// A value that is unusual for its container and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Anomaly {
    /// The metric; `docs/metrics-file.md` lists them with their units.
    pub metric: String,
    /// The measured value.
    pub observed: f64,
    /// The lowest value that would have been usual.
    pub expected_low: f64,
    /// The highest value that would have been usual.
    pub expected_high: f64,
    /// Distance from the expected value, in robust standard deviations of this series.
    pub score: f64,
    /// The same information in words.
    pub reason: String,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Its init is running.
    Running,
    /// It is not running.
    Stopped,
}

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

/// An alert that is firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActiveAlert {
    /// Name of the rule.
    pub rule: String,
    /// How urgent it is.
    pub severity: Severity,
    /// Name of the metric that the rule looks at.
    pub metric: String,
    /// The value now, in the metric's unit; absent while it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The level at which the rule fires.
    pub level: f64,
    /// Since when the value has been a reason to fire.
    pub since: RecordTime,
    /// The value has been unknown for so long that the alert describes the past, not the present.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_data: bool,
    /// The container, for alerts listed with the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Vmid>,
}

/// The cycle itself, and the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// When the cycle began; names the snapshot.
    pub collection_start_time: RecordTime,
    /// When the cycle ended.
    pub collection_end_time: RecordTime,
    /// Containers measured in this cycle.
    pub total_containers: u64,
    /// How long the cycle took, in seconds.
    pub total_duration_seconds: f64,
    /// CPU use of the monitor itself since its previous cycle, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_cpu_percent: Option<f64>,
    /// Resident memory of the monitor itself, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_memory_usage_mb: Option<f64>,
    /// Version of these fields; absent in files of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// Containers that exist on the node but are not running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped_containers: Vec<Vmid>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRecord>,
}

/// The measurements of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeRecord {
    /// Its host name.
    pub name: String,
    /// Release of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Seconds since it booted, from the same reading as the uptimes of the containers in the same snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Which boot that is since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub boot_id: Option<BootId>,
    /// CPUs online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// CPU use since the previous sample, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// CPUs that were idle while one of their tasks waited for a disk, since the previous sample, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_iowait_cores: Option<f64>,
    /// CPU time that a hypervisor gave to others since the previous sample, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_steal_cores: Option<f64>,
    /// Which CPUs share a core or a memory node, and which are efficiency cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<CpuTopology>,
    /// The load averages over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Processes and threads of the whole node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Memory of the node, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_mb: Option<f64>,
    /// Memory that can be given out without swapping (`MemAvailable`), in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_mb: Option<f64>,
    /// Swap of the node, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used_mb: Option<f64>,
    /// ZFS's cache (ARC), in MiB; absent without ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs_arc_mb: Option<f64>,
    /// Size below which the ARC does not shrink (`c_min`), in MiB; absent without ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs_arc_min_mb: Option<f64>,
    /// Size to which the ARC may grow (`c_max`), in MiB; absent without ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs_arc_max_mb: Option<f64>,
    /// Cumulative paging counters of the whole node (`/proc/vmstat`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paging: Option<Paging>,
    /// Processes killed by the OOM killer on the whole node since it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kill: Option<u64>,
    /// Pressure of the whole node.
    #[serde(default, skip_serializing_if = "PressureSet::is_empty")]
    pub pressure: PressureSet,
    /// Sum of the memory limits of the running containers, in MiB; absent while one is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_memory_limit_mb: Option<f64>,
    /// Sum of the working sets of the running containers, in MiB; absent while one is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_working_set_mb: Option<f64>,
    /// Sum of the CPU limits of the running containers, in cores; absent while one is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_cores_limit: Option<f64>,
    /// Alerts of the node that are firing, and those of containers that have no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<ActiveAlert>,
    /// Why each absent field is absent, by field name.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub missing: MissingFields,
}

/// The layout of the node's CPUs, as lists in the kernel's form (`0-3,8`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuTopology {
    /// CPUs online.
    pub online: String,
    /// Physical cores with a CPU online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// CPUs that share a core (SMT), core by core; cores with a single CPU are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smt_siblings: Vec<String>,
    /// Fast CPUs of a node with two kinds; absent if all are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_cpus: Option<String>,
    /// Efficient (slow) CPUs of a node with two kinds; absent if all are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficient_cpus: Option<String>,
    /// The CPUs of each memory node, an empty list if it has none; absent on kernels without NUMA.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numa_nodes: BTreeMap<u32, String>,
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.containers.len() + 1))?;
        for (vmid, record) in &self.containers {
            map.serialize_entry(vmid, record)?;
        }
        map.serialize_entry(SUMMARY_KEY, &self.summary)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SnapshotVisitor)
    }
}

impl FromStr for Snapshot {
    type Err = serde_json::Error;

    /// Parses it from JSON. This is the only place for which the parser is compiled, because it takes a hundred
    /// kilobytes in each program.
    fn from_str(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

struct SnapshotVisitor;

impl<'de> Visitor<'de> for SnapshotVisitor {
    type Value = Snapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of container records and a `summary`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Snapshot, A::Error> {
        let mut containers = Vec::new();
        let mut summary = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == SUMMARY_KEY {
                summary = Some(map.next_value()?);
            } else {
                let vmid: Vmid = key.parse().map_err(de::Error::custom)?;
                containers.push((vmid, map.next_value()?));
            }
        }
        let summary = summary.ok_or_else(|| de::Error::missing_field(SUMMARY_KEY))?;
        Ok(Snapshot { containers: containers.into(), summary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record exactly as the Python original wrote it.
    const ORIGINAL: &str = r#"{"104": {"timestamp": "2024-08-20T13:07:56.393000", "cpu_usage_percent": 37.5,
        "memory_usage_mb": 512.25, "swap_usage_mb": 0.0, "swap_total_mb": 512.0, "process_count": 31,
        "io_stats": {"reads": 81920, "writes": 40960},
        "network_usage": {"rx_bytes": 123456, "tx_bytes": 65432},
        "filesystem_usage_gb": 1.2, "filesystem_total_gb": 7.8, "filesystem_free_gb": 6.6},
        "summary": {"collection_start_time": "2024-08-20T13:07:56.390000",
        "collection_end_time": "2024-08-20T13:07:56.394000", "total_containers": 1,
        "total_duration_seconds": 0.004, "monitor_cpu_percent": 0.1, "monitor_memory_usage_mb": 6.5}}"#;

    #[test]
    fn a_record_of_the_original_is_read() {
        let snapshot: Snapshot = serde_json::from_str(ORIGINAL).unwrap();
        let record = &snapshot.containers[&Vmid::try_from(104).unwrap()];
        assert_eq!(record.cpu_usage_percent, Some(37.5));
        assert_eq!(record.io_stats.unwrap().reads, 81920);
        assert_eq!(record.memory, None);
        assert_eq!(snapshot.summary.schema_version, None);
    }

    #[test]
    fn what_is_written_is_read_back_equal() {
        let snapshot: Snapshot = serde_json::from_str(ORIGINAL).unwrap();
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
        assert!(!text.contains("null"), "an absent field is left out, not null: {text}");
    }

    #[test]
    fn a_key_that_is_no_container_is_refused() {
        let error = serde_json::from_str::<Snapshot>(r#"{"web": {}}"#).unwrap_err();
        assert!(error.to_string().contains("`web` is not a container id"), "{error}");
    }

    #[test]
    fn a_snapshot_without_summary_is_refused() {
        let error = serde_json::from_str::<Snapshot>("{}").unwrap_err();
        assert!(error.to_string().contains("summary"), "{error}");
    }
}
