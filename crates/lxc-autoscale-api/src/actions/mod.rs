//! The actions behind the mutating routes. Each is a whole sequence, from looking first to reading back.
//!
//! An action has its containers to itself while it runs ([`crate::changes`]), and knows nothing of HTTP. What the
//! container's configuration rules out is refused before `pct` is started. An action has succeeded only if the node
//! shows the change, whatever `pct` reported.

use lxc_autoscale_core::Vmid;

use self::clones::RemovalRefused;
use self::resize::ResizeRefused;
use crate::audit::AuditError;
use crate::backend::{BackendError, ContainerHost, Obstacle, Stored};
use crate::boosts::BoostRefused;
use crate::changes::ChangeError;
use crate::configuration::ConfigurationError;
use crate::gate::Occupied;
use crate::invariants::Refused;
use crate::ledger::LedgerMismatch;
use crate::memory_guard::ShrinkRefused;
use crate::store::StoreError;

pub mod clones;
mod held;
pub mod power;
pub mod resize;
pub mod retention;
pub mod snapshots;

/// Why an action was not done, or not completely. What the action is made of has errors of its own.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The back end refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The change was not begun, or cut off, whatever it was to do.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Less memory would hurt the container, or might.
    #[error(transparent)]
    Shrink(#[from] ShrinkRefused),
    /// It would break an invariant that holds for every change.
    #[error(transparent)]
    Invariant(#[from] Refused),
    /// The size cannot be set, or is not the expected one.
    #[error(transparent)]
    Resize(#[from] ResizeRefused),
    /// What the ledger knows does not fit the container.
    #[error(transparent)]
    Ledger(#[from] LedgerMismatch),
    /// The container is not removed.
    #[error(transparent)]
    Removal(#[from] RemovalRefused),
    /// The configuration is not changed.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// There is nothing to boost.
    #[error(transparent)]
    Boost(#[from] BoostRefused),
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
    /// The change failed, and what had been made on the way could not be removed. What remains comes first, because long
    /// texts are cut off at their end.
    #[error("what remains and must be removed by hand: {left}; the change failed")]
    LeftBehind {
        /// The failure.
        #[source]
        cause: Box<ActionError>,
        /// What remains.
        left: String,
    },
    /// The change failed or was cancelled half way; what was done stays done.
    #[error("{done}; then it ended")]
    HalfWay {
        /// The failure.
        #[source]
        cause: Box<ActionError>,
        /// What was done before.
        done: String,
    },
}

impl From<StoreError> for ActionError {
    fn from(error: StoreError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<AuditError> for ActionError {
    fn from(error: AuditError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<Occupied> for ActionError {
    fn from(error: Occupied) -> Self {
        ChangeError::from(error).into()
    }
}

impl ActionError {
    /// Whether the outcome of the change is not known yet.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Change(ChangeError::Crashed) => true,
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
