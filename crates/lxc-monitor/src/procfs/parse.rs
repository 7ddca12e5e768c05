//! The formats of the `/proc` files we read (proc(5)).

#![expect(clippy::missing_errors_doc, reason = "every parser fails with what it expected and what it found")]

use std::collections::{BTreeMap, BTreeSet};

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::NetworkUsage;

use crate::kernel_file::Unexpected;
use crate::sample::{NodeCpuTime, NodeMemory};

/// `/proc/net/unix`: the containers whose command socket `@<lxc>/<id>/command` is listed.
pub fn command_sockets(text: &str, lxc: &str) -> BTreeSet<Vmid> {
    let prefix = format!("@{}/", lxc.trim_end_matches('/'));
    let vmid = |line: &str| {
        // The path is the last column and may hold blanks.
        let (_, path) = line.split_once(prefix.as_str())?;
        path.strip_suffix("/command")?.parse().ok()
    };
    text.lines().filter_map(vmid).collect()
}

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

/// `/proc/stat`: time of all CPUs together, and how many there are.
pub fn cpu_time(text: &str) -> Result<NodeCpuTime, Unexpected> {
    let unexpected = || Unexpected::new("a `cpu` line with its times and a line per CPU", text);
    let all = text.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or_else(unexpected)?;
    let times: Vec<u64> = all.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user and nice.
    let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = times.as_slice() else {
        return Err(unexpected());
    };
    let sum = |times: &[u64]| times.iter().try_fold(0_u64, |sum, time| sum.checked_add(*time));
    // Stolen time passed, and this node did not use it.
    let busy_ticks = sum(&[user, nice, system, irq, softirq]).ok_or_else(unexpected)?;
    let total_ticks = sum(&[busy_ticks, idle, iowait, steal]).ok_or_else(unexpected)?;
    let is_cpu = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cpus = u32::try_from(text.lines().filter(is_cpu).count()).map_err(|_| unexpected())?;
    if cpus == 0 { Err(unexpected()) } else { Ok(NodeCpuTime { busy_ticks, total_ticks, cpus }) }
}

/// `/proc/meminfo`.
pub fn meminfo(text: &str) -> Result<NodeMemory, Unexpected> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib: Option<u64> = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.and_then(|kib| kib.checked_mul(1024)).ok_or_else(|| {
            Unexpected::new("`MemTotal`, `MemAvailable`, `SwapTotal` and `SwapFree` in kB", text)
        })
    };
    let swap_total = value("SwapTotal")?;
    Ok(NodeMemory {
        total: value("MemTotal")?,
        available: value("MemAvailable")?,
        swap_total,
        swap_used: swap_total.saturating_sub(value("SwapFree")?),
    })
}

/// `/proc/loadavg`: the three averages.
pub fn load_averages(text: &str) -> Result<[f64; 3], Unexpected> {
    let numbers: Vec<f64> =
        text.split_ascii_whitespace().take(3).map_while(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        &[one, five, fifteen] if numbers.iter().all(|load| load.is_finite()) => Ok([one, five, fifteen]),
        _ => Err(Unexpected::new("three load averages", text)),
    }
}

/// `/proc/uptime`: seconds since boot.
pub fn uptime_seconds(text: &str) -> Result<f64, Unexpected> {
    let seconds: Option<f64> = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    seconds
        .filter(|seconds| seconds.is_finite() && 0.0 <= *seconds)
        .ok_or_else(|| Unexpected::new("seconds since boot", text))
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
