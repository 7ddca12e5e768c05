//! `pct clone`.

use std::io::Write;

use lxc_autoscale_core::Vmid;

use super::Call;
use super::snapshot::without;
use super::value::fresh_address;
use crate::pve::config::{GuestConfig, NetworkAddress, Section, VolumeId, network_with, volume_with_size};
use crate::pve::error::PctError;
use crate::pve::machine::{Machine, check_lock, configured_bytes};
use crate::pve::storage::CopyKind;
use crate::pve::task::run_worker;

/// Options that a copy does not inherit.
const NOT_COPIED: [&str; 5] = ["lock", "parent", "snaptime", "snapstate", "template"];

/// Copies a container with its volumes. The copy has a new hardware address and everything else from its source,
/// including the address, the tags and, unless one is given, the host name.
pub(super) fn clone(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let (id, new) = (call.id()?, call.vmid("newid")?);
    let machine = call.machine;
    if let Some(pool) = call.text("pool") {
        let text = format!("403 Permission check failed (pool '{pool}' does not exist)");
        return Err(PctError::died_without_file(text));
    }
    if machine.store.contains(new) {
        let text = if machine.settings.is_before((7, 0)) {
            format!("unable to create CT {new}: config file already exists")
        } else {
            format!("CT {new} already exists on node '{}'", machine.settings.name)
        };
        return Err(PctError::died_without_file(text));
    }
    let _source_lock = machine.lock(id, call.terminal)?;
    let mut source = machine.load(id, call.terminal)?.config;
    check_lock(&source)?;
    let snapshot = call.text("snapname").map(str::to_owned);
    let section = match &snapshot {
        Some(name) => match source.snapshots.get(name) {
            Some(section) => section.clone(),
            None => return Err(PctError::died_without_file(format!("snapshot '{name}' does not exist"))),
        },
        None => source.current.clone(),
    };
    let is_template = section.get("template") == Some("1");
    let full = call.text("full").map_or(!is_template, |full| full == "1");
    if !full && !is_template {
        let volume = section.volume("rootfs").map(|volume| volume.to_string()).unwrap_or_default();
        return Err(PctError::died(format!("Linked clone feature for '{volume}' is not available")));
    }
    if full && snapshot.is_none() && machine.is_running(id)? {
        // Reworded in January 2026.
        let text = if machine.settings.is_before((9, 2)) {
            "Cannot do full clones on a running container without snapshots"
        } else {
            "Full clone of a running container is only possible from a snapshot"
        };
        return Err(PctError::died_without_file(text));
    }
    let request = Request {
        id,
        new,
        section,
        snapshot,
        full,
        storage: call.text("storage").map(str::to_owned),
        hostname: call.text("hostname").map(str::to_owned),
        description: call.text("description").map(str::to_owned),
    };
    if let Some(storage) = &request.storage {
        machine.volumes.storage(storage)?;
    }
    let _new_lock = machine.lock(new, call.terminal)?;
    source.current.set("lock", "disk");
    machine.store.save(id, &source)?;
    let done = run_worker(machine, "vzclone", id, call.terminal.out, |out| {
        let copied = request.run(machine, out);
        if copied.is_err() {
            request.clean_up(machine, out);
        }
        copied.map_err(|error| PctError::died(format!("clone failed: {}", error.text())))
    });
    source.current.remove("lock");
    machine.store.save(id, &source)?;
    done?;
    Ok(0)
}

struct Request {
    id: Vmid,
    new: Vmid,
    section: Section,
    snapshot: Option<String>,
    full: bool,
    storage: Option<String>,
    hostname: Option<String>,
    description: Option<String>,
}

impl Request {
    fn run(&self, machine: &Machine, out: &mut dyn Write) -> Result<(), PctError> {
        let mut copy = GuestConfig { current: without(&self.section, &NOT_COPIED), ..GuestConfig::default() };
        // An incomplete copy must not be started, and its id must not be taken. It has its name from the beginning.
        copy.current.set("lock", "create");
        if let Some(hostname) = &self.hostname {
            copy.current.set("hostname", hostname.clone());
        }
        if let Some(description) = &self.description {
            copy.current.set("description", description.clone());
        }
        machine.store.save(self.new, &copy)?;
        for (name, volume) in self.section.volumes() {
            if name.starts_with("unused") {
                copy.current.remove(&name);
                continue;
            }
            let value = self.copy_volume(machine, &name, &volume, out)?;
            copy.current.set(&name, value);
        }
        let networks = copy.current.names().into_iter().filter(|name| name.starts_with("net"));
        for name in networks {
            let value = copy.current.get(&name).unwrap_or_default().to_owned();
            copy.current.set(&name, network_with(&value, NetworkAddress::Renew, fresh_address));
        }
        copy.current.remove("lock");
        machine.engine.adopt(self.id, &machine.guest(self.new, &copy.current)?)?;
        Ok(machine.store.save(self.new, &copy)?)
    }

    fn copy_volume(
        &self,
        machine: &Machine,
        name: &str,
        volume: &VolumeId,
        out: &mut dyn Write,
    ) -> Result<String, PctError> {
        let (action, copy_kind) = if self.full {
            ("create full clone of mountpoint", CopyKind::Full)
        } else {
            ("create linked clone of mount point", CopyKind::Linked)
        };
        writeln!(out, "{action} {name} ({volume})")?;
        let value = self.section.get(name).unwrap_or_default();
        // A volume that nobody has used yet exists only in its configuration.
        machine.volumes.open(volume, configured_bytes(value))?;
        let storage = self.storage.as_deref().unwrap_or(&volume.storage);
        let target = machine.volumes.free_name(storage, self.new)?;
        let made = machine.volumes.copy(volume, self.snapshot.as_deref(), &target, copy_kind, out)?;
        Ok(volume_with_size(value, &target, made.bytes))
    }

    /// Removes everything half-made; what cannot be removed is reported and left.
    fn clean_up(&self, machine: &Machine, out: &mut dyn Write) {
        let half = machine.store.load(self.new, &mut std::io::sink());
        let own = format!("{}", self.new);
        let volumes = half.map(|loaded| loaded.config.current.volumes()).unwrap_or_default();
        let is_own = |volume: &VolumeId| volume.owner() == Some(own.as_str());
        let removed = volumes
            .into_iter()
            .filter(|(_, volume)| is_own(volume))
            .try_for_each(|(_, volume)| machine.volumes.remove(&volume, out))
            .and_then(|()| Ok(machine.engine.destroy(self.new)?))
            .and_then(|()| Ok(machine.store.remove(self.new)?));
        if let Err(error) = removed {
            // The failure of the clone itself is what matters; this is only additional output.
            let _ = writeln!(out, "{}", error.text());
        }
    }
}
