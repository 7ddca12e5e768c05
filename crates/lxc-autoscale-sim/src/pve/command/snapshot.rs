//! `pct snapshot`, `delsnapshot`, `rollback`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Call;
use super::power::start_locked;
use crate::pve::config::{GuestConfig, Section, VolumeId};
use crate::pve::error::PctError;
use crate::pve::machine::{Machine, check_lock};
use crate::pve::task::run_worker;

/// Names with a special meaning.
const RESERVED: [&str; 2] = ["current", "vzdump"];
/// Options that a snapshot does not keep.
const NOT_KEPT: [&str; 2] = ["lock", "snapstate"];

/// Takes a snapshot of configuration and volumes.
pub(super) fn snapshot(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let name = call.text("snapname").unwrap_or_default().to_owned();
    if RESERVED.contains(&name.as_str()) {
        let text = format!("unable to use snapshot name '{name}' (reserved name)");
        return Err(PctError::died_without_file(text));
    }
    let description = call.text("description").unwrap_or_default().to_owned();
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzsnapshot", id, call.terminal.out, |out| {
        let mut config = loaded?.config;
        if config.current.get("template") == Some("1") {
            return Err(PctError::died("you can't take a snapshot if it's a template"));
        }
        check_lock(&config)?;
        if config.snapshots.contains_key(&name) {
            return Err(PctError::died(format!("snapshot name '{name}' already used")));
        }
        if !has_feature(machine, &config.current) {
            return Err(PctError::died("snapshot feature is not available"));
        }
        let mut taken = without(&config.current, &NOT_KEPT);
        taken.description = (!description.is_empty()).then(|| format!("{description}\n"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        taken.set("snaptime", now.as_secs().to_string());

        // For as long as the file has this state, all other calls keep away.
        let mut preparing = config.clone();
        preparing.current.set("lock", "snapshot");
        let mut prepared = taken.clone();
        prepared.set("snapstate", "prepare");
        preparing.snapshots.insert(name.clone(), prepared);
        machine.store.save(id, &preparing)?;

        let volumes = volumes_of(&config.current);
        let mut done: Vec<&VolumeId> = Vec::new();
        for volume in &volumes {
            if let Err(error) = machine.volumes.snapshot(volume, &name, out) {
                writeln!(out, "snapshot create failed: starting cleanup")?;
                for volume in done {
                    machine.volumes.remove_snapshot(volume, &name, out)?;
                }
                machine.store.save(id, &config)?;
                return Err(error);
            }
            done.push(volume);
        }
        config.snapshots.insert(name.clone(), taken);
        config.current.set("parent", name.clone());
        Ok(machine.store.save(id, &config)?)
    })?;
    Ok(0)
}

/// Removes a snapshot; its descendants then descend from its parent.
pub(super) fn delsnapshot(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let name = call.text("snapname").unwrap_or_default().to_owned();
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzdelsnapshot", id, call.terminal.out, |out| {
        let mut config = loaded?.config;
        let snapshot = existing(&config, &name)?.clone();
        check_lock(&config)?;
        // As when one is taken: whoever interrupts this leaves both.
        let mut deleting = config.clone();
        deleting.current.set("lock", "snapshot-delete");
        if let Some(section) = deleting.snapshots.get_mut(&name) {
            section.set("snapstate", "delete");
        }
        machine.store.save(id, &deleting)?;
        for volume in volumes_of(&snapshot) {
            machine.volumes.remove_snapshot(&volume, &name, out)?;
        }
        config.snapshots.remove(&name);
        let parent = snapshot.get("parent").map(str::to_owned);
        for section in std::iter::once(&mut config.current).chain(config.snapshots.values_mut()) {
            if section.get("parent") == Some(name.as_str()) {
                match &parent {
                    Some(parent) => section.set("parent", parent.clone()),
                    None => drop(section.remove("parent")),
                }
            }
        }
        Ok(machine.store.save(id, &config)?)
    })?;
    Ok(0)
}

/// Restores configuration and volumes. A running container is killed, and left stopped unless asked otherwise.
pub(super) fn rollback(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let name = call.text("snapname").unwrap_or_default().to_owned();
    let starts = call.flag("start");
    let machine = call.machine;
    let _lock = machine.lock(id, call.terminal)?;
    let loaded = machine.load(id, call.terminal);
    run_worker(machine, "vzrollback", id, call.terminal.out, |out| {
        let mut config = loaded?.config;
        let snapshot = existing(&config, &name)?.clone();
        for volume in volumes_of(&snapshot) {
            machine.volumes.check_rollback(&volume, &name)?;
        }
        if snapshot.get("snapstate").is_some() {
            return Err(PctError::died(format!(
                "unable to rollback to incomplete snapshot (snapstate = {})",
                snapshot.get("snapstate").unwrap_or_default()
            )));
        }
        if config.current.get("template") == Some("1") {
            return Err(PctError::died("you can't rollback if CT is a template"));
        }
        check_lock(&config)?;
        machine.engine.kill(id)?;
        config.current.set("lock", "rollback");
        machine.store.save(id, &config)?;
        for volume in volumes_of(&snapshot) {
            machine.volumes.rollback(&volume, &name, out)?;
        }
        restore(&mut config, &snapshot, &name);
        machine.store.save(id, &config)?;
        if starts { start_locked(machine, id, config, false, out) } else { Ok(()) }
    })?;
    Ok(0)
}

/// Replaces the current options by those of a snapshot; the description and unused volumes stay.
fn restore(config: &mut GuestConfig, snapshot: &Section, name: &str) {
    let mut restored = without(snapshot, &["snaptime", "snapstate"]);
    restored.description = config.current.description.take();
    for (option, value) in &config.current.options {
        if option.starts_with("unused") {
            restored.set(option, value.clone());
        }
    }
    restored.set("parent", name);
    config.current = restored;
    config.pending = Section::default();
}

fn existing<'a>(config: &'a GuestConfig, name: &str) -> Result<&'a Section, PctError> {
    let missing = || PctError::died(format!("snapshot '{name}' does not exist"));
    config.snapshots.get(name).ok_or_else(missing)
}

pub(super) fn without(section: &Section, names: &[&str]) -> Section {
    let mut kept = section.clone();
    for name in names {
        kept.remove(name);
    }
    kept
}

/// The volumes that take part in a snapshot.
fn volumes_of(section: &Section) -> Vec<VolumeId> {
    let mounted = section.volumes().into_iter().filter(|(name, _)| !name.starts_with("unused"));
    mounted.map(|(_, volume)| volume).collect()
}

/// Every mount point must support it; a bind mount or a device never does.
fn has_feature(machine: &Machine, section: &Section) -> bool {
    let is_mount = |name: &&String| {
        *name == "rootfs" || name.strip_prefix("mp").is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let mut mounts = section.options.keys().filter(is_mount);
    mounts.all(|name| section.volume(name).is_some_and(|volume| machine.volumes.has_snapshots(&volume)))
}
