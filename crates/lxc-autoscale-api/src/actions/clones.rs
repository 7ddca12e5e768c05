//! Copying a container, and removing such a copy.
//!
//! A copy carries a tag with its own id. Copies that people make of it carry that tag too, with an id that is
//! not theirs, and so are never taken for ours. To be removed it must be known to `api.sqlite`, too.
//!
//! ## Nothing half-made
//!
//! A running container can be copied from a snapshot only, so one is taken, and dropped again whatever comes
//! of the copy. If the copy fails when it may have been begun, what exists of it is removed; if it was refused, what has
//! its id then was made by somebody else, and is left alone. What cannot be removed is named in the answer. A copy that is
//! still being made, and its snapshot, are seen to when that has ended, and so is what a server left that was killed in
//! between ([`crate::jobs::reconcile`]).

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{CloneCreated, CloneDeleted};

use super::snapshots::ensure_running;
use super::{ActionError, refuse_lock, unlocked};
use crate::backend::watch::cancellable;
use crate::backend::{BackendError, CloneOrder, ContainerHost, Existing, Obstacle, Stored};
use crate::config::ConfirmDestroy;
use crate::jobs::{Journal, copies};
use crate::params::{Hostname, InvalidName, SnapshotName};
use crate::store::{Store, StoreError};

/// Start of the tag that marks a copy; its id follows.
const TAG_PREFIX: &str = "lxc-autoscale-clone-";
/// Start of the name of the snapshot a running container is copied from; the id of the copy follows.
const SNAPSHOT_PREFIX: &str = "lxc-autoscale-clone-";
/// Its description.
const TEMPORARY: &str = "temporary: lxc-autoscale-api copies the container from it";
/// Locks that Proxmox leaves on a copy it did not finish.
const UNFINISHED: [&str; 2] = ["create", "disk"];

/// The tag that marks container `vmid` as a copy of ours.
pub fn tag_of(vmid: Vmid) -> String {
    format!("{TAG_PREFIX}{vmid}")
}

/// Whether a snapshot has the name of one that a copy is made of.
pub(super) fn is_temporary_snapshot(name: &str) -> bool {
    name.starts_with(SNAPSHOT_PREFIX)
}

pub(crate) fn temporary_snapshot(target: Vmid) -> Result<SnapshotName, InvalidName> {
    SnapshotName::new(&format!("{SNAPSHOT_PREFIX}{target}"))
}

/// What `/clone/create` asks for.
#[derive(Clone, Debug)]
pub struct CloneRequest {
    /// The container to copy.
    pub source: Vmid,
    /// The id of the copy.
    pub target: Vmid,
    /// The name that was asked for.
    pub requested_name: String,
    /// The host name that is made of it.
    pub hostname: Hostname,
}

/// Copies a container in full; the copy is left stopped, because it has the addresses of its source.
///
/// # Errors
/// [`ActionError`] when the id is taken, the source is locked or missing, or the back end fails; then there is
/// neither copy nor snapshot, or the error names what remains.
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
    let snapshot = temporary_snapshot(target).map_err(|_| ActionError::Crashed)?;
    if stored.has_snapshot(&snapshot) {
        tracing::warn!(%source, %snapshot, "dropping the snapshot of a copy that was interrupted");
        host.delete_snapshot(source, &snapshot).await?;
    }
    let from_snapshot = host.is_running(source).await?;
    journal.found(source, &stored, Some(from_snapshot));
    let copied = copy(host, journal, request, from_snapshot.then_some(&snapshot)).await;
    let dropped = match &copied {
        _ if !from_snapshot => Ok(()),
        // The copy is being made of it.
        Err(failure) if failure.at_work().is_some() => Err(shown(source, &snapshot)),
        _ => drop_snapshot(host, source, &snapshot).await,
    };
    match (copied, dropped) {
        (Ok(()), dropped) => Ok(CloneCreated {
            vm_id: source,
            new_vm_id: target,
            requested_name: request.requested_name.clone(),
            hostname: request.hostname.to_string(),
            tag: tag_of(target),
            left_behind: dropped.err(),
        }),
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(snapshot)) => Err(left_behind(failure, snapshot)),
    }
}

/// Takes the snapshot, makes the copy and marks it; removes the copy again if any of it fails.
async fn copy(
    host: &dyn ContainerHost,
    journal: &Journal,
    request: &CloneRequest,
    snapshot: Option<&SnapshotName>,
) -> Result<(), ActionError> {
    let CloneRequest { source, target, ref hostname, .. } = *request;
    if let Some(snapshot) = snapshot {
        host.create_snapshot(source, snapshot, TEMPORARY).await?;
    }
    journal.go_on()?;
    let order = CloneOrder { source, target, hostname: hostname.clone(), snapshot: snapshot.cloned() };
    match cancellable(journal.cancel(), host.clone_container(&order)).await {
        Ok(()) => journal.forget(target),
        Err(failure) if failure.at_work().is_some() => {
            return Err(left_behind(failure.into(), format!("container {target}, still being copied")));
        }
        // It was not begun: what has the id now is somebody else's.
        Err(refused) if !refused.may_have_begun() => return Err(refused.into()),
        Err(failure) => return Err(undone(host, request, failure.into()).await),
    }
    match mark(host, target).await {
        Ok(()) => Ok(()),
        Err(failure) if failure.at_work().is_some() => {
            Err(left_behind(failure, format!("container {target}, still being marked")))
        }
        Err(failure) => Err(undone(host, request, failure).await),
    }
}

/// Tags the copy as ours, keeping the tags it took over, but for the mark of another copy.
pub(crate) async fn mark(host: &dyn ContainerHost, target: Vmid) -> Result<(), ActionError> {
    let tag = tag_of(target);
    let mut tags = host.stored(target).await?.config.tags;
    tags.retain(|tag| !tag.starts_with(TAG_PREFIX));
    tags.push(tag.clone());
    host.set_tags(target, &tags).await?;
    if host.stored(target).await?.config.tags.contains(&tag) {
        return Ok(());
    }
    Err(ActionError::NotApplied { found: format!("container {target} has no tag `{tag}`") })
}

/// Removes what exists of a failed copy and returns the failure, with what could not be removed.
async fn undone(host: &dyn ContainerHost, request: &CloneRequest, failure: ActionError) -> ActionError {
    match remove_unfinished(host, request).await {
        Ok(()) => failure,
        Err(error) => left_behind(failure, format!("container {} ({error})", request.target)),
    }
}

async fn remove_unfinished(host: &dyn ContainerHost, request: &CloneRequest) -> Result<(), ActionError> {
    remove_copy(host, request.target, request.hostname.as_str()).await
}

/// Removes a copy that was not finished, or not marked; nothing else that has its id. To be asked for only where the copy may
/// have been begun: what somebody else is just making may look the same.
///
/// # Errors
/// [`ActionError`] when what has the id does not look like the copy, or the back end fails.
pub(crate) async fn remove_copy(
    host: &dyn ContainerHost,
    target: Vmid,
    hostname: &str,
) -> Result<(), ActionError> {
    let config = match host.stored(target).await {
        Ok(stored) => stored.config,
        Err(BackendError::NoSuchContainer { .. }) => return Ok(()),
        Err(other) => return Err(other.into()),
    };
    let unfinished = config.lock.as_deref().is_some_and(|lock| UNFINISHED.contains(&lock));
    // The id alone does not make it ours to destroy: it must look like our copy, too. Only what is not finished
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
    if unfinished {
        host.unlock(target).await?;
    }
    destroy_and_verify(host, target).await
}

/// Drops the temporary snapshot if it is there; `Err` names it when it stays.
pub(crate) async fn drop_snapshot(
    host: &dyn ContainerHost,
    source: Vmid,
    name: &SnapshotName,
) -> Result<(), String> {
    let exists = |stored: &Stored| stored.has_snapshot(name);
    // A second try: a lock that was held for a moment is the usual reason for the first to fail.
    for attempt in 1..=2 {
        if host.stored(source).await.is_ok_and(|stored| !exists(&stored)) {
            return Ok(());
        }
        if let Err(error) = host.delete_snapshot(source, name).await {
            tracing::warn!(%source, snapshot = %name, attempt, %error, "cannot drop the temporary snapshot");
        }
    }
    match host.stored(source).await {
        Ok(stored) if !exists(&stored) => Ok(()),
        _ => Err(shown(source, name)),
    }
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
    /// What carries our mark, and is known to have been made here.
    Copies,
    /// Whatever is not protected: configuration and request both say so.
    Anything,
}

/// A removal that somebody asks for.
#[derive(Clone, Debug)]
pub struct RemovalOrder {
    /// The container.
    pub vmid: Vmid,
    /// What may be removed.
    pub removable: Removable,
    /// Which removals take a confirmation.
    pub confirm: ConfirmDestroy,
    /// What whoever asks has confirmed, as it was shown; nothing where no confirmation was asked for.
    pub shown: Option<Stored>,
}

/// Whether a removal takes a confirmation.
pub fn takes_confirmation(confirm: ConfirmDestroy, is_copy: bool) -> bool {
    match confirm {
        ConfirmDestroy::Always => true,
        ConfirmDestroy::Others => !is_copy,
        ConfirmDestroy::Never => false,
    }
}

/// What lacks of a container to be a copy of ours; nothing where it is one.
///
/// # Errors
/// [`StoreError`] when what was made here cannot be read.
pub async fn lacks_of_a_copy(
    store: &Store,
    vmid: Vmid,
    stored: &Stored,
) -> Result<Option<String>, StoreError> {
    let tag = tag_of(vmid);
    if !stored.config.tags.contains(&tag) {
        return Ok(Some(format!("it has no tag `{tag}`")));
    }
    // Whoever may change its options can give a container the tag.
    let is_known = store.with(move |connection| copies::is_ours(connection, vmid)).await?;
    let unknown = "this server's own records know of no such copy, whatever its tags say";
    Ok((!is_known).then(|| unknown.to_owned()))
}

/// Nobody removes what is no copy of ours while it runs: it may be at work for somebody.
///
/// # Errors
/// [`ActionError`] when it runs, or that cannot be told.
pub async fn refuse_running(host: &dyn ContainerHost, vmid: Vmid) -> Result<(), ActionError> {
    if host.is_running(vmid).await? {
        let detail = "it runs, and is no copy made here: stop it first".to_owned();
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::Running }.into());
    }
    Ok(())
}

/// Removes a copy of ours, stopping it first if it runs, or another container where that is `removable`, which must have
/// been stopped. Where somebody has confirmed it, it must be as it was shown then; where nobody has, it must be one that takes
/// no confirmation. Both are looked at here, and not when it was asked for: the removal may have waited for another change, and
/// the id may be another container's by now.
///
/// # Errors
/// [`ActionError`] when the container is missing, not a copy of ours or running, not as it was shown, protected or locked, or
/// when the back end fails; then it runs again if it ran.
pub async fn delete(
    host: &dyn ContainerHost,
    journal: &Journal,
    order: &RemovalOrder,
) -> Result<CloneDeleted, ActionError> {
    let RemovalOrder { vmid, removable, confirm, ref shown } = *order;
    let stored = host.stored(vmid).await?;
    if shown.as_ref().is_some_and(|shown| *shown != stored) {
        return Err(ActionError::NotAsShown { vmid });
    }
    if stored.config.protection {
        let detail = "it is protected from removal".to_owned();
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::Protected }.into());
    }
    let lacks = lacks_of_a_copy(journal.store(), vmid, &stored).await?;
    let is_copy = lacks.is_none();
    refuse_lock(vmid, &stored)?;
    let was_running = match lacks {
        Some(lacks) if removable == Removable::Copies => return Err(ActionError::NotAClone { vmid, lacks }),
        Some(_) => refuse_running(host, vmid).await.map(|()| false)?,
        None => host.is_running(vmid).await?,
    };
    if shown.is_none() && takes_confirmation(confirm, is_copy) {
        return Err(ActionError::NotAsShown { vmid });
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
        // Until it has ended, nothing is done to the container.
        Err(failure) if failure.at_work().is_some() => Err(failure),
        Err(failure) if was_running && host.stored(vmid).await.is_ok() => {
            match ensure_running(host, vmid).await {
                Ok(()) => Err(failure),
                Err(error) => Err(left_behind(failure, format!("container {vmid}, stopped ({error})"))),
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
