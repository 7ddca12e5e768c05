//! `pct destroy`.

use super::Call;
use crate::pve::error::PctError;
use crate::pve::machine::check_lock;
use crate::pve::task::run_worker;

/// Removes a container that is not running, with its volumes and snapshots.
pub(super) fn destroy(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let machine = call.machine;
    let config = machine.load(id, call.terminal)?.config;
    if config.current.get("protection") == Some("1") {
        return Err(PctError::died(format!("can't remove CT {id} - protection mode enabled")));
    }
    check_lock(&config)?;
    let force = call.flag("force");
    if machine.is_running(id)? {
        if !force {
            return Err(PctError::died(format!("unable to destroy CT {id} - container is running")));
        }
        writeln!(call.terminal.err, "forced to stop CT {id} before destroying!")?;
    }
    let purge = call.flag("purge");
    let _lock = machine.lock(id, call.terminal)?;
    let mut config = machine.load(id, call.terminal)?.config;
    run_worker(machine, "vzdestroy", id, call.terminal.out, |out| {
        check_lock(&config)?;
        if force {
            machine.engine.kill(id)?;
        }
        // Nobody must start it meanwhile.
        config.current.set("lock", "destroyed");
        machine.store.save(id, &config)?;
        for (_, volume) in config.current.volumes().into_iter().chain(config.pending.volumes()) {
            machine.volumes.remove(&volume, out)?;
        }
        machine.engine.destroy(id)?;
        if purge {
            writeln!(out, "purging CT {id} from related configurations..")?;
        }
        Ok(machine.store.remove(id)?)
    })?;
    Ok(0)
}
