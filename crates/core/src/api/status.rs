//! Queries and bodies of `/resource/vm/status` and `/resource/node/status`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Vmid;
use crate::container_config::ContainerConfig;
use crate::snapshot::{ContainerRecord, ContainerState, PressureSet};

/// The query of `GET /snapshot/list`, `GET /resource/vm/status` and others that only name a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ContainerRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
}

/// Query of `GET /resource/node/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// The name of the node; must be the one the server runs on.
    pub node_name: String,
}

/// Response of `GET /resource/vm/status` and `GET /resource/lxc/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerStatus {
    /// The container.
    pub vm_id: Vmid,
    /// Its current state.
    pub state: ContainerState,
    /// What Proxmox's configuration grants it.
    pub allocation: ContainerConfig,
    /// Its usage according to the monitor's newest record; absent if there is no current record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ContainerRecord>,
    /// Why `usage` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_missing: Option<String>,
}

/// Response of `GET /resource/node/status`. Values that could not be read are absent and named in `missing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeStatus {
    /// Its host name.
    pub node_name: String,
    /// Seconds since it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Number of online CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// CPU use over `cpu_window_seconds`, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// CPU use in percent of all CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// The period over which CPU use was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_window_seconds: Option<f64>,
    /// The load averages over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Total memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_mb: Option<f64>,
    /// Memory that can be given out without swapping, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_mb: Option<f64>,
    /// Total swap, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used_mb: Option<f64>,
    /// Pressure (PSI) of the whole node; absent if the kernel does not provide it.
    #[serde(default, skip_serializing_if = "PressureSet::is_empty")]
    pub pressure: PressureSet,
    /// Number of containers configured on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<u32>,
    /// Number of them that are running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_running: Option<u32>,
    /// Reason why a field is absent, by field name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}
