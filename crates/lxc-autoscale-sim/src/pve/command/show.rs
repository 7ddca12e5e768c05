//! Commands that only read: `status`, `config`, `pending`, `df`, `cpusets`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Call;
use crate::pve::config::{Section, encode_text};
use crate::pve::error::PctError;
use crate::pve::machine::{configured_bytes, say};
use crate::pve::schema::guest_option;
use crate::pve::storage::Space;
use crate::pve::vmstatus::vmstatus;

pub(super) fn status(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let loaded = call.machine.load(id, call.terminal)?;
    let is_running = call.machine.is_running(id)?;
    if !call.flag("verbose") {
        say(call.terminal.out, if is_running { "status: running" } else { "status: stopped" })?;
        return Ok(0);
    }
    for (key, value) in vmstatus(call.machine, id, &loaded.config.current, is_running)? {
        let value = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        say(call.terminal.out, &format!("{key}: {value}"))?;
    }
    Ok(0)
}

pub(super) fn config(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let snapshot = call.text("snapshot").map(str::to_owned);
    if snapshot.is_some() && call.flag("current") {
        let text = "cannot use 'snapshot' parameter with 'current'";
        return Err(PctError::parameter("snapshot", text));
    }
    let config = call.machine.load(id, call.terminal)?.config;
    let section = match snapshot {
        Some(name) => match config.snapshots.get(&name) {
            Some(snapshot) => snapshot.clone(),
            None => return Err(PctError::died_without_file(format!("snapshot '{name}' does not exist"))),
        },
        None if call.flag("current") => config.current,
        None => config.with_pending(),
    };
    verify(&section)?;
    for name in section.names() {
        let value = section.get(&name).unwrap_or_default();
        let value = if name == "description" { encode_text(value) } else { value.to_owned() };
        say(call.terminal.out, &format!("{name}: {value}"))?;
    }
    for (key, value) in &section.raw {
        say(call.terminal.out, &format!("{key}: {value}"))?;
    }
    Ok(0)
}

/// `pct` checks its output against the schema, too.
fn verify(section: &Section) -> Result<(), PctError> {
    let mut errors = BTreeMap::new();
    for (name, value) in &section.options {
        if let Some(Err(text)) = guest_option(name).map(|kind| kind.check(value)) {
            errors.insert(name.clone(), text);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(PctError::Result { errors }) }
}

pub(super) fn pending(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let config = call.machine.load(id, call.terminal)?.config;
    let deletions = config.pending_deletions();
    let mut names = config.current.names();
    names.extend(config.pending.names().into_iter().filter(|name| name != "delete"));
    names.sort_unstable();
    names.dedup();
    let shown =
        |name: &str, value: &str| if name == "description" { encode_text(value) } else { value.to_owned() };
    for name in names {
        let (current, pending) = (config.current.get(&name), config.pending.get(&name));
        if let Some(value) = current
            && !deletions.contains(&name)
        {
            say(call.terminal.out, &format!("cur {name}: {}", shown(&name, value)))?;
        }
        if let Some(value) = pending {
            say(call.terminal.out, &format!("new {name}: {}", shown(&name, value)))?;
        } else if deletions.contains(&name) {
            say(call.terminal.out, &format!("del {name}: {}", shown(&name, current.unwrap_or_default())))?;
        }
    }
    Ok(0)
}

/// Prints the space of the volumes.
pub(super) fn df(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let _lock = call.machine.lock(id, call.terminal)?;
    let current = call.machine.load(id, call.terminal)?.config.current;
    let mut rows = vec![["MP", "Volume", "Size", "Used", "Avail", "Use%", "Path"].map(str::to_owned)];
    for (name, volume) in current.volumes().into_iter().filter(|(name, _)| !name.starts_with("unused")) {
        let value = current.get(&name).unwrap_or_default();
        let opened = call.machine.volumes.open(&volume, configured_bytes(value))?;
        let space = call.machine.volumes.space(&volume, &opened)?;
        let path = value.split(',').find_map(|part| part.strip_prefix("mp=")).unwrap_or("/");
        let row = [
            name.clone(),
            volume.to_string(),
            human(space.total),
            human(space.used),
            human(space.available),
            share(space),
            path.to_owned(),
        ];
        // The root file system comes first.
        let position = if name == "rootfs" { 1 } else { rows.len() };
        rows.insert(position, row);
    }
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for row in &rows {
        let left = |column: usize| format!("{:<width$}", row[column], width = widths[column]);
        let right = |column: usize| format!("{:>width$}", row[column], width = widths[column]);
        let line = [left(0), left(1), right(2), right(3), right(4), right(5), row[6].clone()].join(" ");
        say(call.terminal.out, &line)?;
    }
    Ok(0)
}

/// A size in the largest unit in which it is at least one.
fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while 1024.0 <= value && unit < 4 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", ["B", "K", "M", "G", "T"][unit])
}

fn share(space: Space) -> String {
    let percent = if space.total == 0 { 0.0 } else { 100.0 * space.used as f64 / space.total as f64 };
    format!("{percent:.1}")
}

pub(super) fn cpusets(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let running = call.machine.engine.running()?;
    if running.ids().is_empty() {
        say(call.terminal.out, "no running containers")?;
        return Ok(0);
    }
    let cpus = call.machine.engine.cpus()?;
    let mut lines = Vec::new();
    for &id in running.ids() {
        let used = call.machine.engine.cpuset(id)?;
        let columns = cpus.iter().map(|cpu| {
            let number = cpu.to_string();
            if used.contains(cpu) { number } else { " ".repeat(number.len()) }
        });
        lines.push(format!("{id}:  {}", columns.collect::<Vec<_>>().join(" ")));
    }
    let rule = "-".repeat(lines.iter().map(String::len).max().unwrap_or(0));
    say(call.terminal.out, &rule)?;
    for line in lines {
        say(call.terminal.out, line.trim_end())?;
    }
    say(call.terminal.out, &rule)?;
    Ok(0)
}
