//! Queries and bodies of `GET /resource/lxc/config`, `GET /resource/lxc/why` and `GET /resource/cluster/status`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::Vmid;
use crate::container_config::ContainerConfig;

/// Response of `GET /resource/lxc/config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerSettings {
    /// The container.
    pub vm_id: Vmid,
    /// The sizes and other settings that matter for scaling, typed.
    pub allocation: ContainerConfig,
    /// All settings in force, as Proxmox stores them, without the notes.
    pub settings: BTreeMap<String, String>,
    /// Raw LXC settings (`lxc.…`), in their order.
    pub raw: Vec<RawSetting>,
    /// Changes that take effect at the container's next start, by name.
    pub pending: BTreeMap<String, PendingSetting>,
    /// The SHA-1 of the configuration; Proxmox refuses a change that states a different one.
    pub digest: String,
}

/// A setting that is passed to LXC unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawSetting {
    /// Its name, such as `lxc.cgroup2.cpuset.cpus`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A change that takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PendingSetting {
    /// It is set to this value.
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
    /// If given, what was decided at this time (RFC 3339), instead of what would be decided now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<RecordTime>"))]
    pub at: Option<Timestamp>,
}

/// Response of `GET /resource/lxc/why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Why {
    /// The container.
    pub vm_id: Vmid,
    /// What kind of load it is, now or at that time; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind_of_load: Option<KindOfLoad>,
    /// The output of `lxc-autoscale-ml why ID --json`: what would be decided now, the numbers behind it, what would
    /// change it, and the last decisions; with `at`, what was decided then.
    pub explanation: Value,
}

/// The kind of load of a container, as the ml daemon classifies it. A word, not one of a closed list: the two programs
/// may be of different versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KindOfLoad {
    /// `idle`, `steady`, `bursty`, `periodic` or `growing`.
    pub name: String,
    /// What that means, for people.
    pub meaning: String,
}

/// Exit code of `lxc-autoscale-ml why` if nothing is known of the container, or nothing had been decided by the given
/// time.
pub const EXIT_NOTHING_KNOWN: u8 = 5;

/// Response of `GET /resource/cluster/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterStatus {
    /// The cluster; absent if this node is not in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Its nodes, by name; only this node if there is no cluster.
    pub nodes: Vec<ClusterNode>,
}

/// A cluster of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Whether it has quorum; without quorum, `/etc/pve` cannot be written.
    pub quorate: bool,
}

/// A node of a cluster, or the only node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Whether it is online.
    pub online: bool,
    /// Whether it is the node that answered.
    pub local: bool,
    /// Its address, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
