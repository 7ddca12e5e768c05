//! The actions behind the mutating routes. Each is a whole sequence, from looking first to reading back.
//!
//! An action has its containers to itself while it runs ([`crate::changes`]), and knows nothing of HTTP. What the
//! container's configuration rules out is refused before `pct` is started. An action has succeeded only if the node
//! shows the change, whatever `pct` reported.

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
mod held;
pub mod power;
pub mod resize;
pub mod retention;
pub mod snapshots;

/// Why an action was not done, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The back end refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Another change of the container takes too long.
    #[error(transparent)]
    Occupied(#[from] Occupied),
    /// Less memory would hurt the container, or might.
    #[error(transparent)]
    Shrink(#[from] ShrinkRefused),
    /// It would break an invariant that holds for every change.
    #[error(transparent)]
    Invariant(#[from] Refused),
    /// The configuration is not changed.
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
    /// The container has a different size than the client expects.
    #[error(
        "the {what} of container {vmid} is {found}, and the request expects {expected}; nothing was changed"
    )]
    OtherSize {
        /// The container.
        vmid: Vmid,
        /// Which size.
        what: &'static str,
        /// The actual size.
        found: String,
        /// The expected size.
        expected: String,
    },
    /// Another container has the id now.
    #[error(
        "the id {vmid} belongs to another container than the one that is known; what was known is forgotten, and nothing \
         was changed"
    )]
    OtherContainer {
        /// The id.
        vmid: Vmid,
    },
    /// It may be the known container with other networks, or another one that looks like it.
    #[error(
        "nothing was changed: the hardware addresses of container {vmid} are all others than before, so it may be \
         another container with the same name and root volume; what is known is kept, and counts as its own again \
         once one of its sizes is changed here by a request"
    )]
    UnsureContainer {
        /// The id.
        vmid: Vmid,
    },
    /// The ledger knows another size by now than the one that was to be returned.
    #[error(
        "while this waited, what the ledger knows of the {what} of container {vmid} has changed; nothing was done, ask \
         again"
    )]
    LedgerChanged {
        /// The container.
        vmid: Vmid,
        /// Which size.
        what: &'static str,
    },
    /// A snapshot would bring back a size that is not allowed.
    #[error(
        "snapshot `{name}` would bring back {sizes}, which is not allowed: {refused}; {}",
        snapshots::remedy(refused)
    )]
    SizeInSnapshot {
        /// The snapshot.
        name: String,
        /// The sizes that would change.
        sizes: String,
        /// Why that is not allowed.
        refused: Refused,
    },
    /// The container to be removed is not known to be a copy of ours.
    #[error(
        "container {vmid} was not made by /clone/create here ({lacks}) and is not removed; that takes \
         `limits.destroy_any_container` in the configuration and `any_container` in the request, both"
    )]
    NotAClone {
        /// The container.
        vmid: Vmid,
        /// What it lacks to be one.
        lacks: String,
    },
    /// The container has changed since its removal was asked for or confirmed.
    #[error(
        "container {vmid} has changed since its removal was asked for or confirmed, and is not removed; ask again"
    )]
    NotAsShown {
        /// The container.
        vmid: Vmid,
    },
    /// The back end reported success, but the node shows otherwise.
    #[error("the change was reported as done, but {found}")]
    NotApplied {
        /// What the node shows.
        found: String,
    },
    /// A rollback or a stop is done, but the container that ran before does not run again.
    #[error("container {vmid} {done}, but it ran before and does not run now")]
    NotRestarted {
        /// The container.
        vmid: Vmid,
        /// What was done with it: `is back at snapshot …`, `was shut down`.
        done: String,
        /// Why it does not start.
        #[source]
        cause: Box<ActionError>,
    },
    /// It failed, and what had been made on the way could not be removed. What remains comes first, because long
    /// texts are cut.
    #[error("what remains and must be removed by hand: {left}; the change failed")]
    LeftBehind {
        /// The failure.
        #[source]
        cause: Box<ActionError>,
        /// What remains.
        left: String,
    },
    /// It failed or was cancelled half way; what was done stays done.
    #[error("{done}; then it ended")]
    HalfWay {
        /// The failure.
        #[source]
        cause: Box<ActionError>,
        /// What was done before.
        done: String,
    },
    /// The scope of the caller does not include all of the containers.
    #[error("the scope of {caller} does not include all containers of this change")]
    OutOfScope {
        /// The caller.
        caller: Identity,
    },
    /// The caller may no longer do this: it waited, and meanwhile a key was revoked or has expired, or rights were taken.
    #[error("while this waited, the rights of {caller} have ended; nothing was done")]
    RightsEnded {
        /// The caller.
        caller: Identity,
    },
    /// What the caller may do by now cannot be determined. The cause is in the log only, because it names a file.
    #[error("keys cannot be checked at the moment; nothing was done")]
    RightsUnknown,
    /// It was not begun, because it could not be written to the audit log.
    #[error("nothing was done, because it could not be written to the audit log")]
    NotAudited(#[from] AuditError),
    /// It was not begun, because it could not be written to the store.
    #[error("nothing was done, because it could not be recorded first")]
    NotRecorded(#[from] StoreError),
    /// Somebody cancelled it.
    #[error("it was cancelled")]
    Cancelled,
    /// The server ended in the middle of it, its call took too long, or a defect ended it.
    #[error("it was interrupted; {found}")]
    Interrupted {
        /// What was found on the node afterwards.
        found: String,
    },
    /// Too many changes are waiting already.
    #[error("too many changes are waiting; try again later")]
    TooManyChanges,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The client left before the change began, so it was not begun.
    #[error("the client left before the change began; nothing was done")]
    Abandoned,
    /// A defect in this program.
    #[error("the change ended unexpectedly; its outcome is not known")]
    Crashed,
}

impl ActionError {
    /// Whether the outcome of the change is not known yet.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Crashed => true,
            _ => self.at_work().is_some(),
        }
    }

    /// The call of the change that may still be running.
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

/// The stored state of a container that can be changed: it is neither locked nor a template.
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

/// The stored state of a container that Proxmox has not locked.
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

#[cfg(test)]
mod tests {
    use std::io;

    use lxc_autoscale_core::ErrorChain;

    use super::*;

    /// What clients, the job and the audit log get: every layer once, down to the system's own words.
    #[test]
    fn an_error_about_another_gives_its_whole_cause() {
        let vmid = Vmid::try_from(104).unwrap();
        let cause = || -> Box<ActionError> {
            let source = io::Error::other("no space left");
            Box::new(BackendError::Read { path: "/etc/pve/x".into(), source }.into())
        };
        let text = |text: &str| text.to_owned();
        for (error, begins) in [
            (
                ActionError::NotRestarted { vmid, done: text("was shut down"), cause: cause() },
                "container 104 was shut down, but it ran before and does not run now: ",
            ),
            (
                ActionError::LeftBehind { cause: cause(), left: text("container 105") },
                "what remains and must be removed by hand: container 105; the change failed: ",
            ),
            (
                ActionError::HalfWay { cause: cause(), done: text("snapshot `one` was removed") },
                "snapshot `one` was removed; then it ended: ",
            ),
        ] {
            let told = ErrorChain(&error).to_string();
            assert_eq!(told, format!("{begins}cannot read `/etc/pve/x`: no space left"));
        }
    }
}
