//! The formats of the `/proc` files that only we read (proc(5)); those of the node stand in core.

#![expect(clippy::missing_errors_doc, reason = "every parser fails with what it expected and what it found")]

use std::collections::BTreeMap;

pub use lxc_autoscale_core::procfs::{command_sockets, cpu_time, load_averages, meminfo, uptime_seconds};
use lxc_autoscale_core::snapshot::NetworkUsage;

use crate::kernel_file::Unexpected;

/// `/proc/net/dev`: bytes received and sent by each device.
pub fn network_devices(text: &str) -> Result<BTreeMap<String, NetworkUsage>, Unexpected> {
    let mut devices = BTreeMap::new();
    // Two lines of headings.
    for line in text.lines().skip(2) {
        let unexpected = || Unexpected::new("`device: received … sent …`", line);
        let (name, counters) = line.rsplit_once(':').ok_or_else(unexpected)?;
        let counters: Vec<_> = counters.split_ascii_whitespace().collect();
        let counter =
            |index: usize| counters.get(index).and_then(|word| word.parse().ok()).ok_or_else(unexpected);
        let usage = NetworkUsage { rx_bytes: counter(0)?, tx_bytes: counter(8)? };
        devices.insert(name.trim().to_owned(), usage);
    }
    Ok(devices)
}

/// `/proc/<pid>/stat`: clock ticks from boot to the start of the process (field 22).
pub fn start_ticks(text: &str) -> Result<u64, Unexpected> {
    // The second field is the command in parentheses, which may hold blanks and parentheses itself.
    let after_command = text.rsplit_once(") ").map(|(_, rest)| rest);
    after_command
        .and_then(|rest| rest.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| Unexpected::new("a process status line with its start time", text))
}

/// `/proc/<pid>/status`: whether the process is the first one of a container that the node runs itself.
///
/// `NSpid` lists its id in each PID namespace from the reader's inward. A container's init has exactly two, the
/// second being 1; one of a container inside the container has three.
pub fn is_container_init(text: &str) -> bool {
    let ids = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| matches!(ids.split_ascii_whitespace().collect::<Vec<_>>().as_slice(), [_, "1"]))
}

/// `/proc/<pid>/io`: bytes that a process, and the children it has waited for, read from and wrote to disks.
pub fn process_io(text: &str) -> Result<(u64, u64), Unexpected> {
    let value = |key: &str| {
        let number = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        number
            .and_then(|word| word.trim().parse().ok())
            .ok_or_else(|| Unexpected::new("`read_bytes` and `write_bytes` lines", text))
    };
    Ok((value("read_bytes")?, value("write_bytes")?))
}

/// `/proc/spl/kstat/zfs/arcstats`: size of ZFS's cache in bytes.
pub fn arc_size(text: &str) -> Result<u64, Unexpected> {
    let size = |line: &str| match line.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
        ["size", _, bytes] => bytes.parse().ok(),
        _ => None,
    };
    text.lines().find_map(size).ok_or_else(|| Unexpected::new("a `size` line", text))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
