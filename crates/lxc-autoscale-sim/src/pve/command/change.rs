//! A change of a container's configuration: what is applied at once, and what waits for the next start.
//!
//! All given options are first queued as pending; values equal to the present ones are dropped. On a running
//! container, some options are applied live and some only need to be stored; the others stay pending. If a live
//! change fails, nothing is stored, although what was applied before it stays in force (Proxmox since 8.3; before
//! that, the rest is stored, and what failed stays pending). On a stopped container, everything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use lxc_autoscale_core::Vmid;

use super::hotplug::{Plugged, is_stored_only, plug, unplug};
use super::value::stored_value;
use crate::pve::config::GuestConfig;
use crate::pve::error::PctError;
use crate::pve::machine::{Machine, configured_bytes};
use crate::pve::terminal::Terminal;

/// Applies everything that is pending, as a start does.
///
/// # Errors
/// [`PctError`] if an unused volume cannot be removed.
pub(super) fn apply_pending(
    machine: &Machine,
    id: Vmid,
    config: &mut GuestConfig,
    out: &mut dyn Write,
) -> Result<(), PctError> {
    Change::new(machine, id, config).apply_stopped(out)
}

/// The errors of individual options.
#[derive(Debug, Default)]
struct Failures {
    texts: BTreeMap<String, String>,
    exit: Option<u8>,
}

impl Failures {
    fn add(&mut self, name: &str, error: &PctError) {
        // The text ends with a line break, hence the empty line that Proxmox prints after it.
        self.texts.insert(name.to_owned(), format!("unable to hotplug {name}: {}\n", error.text()));
        self.exit = Some(error.exit());
    }

    fn into_result(self) -> Result<(), PctError> {
        match self.exit {
            Some(exit) => Err(PctError::Parameters { errors: self.texts, exit }),
            None => Ok(()),
        }
    }
}

/// A change of one container in progress: first everything is queued as pending, then what can be is applied.
pub(super) struct Change<'a> {
    machine: &'a Machine,
    id: Vmid,
    config: &'a mut GuestConfig,
    /// The options of this call; other pending ones stay pending.
    touched: BTreeSet<String>,
}

impl<'a> Change<'a> {
    pub(super) fn new(machine: &'a Machine, id: Vmid, config: &'a mut GuestConfig) -> Self {
        Self { machine, id, config, touched: BTreeSet::new() }
    }

    pub(super) fn revert(&mut self, names: &[String]) {
        for name in names {
            self.config.pending.remove(name);
        }
        let mut deletions = self.config.pending_deletions();
        deletions.retain(|name| !names.contains(name));
        self.config.set_pending_deletions(deletions);
    }

    pub(super) fn queue_deletions(
        &mut self,
        names: &[String],
        terminal: &mut Terminal<'_>,
    ) -> Result<(), PctError> {
        for name in names {
            if self.config.current.get(name).is_none() && self.config.pending.get(name).is_none() {
                writeln!(terminal.err, "cannot delete '{name}' - not set in current configuration!")?;
                continue;
            }
            match name.as_str() {
                "memory" | "rootfs" | "ostype" => {
                    return Err(PctError::died(format!("unable to delete required option '{name}'")));
                }
                "unprivileged" => {
                    return Err(PctError::died(format!("unable to delete read-only option: '{name}'")));
                }
                _ => {}
            }
            self.touched.insert(name.clone());
            self.config.pending.remove(name);
            let mut deletions = self.config.pending_deletions();
            deletions.push(name.clone());
            self.config.set_pending_deletions(deletions);
        }
        Ok(())
    }

    pub(super) fn queue_values(
        &mut self,
        values: BTreeMap<String, String>,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), PctError> {
        for (name, value) in values {
            self.check_option(&name)?;
            let value = stored_value(self.machine, self.id, &name, value, terminal.out)?;
            self.config.pending.set(&name, value);
            let mut deletions = self.config.pending_deletions();
            deletions.retain(|deletion| *deletion != name);
            self.config.set_pending_deletions(deletions);
            self.touched.insert(name);
        }
        Ok(())
    }

    /// Refuses options that cannot be set on this container, and prepares for those that create volumes.
    fn check_option(&self, name: &str) -> Result<(), PctError> {
        if name == "unprivileged" {
            return Err(PctError::died(format!("unable to modify read-only option: '{name}'")));
        }
        let is_drive = name == "rootfs" || numbered(name, "mp");
        if is_drive && self.config.current.get("protection") == Some("1") {
            let text = format!("can't update CT {} drive '{name}' - protection mode enabled", self.id);
            return Err(PctError::died(text));
        }
        if is_drive {
            // The name of a volume that so far exists only in the configuration must not be used for a new one.
            for (used, volume) in self.config.current.volumes() {
                let size = self.config.current.get(&used).and_then(configured_bytes);
                self.machine.volumes.open(&volume, size)?;
            }
        }
        Ok(())
    }

    /// Setting what is already set changes nothing, and does not repair a cgroup that was changed by hand.
    pub(super) fn drop_equal(&mut self) {
        for name in self.config.pending.names() {
            if self.config.pending.get(&name) == self.config.current.get(&name) {
                self.config.pending.remove(&name);
            }
        }
        let mut deletions = self.config.pending_deletions();
        deletions.retain(|name| self.config.current.get(name).is_some());
        self.config.set_pending_deletions(deletions);
    }

    /// Applies what can be changed on a running container.
    pub(super) fn apply_live(&mut self, out: &mut dyn Write) -> Result<(), PctError> {
        let mut failures = Failures::default();
        for name in self.touched.clone() {
            if is_stored_only(&name) {
                self.store(&name, out)?;
            }
        }
        for name in self.config.pending_deletions() {
            if !self.touched.contains(&name) {
                continue;
            }
            match unplug(self.machine, self.id, &name) {
                Ok(Plugged::Now) => self.forget(&name, out)?,
                Ok(Plugged::AtNextStart) => {}
                Err(error) => failures.add(&name, &error),
            }
        }
        let mut is_memory_done = false;
        for name in self.config.pending.names() {
            if name == "delete" || !self.touched.contains(&name) {
                continue;
            }
            let is_memory = name == "memory" || name == "swap";
            // Memory and swap of one call are written together; only after a failure each is tried alone.
            let plugged = if is_memory && is_memory_done {
                Ok(Plugged::Now)
            } else {
                plug(self.machine, self.id, &name, self.config)
            };
            match plugged {
                Ok(Plugged::Now) => {
                    is_memory_done |= is_memory;
                    // Both stay queued until the loop has passed them, so that each can see the other.
                    self.copy(&name);
                }
                Ok(Plugged::AtNextStart) => {}
                Err(error) => failures.add(&name, &error),
            }
        }
        for name in self.touched.clone() {
            if self.config.pending.get(&name).is_some()
                && self.config.pending.get(&name) == self.config.current.get(&name)
            {
                self.config.pending.remove(&name);
            }
        }
        failures.into_result()
    }

    /// Applies everything.
    pub(super) fn apply_stopped(&mut self, out: &mut dyn Write) -> Result<(), PctError> {
        for name in self.config.pending_deletions() {
            self.forget(&name, out)?;
        }
        for name in self.config.pending.names() {
            if name != "delete" {
                self.store(&name, out)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, name: &str) {
        if let Some(value) = self.config.pending.get(name).map(str::to_owned) {
            self.config.current.set(name, value);
        }
    }

    fn store(&mut self, name: &str, out: &mut dyn Write) -> Result<(), PctError> {
        self.copy(name);
        self.config.pending.remove(name);
        if self.config.pending_deletions().iter().any(|deletion| deletion == name) {
            self.forget(name, out)?;
        }
        Ok(())
    }

    /// Removes an option. The volume of a mount point is kept as an unused one; an unused one is removed.
    fn forget(&mut self, name: &str, out: &mut dyn Write) -> Result<(), PctError> {
        let volume = self.config.current.volume(name);
        self.config.current.remove(name);
        let mut deletions = self.config.pending_deletions();
        deletions.retain(|deletion| deletion != name);
        self.config.set_pending_deletions(deletions);
        match volume {
            Some(volume) if numbered(name, "mp") => {
                let mut names = (0..256).map(|number| format!("unused{number}"));
                if let Some(unused) = names.find(|unused| self.config.current.get(unused).is_none()) {
                    self.config.current.set(&unused, volume.to_string());
                }
                Ok(())
            }
            Some(volume) if numbered(name, "unused") => self.machine.volumes.remove(&volume, out),
            _ => Ok(()),
        }
    }
}

/// Whether an option is one of the numbered options with this name.
fn numbered(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|number| number.parse::<u32>().is_ok())
}
