//! `pct set`: what is checked, what is applied at once, and what waits for the next start.
//!
//! Values equal to the present ones are dropped. On a running container some options are applied live and some
//! only need to be stored; the others become pending. If a live change fails, nothing is stored, although what
//! was applied before it stays in force (Proxmox since 8.3). On a stopped container everything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use lxc_autoscale_core::Vmid;

use super::Call;
use super::hotplug::{Plugged, is_stored_only, plug, unplug};
use crate::node::CgroupVersion;
use crate::pve::config::{
    GuestConfig, NetworkAddress, VolumeId, network_with, parse_property_string, volume_with_size,
};
use crate::pve::error::PctError;
use crate::pve::machine::{Machine, check_lock};
use crate::pve::schema::{guest_option, split_list};
use crate::pve::terminal::Terminal;

/// The highest weight Proxmox stores for cgroup v2.
const MAX_WEIGHT: u64 = 10_000;

pub(super) fn set(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let mut values = call.words.values.clone();
    values.remove("vmid");
    let digest = values.remove("digest").filter(|digest| !digest.is_empty());
    let delete = list_of_options(&values.remove("delete").unwrap_or_default(), "delete")?;
    let revert = list_of_options(&values.remove("revert").unwrap_or_default(), "revert")?;
    if values.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(PctError::died_without_file("no options specified"));
    }
    refuse_both(&values, &delete, "delete")?;
    refuse_both(&values, &revert, "revert")?;

    let _lock = call.machine.lock(id, call.terminal)?;
    let loaded = call.machine.load(id, call.terminal)?;
    check_lock(&loaded.config)?;
    check_digest(digest.as_deref(), &loaded.digest)?;
    let mut config = loaded.config;
    let mut change = Change { machine: call.machine, id, config: &mut config, touched: BTreeSet::new() };
    change.revert(&revert);
    change.queue_deletions(&delete, call.terminal)?;
    change.queue_values(values, call.terminal)?;
    change.drop_equal();
    let errors = if call.machine.is_running(id)? { change.apply_live() } else { change.apply_stopped() };
    if let Some(exit) = errors.exit {
        return Err(PctError::Parameters { errors: errors.texts, exit });
    }
    call.machine.store.save(id, &config)?;
    Ok(0)
}

/// Refuses when the file is not the one the caller has seen.
///
/// # Errors
/// Proxmox's text.
pub(super) fn check_digest(given: Option<&str>, found: &str) -> Result<(), PctError> {
    match given {
        Some(given) if given != found => {
            Err(PctError::died("detected modified configuration - file changed by other user? Try again."))
        }
        _ => Ok(()),
    }
}

/// Applies everything that waits, as a start does.
///
/// # Errors
/// [`PctError`] when a volume cannot be made.
pub(super) fn apply_pending(machine: &Machine, id: Vmid, config: &mut GuestConfig) -> Result<(), PctError> {
    let touched = config.pending.names().into_iter().chain(config.pending_deletions()).collect();
    let errors = Change { machine, id, config, touched }.apply_stopped();
    match errors.exit {
        Some(exit) => Err(PctError::Parameters { errors: errors.texts, exit }),
        None => Ok(()),
    }
}

fn list_of_options(text: &str, parameter: &str) -> Result<Vec<String>, PctError> {
    let names: Vec<String> = split_list(text).map(str::to_owned).collect();
    match names.iter().find(|name| guest_option(name).is_none()) {
        Some(unknown) => Err(PctError::parameter(parameter, format!("unknown option '{unknown}'"))),
        None => Ok(names),
    }
}

fn refuse_both(values: &BTreeMap<String, String>, names: &[String], parameter: &str) -> Result<(), PctError> {
    match names.iter().find(|name| values.contains_key(*name)) {
        Some(name) => {
            let text = format!("you can't use '-{name}' and -{parameter} {name}' at the same time");
            Err(PctError::parameter(parameter, text))
        }
        None => Ok(()),
    }
}

/// What went wrong with single options.
#[derive(Debug, Default)]
struct Failures {
    texts: BTreeMap<String, String>,
    exit: Option<u8>,
}

impl Failures {
    fn add(&mut self, name: &str, error: &PctError) {
        // The text ends a line, hence the empty line Proxmox prints after it.
        self.texts.insert(name.to_owned(), format!("unable to hotplug {name}: {}\n", error.text()));
        self.exit = Some(error.exit());
    }
}

/// A change of one container in the making: first everything is queued as pending, then what can be is applied.
struct Change<'a> {
    machine: &'a Machine,
    id: Vmid,
    config: &'a mut GuestConfig,
    /// The options this call is about; others that wait go on waiting.
    touched: BTreeSet<String>,
}

impl Change<'_> {
    fn revert(&mut self, names: &[String]) {
        for name in names {
            self.config.pending.remove(name);
        }
        let mut deletions = self.config.pending_deletions();
        deletions.retain(|name| !names.contains(name));
        self.config.set_pending_deletions(deletions);
    }

    fn queue_deletions(&mut self, names: &[String], terminal: &mut Terminal<'_>) -> Result<(), PctError> {
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

    fn queue_values(
        &mut self,
        values: BTreeMap<String, String>,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), PctError> {
        for (name, value) in values {
            let value = self.normalised(&name, value, terminal)?;
            self.config.pending.set(&name, value);
            let mut deletions = self.config.pending_deletions();
            deletions.retain(|deletion| *deletion != name);
            self.config.set_pending_deletions(deletions);
            self.touched.insert(name);
        }
        Ok(())
    }

    /// A value as it is stored.
    fn normalised(&self, name: &str, value: String, terminal: &mut Terminal<'_>) -> Result<String, PctError> {
        let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
        match (name, base) {
            ("unprivileged", _) => {
                Err(PctError::died(format!("unable to modify read-only option: '{name}'")))
            }
            ("rootfs", _) | (_, "mp") => {
                if self.config.current.get("protection") == Some("1") {
                    let text =
                        format!("can't update CT {} drive '{name}' - protection mode enabled", self.id);
                    return Err(PctError::died(text));
                }
                allocate(self.machine, self.id, &value, terminal.out)
            }
            ("tags", _) => {
                let tags: BTreeSet<String> = split_list(&value).map(str::to_lowercase).collect();
                Ok(tags.into_iter().collect::<Vec<_>>().join(";"))
            }
            ("cpuunits", _) if self.machine.settings.cgroup == CgroupVersion::V2 => {
                let units: u64 = value.parse().unwrap_or(0);
                Ok(if MAX_WEIGHT < units { MAX_WEIGHT.to_string() } else { value })
            }
            (_, "net") if base != name => Ok(network_with(&value, NetworkAddress::Keep, fresh_address)),
            _ => Ok(value),
        }
    }

    /// Setting what is set already changes nothing, and does not repair a cgroup that was changed by hand.
    fn drop_equal(&mut self) {
        for name in self.config.pending.names() {
            if self.config.pending.get(&name) == self.config.current.get(&name) {
                self.config.pending.remove(&name);
            }
        }
        let mut deletions = self.config.pending_deletions();
        deletions.retain(|name| self.config.current.get(name).is_some());
        self.config.set_pending_deletions(deletions);
    }

    fn apply_live(&mut self) -> Failures {
        let mut failures = Failures::default();
        for name in self.touched.clone() {
            if is_stored_only(&name) {
                self.store(&name);
            }
        }
        for name in self.config.pending_deletions() {
            if !self.touched.contains(&name) {
                continue;
            }
            match unplug(self.machine, self.id, &name) {
                Ok(Plugged::Now) => self.forget(&name),
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
            // Memory and swap of one call are one write; only after a failure it is tried for each.
            let plugged = if is_memory && is_memory_done {
                Ok(Plugged::Now)
            } else {
                plug(self.machine, self.id, &name, self.config)
            };
            match plugged {
                Ok(Plugged::Now) => {
                    is_memory_done |= is_memory;
                    // Both stay queued until the loop has passed them, so that the pair is known to either.
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
        failures
    }

    fn apply_stopped(&mut self) -> Failures {
        for name in self.config.pending_deletions() {
            self.forget(&name);
        }
        for name in self.config.pending.names() {
            if name != "delete" {
                self.store(&name);
            }
        }
        Failures::default()
    }

    fn copy(&mut self, name: &str) {
        if let Some(value) = self.config.pending.get(name).map(str::to_owned) {
            self.config.current.set(name, value);
        }
    }

    fn store(&mut self, name: &str) {
        self.copy(name);
        self.config.pending.remove(name);
        if self.config.pending_deletions().iter().any(|deletion| deletion == name) {
            self.forget(name);
        }
    }

    fn forget(&mut self, name: &str) {
        self.config.current.remove(name);
        let mut deletions = self.config.pending_deletions();
        deletions.retain(|deletion| deletion != name);
        self.config.set_pending_deletions(deletions);
    }
}

/// Turns `STORAGE:GIBIBYTES` into a new volume; a value that names one is left alone.
pub(super) fn allocate(
    machine: &Machine,
    id: Vmid,
    value: &str,
    out: &mut dyn std::io::Write,
) -> Result<String, PctError> {
    let pairs = parse_property_string(value, "volume");
    let volume =
        pairs.iter().find(|(key, _)| key == "volume").map(|(_, volume)| volume.as_str()).unwrap_or_default();
    let Some((storage, gibibytes)) =
        volume.split_once(':').and_then(|(s, g)| Some((s, g.parse::<f64>().ok()?)))
    else {
        return Ok(value.to_owned());
    };
    let bytes = crate::pve::config::parse_size_bytes(&format!("{gibibytes}G"))
        .filter(|&bytes| 0 < bytes)
        .ok_or_else(|| PctError::died(format!("unable to parse volume size '{gibibytes}'")))?;
    let new: VolumeId = machine.volumes.free_name(storage, id)?;
    let created = machine.volumes.create(&new, bytes, out)?;
    Ok(volume_with_size(value, &new, created.bytes))
}

/// Three random bytes for a hardware address.
pub(super) fn fresh_address() -> [u8; 3] {
    // Every `RandomState` is seeded anew, which is random enough to keep two addresses apart.
    let [a, b, c, ..] = RandomState::new().hash_one(std::process::id()).to_ne_bytes();
    [a, b, c]
}
