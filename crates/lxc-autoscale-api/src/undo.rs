//! Returns sizes to what they were at a given time, through the same guards as any other change: what would hurt is
//! refused, not forced.

use lxc_autoscale_core::api::{SizeOf, Undone};
use lxc_autoscale_core::{ErrorChain, Vmid};

use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::error::ApiError;
use crate::jobs::Journal;
use crate::ledger::{self, Known, LedgerMismatch, Moment, identities};
use crate::setting::Setting;
use crate::state::Shared;
use crate::store::StoreError;

/// Undoes all size changes of a container; sizes that cannot be undone carry the reason.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be read.
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
            Known::Size(to) => match set(state, caller, (vmid, resource, to), moment).await {
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

async fn set(
    state: &Shared,
    caller: &Caller,
    (vmid, resource, to): (Vmid, SizeOf, Option<f64>),
    moment: Moment,
) -> Result<bool, ActionError> {
    let setting = Setting::new(vmid, resource, to)?;
    let (change, order) = setting.asked(caller, "undo");
    let (host, config) = (state.host(), state.in_force());
    let work = async move |journal: Journal| {
        identities::refuse_other(&*host, journal.store(), vmid).await?;
        // A change before this one may have noticed that the id belongs to another container, which is known by now.
        let known = journal.store().with(move |connection| ledger::known(connection, vmid, resource, moment));
        match known.await? {
            Known::Size(now) if ledger::is_same(now, to) => {}
            _ => return Err(LedgerMismatch::Changed { vmid, what: ledger::word(resource) }.into()),
        }
        setting.apply(&*host, &journal, &config.now()).await
    };
    state.changes().record(change, order, work).await.map(|applied| applied.is_change())
}
