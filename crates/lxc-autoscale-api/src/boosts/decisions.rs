//! Keeps a decision of `lxc-autoscale-ml` from taking away what a boost has given.
//!
//! The daemon asks which boosts are on before it decides, and its changes arrive later: a boost may have begun since, or
//! its time may be over while the size is still to be given back. A smaller size set then would look like somebody's
//! wish, and stay for good.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{BoostInfo, SizeOf};

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

/// Refuses a size for a decision if it takes something from a boost that has not been given back. A boost holds nothing
/// any more once somebody has set another size. An end that waits for
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
    if !rows::has(store, vmid, boosted).await? {
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
    let looked = found(store, vmid, boosted, &stored).await?;
    // A boost whose size somebody has replaced holds nothing any more.
    let is_owed = |boost: &BoostInfo| boost.base.is_none_or(|base| looked.is_raised(base));
    let is_taken_from = |boost: &&BoostInfo| boost.waiting.is_none() && to < boost.size && is_owed(boost);
    match looked.boosts.iter().find(is_taken_from) {
        None => Ok(()),
        Some(boost) => {
            let (what, size, ends) = (ledger::word(boosted), boost.size, boost.ends);
            Err(BoostRefused::On { vmid, what, size, ends }.into())
        }
    }
}
