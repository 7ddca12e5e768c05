//! `pct create`.
//!
//! A simulated container needs no template, and a real one is always created from Debian's busybox template. So the
//! name of the template is not stored; Proxmox's grammar requires it all the same.

use super::Call;
use super::power::start_locked;
use super::value::stored_value;
use crate::pve::config::GuestConfig;
use crate::pve::error::PctError;
use crate::pve::task::run_worker;

/// Size of a root volume for which none is given, in GiB.
const ROOT_GIBIBYTES: &str = "4";

/// Creates a container.
pub(super) fn create(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let machine = call.machine;
    if machine.store.contains(id) {
        let text = format!("CT {id} already exists on node '{}'", machine.settings.name);
        return Err(PctError::died_without_file(text));
    }
    let mut values = call.words.values.clone();
    for own in ["vmid", "ostemplate"] {
        values.remove(own);
    }
    let starts = values.remove("start").as_deref() == Some("1");
    let storage = values.remove("storage").unwrap_or_else(|| "local".to_owned());
    let rootfs = values.remove("rootfs").unwrap_or_else(|| format!("{storage}:{ROOT_GIBIBYTES}"));
    if let Some((storage, _)) = rootfs.split_once(':') {
        machine.volumes.storage(storage)?;
    }
    let mut config = GuestConfig::default();
    let hostname = format!("CT{id}");
    for (name, value) in [
        ("arch", "amd64"),
        ("hostname", &hostname),
        ("memory", "512"),
        ("ostype", "unmanaged"),
        ("swap", "512"),
    ] {
        config.current.set(name, value);
    }
    let _lock = machine.lock(id, call.terminal)?;
    run_worker(machine, "vzcreate", id, call.terminal.out, |out| {
        for (name, value) in values {
            let value = stored_value(machine, id, &name, value, out)?;
            config.current.set(&name, value);
        }
        config.current.set("rootfs", stored_value(machine, id, "rootfs", rootfs, out)?);
        let guest = machine.guest(id, &config.current)?;
        machine.engine.create(&guest)?;
        machine.store.save(id, &config)?;
        if starts { start_locked(machine, id, config, false, out) } else { Ok(()) }
    })?;
    Ok(0)
}
