//! Holds the sizes that a container is about to get to the invariants. Whatever changes sizes comes through here: a
//! request, an undo, a boost or its end, and a rollback.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;

use super::ActionError;
use crate::backend::{ContainerHost, Stored};
use crate::budget::Wish;
use crate::config::Config;
use crate::hundredths::hundredths;
use crate::invariants::{self, Step, What};
use crate::jobs::Journal;
use crate::{ledger, node};

/// Checks that a container may get the sizes of `then`. A size that stays as it is breaks nothing. The memory that a
/// running container gets more is promised to it until the change ends.
///
/// # Errors
/// [`ActionError::Invariant`] with what the sizes would violate; other errors if that cannot be determined.
pub(super) async fn hold(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
    stored: &Stored,
    then: &ContainerConfig,
) -> Result<(), ActionError> {
    let (now, limits) = (&stored.config, &config.limits);
    if ledger::differences(vmid, now, then, None).is_empty() {
        return Ok(());
    }
    let steps = steps(now, then);
    if steps.iter().any(|step| step.to.is_none()) {
        let cpus = node_cpus(config, stored).await;
        invariants::most_cores(limits, then.cores, limit(then), cpus)?;
    }
    let changes = journal.changes_last_hour(vmid, limits.max_changes_per_hour).await?;
    invariants::check(limits, &steps, changes)?;
    let has_mib = now.memory_mb.get();
    let more_mib = then.memory_mb.get().saturating_sub(has_mib);
    if 0 < more_mib && host.is_running(vmid).await? {
        journal.grant_memory(host, config, Wish { vmid, home: &stored.home, has_mib, more_mib }).await?;
    }
    Ok(())
}

/// The steps from one configuration to another.
fn steps(now: &ContainerConfig, then: &ContainerConfig) -> Vec<Step> {
    let (cores, limits) = ([now, then].map(|it| it.cores.map(u64::from)), [now, then].map(limit));
    let memory = [now, then].map(|it| Some(it.memory_mb.get()));
    [
        (What::Cores, cores),
        (What::Cpulimit, limits.map(|limit| limit.map(hundredths))),
        (What::Memory, memory),
    ]
    .into_iter()
    .map(|(what, [from, to])| Step { what, from, to })
    .filter(|step| step.from != step.to)
    .collect()
}

/// The CPU limit, if there is one: Proxmox writes 0 for none.
fn limit(config: &ContainerConfig) -> Option<f64> {
    config.cpulimit.filter(|limit| 0.0 < *limit)
}

async fn node_cpus(config: &Config, stored: &Stored) -> Option<u32> {
    let (proc, home) = (config.paths.proc.clone(), stored.home.clone());
    tokio::task::spawn_blocking(move || node::cpus(&proc, &home)).await.ok().flatten()
}
