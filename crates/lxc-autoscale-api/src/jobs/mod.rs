//! Every change is written down before its first call, so that a server that was killed knows what it had begun.
//!
//! A change is a row of the table `changes` (`table`); those that copy or drop data, and may take an hour, are jobs
//! that `GET /jobs` shows. What is done on the way is written down by the change's [`Journal`]. After a restart what
//! was running is held against the node ([`reconcile`]), never repeated.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::SizeOf;
use lxc_autoscale_core::container_config::ContainerConfig;
use serde::{Deserialize, Serialize};

use crate::auth::caller::Role;

pub(crate) mod begun;
pub(crate) mod copies;
mod journal;
pub mod reconcile;
pub(crate) mod table;

pub use journal::Journal;

/// What a change does, with all that it takes to find out afterwards whether it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Sets the number of cores, or removes it.
    SetCores {
        /// The container.
        vmid: Vmid,
        /// How many; `None` for as many as the node has.
        cores: Option<u32>,
    },
    /// Sets the limit of CPU time, or removes it.
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
    /// Adds to the root filesystem.
    GrowRootfs {
        /// The container.
        vmid: Vmid,
        /// What is added.
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
        /// Its name.
        name: String,
    },
    /// Removes all snapshots but the newest.
    PruneSnapshots {
        /// The container.
        vmid: Vmid,
        /// How many stay.
        keep: u32,
    },
    /// Goes back to a snapshot.
    Rollback {
        /// The container.
        vmid: Vmid,
        /// Its name.
        name: String,
    },
    /// Copies a container.
    CreateClone {
        /// The container.
        source: Vmid,
        /// The copy.
        target: Vmid,
        /// The name that was asked for.
        requested_name: String,
        /// The host name it gets.
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
    /// Kills a container.
    Stop {
        /// The container.
        vmid: Vmid,
    },
    /// Asks a container to stop.
    Shutdown {
        /// The container.
        vmid: Vmid,
        /// Whether it is killed when it does not.
        force: bool,
    },
    /// Restarts a container.
    Reboot {
        /// The container.
        vmid: Vmid,
        /// Whether it is killed when it does not stop.
        force: bool,
    },
    /// Something whose outcome the node does not show afterwards.
    Other,
}

impl Task {
    /// Whether it can be given up half way, and leaves nothing half-made then.
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

    /// The size that it sets, and of which container.
    pub fn size(&self) -> Option<(Vmid, SizeOf)> {
        match *self {
            Self::SetCores { vmid, .. } => Some((vmid, SizeOf::Cores)),
            Self::SetCpulimit { vmid, .. } => Some((vmid, SizeOf::Cpulimit)),
            Self::SetMemory { vmid, .. } => Some((vmid, SizeOf::Memory)),
            Self::GrowRootfs { vmid, .. } => Some((vmid, SizeOf::Rootfs)),
            _ => None,
        }
    }

    /// The least role that may ask for it, and so may give it up.
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

/// A task, and why it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    #[serde(flatten)]
    pub task: Task,
    /// Why: `request`, `boost`, `undo` …
    pub why: String,
}

impl Order {
    /// Somebody asked for it.
    pub fn requested(task: Task) -> Self {
        Self { task, why: "request".to_owned() }
    }
}

/// What was found on the node before the first call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The container it is about.
    pub vmid: Vmid,
    /// What was stored about it.
    pub config: ContainerConfig,
    /// The snapshot it descended from.
    pub parent: Option<String>,
    /// Whether it ran, where that matters.
    pub running: Option<bool>,
}
