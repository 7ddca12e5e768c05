//! Observes the containers: their allocations and the kernel's counters, from the first reading to the last.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;

use crate::node::CgroupVersion;

/// The allocation of a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocation {
    /// Cores: the smaller of `cores` and `cpulimit`; all cores of the node if neither is set.
    pub cores: f64,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Allocation {
    /// Reads it from a configuration.
    pub fn of(config: &ContainerConfig, node_cpus: u32) -> Self {
        let cores = f64::from(config.cores.map_or(node_cpus, |cores| cores.min(node_cpus)));
        let cores = config.cpulimit.map_or(cores, |limit| limit.min(cores));
        Self { cores, memory_mib: config.memory_mb.get() }
    }
}

/// The cumulative counters of a container that the report uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes killed by the OOM killer.
    pub oom_kills: u64,
    /// Periods of the CPU quota.
    pub periods: u64,
    /// Number of periods in which it was used up.
    pub throttled_periods: u64,
    /// Time in which some task waited for a CPU, in microseconds.
    pub waited_usec: u64,
}

/// The location of the counters.
#[derive(Clone, Debug)]
pub struct CounterFiles {
    /// Mount point of the control groups.
    pub cgroup: PathBuf,
    /// The cgroup version.
    pub version: CgroupVersion,
}

impl CounterFiles {
    /// Reads a container's counters; one that the kernel does not count is zero. `None` if the container is not
    /// running.
    pub fn read(&self, id: Vmid) -> Option<Counters> {
        let group = |controller: &str| match self.version {
            CgroupVersion::V1 => self.cgroup.join(controller).join(format!("lxc/{id}")),
            CgroupVersion::V2 => self.cgroup.join(format!("lxc/{id}")),
        };
        let events = match self.version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        let pressure = fs::read_to_string(group("unified").join("cpu.pressure")).unwrap_or_default();
        let cpu = fs::read_to_string(group("cpu").join("cpu.stat")).ok()?;
        Some(Counters {
            oom_kills: keyed(&read(&group("memory").join(events))?, "oom_kill").unwrap_or(0),
            periods: keyed(&cpu, "nr_periods").unwrap_or(0),
            throttled_periods: keyed(&cpu, "nr_throttled").unwrap_or(0),
            waited_usec: pressure_total(&pressure).unwrap_or(0),
        })
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number after a key in a file of `key number` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The `total` of the `some` line of a pressure file.
fn pressure_total(text: &str) -> Option<u64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split_ascii_whitespace().find_map(|field| field.strip_prefix("total=")?.parse().ok())
}

/// The observations of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Its allocation at the beginning.
    pub first: Allocation,
    /// Its allocation now.
    pub last: Allocation,
    /// How far its counters have moved.
    pub moved: Counters,
    /// The current counters.
    counters: Option<Counters>,
}

/// The observations of all containers.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// By container, including those that were destroyed.
    pub containers: BTreeMap<Vmid, Watched>,
    /// Changes that gave a container more of something.
    pub resizes_up: u64,
    /// Changes that gave it less.
    pub resizes_down: u64,
}

impl Watch {
    /// Records one observation of a container.
    pub fn look(&mut self, id: Vmid, allocation: Allocation, counters: Option<Counters>) {
        let watched = self.containers.entry(id).or_insert(Watched {
            first: allocation,
            last: allocation,
            moved: Counters::default(),
            counters,
        });
        let was = watched.last;
        let mut changes = vec![(was.cores, allocation.cores)];
        changes.push((was.memory_mib as f64, allocation.memory_mib as f64));
        for (was, is) in changes {
            self.resizes_up += u64::from(was < is);
            self.resizes_down += u64::from(is < was);
        }
        watched.last = allocation;
        if let Some(now) = counters {
            let before = watched.counters.unwrap_or_default();
            watched.moved.oom_kills += moved(before.oom_kills, now.oom_kills);
            watched.moved.periods += moved(before.periods, now.periods);
            watched.moved.throttled_periods += moved(before.throttled_periods, now.throttled_periods);
            watched.moved.waited_usec += moved(before.waited_usec, now.waited_usec);
            watched.counters = counters;
        }
    }

    /// Processes killed by the OOM killer in all containers.
    pub fn oom_kills(&self) -> u64 {
        self.containers.values().map(|watched| watched.moved.oom_kills).sum()
    }
}

impl Watched {
    /// Share of the time in which its work was delayed by a lack of CPU: with a quota, the share of periods in which
    /// it was used up; otherwise, the time in which some task waited for a CPU. `None` if neither was ever read.
    pub fn throttled_share(&self, seconds: f64) -> Option<f64> {
        self.counters?;
        let share = if 0 < self.moved.periods {
            self.moved.throttled_periods as f64 / self.moved.periods as f64
        } else {
            self.moved.waited_usec as f64 / 1e6 / seconds.max(1.0)
        };
        Some(share.min(1.0))
    }
}

/// How far a counter has moved; one that has decreased was reset by a restart of its container.
fn moved(before: u64, now: u64) -> u64 {
    if before <= now { now - before } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Vmid {
        Vmid::try_from(100).unwrap()
    }

    fn has(cores: f64, memory_mib: u64) -> Allocation {
        Allocation { cores, memory_mib }
    }

    #[test]
    fn every_change_counts_once_per_resource() {
        let mut watch = Watch::default();
        for (cores, memory) in [(1.0, 512), (1.0, 512), (3.0, 512), (2.0, 1024), (2.0, 1024)] {
            watch.look(id(), has(cores, memory), None);
        }
        assert_eq!((watch.resizes_up, watch.resizes_down), (2, 1));
        let watched = &watch.containers[&id()];
        assert_eq!((watched.first, watched.last), (has(1.0, 512), has(2.0, 1024)));
        assert_eq!(watched.throttled_share(10.0), None);
    }

    #[test]
    fn counters_count_from_the_first_look_and_across_restarts() {
        let mut watch = Watch::default();
        let counters =
            |oom_kills, waited_usec| Some(Counters { oom_kills, waited_usec, ..Counters::default() });
        for counters in [counters(5, 1_000_000), counters(6, 3_000_000), None, counters(1, 500_000)] {
            watch.look(id(), has(1.0, 512), counters);
        }
        assert_eq!(watch.oom_kills(), 2);
        assert_eq!(watch.containers[&id()].throttled_share(10.0), Some(0.25));
    }

    #[test]
    fn a_quota_is_judged_by_its_periods() {
        let mut watch = Watch::default();
        let counters = |periods, throttled_periods| {
            Some(Counters { periods, throttled_periods, waited_usec: 9, ..Counters::default() })
        };
        watch.look(id(), has(1.0, 512), counters(100, 10));
        watch.look(id(), has(1.0, 512), counters(200, 60));
        assert_eq!(watch.containers[&id()].throttled_share(10.0), Some(0.5));
    }

    #[test]
    fn the_kernels_files_are_read_on_both_generations() {
        let directory = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("cpu/lxc/100/cpu.stat", "nr_periods 7\nnr_throttled 3\nthrottled_time 9\n");
        put("memory/lxc/100/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        put("unified/lxc/100/cpu.pressure", pressure);
        put("lxc/100/cpu.stat", "usage_usec 5\nnr_periods 7\nnr_throttled 3\n");
        put("lxc/100/memory.events", "low 0\noom 9\noom_kill 2\noom_group_kill 0\n");
        put("lxc/100/cpu.pressure", pressure);
        let want = Counters { oom_kills: 2, periods: 7, throttled_periods: 3, waited_usec: 77 };
        for version in [CgroupVersion::V1, CgroupVersion::V2] {
            let files = CounterFiles { cgroup: directory.path().to_owned(), version };
            assert_eq!(files.read(id()), Some(want), "{version:?}");
            assert_eq!(files.read(Vmid::try_from(101).unwrap()), None);
        }
    }
}
