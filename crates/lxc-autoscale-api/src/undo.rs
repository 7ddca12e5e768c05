//! Takes sizes back to what they were at a time, through the same guards as any other change: what would hurt is
//! refused, not forced.

use lxc_autoscale_core::api::{SizeOf, Undone};
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid};

use crate::actions::{ActionError, resize};
use crate::auth::caller::Caller;
use crate::changes::Change;
use crate::error::ApiError;
use crate::jobs::{Journal, Order, Task};
use crate::ledger::{self, Known, Moment};
use crate::state::Shared;
use crate::store::StoreError;

/// Takes all sizes of a container back; those that cannot be name why.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be read.
pub async fn undo(
    state: &Shared,
    caller: &Caller,
    vmid: Vmid,
    moment: Moment,
) -> Result<Vec<Undone>, StoreError> {
    let mut done = Vec::new();
    for resource in [SizeOf::Cores, SizeOf::Cpulimit, SizeOf::Memory] {
        let known = state.store().with(move |connection| ledger::known(connection, vmid, resource, moment));
        let undone = |to| Undone { vm_id: vmid, resource, to, changed: false, code: None, reason: None };
        let refused = |to, code: &str, reason: String| Undone {
            code: Some(code.to_owned()),
            reason: Some(reason),
            ..undone(to)
        };
        done.push(match known.await? {
            Known::Unchanged => continue,
            Known::Forgotten { since } => {
                refused(None, "before_ledger", format!("the ledger goes back to {since}"))
            }
            Known::Size(to) => match set(state, caller, (vmid, resource, to), "undo").await {
                Ok(changed) => Undone { changed, ..undone(to) },
                Err(error) => {
                    let (_, code) = ApiError::status_and_code(&error);
                    refused(to, code, ErrorChain(&error).to_string())
                }
            },
        });
    }
    Ok(done)
}

/// Sets one size, in cores or MiB, for a reason of our own; returns whether that changed anything.
///
/// # Errors
/// [`ActionError`], as any other change.
pub(crate) async fn set(
    state: &Shared,
    caller: &Caller,
    (vmid, resource, to): (Vmid, SizeOf, Option<f64>),
    why: &str,
) -> Result<bool, ActionError> {
    let shown = to.map_or("none".to_owned(), |to| to.to_string());
    let summary = format!("set the {} of container {vmid} to {shown} ({why})", ledger::word(resource));
    let change = Change { summary, vmids: vec![vmid], caller: caller.clone() };
    let order = |task| Order { task, why: why.to_owned() };
    let (host, config, changes) = (state.host(), state.config(), state.changes());
    match (resource, to) {
        (SizeOf::Cores, Some(cores)) => {
            let cores = whole(cores)
                .and_then(|cores| u32::try_from(cores).ok())
                .ok_or_else(|| not_restored(resource))?;
            let work = async move |journal: Journal| {
                resize::set_cores(&*host, &journal, &config, vmid, cores, None).await
            };
            let order = order(Task::SetCores { vmid, cores: Some(cores) });
            changes.record(change, order, work).await.map(|done| done.changed)
        }
        (SizeOf::Cores, None) => {
            let work = async move |journal: Journal| resize::remove_cores(&*host, &journal, vmid).await;
            let order = order(Task::SetCores { vmid, cores: None });
            changes.record(change, order, work).await.map(|done| done.changed)
        }
        (SizeOf::Cpulimit, cores) => {
            let cores = cores.unwrap_or(0.0);
            let work = async move |journal: Journal| {
                resize::set_cpulimit(&*host, &journal, &config, vmid, cores, None).await
            };
            let order = order(Task::SetCpulimit { vmid, hundredths: resize::hundredths(cores) });
            changes.record(change, order, work).await.map(|done| done.changed)
        }
        (SizeOf::Memory, Some(memory)) => {
            let memory_mib = whole(memory).ok_or_else(|| not_restored(resource))?;
            let work = async move |journal: Journal| {
                let memory = Mebibytes::new(memory_mib);
                resize::set_memory(&*host, &journal, &config, vmid, memory, None).await
            };
            let order = order(Task::SetMemory { vmid, memory_mib });
            changes.record(change, order, work).await.map(|done| done.changed)
        }
        _ => Err(not_restored(resource)),
    }
}

fn not_restored(resource: SizeOf) -> ActionError {
    ActionError::NotApplied { found: format!("{} cannot be set to that size", ledger::word(resource)) }
}

/// A size as a whole number; `None` when it is none.
fn whole(size: f64) -> Option<u64> {
    Mebibytes::from_f64_ceil(size).map(Mebibytes::get)
}
