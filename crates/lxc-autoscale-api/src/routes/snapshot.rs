//! `/snapshot/*`.

use axum::extract::State;
use axum::http::StatusCode;
use lxc_autoscale_core::api::{
    ContainerRequest, PruneRequest, Pruned, RolledBack, SnapshotCreated, SnapshotDeleted, SnapshotInfo,
    SnapshotList, SnapshotRequest, SnapshotState,
};
use lxc_autoscale_core::count;

use super::jobs::{self, LongAnswer, PrefersAsync};
use super::{Answer, success};
use crate::actions::{clones, retention, snapshots};
use crate::auth::caller::Caller;
use crate::changes::Change;
use crate::error::ApiError;
use crate::extract::{ApiJson, ApiQuery};
use crate::jobs::Task;
use crate::params::SnapshotName;
use crate::state::AppState;

/// The most snapshots that a request can keep.
const MOST_KEPT: u32 = 1000;

pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(SnapshotRequest { vm_id, snapshot_name }): ApiJson<SnapshotRequest>,
) -> Result<LongAnswer<SnapshotCreated>, ApiError> {
    let name = SnapshotName::new(&snapshot_name)?;
    if clones::is_temporary_snapshot(name.as_str()) {
        return Err(ApiError::invalid_parameter(
            "names that begin with `lxc-autoscale-clone-` are kept for the snapshots that containers are copied from",
        ));
    }
    let change =
        Change { summary: format!("take snapshot {name} of container {vm_id}"), vmids: vec![vm_id], caller };
    let host = state.host();
    let task = Task::CreateSnapshot { vmid: vm_id, name: name.to_string() };
    let say = |created: &SnapshotCreated| {
        format!("Container {} has snapshot `{}` now.", created.vm_id, created.snapshot_name)
    };
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        snapshots::create(&*host, &journal, vm_id, &name).await
    })
    .await
}

pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(ContainerRequest { vm_id }): ApiQuery<ContainerRequest>,
) -> Answer<SnapshotList> {
    caller.may_touch(&[vm_id])?;
    let host = state.host();
    host.stored(vm_id).await?;
    let turn = state.looks().turn().await?;
    let snapshots = host.snapshots(vm_id).await?;
    drop(turn);
    let found = match snapshots.len() {
        0 => "no snapshots".to_owned(),
        some => count(some, "snapshot"),
    };
    let message = format!("Container {vm_id} has {found}.{}", hint(&snapshots));
    Ok(success(message, SnapshotList { vm_id, snapshots }))
}

/// What to do about incomplete snapshots, if there are any.
fn hint(snapshots: &[SnapshotInfo]) -> String {
    let incomplete = snapshots.iter().filter(|snapshot| snapshot.state != SnapshotState::Complete);
    let names: Vec<String> = incomplete.map(|snapshot| format!("`{}`", snapshot.name)).collect();
    let (is, it) = match names.len() {
        0 => return String::new(),
        1 => ("is", "it"),
        _ => ("are", "them"),
    };
    format!(
        " {} {is} incomplete and cannot be rolled back to: unless Proxmox is still at it, remove {it} with DELETE \
         /snapshot/delete.",
        names.join(", ")
    )
}

pub(super) async fn rollback(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(SnapshotRequest { vm_id, snapshot_name }): ApiJson<SnapshotRequest>,
) -> Result<LongAnswer<RolledBack>, ApiError> {
    let name = SnapshotName::new(&snapshot_name)?;
    let change = Change {
        summary: format!("take container {vm_id} back to snapshot {name}"),
        vmids: vec![vm_id],
        caller,
    };
    let (host, config) = (state.host(), state.in_force());
    let task = Task::Rollback { vmid: vm_id, name: name.to_string() };
    jobs::answer(&state, prefer, change, task, say_back, async move |journal| {
        snapshots::rollback(&*host, &journal, &config.now(), vm_id, &name).await
    })
    .await
}

pub(super) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(SnapshotRequest { vm_id, snapshot_name }): ApiJson<SnapshotRequest>,
) -> Result<LongAnswer<SnapshotDeleted>, ApiError> {
    let name = SnapshotName::new(&snapshot_name)?;
    let change = Change {
        summary: format!("remove snapshot {name} of container {vm_id}"),
        vmids: vec![vm_id],
        caller,
    };
    let host = state.host();
    let task = Task::DeleteSnapshot { vmid: vm_id, name: name.to_string() };
    let say = |gone: &SnapshotDeleted| {
        format!("Container {} no longer has snapshot `{}`.", gone.vm_id, gone.snapshot_name)
    };
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        retention::delete(&*host, &journal, vm_id, &name).await
    })
    .await
}

pub(super) async fn prune(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<PruneRequest>,
) -> Result<LongAnswer<Pruned>, ApiError> {
    let PruneRequest { vm_id, keep, .. } = request;
    if !(1..=MOST_KEPT).contains(&keep) {
        let message = format!("`keep` must be from 1 to {MOST_KEPT}; see DELETE /snapshot/delete");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_bounds", message));
    }
    let whose = if request.any_snapshot { "snapshots" } else { "snapshots of ours" };
    let summary = format!("remove all but {keep} {whose} of container {vm_id}");
    let change = Change { summary, vmids: vec![vm_id], caller };
    let (host, task) = (state.host(), Task::PruneSnapshots { vmid: vm_id, keep });
    jobs::answer(&state, prefer, change, task, say_pruned, async move |journal| {
        retention::prune(&*host, &journal, &request).await
    })
    .await
}

fn say_pruned(pruned: &Pruned) -> String {
    let Pruned { vm_id, removed, kept, left } = pruned;
    format!(
        "Removed from container {vm_id}: {}; kept: {}; left alone: {}.",
        count(removed.len(), "snapshot"),
        kept.len(),
        left.len()
    )
}

fn say_back(done: &RolledBack) -> String {
    let state = if done.running { "and runs again" } else { "and is stopped, as it was" };
    format!("Container {} is back at snapshot `{}` {state}.", done.vm_id, done.snapshot_name)
}
