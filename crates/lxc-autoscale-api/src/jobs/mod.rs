//! Every change is recorded before its first call, so that a server that was killed knows what it had begun.
//!
//! A change is a row of the table `changes` (`table`). Changes that copy or drop data, and may take an hour, are
//! jobs, which `GET /jobs` lists. While a change runs, its [`Journal`] records the steps. After a restart, changes
//! that were running are compared with the node ([`reconcile`]), never repeated.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{LedgerEntry, SizeOf};
use lxc_autoscale_core::container_config::ContainerConfig;
use serde::{Deserialize, Serialize};

use crate::auth::caller::Role;
use crate::backend::ContainerIdentity;

pub(crate) mod begun;
pub(crate) mod copies;
mod journal;
mod leftovers;
pub mod reconcile;
pub(crate) mod table;

pub use journal::Journal;

/// What a change does, with everything needed to find out afterwards whether it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Sets or removes the number of cores.
    SetCores {
        /// The container.
        vmid: Vmid,
        /// The new number; `None` for as many as the node has.
        cores: Option<u32>,
    },
    /// Sets or removes the limit of CPU time.
    SetCpulimit {
        /// The container.
        vmid: Vmid,
        /// In hundredths of a core; 0 for none.
        hundredths: u64,
    },
    /// Sets the memory.
    SetMemory {
        /// The container.
        vmid: Vmid,
        /// In MiB.
        memory_mib: u64,
    },
    /// Enlarges the root filesystem.
    GrowRootfs {
        /// The container.
        vmid: Vmid,
        /// What is added, in GiB.
        gib: u32,
    },
    /// Takes a snapshot.
    CreateSnapshot {
        /// The container.
        vmid: Vmid,
        /// Its name.
        name: String,
    },
    /// Removes a snapshot.
    DeleteSnapshot {
        /// The container.
        vmid: Vmid,
        /// The name of the snapshot.
        name: String,
    },
    /// Removes all snapshots except the newest.
    PruneSnapshots {
        /// The container.
        vmid: Vmid,
        /// How many are kept.
        keep: u32,
    },
    /// Rolls back to a snapshot.
    Rollback {
        /// The container.
        vmid: Vmid,
        /// The name of the snapshot.
        name: String,
    },
    /// Copies a container.
    CreateClone {
        /// The source container.
        source: Vmid,
        /// The id of the copy.
        target: Vmid,
        /// The requested name.
        requested_name: String,
        /// The host name of the copy.
        hostname: String,
    },
    /// Removes a copy.
    DeleteClone {
        /// The copy.
        vmid: Vmid,
    },
    /// Starts a container.
    Start {
        /// The container.
        vmid: Vmid,
    },
    /// Stops a container at once, killing its processes.
    Stop {
        /// The container.
        vmid: Vmid,
    },
    /// Asks a container to shut down.
    Shutdown {
        /// The container.
        vmid: Vmid,
        /// Whether it is killed if it does not.
        force: bool,
    },
    /// Restarts a container.
    Reboot {
        /// The container.
        vmid: Vmid,
        /// Whether it is killed if it does not shut down.
        force: bool,
    },
    /// A change whose outcome the node does not show afterwards, or one that a newer version of this program knows.
    #[serde(other)]
    Other,
}

impl Task {
    /// Whether it can be cancelled half way without leaving anything half-made.
    pub fn is_cancellable(&self) -> bool {
        matches!(self, Self::CreateSnapshot { .. } | Self::PruneSnapshots { .. } | Self::CreateClone { .. })
    }

    /// Its name in jobs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SetCores { .. } => "set_cores",
            Self::SetCpulimit { .. } => "set_cpulimit",
            Self::SetMemory { .. } => "set_memory",
            Self::GrowRootfs { .. } => "grow_rootfs",
            Self::CreateSnapshot { .. } => "create_snapshot",
            Self::Rollback { .. } => "rollback",
            Self::CreateClone { .. } => "create_clone",
            Self::DeleteClone { .. } => "delete_clone",
            Self::DeleteSnapshot { .. } => "delete_snapshot",
            Self::PruneSnapshots { .. } => "prune_snapshots",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
            Self::Shutdown { .. } => "shutdown",
            Self::Reboot { .. } => "reboot",
            Self::Other => "other",
        }
    }

    /// The container and the size that it sets.
    pub fn size(&self) -> Option<(Vmid, SizeOf)> {
        match *self {
            Self::SetCores { vmid, .. } => Some((vmid, SizeOf::Cores)),
            Self::SetCpulimit { vmid, .. } => Some((vmid, SizeOf::Cpulimit)),
            Self::SetMemory { vmid, .. } => Some((vmid, SizeOf::Memory)),
            Self::GrowRootfs { vmid, .. } => Some((vmid, SizeOf::Rootfs)),
            _ => None,
        }
    }

    /// The lowest role that may ask for it, and so may cancel it.
    pub fn role(&self) -> Role {
        match self {
            Self::Rollback { .. }
            | Self::CreateClone { .. }
            | Self::DeleteClone { .. }
            | Self::DeleteSnapshot { .. }
            | Self::PruneSnapshots { .. }
            | Self::Stop { .. }
            | Self::Shutdown { force: true, .. }
            | Self::Reboot { force: true, .. }
            | Self::Other => Role::Admin,
            _ => Role::Operator,
        }
    }
}

/// How far a copy has come, as far as its last call alone does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyStage {
    /// It was ordered: a container with its id may be ours.
    Ordered,
    /// It is being removed: it is not whole, whatever it looks like.
    Removing,
    /// It was refused, or is removed: a container with its id belongs to somebody else.
    Absent,
}

/// A task with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What is done.
    #[serde(flatten)]
    pub task: Task,
    /// The reason: `request`, `boost`, `undo` …
    pub why: String,
}

impl Order {
    /// An order for a task that a client asked for.
    pub fn requested(task: Task) -> Self {
        Self { task, why: LedgerEntry::REQUEST.to_owned() }
    }
}

/// The state of the node before the first call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The container.
    pub vmid: Vmid,
    /// Its stored configuration.
    pub config: ContainerConfig,
    /// The snapshot it descended from.
    pub parent: Option<String>,
    /// Whether it was running, where that matters.
    pub running: Option<bool>,
    /// Which container it is; `None` in rows of earlier versions.
    #[serde(default)]
    pub identity: Option<ContainerIdentity>,
    /// The name of the node it is on; empty for the node this server runs on, and in rows of earlier versions.
    #[serde(default)]
    pub home: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows stay when an update fails and the program before it is put back.
    #[test]
    fn a_task_of_a_newer_version_is_one_whose_outcome_nobody_can_tell() {
        let newer = r#"{"kind": "resize_mount", "vmid": 104, "gib": 2, "why": "a reason of its own"}"#;
        let order: Order = serde_json::from_str(newer).unwrap();
        assert_eq!(order, Order { task: Task::Other, why: "a reason of its own".to_owned() });
        let own = Order::requested(Task::Other);
        let written = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&written).unwrap(), own, "{written}");
    }
}
