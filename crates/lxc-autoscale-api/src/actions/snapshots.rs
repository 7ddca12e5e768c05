//! Takes a snapshot, and rolls back to one.

use lxc_autoscale_core::api::{RolledBack, SizeOf, SnapshotCreated};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::held::hold;
use super::retention::{MARK, delete_and_verify};
use super::{ActionError, changeable};
use crate::backend::watch::cancellable;
use crate::backend::{BackendError, ContainerHost, Existing, Obstacle, Stored, snapstate};
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
/// missing or a template, or the back end fails; [`ActionError::LeftBehind`] if it failed and what there is of the
/// snapshot could not be removed.
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
    if let Err(failure) = cancellable(journal.cancel(), host.create_snapshot(vmid, name, MARK)).await {
        return Err(dropped(host, vmid, name, failure).await);
    }
    // The client is told of a failure, and so must not find a snapshot later.
    match host.stored(vmid).await.map(|stored| stored.snapshot(name.as_str())) {
        Ok(Some(state)) => match snapstate::lacks(state) {
            None => Ok(SnapshotCreated { vm_id: vmid, snapshot_name: name.to_string() }),
            Some(lacks) => {
                let found = format!("snapshot `{name}` of container {vmid} is incomplete: {lacks}");
                Err(removed(host, vmid, name, ActionError::NotApplied { found }, true).await)
            }
        },
        Ok(None) => {
            Err(ActionError::NotApplied { found: format!("container {vmid} has no snapshot `{name}`") })
        }
        Err(unknown) => Err(removed(host, vmid, name, unknown.into(), true).await),
    }
}

/// Removes what a failed or cancelled snapshot has left, and returns why it failed.
async fn dropped(
    host: &dyn ContainerHost,
    vmid: Vmid,
    name: &SnapshotName,
    failure: BackendError,
) -> ActionError {
    // The call may still be running; or something else was in the way, and the snapshot is that one's.
    let is_of_others = matches!(
        failure,
        BackendError::Exists { .. } | BackendError::Locked { .. } | BackendError::StillRunning { .. }
    );
    if failure.at_work().is_some() || is_of_others {
        return failure.into();
    }
    let may_have_begun = failure.may_have_begun();
    removed(host, vmid, name, failure.into(), may_have_begun).await
}

/// Removes what there is of a snapshot, and returns why it failed.
async fn removed(
    host: &dyn ContainerHost,
    vmid: Vmid,
    name: &SnapshotName,
    failure: ActionError,
    may_have_begun: bool,
) -> ActionError {
    let removed = match is_marked(host, vmid, name).await {
        Ok(true) => delete_and_verify(host, vmid, name).await,
        Err(unknown) if may_have_begun => Err(unknown.into()),
        // There is none of ours, or the call was refused before it began.
        Ok(false) | Err(_) => Ok(()),
    };
    match removed {
        Ok(()) => failure,
        // What remains is known only when that call has ended.
        Err(at_work) if at_work.at_work().is_some() => {
            ActionError::HalfWay { cause: Box::new(at_work), done: ErrorChain(&failure).to_string() }
        }
        Err(error) => ActionError::LeftBehind {
            cause: Box::new(match failure {
                ActionError::Backend(BackendError::Cancelled { .. }) => ChangeError::Cancelled.into(),
                other => other,
            }),
            left: format!("snapshot `{name}` of container {vmid} ({})", ErrorChain(&error)),
        },
    }
}

/// Whether there is a snapshot of this name that this server has made. There was none when it was ordered, so it is
/// the one that failed; without the mark, somebody else has taken it meanwhile.
async fn is_marked(host: &dyn ContainerHost, vmid: Vmid, name: &SnapshotName) -> Result<bool, BackendError> {
    if !host.stored(vmid).await?.has_snapshot(name) {
        return Ok(false);
    }
    let snapshots = host.snapshots(vmid).await?;
    let found = snapshots.iter().find(|snapshot| snapshot.name == name.as_str());
    Ok(found.is_some_and(|found| found.description.as_deref() == Some(MARK)))
}

/// Rolls back to a snapshot; a container that ran before runs again afterwards.
///
/// Proxmox stops a running container for a rollback and leaves it stopped (`--start` exists only since 7.3). It may
/// have stopped the container even if the rollback then fails, so it is started again in both cases.
///
/// # Errors
/// [`ActionError`] if there is no such snapshot, it is incomplete, it would bring back sizes that break an invariant, the container is
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
    let Some(state) = stored.snapshot(name.as_str()) else {
        return Err(BackendError::NoSuchSnapshot { vmid, name: name.to_string() }.into());
    };
    if let Some(lacks) = snapstate::lacks(state) {
        let detail = format!("snapshot `{name}` is incomplete: {lacks}; roll back to another one");
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::IncompleteSnapshot }.into());
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
        (Err(failure), Err(at_work)) if at_work.at_work().is_some() => {
            let done = ErrorChain(&failure).to_string();
            Err(ActionError::HalfWay { cause: Box::new(at_work), done })
        }
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
