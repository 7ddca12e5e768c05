//! Bodies of `DELETE /snapshot/delete` and `POST /snapshot/prune`.

use serde::{Deserialize, Serialize};

use crate::{Vmid, whole_number};

/// `POST /snapshot/prune`: remove all but the newest snapshots of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// How many stay: the newest.
    #[serde(deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 1000)))]
    pub keep: u32,
    /// Only snapshots whose names begin like this are counted and removed; all when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    /// Those that this server did not make are counted and removed, too.
    #[serde(default)]
    pub any_snapshot: bool,
}

/// Answer to `DELETE /snapshot/delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotDeleted {
    /// The container.
    pub vm_id: Vmid,
    /// The snapshot that is gone.
    pub snapshot_name: String,
}

/// Answer to `POST /snapshot/prune`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pruned {
    /// The container.
    pub vm_id: Vmid,
    /// What is gone, the oldest first.
    pub removed: Vec<String>,
    /// What stays because it is new enough, the newest first.
    pub kept: Vec<String>,
    /// What stays because it is not for this call to remove.
    pub left: Vec<LeftSnapshot>,
}

/// A snapshot that is neither counted nor removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftSnapshot {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}
