//! Reads the groups of one container in version 1, one per controller.

use std::ops::ControlFlow;

use lxc_autoscale_core::snapshot::{MemoryEvents, Paging, Throttling};

use super::v2::{absent_means_none, memory, timed, understood};
use super::{ContainerGroups, Depth, GROUP_PRESSURE, Group, GroupLook, parse, pids, read_pressure, tree};
use crate::block_devices::BlockDevices;
use crate::full_look::Signs;
use crate::kept_files::KeptFiles;
use crate::kernel_file::{ReadError, Unexpected};
use crate::sample::{BlockIo, CgroupSample, CpuTime, MemoryUse, Missing, Moment, PressureReadings, Reading};

/// The groups of one container, by controller.
struct Groups<'a> {
    files: &'a KeptFiles,
    all: &'a ContainerGroups,
}

impl Groups<'_> {
    fn group(&self, controller: &str) -> Reading<Group<'_>> {
        let missing = || match controller {
            "memory" => Missing::because(
                "the container has no `memory` control group (boot with cgroup_enable=memory, without \
                 cgroup_disable=memory)",
            ),
            _ => Missing::because(format!("the container has no `{controller}` control group")),
        };
        self.all.of_controller(controller).ok_or_else(missing)
    }

    fn read<T>(
        &self,
        controller: &str,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Reading<T> {
        Ok(self.files.parsed(&self.group(controller)?, name, parse)?)
    }

    /// Values that are read at quiet looks, too.
    fn read_at_each_look<T>(
        &self,
        controller: &str,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Reading<T> {
        Ok(self.files.parsed_at_each_look(&self.group(controller)?, name, parse)?)
    }

    /// Throttling, which can continue while a quota applies.
    fn throttling(&self) -> Reading<Throttling> {
        self.read_at_each_look("cpu", "cpu.stat", parse::throttling)
    }
}

/// Reads every file; an unreadable one only affects its own value.
pub(super) fn read(
    files: &KeptFiles,
    all: &ContainerGroups,
    devices: &BlockDevices,
    last: Option<&CgroupSample>,
    clock: impl Fn() -> Moment,
) -> GroupLook {
    let groups = Groups { files, all };
    let (nanoseconds, at, read_took) =
        timed(clock, || groups.read_at_each_look("cpuacct", "cpuacct.usage", parse::number));
    let cpu = nanoseconds.map(|nanoseconds| CpuTime { usage_usec: nanoseconds / 1000, at, read_took });
    let pressure = match all.unified() {
        Some(group) => read_pressure(files, &group, GROUP_PRESSURE),
        None => PressureReadings::NONE,
    };
    let limit_hits = groups.read_at_each_look("memory", "memory.failcnt", parse::number);
    let usage = groups.read_at_each_look("memory", "memory.usage_in_bytes", parse::number);
    if let Some(last) = last {
        let memory = usage.as_ref().ok().copied();
        let signs = Signs { cpu: &cpu, memory, limit_hits: limit_hits.as_ref().ok().copied() };
        if signs.show_quiet_since(last) {
            let mut sample = CgroupSample { cpu, ..last.clone() };
            // With a quota, a container can be throttled for whole periods without running.
            if !matches!(last.quota_cores, Ok(None)) {
                sample.throttling = groups.throttling();
            }
            return GroupLook { sample, pressure, depth: Depth::Quiet };
        }
    }
    let (stat, swap) = memory_stat(&groups);
    let pids_limit = groups.read("pids", "pids.max", parse::limit);
    let memory_limit = groups.read("memory", "memory.limit_in_bytes", parse::limit_v1);
    let sample = CgroupSample {
        cpu,
        throttling: groups.throttling(),
        quota_cores: quota_cores(&groups),
        cpuset_cpus: cpuset_cpus(&groups),
        memory: memory(usage, &stat),
        swap,
        swap_limit: swap_limit(&groups, &memory_limit),
        memory_limit,
        memory_events: memory_events(&groups, limit_hits),
        memory_swap_events: Ok(None),
        paging: stat.map(|(_, paging)| paging),
        pids: groups.read("pids", "pids.current", parse::number),
        pids_events: groups
            .group("pids")
            .and_then(|group| pids::events_of_members(files, &group.path(), &pids_limit)),
        pids_limit,
        io: block_io(&groups, devices),
    };
    GroupLook { sample, pressure, depth: Depth::Full }
}

/// Memory with paging, and swap, which are in one file; each may be readable without the other.
fn memory_stat(groups: &Groups<'_>) -> (Reading<(MemoryUse, Paging)>, Reading<u64>) {
    let read = || -> Reading<_> {
        let group = groups.group("memory")?;
        let both = |text: &str| Ok(parse::memory_stat_v1(text));
        let (stat, swap) = groups.files.parsed(&group, "memory.stat", both)?;
        Ok((understood(&group, "memory.stat", stat), swap.ok_or_else(no_swap_accounting)))
    };
    read().unwrap_or_else(|missing| (Err(missing.clone()), Err(missing)))
}

fn quota_cores(groups: &Groups<'_>) -> Reading<Option<f64>> {
    let Ok(group) = groups.group("cpu") else { return Ok(None) };
    let quota = groups.files.parsed(&group, "cpu.cfs_quota_us", parse::cfs_quota);
    let Some(quota) = absent_means_none(quota)? else { return Ok(None) };
    let period = groups.read("cpu", "cpu.cfs_period_us", parse::number)?;
    parse::cores(quota, period)
        .map(Some)
        .ok_or_else(|| Missing::because("the CPU quota has a period of zero"))
}

fn cpuset_cpus(groups: &Groups<'_>) -> Reading<Option<u32>> {
    let Ok(group) = groups.group("cpuset") else { return Ok(None) };
    match groups.files.parsed(&group, "cpuset.effective_cpus", parse::cpu_list) {
        // Before Linux 3.17 there was only the configured set.
        Err(error) if error.is_gone() => {
            absent_means_none(groups.files.parsed(&group, "cpuset.cpus", parse::cpu_list).map(Some))
        }
        other => Ok(Some(other?)),
    }
}

/// Version 1 limits memory and swap together; the limit for swap alone is the difference.
fn swap_limit(groups: &Groups<'_>, memory_limit: &Reading<Option<u64>>) -> Reading<Option<u64>> {
    let group = groups.group("memory")?;
    let both = match groups.files.parsed(&group, "memory.memsw.limit_in_bytes", parse::limit_v1) {
        Err(ReadError::Gone { .. }) => return Err(no_swap_accounting()),
        other => other?,
    };
    Ok(match (both, memory_limit.clone()?) {
        (Some(both), Some(memory)) => Some(both.saturating_sub(memory)),
        // Without a limit on memory alone, all of it may be swapped.
        (both, None) => both,
        (None, Some(_)) => None,
    })
}

fn no_swap_accounting() -> Missing {
    Missing::because("the kernel does not account swap (boot with swapaccount=1)")
}

/// `memory.failcnt` counts at the group whose limit was hit, which is the outer one. `oom_kill` counts only at the
/// group of the process that was killed, so it is summed up over the groups below.
fn memory_events(groups: &Groups<'_>, limit_hits: Reading<u64>) -> Reading<MemoryEvents> {
    let max = limit_hits?;
    let mut oom_kill = None;
    let mut is_complete = true;
    tree::walk(groups.files, &groups.group("memory")?.path(), |group| {
        match groups.files.parsed(group, "memory.oom_control", |text| Ok(parse::oom_kill_v1(text))) {
            Ok(Some(kills)) => oom_kill = Some(oom_kill.unwrap_or(0) + kills),
            Ok(None) => {}
            Err(_) => is_complete = false,
        }
        ControlFlow::Continue(())
    });
    if !is_complete {
        groups.files.forget_inner();
    }
    Ok(MemoryEvents { max, oom_kill, ..MemoryEvents::default() })
}

/// Since Linux 6.10 the throttling counters of version 1 are kept only if a throttle was ever set; otherwise the files
/// hold `Total 0` whatever was read or written. So no device at all does not mean "no I/O".
fn block_io(groups: &Groups<'_>, devices: &BlockDevices) -> Reading<BlockIo> {
    let group = groups.group("blkio")?;
    let text = |name| groups.files.parsed(&group, name, |text| Ok(text.to_owned()));
    let bytes = text("blkio.throttle.io_service_bytes_recursive")?;
    let operations = text("blkio.throttle.io_serviced_recursive")?;
    let by_device = understood(&group, "blkio.throttle.*", parse::blkio(&bytes, &operations))?;
    if by_device.is_empty() {
        return Err(Missing::because("the kernel counts no block I/O for this cgroup v1 group"));
    }
    Ok(devices.describe(&by_device))
}
