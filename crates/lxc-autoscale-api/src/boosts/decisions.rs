//! Keeps a decision of `lxc-autoscale-ml` from taking away what a boost has given.
//!
//! The daemon asks which boosts are on before it decides, and its changes arrive later: a boost may have begun since, or
//! its time may be over while the size is still to be given back. A smaller size set then would look like somebody's
//! wish, and stay for good.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::SizeOf;

use super::{BoostRefused, found, rows};
use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::auth::purpose::Purpose;
use crate::backend::{ContainerHost, Likeness};
use crate::ledger::{self, identities};
use crate::store::Store;

/// Whether a request carries out a decision of the daemon, as it says itself.
pub fn is_decision(caller: &Caller) -> bool {
    caller.purpose.as_ref().is_some_and(Purpose::is_decision)
}

/// Refuses a size for a decision if it takes something from a boost that has not been given back. An end that waits for
/// the container to need less does not count: the daemon may bring it down as far as it can meanwhile. The caller has
/// the container to itself.
///
/// # Errors
/// [`BoostRefused::On`], or what keeps it from being determined.
pub async fn keep_from(
    host: &dyn ContainerHost,
    store: &Store,
    vmid: Vmid,
    (resource, to): (SizeOf, Option<f64>),
) -> Result<(), ActionError> {
    // A CPU limit would take away cores.
    let boosted = match resource {
        SizeOf::Cores | SizeOf::Cpulimit => SizeOf::Cores,
        SizeOf::Memory | SizeOf::Rootfs => resource,
    };
    let Some(to) = to else { return Ok(()) };
    // Most containers have none, and then the node is not asked.
    if rows::read(store, Some(vmid)).await?.is_empty() {
        return Ok(());
    }
    let stored = host.stored(vmid).await?;
    if identities::likeness(store, vmid, &stored).await? == Likeness::Other {
        return Ok(());
    }
    let has = ledger::size(&stored.config, resource).filter(|has| 0.0 < *has);
    if has.is_some_and(|has| has <= to) {
        return Ok(());
    }
    let boosts = found(store, vmid, boosted, &stored).await?.boosts;
    match boosts.iter().find(|boost| boost.waiting.is_none() && to < boost.size) {
        None => Ok(()),
        Some(boost) => {
            let (what, size, ends) = (ledger::word(boosted), boost.size, boost.ends);
            Err(BoostRefused::On { vmid, what, size, ends }.into())
        }
    }
}
