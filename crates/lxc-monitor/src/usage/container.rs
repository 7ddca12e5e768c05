//! The record of one container.

use std::borrow::Cow;
use std::sync::Arc;

use lxc_autoscale_core::snapshot::{
    ContainerRecord, ContainerState, InterfaceTraffic, Limits, MemoryBreakdown, NodeRecord, PressureSet,
    Summary, Throttling,
};
use lxc_autoscale_core::table::Table;
use lxc_autoscale_core::units::bytes_to_mib;
use lxc_autoscale_core::{BootId, Run};

use super::gaps::Gaps;
use super::io::IoCounter;
use super::traffic::TrafficCounter;
use super::{elapsed, increase};
use crate::block_devices::BlockDevices;
use crate::clock::record_time;
use crate::sample::{
    BlockIo, CgroupSample, ContainerSample, CpuTime, InitProcess, Missing, PressureReadings, Reading, Traffic,
};

/// How far a CPU's counter may run ahead between two samples, in seconds.
///
/// Counters advance in steps (the scheduler's tick, a quota's period of usually 100 ms), so an interval of any length
/// may contain one step more than it should.
const CPU_JITTER_SECONDS: f64 = 0.1;
/// How much faster the scheduler's clock may be than the one we divide by, which NTP slews.
const CLOCK_DRIFT: f64 = 0.001;

const FIRST_SAMPLE: &str = "this is the first sample";

/// What a container's record needs to know about the node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// CPUs online.
    pub cpus: Option<u32>,
    /// Swap space, in bytes.
    pub swap_total: Option<u64>,
    /// Seconds since it booted.
    pub uptime_seconds: Option<f64>,
    /// Which boot that is since.
    pub boot: Option<BootId>,
}

/// The state of a sample for the next rates.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    init: Reading<InitProcess>,
    cpu: Reading<CpuTime>,
    throttling: Reading<Throttling>,
    quota_cores: Reading<Option<f64>>,
    cpuset_cpus: Reading<Option<u32>>,
    /// As they were when last known.
    io: Option<IoCounter>,
    traffic: Option<TrafficCounter>,
    /// The run in which the monitor before counted these two; `None` from the first sample on.
    recorded: Option<Box<Run>>,
}

impl Baseline {
    /// What the newest record of the monitor before tells: how far its totals had come.
    pub fn of_record(record: &ContainerRecord, node: Option<&NodeRecord>) -> Self {
        let counters = (IoCounter::of_record(record), TrafficCounter::of_record(record));
        Self::recorded(counters, Run::of(record, node))
    }

    /// What the newest snapshot of the monitor before tells of a container that is not in it: if it ran then, it could not
    /// be looked at, and it is not known how far its totals had come.
    pub fn without_record(newest: &Summary) -> Self {
        let node = newest.node.as_ref();
        let then = Run {
            at_seconds: newest.collection_end_time.as_seconds(),
            node_uptime_seconds: node.and_then(|node| node.uptime_seconds),
            uptime_seconds: None,
            boot: node.and_then(|node| node.boot_id),
        };
        Self::recorded((IoCounter::LOST, TrafficCounter::lost()), then)
    }

    fn recorded((io, traffic): (IoCounter, TrafficCounter), run: Run) -> Self {
        let first = || Missing::because(FIRST_SAMPLE);
        Self {
            init: Err(first()),
            cpu: Err(first()),
            throttling: Err(first()),
            quota_cores: Err(first()),
            cpuset_cpus: Err(first()),
            io: Some(io),
            traffic: Some(traffic),
            recorded: Some(run.into()),
        }
    }

    /// The traffic of each interface at that sample, as far as it was known.
    pub fn interfaces(&self) -> Option<&Table<InterfaceTraffic>> {
        self.traffic.as_ref().map(TrafficCounter::interfaces)
    }

    /// Whether its I/O was what its processes did.
    pub fn is_of_processes(&self) -> bool {
        self.io.as_ref().is_some_and(IoCounter::is_of_processes)
    }

    /// The counters to go on from, in a run of the container.
    fn counters(&self, now: &Run) -> (Option<Cow<'_, IoCounter>>, Option<Cow<'_, TrafficCounter>>) {
        match self.recorded.as_deref().map(|earlier| now.restarted_since(earlier)) {
            None | Some(Some(false)) => {
                (self.io.as_ref().map(Cow::Borrowed), self.traffic.as_ref().map(Cow::Borrowed))
            }
            Some(Some(true)) => (None, None),
            // Neither begun nor gone on for certain: the difference to the record could be anything.
            Some(None) => (Some(Cow::Owned(IoCounter::LOST)), Some(Cow::Owned(TrafficCounter::lost()))),
        }
    }
}

/// The previous state for this look: after a restart of the monitor, with the names in its record at their places.
pub fn placed(
    previous: Option<&Arc<Baseline>>,
    io: &Reading<BlockIo>,
    devices: &BlockDevices,
) -> Option<Arc<Baseline>> {
    let previous = previous?;
    let now = io.as_ref().ok();
    let placed =
        previous.io.as_ref().zip(now).and_then(|(io, now)| io.placed(now, |number| devices.name(number)));
    Some(match placed {
        Some(io) => Arc::new(Baseline { io: Some(io), ..previous.as_ref().clone() }),
        None => Arc::clone(previous),
    })
}

/// Computes the record of a container from the previous sample's state and this sample, and the state for the next.
pub fn container_record(
    previous: Option<&Baseline>,
    now: ContainerSample,
    node: NodeFacts,
) -> (ContainerRecord, Baseline) {
    let mut gaps = Gaps::default();
    let same_run = comparable(previous, &now).ok();
    let mut record = ContainerRecord::empty(record_time(now.at.wall));
    record.state = Some(ContainerState::Running);
    record.limits = Some(limits(&mut gaps, &now.cgroup, node));
    fill_cpu(&mut record, &mut gaps, previous, &now, node);
    fill_memory(&mut record, &mut gaps, &now.cgroup, node);

    record.pids_events = gaps.take(&["pids_events"], now.cgroup.pids_events).flatten();
    record.process_count = gaps.take(&["process_count"], now.cgroup.pids);
    let on_zfs = now.filesystem.as_ref().is_ok_and(|filesystem| filesystem.is_zfs);
    let run = Run {
        at_seconds: record.timestamp.as_seconds(),
        node_uptime_seconds: node.uptime_seconds,
        uptime_seconds: now.uptime_seconds.as_ref().ok().copied(),
        boot: node.boot,
    };
    let (io_before, traffic_before) = same_run.map(|previous| previous.counters(&run)).unwrap_or_default();
    let io = fill_io(&mut record, &mut gaps, now.cgroup.io, on_zfs, io_before.as_deref());
    let traffic = fill_traffic(&mut record, &mut gaps, now.network, traffic_before.as_deref());
    let fields = ["filesystem_usage_gb", "filesystem_total_gb", "filesystem_free_gb"];
    if let Some(filesystem) = gaps.take(&fields, now.filesystem) {
        record.filesystem_usage_gb = Some(bytes_to_gib(filesystem.used));
        record.filesystem_total_gb = Some(bytes_to_gib(filesystem.total));
        record.filesystem_free_gb = Some(bytes_to_gib(filesystem.available));
        record.filesystem_inodes_used = filesystem.inodes.map(|inodes| inodes.used);
        record.filesystem_inodes_total = filesystem.inodes.map(|inodes| inodes.total);
    }
    record.uptime_seconds = gaps.take(&["uptime_seconds"], now.uptime_seconds);
    record.pressure = pressure(&mut gaps, &now.pressure);
    record.configuration = gaps.take(&["configuration"], now.configuration).flatten();
    record.missing = gaps.into_fields();
    let CgroupSample { cpu, throttling, quota_cores, cpuset_cpus, .. } = now.cgroup;
    let (init, recorded) = (now.init, None);
    let baseline = Baseline { init, cpu, throttling, quota_cores, cpuset_cpus, io, traffic, recorded };
    (record, baseline)
}

/// ZFS reads and writes in its own threads, which belong to no container: a group without any I/O then says nothing
/// about the container's I/O, unless ZFS itself reports it (see [`crate::zfs`]).
fn fill_io(
    record: &mut ContainerRecord,
    gaps: &mut Gaps,
    io: Reading<BlockIo>,
    on_zfs: bool,
    before: Option<&IoCounter>,
) -> Option<IoCounter> {
    let io = io.and_then(|io| {
        let is_idle = on_zfs && io.devices.is_empty() && {
            let total = IoCounter::begin(&io.counts).total();
            (total.reads, total.writes) == (0, 0)
        };
        if is_idle {
            return Err(Missing::because("ZFS does its I/O in threads that belong to no container"));
        }
        Ok(io)
    });
    let Some(io) = gaps.take(&["io_stats", "io_devices"], io) else { return before.cloned() };
    let (counter, is_whole) = match before {
        Some(before) => before.after(&io.counts),
        None => (IoCounter::begin(&io.counts), Ok(())),
    };
    record.io_stats = gaps.take(&["io_stats"], is_whole).map(|()| counter.total());
    record.io_devices = io.devices;
    Some(counter)
}

fn fill_traffic(
    record: &mut ContainerRecord,
    gaps: &mut Gaps,
    traffic: Reading<Traffic>,
    before: Option<&TrafficCounter>,
) -> Option<TrafficCounter> {
    let fields = ["network_usage", "network_interfaces"];
    let Some(traffic) = gaps.take(&fields, traffic) else { return before.cloned() };
    let (counter, is_whole) = match before {
        Some(before) => before.after(&traffic),
        None => (TrafficCounter::begin(&traffic), Ok(())),
    };
    record.network_usage = gaps.take(&["network_usage"], is_whole).map(|()| counter.total());
    record.network_interfaces = traffic.interfaces;
    Some(counter)
}

fn bytes_to_gib(bytes: u64) -> f64 {
    bytes_to_mib(bytes) / 1024.0
}

fn limits(gaps: &mut Gaps, cgroup: &CgroupSample, node: NodeFacts) -> Limits {
    let mib = |bytes: Option<u64>| bytes.map(bytes_to_mib);
    Limits {
        cores: gaps.take(&["limits.cores"], cores_limit(&cgroup.quota_cores, &cgroup.cpuset_cpus, node)),
        quota_cores: gaps.take(&["limits.quota_cores"], cgroup.quota_cores.clone()).flatten(),
        cpuset_cores: gaps.take(&["limits.cpuset_cores"], cgroup.cpuset_cpus.clone()).flatten(),
        memory_mb: mib(gaps.take(&["limits.memory_mb"], cgroup.memory_limit.clone()).flatten()),
        swap_mb: mib(gaps.take(&["limits.swap_mb"], cgroup.swap_limit.clone()).flatten()),
        pids: gaps.take(&["limits.pids"], cgroup.pids_limit.clone()).flatten(),
    }
}

/// The most cores a container may use: the smallest of quota, cpuset and the node's CPUs.
fn cores_limit(quota: &Reading<Option<f64>>, cpuset: &Reading<Option<u32>>, node: NodeFacts) -> Reading<f64> {
    let (quota, cpuset) = (quota.clone()?, cpuset.clone()?);
    let cpus = node.cpus.ok_or_else(|| Missing::because("the number of the node's CPUs is unknown"))?;
    Ok([quota, cpuset.map(f64::from)].into_iter().flatten().fold(f64::from(cpus), f64::min))
}

fn fill_cpu(
    record: &mut ContainerRecord,
    gaps: &mut Gaps,
    previous: Option<&Baseline>,
    now: &ContainerSample,
    node: NodeFacts,
) {
    record.cpu_usage_usec = gaps.take(&["cpu_usage_usec"], now.cgroup.cpu.clone()).map(|cpu| cpu.usage_usec);
    record.throttling = gaps.take(&["throttling"], now.cgroup.throttling.clone());
    let pair = comparable(previous, now);

    let used = pair
        .clone()
        .and_then(|previous| cores_used(previous.cpu.clone()?, now.cgroup.cpu.clone()?, node.cpus));
    record.cpu_cores_used = gaps.take(&["cpu_cores_used", "cpu_usage_percent"], used);
    if let Some(cores) = record.cpu_cores_used {
        // If the limit changed in between, the larger one was available.
        let before = previous
            .and_then(|previous| cores_limit(&previous.quota_cores, &previous.cpuset_cpus, node).ok());
        let share = cores_limit(&now.cgroup.quota_cores, &now.cgroup.cpuset_cpus, node)
            .and_then(|limit| share_of(cores, limit.max(before.unwrap_or(0.0))));
        record.cpu_usage_percent = gaps.take(&["cpu_usage_percent"], share);
    }

    let throttled = pair
        .and_then(|previous| throttled_share(previous.throttling.clone()?, now.cgroup.throttling.clone()?));
    record.cpu_throttled_share = gaps.take(&["cpu_throttled_share"], throttled);
}

/// The previous sample, if it is from the same run of the same container.
fn comparable<'a>(previous: Option<&'a Baseline>, now: &ContainerSample) -> Reading<&'a Baseline> {
    let previous = previous.ok_or_else(|| Missing::because(FIRST_SAMPLE))?;
    match (&previous.init, &now.init) {
        (Ok(before), Ok(after)) if before != after => {
            Err(Missing::because("the container was restarted between the samples"))
        }
        // If init is unknown, a restart still shows as a counter that goes back.
        _ => Ok(previous),
    }
}

/// The mean number of cores used between two samples.
fn cores_used(previous: CpuTime, now: CpuTime, cpus: Option<u32>) -> Reading<f64> {
    let elapsed = elapsed(previous.at, now.at)?.as_secs_f64();
    let used_seconds = increase(previous.usage_usec, now.usage_usec)? as f64 / 1e6;
    let cores = used_seconds / elapsed;
    let Some(cpus) = cpus.map(f64::from) else { return Ok(cores) };
    // The physically possible maximum: a wrong counter must not look like a fully busy node.
    let reads_took = (previous.read_took + now.read_took).as_secs_f64();
    let possible = cpus * (1.0 + CLOCK_DRIFT + (CPU_JITTER_SECONDS + reads_took) / elapsed);
    if possible < cores {
        return Err(Missing::because(format!("the counter says {cores:.1} cores and the node has {cpus}")));
    }
    Ok(cores.min(cpus))
}

fn share_of(cores: f64, limit: f64) -> Reading<f64> {
    if limit <= 0.0 {
        return Err(Missing::because("the container may use no CPU at all"));
    }
    // A quota applies per period; a short interval may contain one period more than its length suggests.
    Ok((100.0 * cores / limit).min(100.0))
}

/// The share of throttled enforcement periods; zero if no period has passed.
fn throttled_share(previous: Throttling, now: Throttling) -> Reading<f64> {
    let periods = increase(previous.nr_periods, now.nr_periods)?;
    let throttled = increase(previous.nr_throttled, now.nr_throttled)?;
    if throttled == 0 {
        return Ok(0.0);
    }
    Ok((throttled as f64 / periods.max(throttled) as f64).min(1.0))
}

fn fill_memory(record: &mut ContainerRecord, gaps: &mut Gaps, cgroup: &CgroupSample, node: NodeFacts) {
    if let Some(memory) = gaps.take(&["memory_usage_mb", "memory"], cgroup.memory.clone()) {
        record.memory_usage_mb = Some(bytes_to_mib(memory.working_set()));
        record.memory = Some(MemoryBreakdown {
            current_mb: bytes_to_mib(memory.current),
            anon_mb: bytes_to_mib(memory.anon),
            file_mb: bytes_to_mib(memory.file),
            shmem_mb: bytes_to_mib(memory.shmem),
            inactive_file_mb: bytes_to_mib(memory.inactive_file),
            active_file_mb: bytes_to_mib(memory.active_file),
            dirty_mb: bytes_to_mib(memory.dirty),
        });
    }
    record.swap_usage_mb = gaps.take(&["swap_usage_mb"], cgroup.swap.clone()).map(bytes_to_mib);
    let swap_total = swap_total(cgroup.swap_limit.clone(), node.swap_total);
    record.swap_total_mb = gaps.take(&["swap_total_mb"], swap_total).map(bytes_to_mib);
    record.memory_events = gaps.take(&["memory_events"], cgroup.memory_events.clone());
    record.memory_swap_events =
        gaps.take(&["memory_swap_events"], cgroup.memory_swap_events.clone()).flatten();
    record.paging = gaps.take(&["paging"], cgroup.paging.clone());
}

/// The swap a container may use: its limit, but no more than the node has.
fn swap_total(limit: Reading<Option<u64>>, node_total: Option<u64>) -> Reading<u64> {
    let limits = [limit?, node_total];
    limits
        .into_iter()
        .flatten()
        .min()
        .ok_or_else(|| Missing::because("swap is not limited, and the node's swap space is unknown"))
}

pub(super) fn pressure(gaps: &mut Gaps, readings: &PressureReadings) -> PressureSet {
    PressureSet {
        cpu: gaps.take(&["pressure.cpu"], readings.cpu.clone()).flatten(),
        memory: gaps.take(&["pressure.memory"], readings.memory.clone()).flatten(),
        io: gaps.take(&["pressure.io"], readings.io.clone()).flatten(),
    }
}
