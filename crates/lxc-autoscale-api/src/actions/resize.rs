//! Cores, memory and root filesystem.

use jiff::Timestamp;
use lxc_autoscale_core::api::{IncreasedStorage, Resized, ScaledCores, ScaledRam};
use lxc_autoscale_core::{Cores, Mebibytes, Vmid};

use super::{ActionError, changeable};
use crate::backend::{ContainerHost, Stored};
use crate::config::{LimitsConfig, MetricsConfig};
use crate::memory_guard::{self, Need};
use crate::metrics;

/// MiB in a GiB.
const MIB_PER_GIB: u64 = 1024;

/// Sets the number of cores.
///
/// # Errors
/// [`ActionError`] when it is out of bounds, the container is pinned, locked, missing or a template, or the
/// back end fails.
pub async fn set_cores(
    host: &dyn ContainerHost,
    limits: &LimitsConfig,
    vmid: Vmid,
    cores: u32,
) -> Result<ScaledCores, ActionError> {
    within("`cores`", cores.into(), limits.min_cores.into(), limits.max_cores.into())?;
    let stored = changeable(host, vmid).await?;
    if let Some(cpuset) = stored.config.pinned_cpuset {
        return Err(ActionError::PinnedCpuset { vmid, cpuset });
    }
    let before = stored.config.cores;
    if before == Some(cores) {
        return Ok(resized(vmid, before.map(Cores::from), before.map(Cores::from), false));
    }
    host.set_cores(vmid, cores).await?;
    let after = host.stored(vmid).await?.config.cores;
    if after != Some(cores) {
        let found = after.map_or("none is set".to_owned(), |cores| format!("it is {cores}"));
        return Err(not_applied(vmid, "number of cores", &found));
    }
    Ok(resized(vmid, before.map(Cores::from), after.map(Cores::from), true))
}

/// Sets the memory.
///
/// # Errors
/// [`ActionError`] when it is out of bounds or would leave the container less than it needs, when the
/// container is locked, missing or a template, or when the back end fails.
pub async fn set_memory(
    host: &dyn ContainerHost,
    limits: &LimitsConfig,
    metrics: &MetricsConfig,
    vmid: Vmid,
    memory: Mebibytes,
) -> Result<ScaledRam, ActionError> {
    within("`memory` (in MiB)", memory.get(), limits.min_memory_mib, limits.max_memory_mib)?;
    let before = changeable(host, vmid).await?.config.memory_mb;
    if before == memory {
        return Ok(resized(vmid, Some(before), Some(before), false));
    }
    if memory < before {
        let need = need(host, metrics, vmid).await?;
        memory_guard::check(limits, before, memory, need)?;
    }
    host.set_memory(vmid, memory).await?;
    let after = host.stored(vmid).await?.config.memory_mb;
    if after != memory {
        return Err(not_applied(vmid, "memory", &format!("it is {after}")));
    }
    Ok(resized(vmid, Some(before), Some(after), true))
}

/// Adds `gib` GiB to the root filesystem, for ever.
///
/// # Errors
/// [`ActionError`] when it is out of bounds, the container is locked, missing or a template, or the back end
/// fails.
pub async fn grow_rootfs(
    host: &dyn ContainerHost,
    limits: &LimitsConfig,
    vmid: Vmid,
    gib: u32,
) -> Result<IncreasedStorage, ActionError> {
    within("`disk_size` (in GiB)", gib.into(), 1, limits.max_disk_increase_gib.into())?;
    let before = rootfs(&changeable(host, vmid).await?);
    host.grow_rootfs(vmid, gib).await?;
    let after = rootfs(&host.stored(vmid).await?);
    // Proxmox writes the size it finds after growing, which may have been rounded up. Where the configuration
    // had none before, that there is one now is all that can be seen.
    let wanted = before.map_or(0, Mebibytes::get) + u64::from(gib) * MIB_PER_GIB;
    match after {
        Some(size) if wanted <= size.get() => Ok(resized(vmid, before, after, true)),
        Some(size) => {
            Err(not_applied(vmid, "root filesystem", &format!("it has {size}, less than {wanted} MiB")))
        }
        None => Err(not_applied(vmid, "root filesystem", "its configuration names no size")),
    }
}

async fn need(host: &dyn ContainerHost, metrics: &MetricsConfig, vmid: Vmid) -> Result<Need, ActionError> {
    if !host.is_running(vmid).await? {
        return Ok(Need::Nothing);
    }
    let config = metrics.clone();
    let newest = tokio::task::spawn_blocking(move || metrics::newest(&config, Timestamp::now())).await;
    let newest = newest.unwrap_or_else(|error| Err(format!("reading the metrics failed: {error}")));
    Ok(metrics::need_of(metrics::record_of(newest, vmid, metrics, Timestamp::now())))
}

fn rootfs(stored: &Stored) -> Option<Mebibytes> {
    stored.config.rootfs_mb
}

fn within(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), ActionError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(ActionError::OutOfBounds { what, least, most }) }
}

fn not_applied(vmid: Vmid, what: &str, found: &str) -> ActionError {
    ActionError::NotApplied { found: format!("the {what} of container {vmid} is not as asked: {found}") }
}

fn resized<T>(vm_id: Vmid, before: Option<T>, after: Option<T>, changed: bool) -> Resized<T> {
    Resized { vm_id, before, after, changed }
}
