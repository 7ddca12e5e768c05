//! `/power/*`.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{ContainerRequest, Powered, ShutdownRequest};

use super::jobs::{self, LongAnswer, PrefersAsync};
use crate::actions::power;
use crate::auth::caller::{Caller, Role};
use crate::changes::Change;
use crate::error::ApiError;
use crate::extract::ApiJson;
use crate::jobs::Task;
use crate::state::AppState;

/// The longest time that a container may take to shut down, in seconds.
const MAX_PATIENCE_SECONDS: u32 = 3600;

pub(super) async fn start(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(ContainerRequest { vm_id }): ApiJson<ContainerRequest>,
) -> Result<LongAnswer<Powered>, ApiError> {
    let change = Change { summary: format!("start container {vm_id}"), vmids: vec![vm_id], caller };
    let (host, task) = (state.host(), Task::Start { vmid: vm_id });
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        power::start(&*host, &journal, vm_id).await
    })
    .await
}

pub(super) async fn stop(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(ContainerRequest { vm_id }): ApiJson<ContainerRequest>,
) -> Result<LongAnswer<Powered>, ApiError> {
    let change = Change { summary: format!("kill container {vm_id}"), vmids: vec![vm_id], caller };
    let (host, task) = (state.host(), Task::Stop { vmid: vm_id });
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        power::stop(&*host, &journal, vm_id).await
    })
    .await
}

pub(super) async fn shutdown(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<ShutdownRequest>,
) -> Result<LongAnswer<Powered>, ApiError> {
    let Orderly { vmid, patience, force, change } = Orderly::new(&request, caller, "shut down")?;
    let (host, task) = (state.host(), Task::Shutdown { vmid, force });
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        power::shutdown(&*host, &journal, vmid, patience, force).await
    })
    .await
}

pub(super) async fn reboot(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<ShutdownRequest>,
) -> Result<LongAnswer<Powered>, ApiError> {
    let Orderly { vmid, patience, force, change } = Orderly::new(&request, caller, "restart")?;
    let (host, task) = (state.host(), Task::Reboot { vmid, force });
    let say = |done: &Powered| format!("Container {} was restarted and runs.", done.vm_id);
    jobs::answer(&state, prefer, change, task, say, async move |journal| {
        power::reboot(&*host, &journal, vmid, patience, force).await
    })
    .await
}

/// A stop that begins with an orderly shutdown.
struct Orderly {
    vmid: Vmid,
    patience: Duration,
    force: bool,
    change: Change,
}

impl Orderly {
    /// Checks the role of the caller; a kill needs the same role as `/power/stop`.
    fn new(request: &ShutdownRequest, caller: Caller, verb: &str) -> Result<Self, ApiError> {
        let ShutdownRequest { vm_id: vmid, timeout, force } = *request;
        if force {
            caller.may(Role::Admin)?;
        }
        if !(1..=MAX_PATIENCE_SECONDS).contains(&timeout) {
            let message = format!("`timeout` must be from 1 to {MAX_PATIENCE_SECONDS} seconds");
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_bounds", message));
        }
        let then = if force { "then kill it" } else { "no more" };
        let summary = format!("{verb} container {vmid} (within {timeout} s, {then})");
        let change = Change { summary, vmids: vec![vmid], caller };
        Ok(Self { vmid, patience: Duration::from_secs(timeout.into()), force, change })
    }
}

fn say(done: &Powered) -> String {
    let state = if done.running { "runs" } else { "is stopped" };
    let now = if done.changed { "now" } else { "already; nothing was done" };
    format!("Container {} {state} {now}.", done.vm_id)
}
