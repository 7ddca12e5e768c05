//! What a removal that needs two requests shows before it removes anything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::{Mebibytes, Vmid};

/// Response of the first `DELETE /clone/delete`, if a removal needs two: what would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemovalToConfirm {
    /// The container that would be removed.
    pub vm_id: Vmid,
    /// Its host name.
    pub name: Option<String>,
    /// Whether it is running, and would be stopped.
    pub is_running: bool,
    /// Its disks; those on a storage would be removed with all their data.
    pub volumes: Vec<VolumeInfo>,
    /// Its snapshots, which would be removed, too.
    pub snapshots: Vec<String>,
    /// To be sent with the second request, by the same caller.
    pub confirmation: String,
    /// When the confirmation expires.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub expires: Timestamp,
}

/// A disk of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VolumeInfo {
    /// Its name in the configuration, such as `rootfs`, `mp0` or `unused0`.
    pub name: String,
    /// A volume on a storage, such as `local-lvm:vm-104-disk-0`, or a directory or device of the node. The latter
    /// begins with `/` and is not removed with the container.
    pub volume: String,
    /// Its mount point in the container; absent for `rootfs` and for unused disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its size in MiB; absent if the configuration has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mb: Option<Mebibytes>,
}
