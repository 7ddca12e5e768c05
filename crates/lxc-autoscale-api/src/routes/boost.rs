//! `/boost`.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use lxc_autoscale_core::api::{BoostInfo, BoostRequest, ContainerRequest, LedgerRequest};
use lxc_autoscale_core::count;

use super::scale::holding;
use super::{Answer, success};
use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::boosts::{self, Started};
use crate::error::ApiError;
use crate::extract::{ApiJson, ApiQuery};
use crate::state::AppState;

pub(super) async fn start(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(request): ApiJson<BoostRequest>,
) -> Answer<Vec<BoostInfo>> {
    caller.may_touch(&[request.vm_id])?;
    if request.cores.is_none() && request.memory.is_none() {
        return Err(ApiError::invalid_parameter("`cores`, `memory` or both must be given"));
    }
    if !(1..=boosts::MAX_MINUTES).contains(&request.minutes) {
        let message = format!("`minutes` must be from 1 to {}", boosts::MAX_MINUTES);
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_bounds", message));
    }
    let message =
        format!("Container {} has a boost for {}.", request.vm_id, count(request.minutes, "minute"));
    let Started { boosts, held_at } = boosts::start(&state, &caller, request, Timestamp::now()).await?;
    Ok(success(message + &holding(held_at), boosts))
}

pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(LedgerRequest { vm_id }): ApiQuery<LedgerRequest>,
) -> Answer<Vec<BoostInfo>> {
    if let Some(vmid) = vm_id {
        caller.may_touch(&[vmid])?;
    }
    let mut found = boosts::list(&state, vm_id).await.map_err(ActionError::from)?;
    found.retain(|boost| caller.may_touch(&[boost.vm_id]).is_ok());
    Ok(success(format!("{}.", count(found.len(), "boost")), found))
}

pub(super) async fn end(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(ContainerRequest { vm_id }): ApiJson<ContainerRequest>,
) -> Answer<Vec<BoostInfo>> {
    caller.may_touch(&[vm_id])?;
    let waiting = boosts::end_now(&state, &caller, vm_id, Timestamp::now()).await?;
    let message = match waiting.len() {
        0 => format!("Container {vm_id} has no boosts now."),
        more => format!("Boosts of container {vm_id} that will end as soon as that does no harm: {more}."),
    };
    Ok(success(message, waiting))
}
