//! What the mutating routes do: each action is the whole sequence from looking first to reading back.
//!
//! Actions run with their containers to themselves ([`crate::changes`]) and know nothing of HTTP. What can be
//! refused by looking at the container's configuration is refused before `pct` is started. Success is what was
//! read back from the node, not what `pct` said.

use lxc_autoscale_core::Vmid;

use crate::audit::AuditError;
use crate::auth::caller::Identity;
use crate::backend::{BackendError, ContainerHost, Obstacle, Stored};
use crate::boosts::BoostRefused;
use crate::configuration::ConfigurationError;
use crate::gate::Occupied;
use crate::invariants::Refused;
use crate::memory_guard::ShrinkRefused;
use crate::store::StoreError;

pub mod clones;
pub mod power;
pub mod resize;
pub mod retention;
pub mod snapshots;

/// Why an action was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The back end refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Another change of the container takes too long.
    #[error(transparent)]
    Occupied(#[from] Occupied),
    /// Less memory would hurt, or might.
    #[error(transparent)]
    Shrink(#[from] ShrinkRefused),
    /// It would break what no change may break.
    #[error(transparent)]
    Invariant(#[from] Refused),
    /// A configuration is not changed.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// There is nothing to boost.
    #[error(transparent)]
    Boost(#[from] BoostRefused),
    /// The container is pinned to CPUs, and Proxmox then ignores its number of cores.
    #[error("container {vmid} is pinned to the CPUs {cpuset}, so its number of cores has no effect")]
    PinnedCpuset {
        /// The container.
        vmid: Vmid,
        /// Its CPUs.
        cpuset: String,
    },
    /// The container has another size than whoever asks takes it to have.
    #[error(
        "the {what} of container {vmid} is {found}, and the request expects {expected}; nothing was changed"
    )]
    OtherSize {
        /// The container.
        vmid: Vmid,
        /// Which size.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it is taken to be.
        expected: String,
    },
    /// A container was to be removed that is not known to be a copy of ours.
    #[error(
        "container {vmid} was not made by /clone/create here ({lacks}) and is not removed; that takes \
         `limits.destroy_any_container` in the configuration and `any_container` in the request, both"
    )]
    NotAClone {
        /// The container.
        vmid: Vmid,
        /// What would show that it was.
        lacks: String,
    },
    /// A container that was to be removed is not any more what it was when whoever asks was told about it.
    #[error(
        "container {vmid} is not any more what it was when its removal was asked for or confirmed, and is not removed; ask \
         again"
    )]
    NotAsShown {
        /// The container.
        vmid: Vmid,
    },
    /// The back end reported success, and the node says otherwise.
    #[error("the change was reported as done, but {found}")]
    NotApplied {
        /// What the node says.
        found: String,
    },
    /// A rollback or a stop is done, but the container that ran does not run again.
    #[error("container {vmid} {done}, but it ran before and does not run now: {cause}")]
    NotRestarted {
        /// The container.
        vmid: Vmid,
        /// What was done with it: `is back at snapshot …`, `was shut down`.
        done: String,
        /// Why it does not start.
        cause: Box<ActionError>,
    },
    /// It failed, and what had been made on the way could not be removed.
    #[error("{cause}; what remains and must be removed by hand: {left}")]
    LeftBehind {
        /// The failure.
        cause: Box<ActionError>,
        /// What remains.
        left: String,
    },
    /// It failed, or was given up, when some of it was done, which stays so.
    #[error("{cause}; before that {done}")]
    HalfWay {
        /// The failure.
        cause: Box<ActionError>,
        /// What was done.
        done: String,
    },
    /// Whoever asks may not touch all of the containers.
    #[error("the scope of {caller} does not include all containers of this change")]
    OutOfScope {
        /// Who asks.
        caller: Identity,
    },
    /// It cannot be written down, so it was not begun.
    #[error("nothing was done, because it could not be written to the audit log")]
    NotAudited(#[from] AuditError),
    /// It cannot be kept, so it was not begun.
    #[error("nothing was done, because it could not be written down first")]
    NotRecorded(#[from] StoreError),
    /// Somebody wanted it to be given up.
    #[error("it was cancelled")]
    Cancelled,
    /// The server ended in the middle of it, its call took too long, or a defect ended it.
    #[error("it was cut off; {found}")]
    Interrupted {
        /// What was found on the node afterwards.
        found: String,
    },
    /// More changes are waiting than are allowed to.
    #[error("too many changes are waiting; try again later")]
    TooManyChanges,
    /// The server ends.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The client left before its change had begun, so it was not begun.
    #[error("the client left before the change began; nothing was done")]
    Abandoned,
    /// A defect of this program.
    #[error("the change ended unexpectedly; its outcome is not known")]
    Crashed,
}

impl ActionError {
    /// Whether what became of the change is not known yet.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Crashed => true,
            _ => self.at_work().is_some(),
        }
    }

    /// The call of it that may be at work still.
    pub fn at_work(&self) -> Option<&str> {
        match self {
            Self::Backend(error) => error.at_work(),
            Self::HalfWay { cause, .. }
            | Self::LeftBehind { cause, .. }
            | Self::NotRestarted { cause, .. } => cause.at_work(),
            _ => None,
        }
    }
}

/// What is stored about a container that is free for a change.
async fn changeable(host: &dyn ContainerHost, vmid: Vmid) -> Result<Stored, ActionError> {
    let stored = unlocked(host, vmid).await?;
    refuse_template(vmid, &stored)?;
    Ok(stored)
}

fn refuse_template(vmid: Vmid, stored: &Stored) -> Result<(), ActionError> {
    if stored.config.template {
        let detail = "it is a template".to_owned();
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::Template }.into());
    }
    Ok(())
}

/// What is stored about a container that Proxmox has not locked.
async fn unlocked(host: &dyn ContainerHost, vmid: Vmid) -> Result<Stored, ActionError> {
    let stored = host.stored(vmid).await?;
    refuse_lock(vmid, &stored)?;
    Ok(stored)
}

fn refuse_lock(vmid: Vmid, stored: &Stored) -> Result<(), ActionError> {
    match &stored.config.lock {
        Some(lock) => Err(BackendError::Locked { vmid, lock: lock.clone() }.into()),
        None => Ok(()),
    }
}
