//! Reads the group of one container in version 2.

use std::path::Path;
use std::time::Duration;

use super::{Depth, GROUP_PRESSURE, Group, GroupLook, parse, pids, read_pressure};
use crate::block_devices::BlockDevices;
use crate::full_look::Signs;
use crate::kept_files::{KeptFiles, Place};
use crate::kernel_file::{ReadError, Unexpected};
use crate::sample::{CgroupSample, CpuTime, MemoryUse, Missing, Moment, Reading};

/// Reads every file; an unreadable one only affects its own value.
pub(super) fn read(
    files: &KeptFiles,
    group: Group<'_>,
    devices: &BlockDevices,
    last: Option<&CgroupSample>,
    clock: impl Fn() -> Moment,
) -> GroupLook {
    let group = &group;
    let both = |text: &str| Ok(parse::cpu_stat_v2(text));
    let (cpu_stat, at, read_took) = timed(&clock, || files.parsed_at_each_look(group, "cpu.stat", both));
    let (usage, throttling) = match cpu_stat {
        Ok((usage, throttling)) => {
            (understood(group, "cpu.stat", usage), understood(group, "cpu.stat", throttling))
        }
        Err(error) => {
            let missing = Missing::from(error);
            (Err(missing.clone()), Err(missing))
        }
    };
    let cpu = usage.map(|usage_usec| CpuTime { usage_usec, at, read_took });
    let pressure = read_pressure(files, group, GROUP_PRESSURE);
    let memory_events = files.parsed_at_each_look(group, "memory.events", parse::memory_events);
    let current = files.parsed_at_each_look(group, "memory.current", parse::number);
    // Every group that the controller accounts has this file.
    let memory_is_off = current.as_ref().is_err_and(ReadError::is_gone);
    let memory_events = of_memory(memory_is_off, memory_events);
    let current = of_memory(memory_is_off, current);
    if let Some(last) = last
        // Every event is compared, not only that of the limit.
        && memory_events == last.memory_events
    {
        let limit_hits = memory_events.as_ref().ok().map(|events| events.max);
        let memory = current.as_ref().ok().copied();
        if (Signs { cpu: &cpu, memory, limit_hits }).show_quiet_since(last) {
            let sample = CgroupSample { cpu, throttling, ..last.clone() };
            return GroupLook { sample, pressure, depth: Depth::Quiet };
        }
    }
    let stat = of_memory(memory_is_off, files.parsed(group, "memory.stat", parse::memory_stat_v2));
    let pids_limit = files.parsed(group, "pids.max", parse::limit).map_err(Missing::from);
    let sample = CgroupSample {
        cpu,
        throttling,
        quota_cores: absent_means_none(files.parsed(group, "cpu.max", parse::cpu_max)),
        cpuset_cpus: absent_means_none(
            files.parsed(group, "cpuset.cpus.effective", parse::cpu_list).map(Some),
        ),
        memory: memory(current, &stat),
        memory_limit: of_memory(memory_is_off, files.parsed(group, "memory.max", parse::limit)),
        swap: swap(memory_is_off, files.parsed(group, "memory.swap.current", parse::number)),
        swap_limit: swap(memory_is_off, files.parsed(group, "memory.swap.max", parse::limit)),
        memory_events,
        memory_swap_events: if memory_is_off {
            Err(no_memory_controller())
        } else {
            absent_means_none(files.parsed(group, "memory.swap.events", parse::memory_swap_events).map(Some))
        },
        paging: stat.map(|(_, paging)| paging),
        pids: files.parsed(group, "pids.current", parse::number).map_err(Missing::from),
        pids_events: pids::events_v2(files, group, &pids_limit),
        pids_limit,
        io: files
            .parsed(group, "io.stat", parse::io_stat)
            .map(|by_device| devices.describe(&by_device))
            .map_err(Missing::from),
    };
    GroupLook { sample, pressure, depth: Depth::Full }
}

/// The result of parsing a part of a file.
pub(super) fn understood<T>(place: &impl Place, name: &str, parsed: Result<T, Unexpected>) -> Reading<T> {
    parsed.map_err(|source| ReadError::Unexpected { path: place.directory().join(name), source }.into())
}

/// Runs `read`; returns also the time in its middle and its duration.
pub(super) fn timed<T>(clock: impl Fn() -> Moment, read: impl FnOnce() -> T) -> (T, Moment, Duration) {
    let before = clock();
    let value = read();
    let after = clock();
    let took = after.since_boot.saturating_sub(before.since_boot);
    (value, Moment { since_boot: before.since_boot + took / 2, ..before }, took)
}

/// Parses a text for several values.
pub(crate) fn from_text<T>(
    path: &Path,
    text: &Reading<String>,
    parse: impl FnOnce(&str) -> Result<T, Unexpected>,
) -> Reading<T> {
    let text = text.as_ref().map_err(Clone::clone)?;
    let unexpected = |source| ReadError::Unexpected { path: path.to_owned(), source };
    parse(text).map_err(|source| unexpected(source).into())
}

/// A group without the controller's file is not limited by that controller.
pub(super) fn absent_means_none<T>(read: Result<Option<T>, ReadError>) -> Reading<Option<T>> {
    match read {
        Err(error) if error.is_gone() => Ok(None),
        other => other.map_err(Missing::from),
    }
}

/// Combines the total with its parts.
pub(super) fn memory<T>(current: Reading<u64>, stat: &Reading<(MemoryUse, T)>) -> Reading<MemoryUse> {
    let (parts, _) = stat.as_ref().map_err(Clone::clone)?;
    Ok(MemoryUse { current: current?, ..*parts })
}

/// What the memory controller counts.
fn of_memory<T>(is_off: bool, read: Result<T, ReadError>) -> Reading<T> {
    read.map_err(|error| match error {
        ReadError::Gone { .. } if is_off => no_memory_controller(),
        other => other.into(),
    })
}

fn no_memory_controller() -> Missing {
    Missing::because(
        "the kernel's memory controller is off (boot with cgroup_enable=memory, without cgroup_disable=memory)",
    )
}

fn swap<T>(memory_is_off: bool, read: Result<T, ReadError>) -> Reading<T> {
    read.map_err(|error| match error {
        ReadError::Gone { .. } if memory_is_off => no_memory_controller(),
        ReadError::Gone { .. } => {
            Missing::because("the kernel does not account swap (boot with swapaccount=1)")
        }
        other => other.into(),
    })
}
