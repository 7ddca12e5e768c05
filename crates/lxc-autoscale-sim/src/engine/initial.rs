//! The files of a new container's cgroup: its limits, and counters at zero.

use lxc_autoscale_core::Mebibytes;

use super::memory_limits::memory_high_bytes;
use super::{CpuSet, GuestLimits};
use crate::node::CgroupVersion;

/// What cgroup v1 shows if there is no limit.
pub(super) const UNLIMITED_V1: u64 = 9_223_372_036_854_771_712;

/// One file of a new container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialFile {
    /// The controller, which is the name of the hierarchy on v1.
    pub controller: &'static str,
    /// The name of the file.
    pub name: &'static str,
    /// Its content in `lxc/<id>`.
    pub outer: String,
    /// Its content in `lxc/<id>/ns`, where no limit is set.
    pub inner: String,
}

/// The files that a container starts with, for this cgroup version.
///
/// `cpus` are those that the container may use, `all` those of the node.
pub fn initial_files(
    version: CgroupVersion,
    limits: &GuestLimits,
    cpus: &CpuSet,
    all: &CpuSet,
) -> Vec<InitialFile> {
    match version {
        CgroupVersion::V1 => v1(limits, cpus),
        CgroupVersion::V2 => v2(limits, cpus, all),
    }
}

fn bytes(amount: Mebibytes) -> u64 {
    amount.get().saturating_mul(Mebibytes::BYTES)
}

/// Microseconds of CPU time per period of 100 ms.
fn quota(limits: &GuestLimits) -> Option<String> {
    limits.cpulimit.map(|cores| (100_000.0 * cores).trunc().to_string())
}

fn same(controller: &'static str, name: &'static str, text: &str) -> InitialFile {
    InitialFile { controller, name, outer: text.to_owned(), inner: text.to_owned() }
}

fn limit(controller: &'static str, name: &'static str, value: &dyn ToString, none: &str) -> InitialFile {
    InitialFile { controller, name, outer: format!("{}\n", value.to_string()), inner: format!("{none}\n") }
}

fn v2(limits: &GuestLimits, cpus: &CpuSet, all: &CpuSet) -> Vec<InitialFile> {
    const NO_PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\
                               full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    const MEMORY_EVENTS: &str = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n";
    const CPU_STAT: &str = "usage_usec 0\nuser_usec 0\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\n\
                            throttled_usec 0\nnr_bursts 0\nburst_usec 0\n";
    // A set of all CPUs is written as an empty one, which means the parent's.
    let own = if cpus == all { String::new() } else { cpus.to_string() };
    let quota = quota(limits).unwrap_or("max".to_owned());
    vec![
        same("", "cgroup.controllers", "cpuset cpu io memory pids\n"),
        same("", "cgroup.subtree_control", "cpuset cpu io memory pids\n"),
        same("", "cgroup.type", "domain\n"),
        same("", "cgroup.events", "populated 1\nfrozen 0\n"),
        same("", "cgroup.freeze", "0\n"),
        limit("cpu", "cpu.max", &format!("{quota} 100000"), "max 100000"),
        limit("cpu", "cpu.weight", &limits.cpuunits.unwrap_or(100).clamp(1, 10_000), "100"),
        same("cpu", "cpu.stat", CPU_STAT),
        same("cpu", "cpu.pressure", NO_PRESSURE),
        limit("memory", "memory.max", &bytes(limits.memory), "max"),
        limit("memory", "memory.high", &memory_high_bytes(limits.memory), "max"),
        limit("memory", "memory.swap.max", &bytes(limits.swap), "max"),
        same("memory", "memory.low", "0\n"),
        same("memory", "memory.min", "0\n"),
        same("memory", "memory.current", "0\n"),
        same("memory", "memory.peak", "0\n"),
        same("memory", "memory.swap.current", "0\n"),
        same("memory", "memory.swap.events", "high 0\nmax 0\nfail 0\n"),
        same("memory", "memory.events", MEMORY_EVENTS),
        same("memory", "memory.stat", "anon 0\nfile 0\nkernel 0\nshmem 0\ninactive_file 0\nactive_file 0\n"),
        same("memory", "memory.pressure", NO_PRESSURE),
        same("io", "io.stat", ""),
        same("io", "io.pressure", NO_PRESSURE),
        same("pids", "pids.current", "1\n"),
        same("pids", "pids.max", "max\n"),
        limit("cpuset", "cpuset.cpus", &own, ""),
        same("cpuset", "cpuset.cpus.effective", &format!("{cpus}\n")),
    ]
}

fn v1(limits: &GuestLimits, cpus: &CpuSet) -> Vec<InitialFile> {
    const MEMORY_STAT: &str = "cache 0\nrss 0\nshmem 0\nswap 0\ntotal_cache 0\ntotal_rss 0\ntotal_shmem 0\n\
                               total_swap 0\ntotal_inactive_file 0\ntotal_active_file 0\n";
    let unlimited = UNLIMITED_V1.to_string();
    let memory = bytes(limits.memory);
    vec![
        same("cpu", "cpu.cfs_period_us", "100000\n"),
        limit("cpu", "cpu.cfs_quota_us", &quota(limits).unwrap_or("-1".to_owned()), "-1"),
        limit("cpu", "cpu.shares", &limits.cpuunits.unwrap_or(1024).clamp(2, 262_144), "1024"),
        same("cpu", "cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"),
        same("cpuacct", "cpuacct.usage", "0\n"),
        same("cpuacct", "cpuacct.stat", "user 0\nsystem 0\n"),
        limit("memory", "memory.limit_in_bytes", &memory, &unlimited),
        limit(
            "memory",
            "memory.memsw.limit_in_bytes",
            &memory.saturating_add(bytes(limits.swap)),
            &unlimited,
        ),
        same("memory", "memory.usage_in_bytes", "0\n"),
        same("memory", "memory.memsw.usage_in_bytes", "0\n"),
        same("memory", "memory.max_usage_in_bytes", "0\n"),
        same("memory", "memory.failcnt", "0\n"),
        same("memory", "memory.stat", MEMORY_STAT),
        same("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"),
        same("blkio", "blkio.throttle.io_service_bytes_recursive", "Total 0\n"),
        same("blkio", "blkio.throttle.io_serviced_recursive", "Total 0\n"),
        same("pids", "pids.current", "1\n"),
        same("pids", "pids.max", "max\n"),
        same("cpuset", "cpuset.cpus", &format!("{cpus}\n")),
        same("cpuset", "cpuset.effective_cpus", &format!("{cpus}\n")),
        same("cpuset", "cpuset.mems", "0\n"),
    ]
}
