//! Takes a snapshot, and rolls back to one.

use lxc_autoscale_core::api::{RolledBack, SizeOf, SnapshotCreated};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::held::hold;
use super::retention::MARK;
use super::{ActionError, changeable};
use crate::backend::watch::cancellable;
use crate::backend::{BackendError, ContainerHost, Existing, Stored};
use crate::changes::ChangeError;
use crate::config::Config;
use crate::invariants::Refused;
use crate::jobs::Journal;
use crate::ledger::{self, identities};
use crate::params::SnapshotName;

/// Takes a snapshot.
///
/// # Errors
/// [`ActionError`] if a snapshot of that name exists, the storage cannot make snapshots, the container is locked,
/// missing or a template, or the back end fails.
pub async fn create(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    name: &SnapshotName,
) -> Result<SnapshotCreated, ActionError> {
    let stored = changeable(host, vmid).await?;
    if stored.has_snapshot(name) {
        let what = format!("snapshot `{name}` of container {vmid}");
        return Err(BackendError::Exists { what, kind: Existing::Snapshot }.into());
    }
    journal.found(vmid, &stored, None);
    journal.go_on()?;
    match cancellable(journal.cancel(), host.create_snapshot(vmid, name, MARK)).await {
        Err(given_up @ BackendError::Cancelled { .. }) => {
            return Err(dropped(host, vmid, name, given_up).await);
        }
        other => other?,
    }
    if !host.stored(vmid).await?.has_snapshot(name) {
        return Err(ActionError::NotApplied { found: format!("container {vmid} has no snapshot `{name}`") });
    }
    Ok(SnapshotCreated { vm_id: vmid, snapshot_name: name.to_string() })
}

/// Removes what a cancelled snapshot has left, and returns why it was cancelled.
async fn dropped(
    host: &dyn ContainerHost,
    vmid: Vmid,
    name: &SnapshotName,
    given_up: BackendError,
) -> ActionError {
    let left = |why: BackendError| ActionError::LeftBehind {
        cause: Box::new(ChangeError::Cancelled.into()),
        left: format!("snapshot `{name}` of container {vmid} ({})", ErrorChain(&why)),
    };
    match host.stored(vmid).await {
        Ok(stored) if !stored.has_snapshot(name) => given_up.into(),
        Ok(_) => match host.delete_snapshot(vmid, name).await {
            Ok(()) => given_up.into(),
            // What remains is known only when that call has ended.
            Err(at_work) if at_work.at_work().is_some() => ActionError::HalfWay {
                cause: Box::new(at_work.into()),
                done: ErrorChain(&given_up).to_string(),
            },
            Err(error) => left(error),
        },
        Err(error) => left(error),
    }
}

/// Rolls back to a snapshot; a container that ran before runs again afterwards.
///
/// Proxmox stops a running container for a rollback and leaves it stopped (`--start` exists only since 7.3). It may
/// have stopped the container even if the rollback then fails, so it is started again in both cases.
///
/// # Errors
/// [`ActionError`] if there is no such snapshot, it would bring back sizes that break an invariant, the container is
/// locked, missing or a template, it runs and could not be started again, the back end fails, or the container does not start
/// again.
pub async fn rollback(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
    name: &SnapshotName,
) -> Result<RolledBack, ActionError> {
    let stored = changeable(host, vmid).await?;
    if !stored.has_snapshot(name) {
        return Err(BackendError::NoSuchSnapshot { vmid, name: name.to_string() }.into());
    }
    let then = host.settings_in(vmid, name).await?;
    // A container that runs now is started with these sizes, so it must have room for them.
    hold(host, journal, config, vmid, &stored, &then).await.map_err(|error| match error {
        ActionError::Invariant(refused) => ActionError::SizeInSnapshot {
            name: name.to_string(),
            sizes: sizes(vmid, &stored, &then),
            refused,
        },
        other => other,
    })?;
    let was_running = host.is_running(vmid).await?;
    if was_running {
        // Otherwise it would stay stopped.
        host.may_start(vmid).await?;
    }
    journal.found(vmid, &stored, Some(was_running));
    let rolled_back = roll_back_and_verify(host, vmid, name).await;
    if let Ok(after) = host.stored(vmid).await {
        journal.compare(vmid, &stored.config, &after.config);
        let before = stored.known_identity(vmid).ok();
        if let Err(error) = identities::stays_known(journal.store(), vmid, before, &after).await {
            tracing::warn!(%vmid, error = %ErrorChain(&error), "cannot record the networks that a rollback has brought back");
        }
    }
    let rolled_back = match rolled_back {
        // The call may still be running; until it has ended, nothing is done to the container.
        Err(failure) if failure.at_work().is_some() => return Err(failure),
        ended => ended,
    };
    if !was_running {
        rolled_back?;
        return Ok(RolledBack { vm_id: vmid, snapshot_name: name.to_string(), was_running, running: false });
    }
    let restarted = ensure_running(host, vmid).await;
    match (rolled_back, restarted) {
        (Ok(()), Ok(())) => {
            Ok(RolledBack { vm_id: vmid, snapshot_name: name.to_string(), was_running, running: true })
        }
        (Ok(()), Err(cause)) => {
            let done = format!("is back at snapshot `{name}`");
            Err(ActionError::NotRestarted { vmid, done, cause: Box::new(cause) })
        }
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(cause)) => Err(ActionError::LeftBehind {
            cause: Box::new(failure),
            left: format!("container {vmid} is stopped and does not start ({})", ErrorChain(&cause)),
        }),
    }
}

/// The sizes that a snapshot would change, in words.
fn sizes(vmid: Vmid, now: &Stored, then: &ContainerConfig) -> String {
    let changed = ledger::differences(vmid, &now.config, then, None);
    let words = changed.iter().map(|changed| {
        let unit = match changed.resource {
            SizeOf::Cores | SizeOf::Cpulimit => "",
            SizeOf::Memory | SizeOf::Rootfs => " MiB",
        };
        let shown = |size: Option<f64>| size.map_or("none".to_owned(), |size| format!("{size}{unit}"));
        let what = ledger::word(changed.resource);
        format!("`{what}` {} instead of {}", shown(changed.after), shown(changed.before))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What helps if sizes in a snapshot are refused for this reason.
pub(super) fn remedy(refused: &Refused) -> &'static str {
    match refused {
        Refused::StepTooLarge { .. } => "resize the container first, then roll back",
        Refused::TooOften { .. } => "wait until an hour has passed since then",
        Refused::NodeShort { .. } => "make room on the node first, or shut the container down",
        Refused::NodeUnknown { .. } => "shut the container down first: a stopped one takes no memory",
        Refused::OutOfBounds { .. } | Refused::Protected { .. } => {
            "change `[limits]` first, or roll back on the node itself"
        }
    }
}

async fn roll_back_and_verify(
    host: &dyn ContainerHost,
    vmid: Vmid,
    name: &SnapshotName,
) -> Result<(), ActionError> {
    host.rollback(vmid, name).await?;
    let parent = host.stored(vmid).await?.parent;
    if parent.as_deref() == Some(name.as_str()) {
        return Ok(());
    }
    let parent = parent.unwrap_or_else(|| "no snapshot".to_owned());
    Err(ActionError::NotApplied {
        found: format!("container {vmid} descends from {parent}, not from `{name}`"),
    })
}

/// Starts a container that does not run.
pub(crate) async fn ensure_running(host: &dyn ContainerHost, vmid: Vmid) -> Result<(), ActionError> {
    if host.is_running(vmid).await? {
        return Ok(());
    }
    host.start(vmid).await?;
    if host.is_running(vmid).await? {
        return Ok(());
    }
    Err(ActionError::NotApplied { found: format!("container {vmid} does not run") })
}
