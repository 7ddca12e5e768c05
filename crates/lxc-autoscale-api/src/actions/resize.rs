//! Sets cores, CPU limit and memory, and enlarges the root filesystem.

use jiff::Timestamp;
use lxc_autoscale_core::api::{IncreasedStorage, Resized, ScaledCores, ScaledCpulimit, ScaledRam};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{Cores, Mebibytes, Vmid};
use serde::Serialize;

use super::held::hold;
use super::{ActionError, changeable};
use crate::backend::{Afterwards, Answer, BackendError, ContainerHost, Grown, Stored};
use crate::config::{Config, MAX_CORES, MetricsConfig};
use crate::hundredths::Hundredths;
use crate::invariants::{self, Refused, What};
use crate::jobs::Journal;
use crate::memory_guard::{self, Need};
use crate::metrics;

/// The most memory that a request may expect, 1 PiB in MiB: no container has that much.
const MOST_EXPECTED_MIB: u64 = 1 << 30;

/// MiB in a GiB.
const MIB_PER_GIB: u64 = 1024;

/// Why a size is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResizeRefused {
    /// The container is pinned to CPUs, and Proxmox then ignores its number of cores.
    #[error("container {vmid} is pinned to the CPUs {cpuset}, so its number of cores has no effect")]
    PinnedCpuset {
        /// The container.
        vmid: Vmid,
        /// Its CPUs.
        cpuset: String,
    },
    /// The container has a different size than the client expects.
    #[error(
        "the {what} of container {vmid} is {found}, and the request expects {expected}; nothing was changed"
    )]
    OtherSize {
        /// The container.
        vmid: Vmid,
        /// Which size.
        what: &'static str,
        /// The actual size.
        found: String,
        /// The expected size.
        expected: String,
    },
}

/// The result of setting the number of cores.
#[derive(Clone, Debug, Serialize)]
pub struct SetCores {
    /// The number before and after.
    #[serde(flatten)]
    pub scaled: ScaledCores,
    /// The CPU limit, if it keeps the container from using that many.
    #[serde(skip)]
    pub held_at: Option<f64>,
}

/// Sets the number of cores. If `expected` is given, the container must have that number (0 for none).
///
/// # Errors
/// [`ActionError`] if it is out of bounds, if the container has another size, is pinned, locked, missing or a
/// template, or if the back end fails.
pub async fn set_cores(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
    cores: u32,
    expected: Option<u32>,
) -> Result<SetCores, ActionError> {
    invariants::bounds(&config.limits, What::Cores, cores.into())?;
    invariants::within("`expected`", expected.unwrap_or(0).into(), 0, MAX_CORES.into())?;
    let stored = changeable(host, vmid).await?;
    refuse_pinned(vmid, &stored)?;
    let before = stored.config.cores;
    let held_at =
        |config: &ContainerConfig| config.cpulimit.filter(|limit| 0.0 < *limit && *limit < f64::from(cores));
    if before == Some(cores) {
        let scaled = resized(vmid, before.map(Cores::from), before.map(Cores::from), false);
        return Ok(SetCores { scaled, held_at: held_at(&stored.config) });
    }
    if let Some(expected) = expected.filter(|expected| *expected != before.unwrap_or(0)) {
        let shown = |cores: u32| if cores == 0 { "none".to_owned() } else { cores.to_string() };
        return Err(other_size(vmid, "number of cores", shown(before.unwrap_or(0)), shown(expected)));
    }
    let then = ContainerConfig { cores: Some(cores), ..stored.config.clone() };
    hold(host, journal, config, vmid, &stored, &then).await?;
    let call = host.set_cores(vmid, cores);
    let config = set_and_read(host, journal, vmid, &stored, call).await?.config;
    let after = config.cores;
    if after != Some(cores) {
        let found = after.map_or("none is set".to_owned(), |cores| format!("it is {cores}"));
        return Err(not_applied(vmid, "number of cores", &found));
    }
    let scaled = resized(vmid, before.map(Cores::from), after.map(Cores::from), true);
    Ok(SetCores { scaled, held_at: held_at(&config) })
}

/// Sets the CPU limit, in hundredths of a core; 0 removes it. Pinned containers are allowed. If `expected` is given,
/// the container must have that limit (0 for none).
///
/// # Errors
/// [`ActionError`] if it is out of bounds, if removing it would leave the container more cores than may be set, if
/// the container has another limit, is locked, missing or a template, or if the back end fails.
pub async fn set_cpulimit(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
    cores: f64,
    expected: Option<f64>,
) -> Result<ScaledCpulimit, ActionError> {
    let limits = &config.limits;
    if expected.is_some_and(|cores| !(0.0..=f64::from(MAX_CORES)).contains(&cores)) {
        return Err(Refused::out_of_bounds("`expected`", 0.0, MAX_CORES.into()).into());
    }
    let most = limits.max_cores.into();
    let wanted = Hundredths::from_cores(cores).filter(|wanted| wanted.cores() <= f64::from(limits.max_cores));
    let Some(wanted) = wanted else {
        return Err(Refused::out_of_bounds(invariants::CPULIMIT, limits.min_cpulimit, most).into());
    };
    let stored = changeable(host, vmid).await?;
    let before = stored.config.cpulimit.filter(|limit| 0.0 < *limit);
    let wanted = wanted.limit();
    if is_same_limit(before, wanted) {
        return Ok(resized(vmid, before, before, false));
    }
    if let Some(expected) = expected.map(|cores| Some(cores).filter(|cores| 0.0 < *cores))
        && !is_same_limit(before, expected)
    {
        let shown = |cores: Option<f64>| cores.map_or("none".to_owned(), |cores| cores.to_string());
        return Err(other_size(vmid, "CPU limit", shown(before), shown(expected)));
    }
    let then = ContainerConfig { cpulimit: wanted, ..stored.config.clone() };
    hold(host, journal, config, vmid, &stored, &then).await?;
    let call = host.set_cpulimit(vmid, wanted);
    let after = set_and_read(host, journal, vmid, &stored, call).await?;
    let after = after.config.cpulimit.filter(|limit| 0.0 < *limit);
    if !is_same_limit(after, wanted) {
        let found = after.map_or("none is set".to_owned(), |cores| format!("it is {cores}"));
        return Err(not_applied(vmid, "CPU limit", &found));
    }
    Ok(resized(vmid, before, after, true))
}

fn is_same_limit(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() < 0.001,
        (None, None) => true,
        _ => false,
    }
}

/// Removes the number of cores, so that the container may use all cores of the node, or what its CPU limit allows.
///
/// # Errors
/// [`ActionError`] if that is more than may be set, if the container is pinned, locked, missing or a template, or if
/// the back end fails.
pub async fn remove_cores(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
) -> Result<ScaledCores, ActionError> {
    let stored = changeable(host, vmid).await?;
    refuse_pinned(vmid, &stored)?;
    let before = stored.config.cores;
    if before.is_none() {
        return Ok(resized(vmid, None, None, false));
    }
    let then = ContainerConfig { cores: None, ..stored.config.clone() };
    hold(host, journal, config, vmid, &stored, &then).await?;
    let call = host.remove_cores(vmid);
    let after = set_and_read(host, journal, vmid, &stored, call).await?.config.cores;
    match after {
        None => Ok(resized(vmid, before.map(Cores::from), None, true)),
        Some(cores) => Err(not_applied(vmid, "number of cores", &format!("it is {cores}"))),
    }
}

/// Sets the memory. If `expected` is given, the container must have that size.
///
/// # Errors
/// [`ActionError`] if it is out of bounds, if it would leave the container less than it needs, if the container has
/// another size, is locked, missing or a template, or if the back end fails.
pub async fn set_memory(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
    memory: Mebibytes,
    expected: Option<Mebibytes>,
) -> Result<ScaledRam, ActionError> {
    invariants::bounds(&config.limits, What::Memory, memory.get())?;
    invariants::within("`expected`", expected.map_or(0, Mebibytes::get), 0, MOST_EXPECTED_MIB)?;
    let stored = changeable(host, vmid).await?;
    let before = stored.config.memory_mb;
    if before == memory {
        return Ok(resized(vmid, Some(before), Some(before), false));
    }
    if let Some(expected) = expected.filter(|expected| *expected != before) {
        return Err(other_size(vmid, "memory", before.to_string(), expected.to_string()));
    }
    if memory < before {
        let need = need(host, &config.metrics, vmid).await?;
        memory_guard::check(&config.limits, before, memory, need)?;
    }
    let then = ContainerConfig { memory_mb: memory, ..stored.config.clone() };
    hold(host, journal, config, vmid, &stored, &then).await?;
    let call = host.set_memory(vmid, memory);
    let after = set_and_read(host, journal, vmid, &stored, call).await?.config.memory_mb;
    if after != memory {
        return Err(not_applied(vmid, "memory", &format!("it is {after}")));
    }
    Ok(resized(vmid, Some(before), Some(after), true))
}

/// Adds `gib` GiB to the root filesystem. This cannot be undone.
///
/// # Errors
/// [`ActionError`] if it is out of bounds, if the container is locked, missing or a template, or if the back end
/// fails.
pub async fn grow_rootfs(
    host: &dyn ContainerHost,
    journal: &Journal,
    config: &Config,
    vmid: Vmid,
    gib: u32,
) -> Result<IncreasedStorage, ActionError> {
    invariants::within("`disk_size` (in GiB)", gib.into(), 1, config.limits.max_disk_increase_gib.into())?;
    let stored = changeable(host, vmid).await?;
    let before = rootfs(&stored);
    // If the configuration had no size before, all that can be checked afterwards is that it has one.
    let wanted = grown(before.unwrap_or(Mebibytes::new(0)), gib);
    let then = ContainerConfig { rootfs_mb: Some(wanted), ..stored.config.clone() };
    hold(host, journal, config, vmid, &stored, &then).await?;
    let call = host.grow_rootfs(vmid, gib);
    let call = async { Ok((call.await?, None)) };
    let (grown_by_call, after) = change_and_read(host, journal, vmid, &stored, call).await?;
    let after = rootfs(&after);
    // Proxmox writes the size it finds after growing, which may have been rounded up.
    match after {
        Some(size) if wanted <= size => {
            let filesystem_grown = match grown_by_call {
                Grown::Both => Some(true),
                Grown::VolumeOnly => Some(false),
                Grown::Unknown => None,
            };
            Ok(IncreasedStorage { size: resized(vmid, before, after, true), filesystem_grown })
        }
        Some(size) => {
            Err(not_applied(vmid, "root filesystem", &format!("it has {size}, less than {wanted}")))
        }
        None => Err(not_applied(vmid, "root filesystem", "its configuration names no size")),
    }
}

fn refuse_pinned(vmid: Vmid, stored: &Stored) -> Result<(), ResizeRefused> {
    match stored.config.pinned_cpuset.clone() {
        Some(cpuset) => Err(ResizeRefused::PinnedCpuset { vmid, cpuset }),
        None => Ok(()),
    }
}

/// Sets a size and returns the new state, see [`change_and_read`].
async fn set_and_read(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    before: &Stored,
    call: Answer<'_, Afterwards>,
) -> Result<Stored, ActionError> {
    let call = async { call.await.map(|afterwards| ((), afterwards)) };
    change_and_read(host, journal, vmid, before, call).await.map(|((), after)| after)
}

/// Makes a call and reads back the new state, unless the call has. The state goes to the ledger whether the call
/// succeeded or not.
async fn change_and_read<T>(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    before: &Stored,
    call: impl Future<Output = Result<(T, Afterwards), BackendError>>,
) -> Result<(T, Stored), ActionError> {
    journal.found(vmid, before, None);
    let (called, read) = match call.await {
        Ok((done, afterwards)) => (Ok(done), afterwards),
        Err(error) => (Err(error), None),
    };
    let after = match read {
        Some(after) => Ok(after),
        None => host.stored(vmid).await,
    };
    if let Ok(after) = &after {
        journal.compare(vmid, &before.config, &after.config);
    }
    Ok((called?, after?))
}

/// What is known about the memory that a container needs now.
async fn need(host: &dyn ContainerHost, metrics: &MetricsConfig, vmid: Vmid) -> Result<Need, ActionError> {
    if !host.is_running(vmid).await? {
        return Ok(Need::Nothing);
    }
    let config = metrics.clone();
    let newest = tokio::task::spawn_blocking(move || metrics::newest(&config, Timestamp::now())).await;
    let newest = newest.unwrap_or_else(|error| Err(format!("reading the metrics failed: {error}")));
    Ok(metrics::need_of(metrics::record_of(newest, vmid, metrics, Timestamp::now())))
}

/// The least size of a root filesystem after `gib` GiB were added.
pub(crate) fn grown(before: Mebibytes, gib: u32) -> Mebibytes {
    Mebibytes::new(before.get() + u64::from(gib) * MIB_PER_GIB)
}

fn rootfs(stored: &Stored) -> Option<Mebibytes> {
    stored.config.rootfs_mb
}

/// Somebody changed it since the client looked.
fn other_size(vmid: Vmid, what: &'static str, found: String, expected: String) -> ActionError {
    ResizeRefused::OtherSize { vmid, what, found, expected }.into()
}

fn not_applied(vmid: Vmid, what: &str, found: &str) -> ActionError {
    ActionError::NotApplied { found: format!("the {what} of container {vmid} is not as asked: {found}") }
}

fn resized<T>(vm_id: Vmid, before: Option<T>, after: Option<T>, changed: bool) -> Resized<T> {
    Resized { vm_id, before, after, changed }
}
