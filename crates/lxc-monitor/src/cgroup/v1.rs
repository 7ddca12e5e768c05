//! Reads the groups of one container in version 1, one per controller.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::snapshot::MemoryEvents;

use super::v2::{absent_means_none, from_text, memory, timed};
use super::{parse, pids, read_pressure, tree};
use crate::block_devices::BlockDevices;
use crate::kernel_file::{ReadError, Unexpected, read_parsed, read_text};
use crate::sample::{BlockIo, CgroupSample, CpuTime, Missing, Moment, PressureReadings, Reading};

/// The groups of one container, by controller.
struct Groups<'a>(&'a BTreeMap<String, PathBuf>);

impl Groups<'_> {
    fn file(&self, controller: &str, name: &str) -> Reading<PathBuf> {
        let missing = || Missing(format!("the container has no `{controller}` control group"));
        self.0.get(controller).map(|group| group.join(name)).ok_or_else(missing)
    }

    fn read<T>(
        &self,
        controller: &str,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Reading<T> {
        Ok(read_parsed(&self.file(controller, name)?, parse)?)
    }
}

/// Reads every file; what cannot be read costs only its own value.
pub(super) fn read(
    controllers: &BTreeMap<String, PathBuf>,
    unified: Option<&Path>,
    devices: &BlockDevices,
    clock: impl Fn() -> Moment,
) -> CgroupSample {
    let groups = Groups(controllers);
    let (nanoseconds, at, read_took) =
        timed(clock, || groups.read("cpuacct", "cpuacct.usage", parse::number));
    let memory_stat = groups.file("memory", "memory.stat").and_then(|path| Ok((read_text(&path)?, path)));
    let stat = match &memory_stat {
        Ok((text, path)) => from_text(path, &Ok(text.clone()), parse::memory_stat_v1),
        Err(missing) => Err(missing.clone()),
    };
    let pids_limit = groups.read("pids", "pids.max", parse::limit);
    CgroupSample {
        cpu: nanoseconds.map(|nanoseconds| CpuTime { usage_usec: nanoseconds / 1000, at, read_took }),
        throttling: groups.read("cpu", "cpu.stat", parse::throttling),
        quota_cores: quota_cores(&groups),
        cpuset_cpus: cpuset_cpus(&groups),
        memory: groups
            .file("memory", "memory.usage_in_bytes")
            .and_then(|path| memory(read_parsed(&path, parse::number), &stat)),
        memory_limit: groups.read("memory", "memory.limit_in_bytes", parse::limit_v1),
        swap: memory_stat.and_then(|(text, _)| parse::swap_v1(&text).ok_or_else(no_swap_accounting)),
        swap_limit: swap_limit(&groups),
        memory_events: memory_events(&groups),
        memory_swap_events: Ok(None),
        paging: stat.map(|(_, paging)| paging),
        pids: groups.read("pids", "pids.current", parse::number),
        pids_events: groups.file("pids", "").and_then(|group| pids::events_of_members(&group, &pids_limit)),
        pids_limit,
        io: block_io(&groups, devices),
        pressure: match unified {
            Some(group) => read_pressure(group, ".pressure"),
            None => PressureReadings::NONE,
        },
    }
}

fn quota_cores(groups: &Groups<'_>) -> Reading<Option<f64>> {
    let Ok(path) = groups.file("cpu", "cpu.cfs_quota_us") else { return Ok(None) };
    let Some(quota) = absent_means_none(read_parsed(&path, parse::cfs_quota))? else { return Ok(None) };
    let period = groups.read("cpu", "cpu.cfs_period_us", parse::number)?;
    parse::cores(quota, period)
        .map(Some)
        .ok_or_else(|| Missing::because("the CPU quota has a period of zero"))
}

fn cpuset_cpus(groups: &Groups<'_>) -> Reading<Option<u32>> {
    let Ok(effective) = groups.file("cpuset", "cpuset.effective_cpus") else { return Ok(None) };
    match read_parsed(&effective, parse::cpu_list) {
        // Before Linux 3.17 there was only the configured set.
        Err(error) if error.is_gone() => {
            let configured = effective.with_file_name("cpuset.cpus");
            absent_means_none(read_parsed(&configured, parse::cpu_list).map(Some))
        }
        other => Ok(Some(other?)),
    }
}

/// Version 1 limits memory and swap together; what is left for swap alone is the difference.
fn swap_limit(groups: &Groups<'_>) -> Reading<Option<u64>> {
    let path = groups.file("memory", "memory.memsw.limit_in_bytes")?;
    let both = match read_parsed(&path, parse::limit_v1) {
        Err(ReadError::Gone { .. }) => return Err(no_swap_accounting()),
        other => other?,
    };
    let memory = groups.read("memory", "memory.limit_in_bytes", parse::limit_v1)?;
    Ok(match (both, memory) {
        (Some(both), Some(memory)) => Some(both.saturating_sub(memory)),
        // Without a limit on memory alone, all of it may be swapped.
        (both, None) => both,
        (None, Some(_)) => None,
    })
}

fn no_swap_accounting() -> Missing {
    Missing::because("the kernel does not account swap (boot with swapaccount=1)")
}

/// `memory.failcnt` counts at the group whose limit was hit, which is the outer one. `oom_kill` counts only at
/// the group of the process that was killed, so it is summed over the groups below.
fn memory_events(groups: &Groups<'_>) -> Reading<MemoryEvents> {
    let max = groups.read("memory", "memory.failcnt", parse::number)?;
    let outer = groups.file("memory", "")?;
    let mut oom_kill = None;
    tree::walk(&outer, |group| {
        let counted =
            read_text(&group.join("memory.oom_control")).ok().and_then(|text| parse::oom_kill_v1(&text));
        if let Some(kills) = counted {
            oom_kill = Some(oom_kill.unwrap_or(0) + kills);
        }
        ControlFlow::Continue(())
    });
    Ok(MemoryEvents { max, oom_kill, ..MemoryEvents::default() })
}

/// Since Linux 6.10 the throttling counters of version 1 are kept only where a throttle was ever set; the
/// files then hold `Total 0` whatever was read or written. No device at all is thus not "no I/O".
fn block_io(groups: &Groups<'_>, devices: &BlockDevices) -> Reading<BlockIo> {
    let path = groups.file("blkio", "blkio.throttle.io_service_bytes_recursive")?;
    let bytes = read_text(&path)?;
    let operations = read_text(&groups.file("blkio", "blkio.throttle.io_serviced_recursive")?)?;
    let by_device = parse::blkio(&bytes, &operations)
        .map_err(|source| Missing::from(ReadError::Unexpected { path, source }))?;
    if by_device.is_empty() {
        return Err(Missing::because("the kernel counts no block I/O for this cgroup v1 group"));
    }
    Ok(devices.describe(&by_device))
}
