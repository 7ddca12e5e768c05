//! `pct unlock`.

use super::Call;
use crate::pve::error::PctError;

/// Removes the lock from a configuration, whoever set it.
pub(super) fn unlock(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let _lock = call.machine.lock(id, call.terminal)?;
    let mut config = call.machine.load(id, call.terminal)?.config;
    if config.current.remove("lock").is_none() {
        return Err(PctError::died("no lock found trying to remove any lock"));
    }
    call.machine.store.save(id, &config)?;
    Ok(0)
}
