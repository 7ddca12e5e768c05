//! The settings of a running container that can be changed at once.

use lxc_autoscale_core::{Mebibytes, Vmid};

use crate::pve::config::GuestConfig;
use crate::pve::error::PctError;
use crate::pve::machine::Machine;

/// Whether a change has taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugged {
    /// It is in force.
    Now,
    /// It waits for the next start.
    AtNextStart,
}

/// Options that only have to be stored; these include `cores`, because pvestatd applies it later.
pub(super) fn is_stored_only(name: &str) -> bool {
    const STORED: [&str; 9] =
        ["cores", "description", "hookscript", "hostname", "lock", "onboot", "protection", "startup", "tags"];
    STORED.contains(&name)
}

/// Removes a limit.
pub(super) fn unplug(machine: &Machine, id: Vmid, name: &str) -> Result<Plugged, PctError> {
    match name {
        "swap" => machine.engine.set_memory(id, None, Some(Mebibytes::new(0)))?,
        "cpulimit" => machine.engine.set_cpu_limit(id, None)?,
        "cpuunits" => machine.engine.set_cpu_units(id, None)?,
        _ if is_stored_only(name) || is_network(name) || name.starts_with("unused") => {}
        _ => return Ok(Plugged::AtNextStart),
    }
    Ok(Plugged::Now)
}

/// Applies a queued value.
pub(super) fn plug(
    machine: &Machine,
    id: Vmid,
    name: &str,
    config: &GuestConfig,
) -> Result<Plugged, PctError> {
    let value = config.pending.get(name).unwrap_or_default();
    // The schema has accepted only numbers.
    let mebibytes =
        |name: &str| config.pending.get(name).and_then(|text| text.parse().ok()).map(Mebibytes::new);
    match name {
        "cpulimit" => machine.engine.set_cpu_limit(id, Some(value.parse().unwrap_or(0.0)))?,
        "cpuunits" => machine.engine.set_cpu_units(id, Some(value.parse().unwrap_or(0)))?,
        "memory" | "swap" => machine.engine.set_memory(id, mebibytes("memory"), mebibytes("swap"))?,
        _ if is_network(name) => {}
        // An additional mount point appears in the running container; an existing one cannot be changed while it
        // runs.
        _ if name.starts_with("mp") && config.current.get(name).is_none() => {}
        _ => return Ok(Plugged::AtNextStart),
    }
    Ok(Plugged::Now)
}

/// Neither engine connects a network device to anything, so only the configuration changes.
fn is_network(name: &str) -> bool {
    name.strip_prefix("net").is_some_and(|number| number.parse::<u32>().is_ok())
}
