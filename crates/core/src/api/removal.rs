//! What a removal that takes two requests shows before.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::{Mebibytes, Vmid};

/// Answer to the first `DELETE /clone/delete` where a removal takes two: what would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemovalToConfirm {
    /// The container that would be gone.
    pub vm_id: Vmid,
    /// Its host name.
    pub name: Option<String>,
    /// Whether it runs, and would be stopped.
    pub is_running: bool,
    /// Its disks: those on a storage would be gone with all that is on them.
    pub volumes: Vec<VolumeInfo>,
    /// Its snapshots, which would be gone, too.
    pub snapshots: Vec<String>,
    /// To be sent with the second request, by the same caller.
    pub confirmation: String,
    /// Until when that holds.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub expires: Timestamp,
}

/// A disk of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VolumeInfo {
    /// Its name in the configuration: `rootfs`, `mp0`, `unused0`.
    pub name: String,
    /// What it is: a volume on a storage, such as `local-lvm:vm-104-disk-0`, or a directory or device of the node, which begins
    /// with `/` and outlives the container.
    pub volume: String,
    /// Where the container sees it; absent for `rootfs`, and for what it does not use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its size in MiB; absent where the configuration names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mb: Option<Mebibytes>,
}
