//! `/clone/*`.

use std::io;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lxc_autoscale_core::api::{
    CloneCreated, CloneDeleted, CreateCloneRequest, DeleteCloneRequest, Envelope, RemovalToConfirm, Status,
    VolumeInfo,
};

use super::jobs::{self, LongAnswer, PrefersAsync};
use crate::actions::clones::{self, CloneRequest, Removable, RemovalOrder};
use crate::auth::caller::Caller;
use crate::backend::Stored;
use crate::changes::Change;
use crate::config::ConfirmDestroy;
use crate::confirmation::{LIFETIME, Subject};
use crate::error::{ApiError, ErrorCode, ErrorMessage};
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
        let why = "Proxmox allows no underscore in a host name";
        sentences.push(format!("It is called `{hostname}`, not `{requested_name}`: {why}."));
    }
    if let Some(left) = left_behind {
        sentences.push(format!("What could not be removed: {left}."));
    }
    sentences.join(" ")
}

/// The result of a removal, or what must be confirmed first.
pub(super) enum Removal {
    Begun(LongAnswer<CloneDeleted>),
    ToConfirm(RemovalToConfirm),
}

/// Status and code of a removal that needs a second request.
const TO_CONFIRM: (StatusCode, &str) = (StatusCode::PRECONDITION_REQUIRED, "confirmation_needed");

impl IntoResponse for Removal {
    fn into_response(self) -> Response {
        let removal = match self {
            Self::Begun(answer) => return answer.into_response(),
            Self::ToConfirm(removal) => removal,
        };
        let message = what_would_be_gone(&removal);
        let (status, code) = TO_CONFIRM;
        let told = ErrorMessage(message.as_str().into());
        let envelope =
            Envelope { status: Status::Error, message, data: Some(removal), code: Some(code.to_owned()) };
        let mut response = (status, Json(envelope)).into_response();
        response.extensions_mut().insert(ErrorCode(code));
        response.extensions_mut().insert(told);
        response
    }
}

fn what_would_be_gone(removal: &RemovalToConfirm) -> String {
    let RemovalToConfirm { vm_id, name, is_running, volumes, snapshots, .. } = removal;
    let name = name.as_deref().unwrap_or("without a name");
    let state = if *is_running { "which runs" } else { "stopped" };
    // A directory or device of the node is not removed with the container.
    let disks: Vec<String> = volumes.iter().filter(|disk| !disk.volume.starts_with('/')).map(shown).collect();
    let disks = if disks.is_empty() { "none".to_owned() } else { disks.join(", ") };
    format!(
        "Nothing was done: container {vm_id} ({name}, {state}, disks: {disks}, snapshots: {}) would be removed for good. \
         Send the request again with the `confirmation` of this answer within a minute.",
        snapshots.len()
    )
}

/// Such as `mp0 at /srv 2048 MiB`.
fn shown(volume: &VolumeInfo) -> String {
    let path = volume.path.as_ref().map(|path| format!(" at {path}"));
    let size = volume.size_mb.map(|size| format!(" {size}"));
    format!("{}{}{}", volume.name, path.unwrap_or_default(), size.unwrap_or_default())
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
    let limits = state.config().limits.clone();
    let removable =
        if any_container && limits.destroy_any_container { Removable::Anything } else { Removable::Copies };
    caller.may_touch(&[vm_id])?;
    let whatever = if removable == Removable::Anything { ", copy or not" } else { "" };
    let summary = format!("remove container {vm_id}{whatever}");
    let task = Task::DeleteClone { vmid: vm_id };
    let mut order = RemovalOrder { vmid: vm_id, removable, confirm: limits.confirm_destroy, shown: None };
    if let Some((stored, is_running)) = to_be_confirmed(&state, &order).await {
        let subject = Subject { caller: &caller.identity, vmid: vm_id, stored: &stored };
        let now = Timestamp::now();
        let confirmations = state.confirmations();
        let holds = confirmation.map_or(Ok(false), |given| confirmations.holds(&given, &subject, now));
        if !holds.map_err(|error| no_random(&error))? {
            let expires = now + LIFETIME;
            let confirmation = confirmations.issue(&subject, expires).map_err(|error| no_random(&error))?;
            let (_, code) = TO_CONFIRM;
            state.instruments().change_counted(&task, code);
            tracing::info!(caller = %caller.identity, code, "{summary}: needs a confirmation");
            let Stored { config, snapshots, volumes, .. } = stored;
            let name = config.name;
            let shown =
                RemovalToConfirm { vm_id, name, is_running, volumes, snapshots, confirmation, expires };
            return Ok(Removal::ToConfirm(shown));
        }
        order.shown = Some(stored);
    }
    let change = Change { summary, vmids: vec![vm_id], caller };
    let (host, config) = (state.host(), state.in_force());
    let say = |deleted: &CloneDeleted| format!("Container {} is removed.", deleted.vm_id);
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        // It may have waited, and what may be removed may be less by now.
        let limits = &config.now().limits;
        let removable = if limits.destroy_any_container { order.removable } else { Removable::Copies };
        let order = RemovalOrder { removable, confirm: limits.confirm_destroy, ..order };
        clones::delete(&*host, &journal, &order).await
    })
    .await
    .map(Removal::Begun)
}

/// The container and whether it runs, if its removal needs a second request. `None` if it needs none, and also if the
/// removal will be refused anyway: that is then answered and recorded like any other change.
async fn to_be_confirmed(state: &AppState, order: &RemovalOrder) -> Option<(Stored, bool)> {
    let RemovalOrder { vmid, removable, confirm, .. } = *order;
    let config = state.config();
    let is_kept = invariants::unprotected(&config.limits.protected_containers, &[vmid]).is_err();
    if is_kept || confirm == ConfirmDestroy::Never {
        return None;
    }
    let host = state.host();
    let stored = host.stored(vmid).await.ok()?;
    if stored.config.protection || stored.config.lock.is_some() {
        return None;
    }
    let is_copy = clones::lacks_of_a_copy(state.store(), vmid, &stored).await.ok()?.is_none();
    let is_running = host.is_running(vmid).await.ok()?;
    let is_refused = !is_copy && (removable == Removable::Copies || is_running);
    (!is_refused && clones::takes_confirmation(confirm, is_copy)).then_some((stored, is_running))
}

fn no_random(error: &io::Error) -> ApiError {
    tracing::error!(%error, "the kernel provides no random bytes");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "cannot issue a confirmation; see the log")
}
