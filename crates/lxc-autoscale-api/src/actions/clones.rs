//! Copies a container, and removes such copies.
//!
//! A copy carries a tag with its own id. If somebody copies it by hand, the new container carries that tag too, but
//! the id in it is not its own, so it is never taken for one of ours. To be removed, a copy must also be recorded in
//! `api.sqlite`.
//!
//! ## Nothing half-made
//!
//! A running container can be copied from a snapshot only, so a snapshot is taken first and dropped afterwards,
//! whether the copy succeeds or fails. If the copy fails and may have begun, what exists of it is removed. If it was
//! refused, the container with that id belongs to somebody else and is left alone. What cannot be removed is named in
//! the answer; a snapshot that was named is tried again at the next start (`jobs::leftovers`). If a copy is
//! still being made when it is answered, or the server was killed in between, copy and snapshot are dealt with once
//! the call has ended ([`crate::jobs::reconcile`]). How far the copy has come is recorded for that ([`CopyStage`]).

use std::time::Duration;

use lxc_autoscale_core::api::{CloneCreated, CloneDeleted};
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::snapshots::ensure_running;
use super::{ActionError, refuse_lock, unlocked};
use crate::backend::watch::cancellable;
use crate::backend::{BackendError, CloneOrder, ContainerHost, Existing, Obstacle, Stored};
use crate::changes::ChangeError;
use crate::config::ConfirmDestroy;
use crate::jobs::{CopyStage, Journal, copies};
use crate::params::{Hostname, InvalidName, SnapshotName};
use crate::store::{Store, StoreError};

/// Prefix of the tag that marks a copy; its id follows.
const TAG_PREFIX: &str = "lxc-autoscale-clone-";
/// Prefix of the name of the snapshot that a running container is copied from; the id of the copy follows.
const SNAPSHOT_PREFIX: &str = "lxc-autoscale-clone-";
/// Description of that snapshot.
const TEMPORARY: &str = "temporary: lxc-autoscale-api copies the container from it";
/// The pauses between attempts to drop that snapshot.
const DROP_PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Locks that Proxmox leaves on an unfinished copy.
const UNFINISHED: [&str; 2] = ["create", "disk"];

/// The tag that marks container `vmid` as a copy of ours.
pub fn tag_of(vmid: Vmid) -> String {
    format!("{TAG_PREFIX}{vmid}")
}

/// Whether this is the name of a snapshot made for copying. Anybody can give a snapshot such a name ([`is_ours`]).
pub(crate) fn is_temporary_snapshot(name: &str) -> bool {
    name.starts_with(SNAPSHOT_PREFIX)
}

pub(crate) fn temporary_snapshot(target: Vmid) -> Result<SnapshotName, InvalidName> {
    SnapshotName::new(&format!("{SNAPSHOT_PREFIX}{target}"))
}

/// Whether a container has a snapshot of this name that was taken for a copy. The name alone does not show that, so
/// the description must be ours, too; any other snapshot is never dropped.
pub(crate) async fn is_ours(
    host: &dyn ContainerHost,
    source: Vmid,
    name: &SnapshotName,
) -> Result<bool, BackendError> {
    if !host.stored(source).await?.has_snapshot(name) {
        return Ok(false);
    }
    let snapshots = host.snapshots(source).await?;
    let Some(found) = snapshots.iter().find(|snapshot| snapshot.name == name.as_str()) else {
        return Ok(false);
    };
    let is_ours = found.description.as_deref() == Some(TEMPORARY);
    if !is_ours {
        tracing::warn!(%source, snapshot = %name, "a snapshot with a name of ours has another description and is left alone");
    }
    Ok(is_ours)
}

/// Why a container is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemovalRefused {
    /// It is not known to be a copy of ours.
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
    /// It has changed since its removal was asked for or confirmed.
    #[error(
        "container {vmid} has changed since its removal was asked for or confirmed, and is not removed; ask again"
    )]
    NotAsShown {
        /// The container.
        vmid: Vmid,
    },
}

/// The parameters of `/clone/create`.
#[derive(Clone, Debug)]
pub struct CloneRequest {
    /// The container to copy.
    pub source: Vmid,
    /// The id of the copy.
    pub target: Vmid,
    /// The requested name.
    pub requested_name: String,
    /// The host name made from it.
    pub hostname: Hostname,
}

/// Makes a full copy of a container. The copy is left stopped, because it has the same addresses as its source.
///
/// # Errors
/// [`ActionError`] if the id is taken, the source is locked or missing, the name of the temporary snapshot is taken by
/// somebody else's, or the back end fails. Then neither copy nor
/// snapshot is left, or the error names what remains.
pub async fn create(
    host: &dyn ContainerHost,
    journal: &Journal,
    request: &CloneRequest,
) -> Result<CloneCreated, ActionError> {
    let CloneRequest { source, target, .. } = *request;
    let stored = unlocked(host, source).await?;
    if host.is_taken(target).await? {
        return Err(
            BackendError::Exists { what: format!("container {target}"), kind: Existing::Guest }.into()
        );
    }
    let snapshot = temporary_snapshot(target).map_err(|_| ChangeError::Crashed)?;
    let from_snapshot = host.is_running(source).await?;
    journal.found(source, &stored, Some(from_snapshot));
    if stored.has_snapshot(&snapshot) {
        if is_ours(host, source, &snapshot).await? {
            tracing::warn!(%source, %snapshot, "dropping the snapshot of an interrupted copy");
            host.delete_snapshot(source, &snapshot).await?;
        } else if from_snapshot {
            let what = shown(source, &snapshot);
            return Err(BackendError::Exists { what, kind: Existing::Snapshot }.into());
        }
    }
    // From a snapshot, the copy would get the description of that as its notes.
    let notes = stored.notes.filter(|_| from_snapshot);
    let copied = copy(host, journal, request, from_snapshot.then_some(&snapshot), notes).await;
    let dropped = match &copied {
        _ if !from_snapshot => Ok(None),
        // It is in use: the copy is still being made from it.
        Err(failure) if failure.at_work().is_some() => Ok(Some(shown(source, &snapshot))),
        _ => drop_snapshot(host, source, &snapshot).await.map(|left| left.map(|left| left.shown)),
    };
    let dropped = match dropped {
        Ok(dropped) => dropped,
        // What remains is known only when that call has ended.
        Err(at_work) => {
            let done = match copied {
                Ok(()) => format!("container {source} was copied to container {target}"),
                Err(failure) => format!("the copy failed: {}", ErrorChain(&failure)),
            };
            return Err(ActionError::HalfWay { cause: Box::new(at_work.into()), done });
        }
    };
    match (copied, dropped) {
        (Ok(()), left_behind) => Ok(CloneCreated {
            vm_id: source,
            new_vm_id: target,
            requested_name: request.requested_name.clone(),
            hostname: request.hostname.to_string(),
            tag: tag_of(target),
            left_behind,
        }),
        (Err(failure), None) => Err(failure),
        (Err(failure), Some(snapshot)) => Err(left_behind(failure, snapshot)),
    }
}

/// Takes the snapshot, makes the copy and marks it; removes the copy if any of that fails.
async fn copy(
    host: &dyn ContainerHost,
    journal: &Journal,
    request: &CloneRequest,
    snapshot: Option<&SnapshotName>,
    notes: Option<String>,
) -> Result<(), ActionError> {
    let CloneRequest { source, target, ref hostname, .. } = *request;
    if let Some(snapshot) = snapshot {
        host.create_snapshot(source, snapshot, TEMPORARY).await?;
    }
    journal.go_on()?;
    journal.copy_is(CopyStage::Ordered);
    let hostname = hostname.clone();
    let order = CloneOrder { source, target, hostname, snapshot: snapshot.cloned(), notes };
    match cancellable(journal.cancel(), host.clone_container(&order)).await {
        Ok(()) => journal.forget(target),
        Err(failure) if failure.at_work().is_some() => {
            return Err(left_behind(failure.into(), format!("container {target}, still being copied")));
        }
        // The copy did not begin, so a container with that id belongs to somebody else.
        Err(refused) if !refused.may_have_begun() => {
            journal.copy_is(CopyStage::Absent);
            return Err(refused.into());
        }
        Err(failure) => return Err(undone(host, journal, request, failure.into()).await),
    }
    match mark(host, target).await {
        Ok(()) => Ok(()),
        Err(failure) if failure.at_work().is_some() => {
            Err(left_behind(failure, format!("container {target}, still being marked")))
        }
        Err(failure) => Err(undone(host, journal, request, failure).await),
    }
}

/// Tags the copy as ours. It keeps the tags of its source, except the mark of another copy. If its source has no
/// notes, what it has of the temporary snapshot in place of them is removed first.
pub(crate) async fn mark(host: &dyn ContainerHost, target: Vmid) -> Result<(), ActionError> {
    let tag = tag_of(target);
    let Stored { config, notes, .. } = host.stored(target).await?;
    if notes.as_deref() == Some(TEMPORARY) {
        host.remove_notes(target).await?;
    }
    let mut tags = config.tags;
    tags.retain(|tag| !tag.starts_with(TAG_PREFIX));
    tags.push(tag.clone());
    host.set_tags(target, &tags).await?;
    if host.stored(target).await?.config.tags.contains(&tag) {
        return Ok(());
    }
    Err(ActionError::NotApplied { found: format!("container {target} has no tag `{tag}`") })
}

/// Removes what exists of a failed copy, and returns the failure with what could not be removed.
async fn undone(
    host: &dyn ContainerHost,
    journal: &Journal,
    request: &CloneRequest,
    failure: ActionError,
) -> ActionError {
    let CloneRequest { source, target, .. } = *request;
    match remove_copy(host, journal, (source, target), request.hostname.as_str()).await {
        Ok(()) => failure,
        // What remains is known only when that call has ended.
        Err(at_work) if at_work.at_work().is_some() => {
            let done = format!("the copy failed: {}", ErrorChain(&failure));
            ActionError::HalfWay { cause: Box::new(at_work), done }
        }
        Err(error) => left_behind(failure, format!("container {target} ({})", ErrorChain(&error))),
    }
}

/// Removes a copy that is unfinished or not marked, and nothing else with that id. Call this only if the copy may
/// have begun: a container that somebody else is just making may look the same.
///
/// Proxmox gives a copy its name at once, so half a copy without its lock looks like a whole one. That it is being
/// removed is therefore recorded before the lock is.
///
/// The copy of a protected container is protected as well, which is taken from it. Where the source is not protected,
/// somebody else has protected the copy, and it stays.
///
/// # Errors
/// [`ActionError`] if the container with that id does not look like the copy, or the back end fails.
pub(crate) async fn remove_copy(
    host: &dyn ContainerHost,
    journal: &Journal,
    (source, target): (Vmid, Vmid),
    hostname: &str,
) -> Result<(), ActionError> {
    let config = match host.stored(target).await {
        Ok(stored) => stored.config,
        Err(BackendError::NoSuchContainer { .. }) => {
            journal.copy_is(CopyStage::Absent);
            return Ok(());
        }
        Err(other) => return Err(other.into()),
    };
    let unfinished = config.lock.as_deref().is_some_and(|lock| UNFINISHED.contains(&lock));
    // The id alone is no proof that it is ours to destroy; it must look like our copy, too. Only an unfinished copy
    // may have no name yet.
    let looks_like_ours = match config.name.as_deref() {
        Some(name) => name == hostname,
        None => unfinished,
    };
    if !looks_like_ours {
        let found = "what has that id now does not look like the copy".to_owned();
        return Err(ActionError::NotApplied { found });
    }
    tracing::warn!(%target, "removing a copy that failed");
    journal.copy_is(CopyStage::Removing);
    if unfinished {
        host.unlock(target).await?;
    }
    if config.protection && host.stored(source).await?.config.protection {
        host.unprotect(target).await?;
    }
    destroy_and_verify(host, target).await?;
    journal.copy_is(CopyStage::Absent);
    Ok(())
}

/// A temporary snapshot that could not be dropped.
#[derive(Debug)]
pub(crate) struct Leftover {
    /// Its name and its container, in words.
    pub(crate) shown: String,
    /// Whether something else holds the container, which it will not do for ever.
    pub(crate) is_locked: bool,
}

/// Drops the temporary snapshot if it exists and is ours; returns it if it remains. What is in the way is often a lock that is
/// held for a moment, so it is tried several times.
///
/// # Errors
/// [`BackendError`] if a call took too long and may still be running.
pub(crate) async fn drop_snapshot(
    host: &dyn ContainerHost,
    source: Vmid,
    name: &SnapshotName,
) -> Result<Option<Leftover>, BackendError> {
    let mut pauses = DROP_PAUSES.iter();
    loop {
        let failure = match try_to_drop(host, source, name).await {
            Ok(true) => return Ok(None),
            Ok(false) => None,
            Err(at_work) if at_work.at_work().is_some() => return Err(at_work),
            Err(failure) => Some(failure),
        };
        let error = failure.as_ref().map(|error| ErrorChain(error).to_string());
        tracing::warn!(%source, snapshot = %name, error, "cannot drop the temporary snapshot");
        match pauses.next() {
            Some(pause) if failure.as_ref().is_none_or(BackendError::may_pass) => {
                tokio::time::sleep(*pause).await;
            }
            _ => {
                let is_locked = failure.is_some_and(|failure| failure.is_locked());
                return Ok(Some(Leftover { shown: shown(source, name), is_locked }));
            }
        }
    }
}

/// Whether the snapshot is gone, or is not ours, after one attempt to drop it.
async fn try_to_drop(
    host: &dyn ContainerHost,
    source: Vmid,
    name: &SnapshotName,
) -> Result<bool, BackendError> {
    if !is_ours(host, source, name).await? {
        return Ok(true);
    }
    let dropped = host.delete_snapshot(source, name).await;
    if dropped.as_ref().is_err_and(|error| error.at_work().is_some()) {
        return dropped.map(|()| true);
    }
    // What the node shows counts, whatever the call reported.
    if !host.stored(source).await?.has_snapshot(name) {
        return Ok(true);
    }
    dropped.map(|()| false)
}

fn shown(source: Vmid, snapshot: &SnapshotName) -> String {
    format!("snapshot `{snapshot}` of container {source}")
}

fn left_behind(failure: ActionError, more: String) -> ActionError {
    match failure {
        ActionError::LeftBehind { cause, left } => {
            ActionError::LeftBehind { cause, left: format!("{left}; {more}") }
        }
        cause => ActionError::LeftBehind { cause: Box::new(cause), left: more },
    }
}

/// What `/clone/delete` may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removable {
    /// Containers that carry our mark and are recorded as made here.
    Copies,
    /// Any container that is not protected; both the configuration and the request allow it.
    Anything,
}

/// A requested removal.
#[derive(Clone, Debug)]
pub struct RemovalOrder {
    /// The container.
    pub vmid: Vmid,
    /// What may be removed.
    pub removable: Removable,
    /// Which removals need a confirmation.
    pub confirm: ConfirmDestroy,
    /// The container as it was when its removal was confirmed; `None` if no confirmation was asked for.
    pub shown: Option<Stored>,
}

/// Whether a removal needs a confirmation.
pub fn takes_confirmation(confirm: ConfirmDestroy, is_copy: bool) -> bool {
    match confirm {
        ConfirmDestroy::Always => true,
        ConfirmDestroy::Others => !is_copy,
        ConfirmDestroy::Never => false,
    }
}

/// What a container lacks to be a copy of ours; `None` if it is one.
///
/// # Errors
/// [`StoreError`] if the records of copies cannot be read.
pub async fn lacks_of_a_copy(
    store: &Store,
    vmid: Vmid,
    stored: &Stored,
) -> Result<Option<String>, StoreError> {
    let tag = tag_of(vmid);
    if !stored.config.tags.contains(&tag) {
        return Ok(Some(format!("it has no tag `{tag}`")));
    }
    // Anyone who may change its options can give a container the tag.
    let is_known = store.with(move |connection| copies::is_ours(connection, vmid)).await?;
    let unknown = "this server's own records know of no such copy, whatever its tags say";
    Ok((!is_known).then(|| unknown.to_owned()))
}

/// Refuses to remove a running container that is no copy of ours: somebody may be using it.
///
/// # Errors
/// [`ActionError`] if it runs, or that cannot be determined.
pub async fn refuse_running(host: &dyn ContainerHost, vmid: Vmid) -> Result<(), ActionError> {
    if host.is_running(vmid).await? {
        let detail = "it runs, and is no copy made here: stop it first".to_owned();
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::Running }.into());
    }
    Ok(())
}

/// Removes a copy of ours, stopping it first if it runs; or, if `removable` allows it, another container, which must
/// be stopped already.
///
/// If the removal was confirmed, the container must still be as it was shown then; if not, it must be one that needs
/// no confirmation. Both are checked here and not when the removal was asked for, because the removal may have waited
/// for another change, and by now the id may belong to another container.
///
/// # Errors
/// [`ActionError`] if the container is missing, not a copy of ours, running, not as it was shown, protected or
/// locked, or if the back end fails. Then it runs again if it ran before.
pub async fn delete(
    host: &dyn ContainerHost,
    journal: &Journal,
    order: &RemovalOrder,
) -> Result<CloneDeleted, ActionError> {
    let RemovalOrder { vmid, removable, confirm, ref shown } = *order;
    let stored = host.stored(vmid).await?;
    if shown.as_ref().is_some_and(|shown| *shown != stored) {
        return Err(RemovalRefused::NotAsShown { vmid }.into());
    }
    if stored.config.protection {
        let detail = "it is protected from removal".to_owned();
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::Protected }.into());
    }
    let lacks = lacks_of_a_copy(journal.store(), vmid, &stored).await?;
    let is_copy = lacks.is_none();
    refuse_lock(vmid, &stored)?;
    let was_running = match lacks {
        Some(lacks) if removable == Removable::Copies => {
            return Err(RemovalRefused::NotAClone { vmid, lacks }.into());
        }
        Some(_) => refuse_running(host, vmid).await.map(|()| false)?,
        None => host.is_running(vmid).await?,
    };
    if shown.is_none() && takes_confirmation(confirm, is_copy) {
        return Err(RemovalRefused::NotAsShown { vmid }.into());
    }
    journal.found(vmid, &stored, Some(was_running));
    if was_running {
        host.stop(vmid).await?;
    }
    match destroy_and_verify(host, vmid).await {
        Ok(()) => {
            journal.forget(vmid);
            Ok(CloneDeleted { vm_id: vmid, was_running })
        }
        // The call may still be running; until it has ended, nothing is done to the container.
        Err(failure) if failure.at_work().is_some() => Err(failure),
        Err(failure) if was_running && host.stored(vmid).await.is_ok() => {
            match ensure_running(host, vmid).await {
                Ok(()) => Err(failure),
                Err(at_work) if at_work.at_work().is_some() => {
                    let done = ErrorChain(&failure).to_string();
                    Err(ActionError::HalfWay { cause: Box::new(at_work), done })
                }
                Err(error) => {
                    Err(left_behind(failure, format!("container {vmid}, stopped ({})", ErrorChain(&error))))
                }
            }
        }
        Err(failure) => Err(failure),
    }
}

async fn destroy_and_verify(host: &dyn ContainerHost, vmid: Vmid) -> Result<(), ActionError> {
    host.destroy(vmid).await?;
    match host.stored(vmid).await {
        Err(BackendError::NoSuchContainer { .. }) => Ok(()),
        Ok(_) => Err(ActionError::NotApplied { found: format!("container {vmid} still exists") }),
        Err(other) => Err(other.into()),
    }
}
