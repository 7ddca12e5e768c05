//! `pct start`, `stop`, `shutdown`, `reboot`.

use std::io::Write;
use std::time::Duration;

use lxc_autoscale_core::Vmid;

use super::Call;
use super::change::apply_pending;
use crate::pve::config::GuestConfig;
use crate::pve::error::PctError;
use crate::pve::machine::{Machine, check_lock};
use crate::pve::task::run_worker;

/// How long an orderly shutdown may take, in seconds.
const PATIENCE_SECONDS: u64 = 60;

pub(super) fn start(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    if call.machine.is_running(id)? {
        return Err(PctError::died(format!("CT {id} already running")));
    }
    let skip_lock = call.flag("skiplock");
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzstart", id, call.terminal.out, |out| {
        start_locked(machine, id, loaded?.config, skip_lock, out)
    })?;
    Ok(0)
}

/// Starts a container whose lock the caller holds; pending changes take effect.
///
/// # Errors
/// Proxmox's texts.
pub(super) fn start_locked(
    machine: &Machine,
    id: Vmid,
    mut config: GuestConfig,
    skip_lock: bool,
    out: &mut dyn Write,
) -> Result<(), PctError> {
    if config.current.get("template") == Some("1") {
        return Err(PctError::died("you can't start a CT if it's a template"));
    }
    check_tolerant(&config, skip_lock)?;
    if !config.pending.is_empty() {
        apply_pending(machine, id, &mut config, out)?;
        machine.store.save(id, &config)?;
    }
    let guest = machine.guest(id, &config.current)?;
    Ok(machine.engine.start(&guest)?)
}

/// A container that somebody has mounted can be started and stopped all the same.
fn check_tolerant(config: &GuestConfig, skip_lock: bool) -> Result<(), PctError> {
    if skip_lock || config.current.get("lock") == Some("mounted") { Ok(()) } else { check_lock(config) }
}

pub(super) fn stop(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = running_id(call, "CT")?;
    let skip_lock = call.flag("skiplock");
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzstop", id, call.terminal.out, |_| {
        check_tolerant(&loaded?.config, skip_lock)?;
        Ok(machine.engine.kill(id)?)
    })?;
    Ok(0)
}

pub(super) fn shutdown(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = running_id(call, "CT")?;
    let (timeout, force) = (timeout(call), call.flag("forceStop"));
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzshutdown", id, call.terminal.out, |out| {
        check_tolerant(&loaded?.config, false)?;
        shut_down(machine, id, timeout, force, out)
    })?;
    Ok(0)
}

pub(super) fn reboot(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = running_id(call, "VM")?;
    let timeout = timeout(call);
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzreboot", id, call.terminal.out, |out| {
        let config = loaded?.config;
        check_tolerant(&config, false)?;
        shut_down(machine, id, timeout, true, out)?;
        start_locked(machine, id, config, false, out)
    })?;
    Ok(0)
}

fn shut_down(
    machine: &Machine,
    id: Vmid,
    timeout: Duration,
    force: bool,
    out: &mut dyn Write,
) -> Result<(), PctError> {
    match machine.engine.shutdown(id, timeout) {
        Ok(()) => Ok(()),
        Err(_) if force => Ok(machine.engine.kill(id)?),
        Err(error) => {
            writeln!(out, "{error}")?;
            Err(PctError::died("container did not stop"))
        }
    }
}

/// The container, which must be running; a missing one is treated like a stopped one here.
fn running_id(call: &Call<'_, '_>, kind: &str) -> Result<Vmid, PctError> {
    let id = call.id()?;
    if call.machine.is_running(id)? {
        Ok(id)
    } else {
        Err(PctError::died(format!("{kind} {id} not running")))
    }
}

fn timeout(call: &Call<'_, '_>) -> Duration {
    let seconds = call.text("timeout").and_then(|text| text.parse().ok()).unwrap_or(PATIENCE_SECONDS);
    Duration::from_secs(seconds)
}
