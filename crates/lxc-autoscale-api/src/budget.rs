//! The node's memory as a budget: what was promised to containers counts against what is available until they have had
//! time to take it.
//!
//! The kernel's number of available memory falls only when the processes of a container have taken what its new limit
//! allows. Until then, the same memory would be promised to one container after the other. So what a running container
//! is given counts from the check on: while its change is under way here, and when that has ended, by the ledger, which
//! survives a restart. Changes that an earlier process left are added at the start (`crate::jobs::reconcile`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::{ErrorChain, Vmid};

use crate::actions::ActionError;
use crate::backend::ContainerHost;
use crate::config::LimitsConfig;
use crate::invariants::{self, NodeMemory};
use crate::ledger;
use crate::store::Store;

/// How long memory that was given counts as promised. A container gets more because its processes ask for more: the ml
/// daemon grows one by what it was seen to need, and they have it after a few of its cycles of a minute. What they have
/// not taken after ten may be taken some day, as with every limit, and limits may add up to more than the node has.
pub(crate) const PROMISED_FOR: SignedDuration = SignedDuration::from_mins(10);

/// What was promised and is not in the ledger yet; clones are the same budget.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<Promises>);

#[derive(Debug, Default)]
struct Promises {
    /// Held from looking at what is promised to promising more, so that no two changes are given the same memory.
    turn: tokio::sync::Mutex<()>,
    /// In MiB, by the number of the change.
    under_way: Mutex<BTreeMap<i64, u64>>,
}

impl Budget {
    /// Promises a running container `more` MiB until its change ends, if the node has them. What `node` says of a node
    /// other than this one is not checked. Of what this container itself was given lately, no more counts than it has
    /// `unused` (in MiB, `None` if unknown): one that keeps running out of memory is not refused for what it has taken.
    ///
    /// # Errors
    /// [`ActionError::Invariant`] if the node has too little, or that is not known; other errors if what was promised
    /// before cannot be determined.
    pub(crate) async fn grant(
        &self,
        (host, store): (&dyn ContainerHost, &Store),
        limits: &LimitsConfig,
        node: impl Future<Output = NodeMemory>,
        (vmid, change, more): (Vmid, i64, u64),
        unused: impl Future<Output = Option<f64>>,
    ) -> Result<(), ActionError> {
        let _turn = self.0.turn.lock().await;
        let node = node.await;
        let is_known = matches!(node, NodeMemory::Known { .. });
        let promised_mib = if is_known { self.promised(host, store, (vmid, unused)).await? } else { 0.0 };
        invariants::budget(limits, &node, promised_mib, more)?;
        if is_known {
            self.promise(change, more);
        }
        Ok(())
    }

    /// Counts `more` MiB as promised until this change ends.
    pub(crate) fn promise(&self, change: i64, more: u64) {
        self.under_way().insert(change, more);
    }

    /// A change has ended, and the ledger has what came of it.
    pub(crate) fn release(&self, change: i64) {
        self.under_way().remove(&change);
    }

    /// What running containers were promised, in MiB; of the one that asks, at most what it has unused.
    async fn promised(
        &self,
        host: &dyn ContainerHost,
        store: &Store,
        (asking, unused): (Vmid, impl Future<Output = Option<f64>>),
    ) -> Result<f64, ActionError> {
        // Before the ledger: a change that ends in between is in both, and counts here.
        let under_way = self.under_way().clone();
        let promised: u64 = under_way.values().sum();
        let (except, now): (BTreeSet<i64>, _) = (under_way.into_keys().collect(), Timestamp::now());
        let mut recent =
            store.read(move |connection| ledger::recent_growth(connection, &except, now)).await?;
        if let Some(own) = recent.get_mut(&asking)
            && let Some(unused) = unused.await
        {
            *own = own.min(unused);
        }
        if recent.is_empty() {
            return Ok(promised as f64);
        }
        // One that was stopped since takes nothing, and one that was given more while it was stopped may run by now.
        let running = match host.running().await {
            Ok(running) => running,
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "cannot tell which containers run: all count that got memory lately");
                recent.keys().copied().collect()
            }
        };
        let recent = recent.iter().filter(|(vmid, _)| running.contains(vmid)).map(|(_, mib)| mib);
        Ok(promised as f64 + recent.sum::<f64>())
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<i64, u64>> {
        // Every critical section is a single map operation, so a panic leaves nothing half done.
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much each container has now beyond the least it had, given the changes of its size from the newest to the
/// oldest; those with nothing beyond are left out. Pure.
///
/// A container that was shrunk and has grown again counts with what it has grown: between the two it lived with less,
/// so this is not taken either.
pub(crate) fn growths(changes: impl IntoIterator<Item = (Vmid, f64)>) -> BTreeMap<Vmid, f64> {
    let mut growths = BTreeMap::<Vmid, (f64, f64)>::new();
    for (vmid, change) in changes {
        let (since, most) = growths.entry(vmid).or_default();
        *since += change;
        *most = most.max(*since);
    }
    growths.into_iter().map(|(vmid, (_, most))| (vmid, most)).filter(|(_, most)| 0.0 < *most).collect()
}

#[cfg(test)]
mod tests;
