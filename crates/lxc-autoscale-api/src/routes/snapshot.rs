//! `/snapshot/*`.

use axum::extract::State;
use lxc_autoscale_core::api::{ContainerRequest, RolledBack, SnapshotCreated, SnapshotList, SnapshotRequest};

use super::{Answer, success};
use crate::actions::snapshots;
use crate::auth::caller::Caller;
use crate::changes::Change;
use crate::extract::{ApiJson, ApiQuery};
use crate::params::SnapshotName;
use crate::state::AppState;

pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(SnapshotRequest { vm_id, snapshot_name }): ApiJson<SnapshotRequest>,
) -> Answer<SnapshotCreated> {
    let name = SnapshotName::new(&snapshot_name)?;
    let change =
        Change { summary: format!("take snapshot {name} of container {vm_id}"), vmids: vec![vm_id], caller };
    let host = state.host();
    let work = async move { snapshots::create(&*host, vm_id, &name).await };
    let created = state.changes().run(change, work).await?;
    Ok(success(format!("Container {vm_id} has snapshot `{}` now.", created.snapshot_name), created))
}

pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(ContainerRequest { vm_id }): ApiQuery<ContainerRequest>,
) -> Answer<SnapshotList> {
    caller.may_touch(&[vm_id])?;
    let host = state.host();
    host.stored(vm_id).await?;
    let snapshots = host.snapshots(vm_id).await?;
    let count = match snapshots.len() {
        0 => "no snapshots".to_owned(),
        1 => "1 snapshot".to_owned(),
        more => format!("{more} snapshots"),
    };
    let message = format!("Container {vm_id} has {count}.");
    Ok(success(message, SnapshotList { vm_id, snapshots }))
}

pub(super) async fn rollback(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(SnapshotRequest { vm_id, snapshot_name }): ApiJson<SnapshotRequest>,
) -> Answer<RolledBack> {
    let name = SnapshotName::new(&snapshot_name)?;
    let change = Change {
        summary: format!("take container {vm_id} back to snapshot {name}"),
        vmids: vec![vm_id],
        caller,
    };
    let host = state.host();
    let work = async move { snapshots::rollback(&*host, vm_id, &name).await };
    let rolled_back = state.changes().run(change, work).await?;
    let state = if rolled_back.running { "and runs again" } else { "and is stopped, as it was" };
    let message = format!("Container {vm_id} is back at snapshot `{}` {state}.", rolled_back.snapshot_name);
    Ok(success(message, rolled_back))
}
