//! Bodies of `DELETE /snapshot/delete` and `POST /snapshot/prune`.

use serde::{Deserialize, Serialize};

use crate::{Vmid, whole_number};

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
