//! The formats of the control group files, of both versions.
//!
//! They are documented in Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/*.rst of the Linux sources. An unknown
//! field is skipped, because kernels add some; a required field that is missing is an error.

#![expect(clippy::missing_errors_doc, reason = "every parser fails with what it expected and what it found")]

use std::collections::BTreeMap;

pub use lxc_autoscale_core::procfs::pressure;
pub use lxc_autoscale_core::snapshot::DeviceIo;
use lxc_autoscale_core::snapshot::{MemoryEvents, MemorySwapEvents, Paging, PidsEvents, Throttling};

use crate::kernel_file::Unexpected;
use crate::sample::MemoryUse;

/// Block I/O by device.
pub type IoByDevice = BTreeMap<DeviceNumber, DeviceIo>;

/// Major and minor number of a device.
pub type DeviceNumber = (u32, u32);

/// A file with one number.
pub fn number(text: &str) -> Result<u64, Unexpected> {
    text.trim().parse().map_err(|_| Unexpected::new("a number", text))
}

/// A file with one limit: a number, or `max` for none.
pub fn limit(text: &str) -> Result<Option<u64>, Unexpected> {
    match text.trim() {
        "max" => Ok(None),
        other => other.parse().map(Some).map_err(|_| Unexpected::new("a number or `max`", text)),
    }
}

/// A memory limit of version 1, where "none" is a number near the largest one, rounded down to a page.
pub fn limit_v1(text: &str) -> Result<Option<u64>, Unexpected> {
    const NO_LIMIT_FROM: u64 = (i64::MAX as u64) - (1 << 20);
    number(text).map(|bytes| (bytes < NO_LIMIT_FROM).then_some(bytes))
}

/// Lines of `key number`; lines with another format are skipped.
#[derive(Debug)]
pub struct FlatKeyed<'a>(Vec<(&'a str, u64)>);

impl<'a> FlatKeyed<'a> {
    /// Reads the lines.
    pub fn parse(text: &'a str) -> Self {
        let pair = |line: &'a str| {
            let (key, value) = line.split_once(' ')?;
            Some((key, value.trim().parse().ok()?))
        };
        // A line of `memory.stat` has a dozen bytes at least, nearly always.
        let mut pairs = Vec::with_capacity(text.len() / 12);
        pairs.extend(text.lines().filter_map(pair));
        Self(pairs)
    }

    /// The value of a key; of the last line if there are several.
    pub fn get(&self, key: &str) -> Option<u64> {
        // Only a few keys of some dozen lines are needed: searching costs less than sorting them first.
        self.0.iter().rev().find_map(|(other, value)| (*other == key).then_some(*value))
    }

    fn need(&self, key: &str, expected: &'static str) -> Result<u64, Unexpected> {
        self.get(key).ok_or_else(|| {
            let keys: Vec<_> = self.0.iter().map(|(key, _)| *key).take(8).collect();
            Unexpected::new(expected, &keys.join(" "))
        })
    }
}

/// `cpu.stat` of version 2: CPU time in microseconds, and throttling by the quota; each may be readable without the
/// other.
pub fn cpu_stat_v2(text: &str) -> (Result<u64, Unexpected>, Result<Throttling, Unexpected>) {
    let stat = FlatKeyed::parse(text);
    (stat.need("usage_usec", "a `usage_usec` line"), throttling_in(&stat))
}

/// `cpu.stat` of version 1: throttling by the quota.
pub fn throttling(text: &str) -> Result<Throttling, Unexpected> {
    throttling_in(&FlatKeyed::parse(text))
}

fn throttling_in(stat: &FlatKeyed<'_>) -> Result<Throttling, Unexpected> {
    let expected = "`nr_periods`, `nr_throttled` and `throttled_usec` or `throttled_time` lines";
    let throttled_usec = match stat.get("throttled_usec") {
        Some(microseconds) => microseconds,
        // Version 1 counts nanoseconds.
        None => stat.need("throttled_time", expected)? / 1000,
    };
    Ok(Throttling {
        nr_periods: stat.need("nr_periods", expected)?,
        nr_throttled: stat.need("nr_throttled", expected)?,
        throttled_usec,
    })
}

/// `cpu.max` of version 2, `$MAX $PERIOD`, in cores.
pub fn cpu_max(text: &str) -> Result<Option<f64>, Unexpected> {
    let unexpected = || Unexpected::new("`max` or a quota, then a period, in microseconds", text);
    let (quota, period) = text.trim().split_once(' ').ok_or_else(unexpected)?;
    if quota == "max" {
        return Ok(None);
    }
    let quota: u64 = quota.parse().map_err(|_| unexpected())?;
    let period: u64 = period.trim().parse().map_err(|_| unexpected())?;
    cores(quota, period).map(Some).ok_or_else(unexpected)
}

/// A quota and its period in cores; a period of zero is none.
pub fn cores(quota_usec: u64, period_usec: u64) -> Option<f64> {
    (period_usec != 0).then(|| quota_usec as f64 / period_usec as f64)
}

/// `cpu.cfs_quota_us` of version 1; -1 means none.
pub fn cfs_quota(text: &str) -> Result<Option<u64>, Unexpected> {
    match text.trim() {
        "-1" => Ok(None),
        _ => number(text).map(Some),
    }
}

/// The kernel supports at most 8192 CPUs; a longer list is invalid, and must not fill the memory.
const MAX_CPUS: u32 = 1 << 16;

/// The number of CPUs in a list such as `0-3,8`.
pub fn cpu_list(text: &str) -> Result<u32, Unexpected> {
    let unexpected = || Unexpected::new("a list of CPUs such as `0-3,8`", text);
    let mut cpus: u32 = 0;
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u32 = first.trim().parse().map_err(|_| unexpected())?;
        let last: u32 = last.trim().parse().map_err(|_| unexpected())?;
        let span = last.checked_sub(first).ok_or_else(unexpected)?;
        cpus = span.checked_add(1).and_then(|n| cpus.checked_add(n)).ok_or_else(unexpected)?;
    }
    if (1..=MAX_CPUS).contains(&cpus) { Ok(cpus) } else { Err(unexpected()) }
}

/// The CPUs of a list such as `0-3,8`, in its order.
pub fn cpu_ids(text: &str) -> Result<Vec<u32>, Unexpected> {
    cpu_list(text)?;
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    });
    Ok(ranges.flatten().collect())
}

/// `memory.stat` of version 2; `current` is left to the caller, who reads `memory.current`.
pub fn memory_stat_v2(text: &str) -> Result<(MemoryUse, Paging), Unexpected> {
    let stat = FlatKeyed::parse(text);
    let expected = "`anon`, `file`, `inactive_file` and `active_file` lines";
    let memory = MemoryUse {
        current: 0,
        anon: stat.need("anon", expected)?,
        file: stat.need("file", expected)?,
        shmem: stat.get("shmem").unwrap_or(0),
        inactive_file: stat.need("inactive_file", expected)?,
        active_file: stat.need("active_file", expected)?,
        dirty: stat.get("file_dirty").unwrap_or(0),
        writeback: stat.get("file_writeback").unwrap_or(0),
    };
    let paging = Paging {
        // Before Linux 5.9 there was one counter, of file pages only.
        refault_file: stat.get("workingset_refault_file").or_else(|| stat.get("workingset_refault")),
        refault_anon: stat.get("workingset_refault_anon"),
        swap_in: stat.get("pswpin"),
        swap_out: stat.get("pswpout"),
        major_faults: stat.get("pgmajfault"),
    };
    Ok((memory, paging))
}

/// `memory.stat` of version 1: memory without the total, with paging, and swap in use; each may be readable without the
/// other. The `total_` fields include the groups below.
pub fn memory_stat_v1(text: &str) -> (Result<(MemoryUse, Paging), Unexpected>, Option<u64>) {
    let stat = FlatKeyed::parse(text);
    (memory_in_v1(&stat), stat.get("total_swap"))
}

fn memory_in_v1(stat: &FlatKeyed<'_>) -> Result<(MemoryUse, Paging), Unexpected> {
    let expected = "`total_rss`, `total_cache`, `total_inactive_file` and `total_active_file` lines";
    let memory = MemoryUse {
        current: 0,
        anon: stat.need("total_rss", expected)?,
        file: stat.need("total_cache", expected)?,
        shmem: stat.get("total_shmem").unwrap_or(0),
        inactive_file: stat.need("total_inactive_file", expected)?,
        active_file: stat.need("total_active_file", expected)?,
        dirty: stat.get("total_dirty").unwrap_or(0),
        writeback: stat.get("total_writeback").unwrap_or(0),
    };
    let paging = Paging {
        refault_file: stat.get("total_workingset_refault_file"),
        refault_anon: stat.get("total_workingset_refault_anon"),
        // `pgpgin` and `pgpgout` of version 1 count charges, not swapping.
        swap_in: None,
        swap_out: None,
        major_faults: stat.get("total_pgmajfault"),
    };
    Ok((memory, paging))
}

/// `memory.events` of version 2.
pub fn memory_events(text: &str) -> Result<MemoryEvents, Unexpected> {
    let events = FlatKeyed::parse(text);
    Ok(MemoryEvents {
        low: events.get("low"),
        high: events.get("high"),
        max: events.need("max", "a `max` line")?,
        oom: events.get("oom"),
        oom_kill: events.get("oom_kill"),
        oom_group_kill: events.get("oom_group_kill"),
    })
}

/// `memory.swap.events` of version 2.
pub fn memory_swap_events(text: &str) -> Result<MemorySwapEvents, Unexpected> {
    let events = FlatKeyed::parse(text);
    let expected = "`max` and `fail` lines";
    Ok(MemorySwapEvents {
        high: events.get("high"),
        max: events.need("max", expected)?,
        fail: events.need("fail", expected)?,
    })
}

/// `pids.events` of either version.
pub fn pids_events(text: &str) -> Result<PidsEvents, Unexpected> {
    Ok(PidsEvents { max: FlatKeyed::parse(text).need("max", "a `max` line")? })
}

/// `io.stat` of version 2: per device `MAJ:MIN rbytes=… wbytes=… rios=… wios=…`.
///
/// Parsed word by word, because kernels before 5.13 can put devices without counters before another one on the same
/// line (`7:7 7:6 8:0 rbytes=…`).
pub fn io_stat(text: &str) -> Result<IoByDevice, Unexpected> {
    let mut devices = IoByDevice::new();
    let mut current = None;
    for word in text.split_ascii_whitespace() {
        if let Some(number) = device_number(word) {
            current = Some(number);
            continue;
        }
        let unexpected = || Unexpected::new("`MAJ:MIN` or `key=number`", word);
        let (key, value) = word.split_once('=').ok_or_else(unexpected)?;
        let device = devices.entry(current.ok_or_else(unexpected)?).or_default();
        let counter = match key {
            "rbytes" => &mut device.rbytes,
            "wbytes" => &mut device.wbytes,
            "rios" => &mut device.rios,
            "wios" => &mut device.wios,
            _ => continue,
        };
        *counter = value.parse().map_err(|_| unexpected())?;
    }
    Ok(devices)
}

/// `blkio.throttle.io_service_bytes_recursive` and `io_serviced_recursive` of version 1:
/// `MAJ:MIN Read N` and `MAJ:MIN Write N` lines among others.
pub fn blkio(bytes: &str, operations: &str) -> Result<IoByDevice, Unexpected> {
    let mut devices = IoByDevice::new();
    for (number, is_write, value) in blkio_lines(bytes)? {
        let device = devices.entry(number).or_default();
        *(if is_write { &mut device.wbytes } else { &mut device.rbytes }) = value;
    }
    for (number, is_write, value) in blkio_lines(operations)? {
        let device = devices.entry(number).or_default();
        *(if is_write { &mut device.wios } else { &mut device.rios }) = value;
    }
    Ok(devices)
}

/// Device, whether it is a write, and the count.
fn blkio_lines(text: &str) -> Result<Vec<(DeviceNumber, bool, u64)>, Unexpected> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[device, direction, value] = words.as_slice() else { continue };
        let is_write = match direction {
            "Read" => false,
            "Write" => true,
            _ => continue,
        };
        let unexpected = || Unexpected::new("`MAJ:MIN Read|Write number`", line);
        let number = device_number(device).ok_or_else(unexpected)?;
        lines.push((number, is_write, value.parse().map_err(|_| unexpected())?));
    }
    Ok(lines)
}

fn device_number(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `cgroup.events`: whether the group or one below it has processes.
pub fn populated(text: &str) -> Result<bool, Unexpected> {
    FlatKeyed::parse(text).need("populated", "a `populated` line").map(|flag| flag != 0)
}

/// `cgroup.procs`: process ids, one per line.
pub fn processes(text: &str) -> Result<Vec<u32>, Unexpected> {
    text.split_ascii_whitespace()
        .map(|word| word.parse().map_err(|_| Unexpected::new("a process id", word)))
        .collect()
}

/// `memory.oom_control` of version 1: OOM kills; the line exists since Linux 4.13.
pub fn oom_kill_v1(text: &str) -> Option<u64> {
    FlatKeyed::parse(text).get("oom_kill")
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
