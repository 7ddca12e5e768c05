//! Bodies of `/snapshot/*`.

use serde::{Deserialize, Serialize};

use crate::{RecordTime, Vmid, whole_number};

/// `POST /snapshot/create`, `POST /snapshot/rollback` and `DELETE /snapshot/delete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// The name of the snapshot.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(
            pattern = r"^(?!([Cc][Uu][Rr][Rr][Ee][Nn][Tt]|[Vv][Zz][Dd][Uu][Mm][Pp])$)[A-Za-z][A-Za-z0-9_-]{1,39}$"
        ))
    )]
    pub snapshot_name: String,
}

/// Response of `POST /snapshot/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotCreated {
    /// The container.
    pub vm_id: Vmid,
    /// The new snapshot.
    pub snapshot_name: String,
}

/// Response of `GET /snapshot/list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotList {
    /// The container.
    pub vm_id: Vmid,
    /// Its snapshots in Proxmox's order, each before those that descend from it.
    pub snapshots: Vec<SnapshotInfo>,
}

/// One snapshot of a container (not to be confused with [`crate::snapshot::Snapshot`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was taken; absent if Proxmox does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<RecordTime>,
    /// The first line of its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The snapshot it descends from; absent if it descends from none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the container's present state descends from this snapshot directly.
    pub current: bool,
    /// Whether it is complete; only then can the container be rolled back to it.
    #[serde(default)]
    pub state: SnapshotState,
}

/// Whether a snapshot is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// It is.
    #[default]
    Complete,
    /// Proxmox has not finished taking it: it is at it, or was interrupted.
    HalfMade,
    /// Proxmox has not finished removing it: it is at it, or was interrupted.
    HalfRemoved,
}

/// Response of `POST /snapshot/rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolledBack {
    /// The container.
    pub vm_id: Vmid,
    /// The snapshot it was rolled back to, which also restores its cores and memory.
    pub snapshot_name: String,
    /// Whether it was running before; Proxmox stops a container to roll it back.
    pub was_running: bool,
    /// Whether it is running now.
    pub running: bool,
}

/// `POST /snapshot/prune`: remove all snapshots of a container except the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// How many of the newest are kept.
    #[serde(deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 1000)))]
    pub keep: u32,
    /// Only snapshots whose names start with this are counted and removed; all if omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    /// Whether snapshots that this server did not make are counted and removed, too.
    #[serde(default)]
    pub any_snapshot: bool,
}

/// Response of `DELETE /snapshot/delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotDeleted {
    /// The container.
    pub vm_id: Vmid,
    /// The removed snapshot.
    pub snapshot_name: String,
}

/// Response of `POST /snapshot/prune`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pruned {
    /// The container.
    pub vm_id: Vmid,
    /// The removed snapshots, oldest first.
    pub removed: Vec<String>,
    /// Those kept because they are new enough, newest first.
    pub kept: Vec<String>,
    /// Those kept because this call may not remove them.
    pub left: Vec<LeftSnapshot>,
}

/// A snapshot that is neither counted nor removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftSnapshot {
    /// Its name.
    pub name: String,
    /// Why it was left.
    pub reason: String,
}
