//! The measurements of the node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ActiveAlert, Paging, PressureSet};
use crate::BootId;
use crate::missing::MissingFields;
use crate::table::Table;

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
