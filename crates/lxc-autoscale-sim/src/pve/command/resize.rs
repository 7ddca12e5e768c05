//! `pct resize`, which can only enlarge volumes.

use super::Call;
use super::set::check_digest;
use crate::pve::config::{GuestConfig, VolumeId, format_size, parse_size_bytes, volume_with_size};
use crate::pve::error::PctError;
use crate::pve::machine::{Machine, check_lock, configured_bytes};
use crate::pve::storage::{FilesystemState, Volume};
use crate::pve::task::run_worker;

/// Grows a volume. Everything possible is checked first; if the worker fails after that, this is printed on standard
/// error, but the exit status is 0, as with Proxmox.
pub(super) fn resize(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let disk = call.text("disk").unwrap_or_default().to_owned();
    let size = call.text("size").unwrap_or_default().to_owned();
    let digest = call.text("digest").filter(|digest| !digest.is_empty()).map(str::to_owned);
    let machine = call.machine;
    {
        let loaded = machine.load(id, call.terminal)?;
        check_lock(&loaded.config)?;
        check_digest(digest.as_deref(), &loaded.digest)?;
        plan(machine, &loaded.config, &disk, &size)?;
    }
    let _lock = machine.lock(id, call.terminal)?;
    let mut config = machine.load(id, call.terminal)?.config;
    let done = run_worker(machine, "resize", id, call.terminal.out, |out| {
        check_lock(&config)?;
        let Plan { volume, opened, bytes } = plan(machine, &config, &disk, &size)?;
        let is_running = machine.is_running(id)?;
        let state = if is_running { FilesystemState::Mounted } else { FilesystemState::Unmounted };
        machine.volumes.resize(&volume, opened, bytes, state, out)?;
        let value = config.current.get(&disk).unwrap_or_default().to_owned();
        config.current.set(&disk, volume_with_size(&value, &volume, bytes));
        Ok(machine.store.save(id, &config)?)
    });
    match done {
        Err(error @ PctError::Output(_)) => Err(error),
        Err(error) => {
            writeln!(call.terminal.err, "{}", error.text())?;
            Ok(0)
        }
        Ok(()) => Ok(0),
    }
}

struct Plan {
    volume: VolumeId,
    opened: Volume,
    bytes: u64,
}

fn plan(machine: &Machine, config: &GuestConfig, disk: &str, size: &str) -> Result<Plan, PctError> {
    let missing = "format error\nvolume: property is missing and it is not optional\n\
                   mp: property is missing and it is not optional";
    let value = config.current.get(disk).ok_or_else(|| PctError::died(missing))?;
    let volume = VolumeId::of_property(value)
        .ok_or_else(|| PctError::died(format!("Could not determine current size of volume '{value}'")))?;
    let opened = machine.volumes.open(&volume, configured_bytes(value))?;
    let given = parse_size_bytes(size.trim_start_matches('+'))
        .ok_or_else(|| PctError::died(format!("unable to parse size '{size}'")))?;
    let bytes = if size.starts_with('+') { opened.bytes.saturating_add(given) } else { given };
    if bytes < opened.bytes {
        return Err(PctError::died("unable to shrink disk size"));
    }
    if bytes == opened.bytes {
        return Err(PctError::died("disk is already at specified size"));
    }
    if i64::MAX as u64 / 2 < bytes {
        return Err(PctError::died(format!("'{}' is larger than any volume", format_size(bytes))));
    }
    Ok(Plan { volume, opened, bytes })
}
