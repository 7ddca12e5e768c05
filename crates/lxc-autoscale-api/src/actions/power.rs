//! Starts, stops and restarts a container.
//!
//! A container that already is in the requested state is left alone. Only requests that ask for a kill kill: a
//! restart without `force` is an orderly shutdown and a start, because Proxmox's own restart kills a container that
//! has not stopped in time.

use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::Powered;

use super::snapshots::ensure_running;
use super::{ActionError, refuse_lock, refuse_template};
use crate::backend::{Answer, BackendError, ContainerHost, Obstacle, Stored};
use crate::jobs::Journal;

/// The lock of a container whose root filesystem is mounted on the node; Proxmox starts and stops it all the same.
const MOUNTED: &str = "mounted";

/// Starts a container.
///
/// # Errors
/// [`ActionError`] if it is missing, locked or a template, does not start, or the back end fails.
pub async fn start(host: &dyn ContainerHost, journal: &Journal, vmid: Vmid) -> Result<Powered, ActionError> {
    let (stored, was_running) = found(host, vmid).await?;
    if !was_running {
        journal.found(vmid, &stored, Some(false));
        ensure_running(host, vmid).await?;
    }
    Ok(Powered { vm_id: vmid, was_running, running: true, changed: !was_running })
}

/// Stops a container at once: its processes are killed.
///
/// # Errors
/// As [`start`].
pub async fn stop(host: &dyn ContainerHost, journal: &Journal, vmid: Vmid) -> Result<Powered, ActionError> {
    brought_down(host, journal, vmid, host.stop(vmid)).await
}

/// Asks a container to shut down within `patience`; then kills it, if that was asked for.
///
/// # Errors
/// As [`start`], and [`Obstacle::DidNotStop`] if it still runs.
pub async fn shutdown(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    patience: Duration,
    force: bool,
) -> Result<Powered, ActionError> {
    brought_down(host, journal, vmid, host.shutdown(vmid, patience, force)).await
}

/// Restarts a running container; pending changes of its configuration take effect.
///
/// # Errors
/// As [`shutdown`]; [`ActionError::NotRestarted`] if it stopped and does not start.
pub async fn reboot(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    patience: Duration,
    force: bool,
) -> Result<Powered, ActionError> {
    let (stored, was_running) = found(host, vmid).await?;
    if !was_running {
        let detail = "it does not run".to_owned();
        return Err(BackendError::WrongState { vmid, detail, state: Obstacle::Stopped }.into());
    }
    journal.found(vmid, &stored, Some(true));
    if force {
        host.reboot(vmid, patience).await?;
    } else {
        host.shutdown(vmid, patience, false).await?;
        verify_stopped(host, vmid).await?;
    }
    // After Proxmox's own restart, this only checks.
    ensure_running(host, vmid).await.map_err(|cause| ActionError::NotRestarted {
        vmid,
        done: "was shut down".to_owned(),
        cause: Box::new(cause),
    })?;
    Ok(Powered { vm_id: vmid, was_running, running: true, changed: true })
}

/// Stops a container by `call`, which is not made if the container does not run.
async fn brought_down(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    call: Answer<'_, ()>,
) -> Result<Powered, ActionError> {
    let (stored, was_running) = found(host, vmid).await?;
    if was_running {
        journal.found(vmid, &stored, Some(true));
        call.await?;
        verify_stopped(host, vmid).await?;
    }
    Ok(Powered { vm_id: vmid, was_running, running: false, changed: was_running })
}

/// The stored state of a container that may be started and stopped, and whether it runs.
async fn found(host: &dyn ContainerHost, vmid: Vmid) -> Result<(Stored, bool), ActionError> {
    let stored = host.stored(vmid).await?;
    if stored.config.lock.as_deref() != Some(MOUNTED) {
        refuse_lock(vmid, &stored)?;
    }
    refuse_template(vmid, &stored)?;
    let running = host.is_running(vmid).await?;
    Ok((stored, running))
}

async fn verify_stopped(host: &dyn ContainerHost, vmid: Vmid) -> Result<(), ActionError> {
    if host.is_running(vmid).await? {
        return Err(ActionError::NotApplied { found: format!("container {vmid} still runs") });
    }
    Ok(())
}
