//! `/clone/*`.

use std::io;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{
    CloneCreated, CloneDeleted, CreateCloneRequest, DeleteCloneRequest, Envelope, RemovalToConfirm, Status,
};

use super::jobs::{self, LongAnswer, PrefersAsync};
use crate::actions::ActionError;
use crate::actions::clones::{self, CloneRequest, Removable};
use crate::auth::caller::Caller;
use crate::backend::Stored;
use crate::changes::Change;
use crate::config::ConfirmDestroy;
use crate::confirmation::{LIFETIME, Subject};
use crate::error::{ApiError, ErrorCode};
use crate::extract::ApiJson;
use crate::invariants;
use crate::jobs::Task;
use crate::openapi::{Output, Schemas, Shape};
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

/// What a removal came to, or what must be confirmed before.
pub(super) enum Removal {
    Begun(LongAnswer<CloneDeleted>),
    ToConfirm(RemovalToConfirm),
}

/// The code of a removal that takes a second request.
const TO_CONFIRM: (StatusCode, &str) = (StatusCode::PRECONDITION_REQUIRED, "confirmation_needed");

impl IntoResponse for Removal {
    fn into_response(self) -> Response {
        let removal = match self {
            Self::Begun(answer) => return answer.into_response(),
            Self::ToConfirm(removal) => removal,
        };
        let RemovalToConfirm { vm_id, is_running, .. } = removal;
        let name = removal.name.as_deref().unwrap_or("without a name");
        let state = if is_running { "which runs" } else { "stopped" };
        let snapshots = removal.snapshots.len();
        let message = format!(
            "Nothing was done: container {vm_id} ({name}, {state}, snapshots: {snapshots}) would be gone for good. \
             Send the request again with the `confirmation` of this answer within a minute."
        );
        let (status, code) = TO_CONFIRM;
        let envelope =
            Envelope { status: Status::Error, message, data: Some(removal), code: Some(code.to_owned()) };
        let mut response = (status, Json(envelope)).into_response();
        response.extensions_mut().insert(ErrorCode(code));
        response
    }
}

impl Output for Removal {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        LongAnswer::<CloneDeleted>::describe(shape, schemas);
        let (status, code) = TO_CONFIRM;
        shape.answer_with_failure::<RemovalToConfirm>(status, code, schemas);
    }
}

pub(super) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<DeleteCloneRequest>,
) -> Result<Removal, ApiError> {
    let DeleteCloneRequest { vm_id, any_container, confirmation } = request;
    let removable = if any_container && state.config().limits.destroy_any_container {
        Removable::Anything
    } else {
        Removable::Copies
    };
    caller.may_touch(&[vm_id])?;
    let shown = match to_be_confirmed(&state, vm_id, removable).await? {
        None => None,
        Some(stored) => {
            let subject = Subject { caller: &caller.identity, vmid: vm_id, stored: &stored };
            let now = Timestamp::now();
            let confirmations = state.confirmations();
            let holds = match &confirmation {
                None => false,
                Some(confirmation) => {
                    confirmations.holds(confirmation, &subject, now).map_err(|error| no_random(&error))?
                }
            };
            if !holds {
                let expires = now + LIFETIME;
                return Ok(Removal::ToConfirm(RemovalToConfirm {
                    vm_id,
                    name: stored.config.name.clone(),
                    is_running: state.host().is_running(vm_id).await?,
                    snapshots: stored.snapshots.clone(),
                    confirmation: confirmations
                        .issue(&subject, expires)
                        .map_err(|error| no_random(&error))?,
                    expires,
                }));
            }
            Some(stored)
        }
    };
    let whatever = if removable == Removable::Anything { ", copy or not" } else { "" };
    let change =
        Change { summary: format!("remove container {vm_id}{whatever}"), vmids: vec![vm_id], caller };
    let host = state.host();
    let say = |deleted: &CloneDeleted| format!("Container {} is removed.", deleted.vm_id);
    jobs::answer(&state, prefer, change, Task::DeleteClone { vmid: vm_id }, say, async move |journal| {
        clones::delete(&*host, &journal, vm_id, removable, shown.as_ref()).await
    })
    .await
    .map(Removal::Begun)
}

/// A container whose removal takes a second request, as it is; nothing where it takes none, or will be refused anyway.
async fn to_be_confirmed(
    state: &AppState,
    vmid: Vmid,
    removable: Removable,
) -> Result<Option<Stored>, ApiError> {
    let limits = state.config().limits.clone();
    invariants::unprotected(&limits.protected_containers, &[vmid]).map_err(ActionError::from)?;
    if limits.confirm_destroy == ConfirmDestroy::Never {
        return Ok(None);
    }
    let stored = state.host().stored(vmid).await?;
    if stored.config.protection {
        return Ok(None);
    }
    let lacks = clones::lacks_of_a_copy(state.store(), vmid, &stored).await.map_err(ActionError::from)?;
    let is_needed = match (lacks, removable) {
        (None, _) => limits.confirm_destroy == ConfirmDestroy::Always,
        (Some(_), Removable::Anything) => {
            clones::refuse_running(&*state.host(), vmid).await?;
            true
        }
        (Some(_), Removable::Copies) => false,
    };
    Ok(is_needed.then_some(stored))
}

fn no_random(error: &io::Error) -> ApiError {
    tracing::error!(%error, "the kernel gives no random bytes");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no confirmation can be made; see the log")
}
