//! Cores, memory and root filesystem.

use jiff::Timestamp;
use lxc_autoscale_core::api::{IncreasedStorage, Resized, ScaledCores, ScaledCpulimit, ScaledRam};
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

/// Sets the CPU limit, in hundredths of a core; 0 removes it. A pinned container may have one.
///
/// # Errors
/// [`ActionError`] when it is out of bounds, or without it the container had more cores than may be set, when
/// the container is locked, missing or a template, or when the back end fails.
pub async fn set_cpulimit(
    host: &dyn ContainerHost,
    limits: &LimitsConfig,
    vmid: Vmid,
    cores: f64,
) -> Result<ScaledCpulimit, ActionError> {
    let most = limits.max_cores.into();
    let wanted = Hundredths::from_cores(cores).filter(|wanted| wanted.cores() <= f64::from(limits.max_cores));
    let Some(wanted) = wanted else {
        return Err(ActionError::OutOfBounds { what: "`cpulimit` (0 for none)", least: 0, most });
    };
    let stored = changeable(host, vmid).await?;
    let before = stored.config.cpulimit.filter(|limit| 0.0 < *limit);
    let wanted = wanted.limit();
    if wanted.is_none() && stored.config.cores.is_none_or(|cores| limits.max_cores < cores) {
        let what = "the number of cores without a CPU limit";
        return Err(ActionError::OutOfBounds { what, least: limits.min_cores.into(), most });
    }
    if is_same_limit(before, wanted) {
        return Ok(resized(vmid, before, before, false));
    }
    host.set_cpulimit(vmid, wanted).await?;
    let after = host.stored(vmid).await?.config.cpulimit.filter(|limit| 0.0 < *limit);
    if !is_same_limit(after, wanted) {
        let found = after.map_or("none is set".to_owned(), |cores| format!("it is {cores}"));
        return Err(not_applied(vmid, "CPU limit", &found));
    }
    Ok(resized(vmid, before, after, true))
}

/// A CPU limit as it is written: no finer than a hundredth of a core, the least that the kernel's quota can be.
struct Hundredths(u32);

impl Hundredths {
    /// Rounded up, so that nothing becomes no limit; `None` for what is no number of cores.
    fn from_cores(cores: f64) -> Option<Self> {
        let hundredths = (cores * 100.0 - 1e-6).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        let fits = (0.0 <= cores && hundredths <= f64::from(u32::MAX)).then_some(hundredths.max(0.0) as u32);
        fits.map(Self)
    }

    fn cores(&self) -> f64 {
        f64::from(self.0) / 100.0
    }

    fn limit(&self) -> Option<f64> {
        (0 < self.0).then(|| self.cores())
    }
}

fn is_same_limit(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() < 0.001,
        (None, None) => true,
        _ => false,
    }
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
