//! The node's memory as a budget: what was promised to containers counts against what is available until they have had
//! time to take it.
//!
//! The kernel's number of available memory falls only when the processes of a container have taken what its new limit
//! allows. Until then, the same memory would be promised to one container after the other. So what a running container
//! is given counts from the check on: while its change is under way here, and when that has ended, by the ledger, which
//! survives a restart. Changes that an earlier process left are added at the start (`crate::jobs::reconcile`). What a
//! container has taken since, according to the monitor, no longer counts ([`reckoned`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::{ErrorChain, Vmid};

use crate::actions::ActionError;
use crate::backend::ContainerHost;
use crate::config::Config;
use crate::invariants::{self, NodeMemory, Refused};
use crate::metrics::Taken;
use crate::store::Store;
use crate::{ledger, metrics, node};

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
    /// By the number of the change.
    under_way: Mutex<BTreeMap<i64, Promise>>,
}

/// What a change gives a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// In MiB.
    Known(u64),
    /// It was interrupted, and what it gives this container cannot be read yet.
    Unread(Vmid),
}

/// A running container that is to get more memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// The container.
    pub(crate) vmid: Vmid,
    /// The name of the node it is on; empty for this one.
    pub(crate) home: &'a str,
    /// What it has, in MiB.
    pub(crate) has_mib: u64,
    /// What it is to get beyond that, in MiB.
    pub(crate) more_mib: u64,
}

/// What a container was given within [`PROMISED_FOR`], by the ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Given {
    /// How much more it has than the least it had in that time, in MiB.
    pub(crate) more_mib: f64,
    /// What it has in all, in MiB.
    pub(crate) has_mib: f64,
}

/// A node's available memory, with what of it is promised, in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reckoning {
    available_mib: f64,
    promised_mib: f64,
}

impl Reckoning {
    fn left(&self) -> f64 {
        self.available_mib - self.promised_mib
    }
}

impl Budget {
    /// Promises a running container more memory until `change` ends, if its node has it. The memory of a node other
    /// than this one is not checked.
    ///
    /// # Errors
    /// [`ActionError::Invariant`] if the node has too little, or that is not known; other errors if what was promised
    /// before cannot be determined.
    pub(crate) async fn grant(
        &self,
        (host, store): (&dyn ContainerHost, &Store),
        config: &Config,
        change: i64,
        wish: Wish<'_>,
    ) -> Result<(), ActionError> {
        let (limits, more) = (&config.limits, wish.more_mib);
        // Nobody waits for the disk in turn. What was taken since counts as not taken, which is safe.
        let taken = taken(config).await;
        let _turn = self.0.turn.lock().await;
        let node = node_memory(config, wish.home).await;
        let NodeMemory::Known { available_mib, total_mib } = node else {
            return Ok(invariants::budget(limits, &node, 0.0, more)?);
        };
        // Before the ledger: a change that ends in between is in both, and counts here.
        let (under_way, except) = self.counted()?;
        let given = given(host, store, except).await?;
        let Reckoning { available_mib, promised_mib } = if given.is_empty() {
            Reckoning { available_mib, promised_mib: under_way }
        } else {
            reckoned(available_mib, under_way, &given, wish, &taken)
        };
        invariants::budget(limits, &NodeMemory::Known { available_mib, total_mib }, promised_mib, more)?;
        self.promise(change, more);
        Ok(())
    }

    /// Counts `more` MiB as promised until this change ends.
    pub(crate) fn promise(&self, change: i64, more: u64) {
        self.under_way().insert(change, Promise::Known(more));
    }

    /// Promises nothing more to anybody until it is known what this change gives its container, or it ends.
    pub(crate) fn hold_for(&self, change: i64, vmid: Vmid) {
        self.under_way().insert(change, Promise::Unread(vmid));
    }

    /// Whether it is still not known what this change gives its container.
    pub(crate) fn is_held_for(&self, change: i64) -> bool {
        matches!(self.under_way().get(&change), Some(Promise::Unread(_)))
    }

    /// A change has ended, and the ledger has what came of it.
    pub(crate) fn release(&self, change: i64) {
        self.under_way().remove(&change);
    }

    /// What the changes under way give, in MiB, and their numbers.
    fn counted(&self) -> Result<(f64, BTreeSet<i64>), Refused> {
        let under_way = self.under_way();
        let mut sum = 0;
        for (change, promise) in under_way.iter() {
            match promise {
                Promise::Known(more) => sum += more,
                Promise::Unread(vmid) => {
                    let reason = format!(
                        "how much of it change {change} gives container {vmid} cannot be read yet; that change was \
                         interrupted"
                    );
                    return Err(Refused::NodeUnknown { reason });
                }
            }
        }
        Ok((sum as f64, under_way.keys().copied().collect()))
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<i64, Promise>> {
        // No critical section can panic half way.
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What running containers were given lately, except by these changes.
async fn given(
    host: &dyn ContainerHost,
    store: &Store,
    except: BTreeSet<i64>,
) -> Result<BTreeMap<Vmid, Given>, ActionError> {
    let now = Timestamp::now();
    let mut given = store.read(move |connection| ledger::recent_growth(connection, &except, now)).await?;
    if given.is_empty() {
        return Ok(given);
    }
    // A container that was stopped since takes nothing, and one that was given more while it was stopped may run by now.
    match host.running().await {
        Ok(running) => given.retain(|vmid, _| running.contains(vmid)),
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "cannot tell which containers run: all count that got memory lately");
        }
    }
    Ok(given)
}

async fn node_memory(config: &Config, home: &str) -> NodeMemory {
    let (proc, home) = (config.paths.proc.clone(), home.to_owned());
    let read = tokio::task::spawn_blocking(move || node::memory(&proc, &home)).await;
    read.unwrap_or_else(|error| NodeMemory::Unknown { reason: error.to_string() })
}

/// What the containers have taken, by the newest measurement; nothing is known if that is missing or old.
async fn taken(config: &Config) -> Taken {
    let metrics = config.metrics.clone();
    let read = tokio::task::spawn_blocking(move || {
        let now = Timestamp::now();
        metrics::newest(&metrics, now).map(|snapshot| metrics::taken_memory(&snapshot, &metrics, now))
    });
    let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
    read.unwrap_or_else(|reason| {
        tracing::debug!(reason, "all that containers were given lately counts as not taken yet");
        Taken::default()
    })
}

/// How much of the available memory is promised: to changes under way, and to containers that were `given` memory
/// lately. Pure.
///
/// What a container has taken of it is missing from the available memory already. Of the others, that counts only
/// together with the memory that was available when it was measured: a container that has given memory back since may
/// take it again, and what is available now tells nothing of that. So there are two ways to reckon, and both are safe:
/// with what is available now and all that others were given, or with what was available at the measurement (or now, if
/// that is less) and what they had not taken by then. The one that leaves more counts. The container that asks is known
/// to want more, so that what it has taken counts in neither.
fn reckoned(
    available_mib: f64,
    under_way_mib: f64,
    given: &BTreeMap<Vmid, Given>,
    wish: Wish<'_>,
    taken: &Taken,
) -> Reckoning {
    let not_taken = |vmid: &Vmid, given: &Given| {
        let Some(measured) = taken.containers.get(vmid) else { return given.more_mib };
        // It may have been changed past this server.
        let asked = if *vmid == wish.vmid { wish.has_mib as f64 } else { 0.0 };
        let has = given.has_mib.max(measured.has_mib.unwrap_or(0.0)).max(asked);
        given.more_mib.min((has - measured.taken_mib).max(0.0))
    };
    let sum = |count: &dyn Fn(&Vmid, &Given) -> f64| {
        under_way_mib + given.iter().map(|(vmid, given)| count(vmid, given)).sum::<f64>()
    };
    let in_full = Reckoning {
        available_mib,
        promised_mib: sum(&|vmid, given| {
            if *vmid == wish.vmid { not_taken(vmid, given) } else { given.more_mib }
        }),
    };
    let Some(available_then) = taken.node_available_mib else { return in_full };
    let measured =
        Reckoning { available_mib: available_mib.min(available_then), promised_mib: sum(&not_taken) };
    if in_full.left() < measured.left() { measured } else { in_full }
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
