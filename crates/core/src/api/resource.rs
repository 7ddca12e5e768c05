//! Queries and bodies of `GET /resource/lxc/config`, `GET /resource/lxc/why` and `GET /resource/cluster/status`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::Vmid;
use crate::container_config::ContainerConfig;

/// Answer to `GET /resource/lxc/config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerSettings {
    /// The container.
    pub vm_id: Vmid,
    /// Its sizes, and what else matters for scaling it, typed.
    pub allocation: ContainerConfig,
    /// All settings in force, as Proxmox has them; the notes are not among them.
    pub settings: BTreeMap<String, String>,
    /// Raw LXC settings (`lxc.…`), in their order.
    pub raw: Vec<RawSetting>,
    /// Changes that come into force when the container is started next, by name.
    pub pending: BTreeMap<String, PendingSetting>,
    /// The SHA-1 of the configuration; Proxmox refuses a change that comes with another one.
    pub digest: String,
}

/// A setting that is handed to LXC as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawSetting {
    /// Its name: `lxc.cgroup2.cpuset.cpus`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A change that waits for the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PendingSetting {
    /// It gets this value.
    Set(String),
    /// It is removed.
    Removed,
}

/// Query of `GET /resource/lxc/why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// What was decided at this time (RFC 3339), instead of what would be decided now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<RecordTime>"))]
    pub at: Option<Timestamp>,
}

/// Answer to `GET /resource/lxc/why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Why {
    /// The container.
    pub vm_id: Vmid,
    /// What `lxc-autoscale-ml why ID --json` tells of it: what would be decided now, with the numbers it is made from, what
    /// would change that, and the last decisions; with `at`, what was decided then.
    pub explanation: Value,
}

/// Exit code of `lxc-autoscale-ml why` where nothing is known of the container, or was decided by the time that is asked
/// about.
pub const EXIT_NOTHING_KNOWN: u8 = 5;

/// Answer to `GET /resource/cluster/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterStatus {
    /// The cluster; absent where this node is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Its nodes, by name; this one alone where there is no cluster.
    pub nodes: Vec<ClusterNode>,
}

/// A cluster of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Whether so many of its nodes are online that it can decide; without that, `/etc/pve` cannot be written.
    pub quorate: bool,
}

/// A node of a cluster, or the only one there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Whether it is online.
    pub online: bool,
    /// Whether it is the node that answered.
    pub local: bool,
    /// Its address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
