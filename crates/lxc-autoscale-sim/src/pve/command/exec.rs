//! `pct exec`.

use super::Call;
use crate::pve::error::PctError;

/// Runs a command in a container, and exits with its exit status.
pub(super) fn exec(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    if call.words.more.is_empty() {
        return Err(PctError::died_without_file(
            "missing command at /usr/share/perl5/PVE/CLI/pct.pm line 239.",
        ));
    }
    call.machine.load(id, call.terminal)?;
    if !call.machine.is_running(id)? {
        return Err(PctError::died(format!("container '{id}' not running!")));
    }
    // The environment of the host is passed to the container unless told otherwise.
    let keep_environment = call.text("keep-env") != Some("0");
    Ok(call.machine.engine.exec(id, &call.words.more, keep_environment)?)
}
