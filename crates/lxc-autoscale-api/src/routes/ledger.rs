//! `/ledger` and `/undo`.

use axum::extract::State;
use lxc_autoscale_core::api::{LedgerPage, LedgerRequest, UndoRequest, Undone};
use lxc_autoscale_core::count;

use super::{Answer, success};
use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::error::ApiError;
use crate::extract::{ApiJson, ApiQuery};
use crate::ledger::{self, Moment};
use crate::state::AppState;
use crate::store::StoreError;
use crate::undo;

pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(LedgerRequest { vm_id }): ApiQuery<LedgerRequest>,
) -> Answer<LedgerPage> {
    if let Some(vmid) = vm_id {
        caller.may_touch(&[vmid])?;
    }
    let scope = caller.containers;
    let page = state.store().with(move |connection| ledger::page(connection, vm_id, scope.as_ref())).await;
    let page = page.map_err(ActionError::from)?;
    Ok(success(format!("{} of sizes.", count(page.entries.len(), "change")), page))
}

pub(super) async fn undo(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(UndoRequest { vm_id, all, to }): ApiJson<UndoRequest>,
) -> Answer<Vec<Undone>> {
    let moment = match to.as_str() {
        "original" => Moment::Original,
        time => Moment::At(time.parse().map_err(|_| {
            ApiError::invalid_parameter("`to` must be `original` or a time such as 2026-11-25T08:00:00Z")
        })?),
    };
    let containers = match (vm_id, all) {
        (Some(vmid), false) => vec![vmid],
        (None, true) => {
            let found = state.store().with(|connection| ledger::containers(connection)).await;
            found.map_err(ActionError::from)?
        }
        _ => return Err(ApiError::invalid_parameter("either `vm_id` or `\"all\": true` must be given")),
    };
    caller.may_touch(&containers)?;
    if let Some(vmid) = vm_id {
        // A mistyped id must not look like a success.
        state.host().stored(vmid).await?;
    }
    let own = AppState::clone(&state);
    let all = async move {
        let mut done = Vec::new();
        for vmid in containers {
            done.extend(undo::undo(&own, &caller, vmid, moment).await?);
        }
        Ok(done)
    };
    let done: Vec<Undone> =
        state.changes().together(all).await?.map_err(|error: StoreError| ActionError::from(error))?;
    let changed = done.iter().filter(|undone| undone.changed).count();
    let refused = done.iter().filter(|undone| undone.code.is_some()).count();
    let message = format!("Undone: {}; could not be undone: {refused}.", count(changed, "size"));
    Ok(success(message, done))
}
