//! The status of containers, with the fields and formulas of Proxmox's `vmstatus`.

use lxc_autoscale_core::{Mebibytes, Vmid};
use serde_json::{Map, Value, json};

use super::config::Section;
use super::error::PctError;
use super::machine::{Machine, configured_bytes};
use crate::engine::Usage;

/// Size of a root volume of unknown size, in bytes.
const UNKNOWN_DISK_BYTES: u64 = 4 << 30;

/// The status of a container by field, except `cpu`, which needs two measurements.
///
/// # Errors
/// [`PctError`] if the volume cannot be read.
pub fn vmstatus(
    machine: &Machine,
    id: Vmid,
    section: &Section,
    is_running: bool,
) -> Result<Map<String, Value>, PctError> {
    let summary = section.summary();
    let mut status = Map::new();
    let mut set = |key: &str, value: Value| {
        status.insert(key.to_owned(), value);
    };
    let bytes = |amount: Mebibytes| amount.get().saturating_mul(Mebibytes::BYTES);
    let cpus = match (summary.cores, summary.cpulimit) {
        (Some(cores), _) => json!(cores),
        (None, Some(limit)) => json!(limit),
        (None, None) => json!(machine.engine.cpus()?.len()),
    };
    set("cpus", cpus);
    set("vmid", json!(id));
    set("type", json!("lxc"));
    set("status", json!(if is_running { "running" } else { "stopped" }));
    set("name", json!(summary.name.unwrap_or_else(|| format!("CT{id}"))));
    set("maxmem", json!(bytes(summary.memory_mb)));
    set("maxswap", json!(bytes(summary.swap_mb)));
    for key in ["lock", "tags"] {
        if let Some(value) = section.get(key) {
            set(key, json!(value));
        }
    }
    if summary.template {
        set("template", json!(1));
    }
    // A container that stops between the two measurements has nothing left to read.
    let usage = if is_running { machine.engine.usage(id).unwrap_or_default() } else { Usage::default() };
    for (key, value) in [
        ("mem", usage.memory),
        ("swap", usage.swap),
        ("diskread", usage.disk_read),
        ("diskwrite", usage.disk_written),
        ("netin", usage.network_in),
        ("netout", usage.network_out),
        ("uptime", usage.uptime_seconds),
    ] {
        set(key, json!(value));
    }
    if let Some(pid) = usage.pid {
        set("pid", json!(pid));
    }
    let rootfs = section.get("rootfs").unwrap_or_default();
    let configured = configured_bytes(rootfs);
    let (disk, maxdisk) = match section.volume("rootfs") {
        Some(volume) if is_running => {
            let space = machine.volumes.space(&volume, &machine.volumes.open(&volume, configured)?)?;
            (space.used, space.total)
        }
        _ => (0, configured.unwrap_or(UNKNOWN_DISK_BYTES)),
    };
    set("disk", json!(disk));
    set("maxdisk", json!(maxdisk));
    if machine.settings.is_before((7, 0)) {
        status.values_mut().for_each(as_string);
    }
    Ok(status)
}

/// Proxmox VE 6 gives many whole numbers as strings.
pub fn as_string(value: &mut Value) {
    if value.is_u64() || value.is_i64() {
        *value = json!(value.to_string());
    }
}
