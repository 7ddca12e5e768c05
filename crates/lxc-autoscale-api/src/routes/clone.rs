//! `/clone/*`.

use axum::extract::State;
use lxc_autoscale_core::api::{CloneCreated, CloneDeleted, CreateCloneRequest, DeleteCloneRequest};

use super::jobs::{self, LongAnswer, PrefersAsync};
use crate::actions::clones::{self, CloneRequest, Removable};
use crate::auth::caller::Caller;
use crate::changes::Change;
use crate::error::ApiError;
use crate::extract::ApiJson;
use crate::jobs::Task;
use crate::params::Hostname;
use crate::state::AppState;

pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<CreateCloneRequest>,
) -> Result<LongAnswer<CloneCreated>, ApiError> {
    let CreateCloneRequest { vm_id, new_vm_id, new_vm_name } = request;
    let hostname = Hostname::from_requested(&new_vm_name)?;
    let change = Change {
        summary: format!("copy container {vm_id} to {new_vm_id} ({hostname})"),
        vmids: vec![vm_id, new_vm_id],
        caller,
    };
    let task = Task::CreateClone {
        source: vm_id,
        target: new_vm_id,
        requested_name: new_vm_name.clone(),
        hostname: hostname.to_string(),
    };
    let order = CloneRequest { source: vm_id, target: new_vm_id, requested_name: new_vm_name, hostname };
    let host = state.host();
    jobs::answer(&state, prefer, change, task, sentence, async move |journal| {
        clones::create(&*host, &journal, &order).await
    })
    .await
}

fn sentence(created: &CloneCreated) -> String {
    let CloneCreated { vm_id, new_vm_id, requested_name, hostname, left_behind, .. } = created;
    let mut sentences = vec![format!("Container {new_vm_id} is a copy of container {vm_id} and is stopped.")];
    if requested_name != hostname {
        let why = "Proxmox takes no underscore in a host name";
        sentences.push(format!("It is called `{hostname}`, not `{requested_name}`: {why}."));
    }
    if let Some(left) = left_behind {
        sentences.push(format!("What could not be removed: {left}."));
    }
    sentences.join(" ")
}

pub(super) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<DeleteCloneRequest>,
) -> Result<LongAnswer<CloneDeleted>, ApiError> {
    let DeleteCloneRequest { vm_id, any_container } = request;
    let removable = if any_container && state.config().limits.destroy_any_container {
        Removable::Anything
    } else {
        Removable::Copies
    };
    let whatever = if removable == Removable::Anything { ", copy or not" } else { "" };
    let change =
        Change { summary: format!("remove container {vm_id}{whatever}"), vmids: vec![vm_id], caller };
    let host = state.host();
    let say = |deleted: &CloneDeleted| format!("Container {} is removed.", deleted.vm_id);
    jobs::answer(&state, prefer, change, Task::DeleteClone { vmid: vm_id }, say, async move |journal| {
        clones::delete(&*host, &journal, vm_id, removable).await
    })
    .await
}
