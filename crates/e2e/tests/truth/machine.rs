//! The machine that the test runs on, and the kernel's own figures, read without any code of the monitor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lxc_autoscale_e2e::eventually;

/// Longest time for the kernel to sum up the figures of `memory.stat`, also on a busy or emulated machine.
const FLUSH_PATIENCE: Duration = Duration::from_mins(1);
const CGROUP: &str = "/sys/fs/cgroup";

/// The cgroup version, and everything else that decides which rows can be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Only version 2; otherwise version 1, perhaps with an empty version 2 tree.
    pub(crate) is_v2: bool,
    /// The node has swap space.
    pub(crate) has_swap: bool,
    /// CPUs online.
    pub(crate) cpus: u32,
    /// No row may be skipped: this is the machine made for the test.
    pub(crate) is_complete: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let stat = text("/proc/stat");
        let cpus = stat.lines().filter(|line| {
            line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        Self {
            is_v2: Path::new(CGROUP).join("cgroup.controllers").exists(),
            has_swap: keyed("/proc/meminfo", "SwapTotal:").is_some_and(|kib| 0 < kib),
            cpus: u32::try_from(cpus.count()).unwrap(),
            is_complete: std::env::var_os("LXC_AUTOSCALE_TRUTH_COMPLETE").is_some(),
        }
    }

    /// A file of a container's outer group; on version 1, the controller is the name of the tree.
    pub(crate) fn file(self, id: u32, controller: &str, name: &str) -> PathBuf {
        let root = Path::new(CGROUP);
        if self.is_v2 {
            root.join(format!("lxc/{id}/{name}"))
        } else {
            root.join(format!("{controller}/lxc/{id}/{name}"))
        }
    }

    /// A value of `memory.stat`, by its name in version 2, in bytes or events.
    pub(crate) fn memory_stat(self, id: u32, key: &str) -> Option<u64> {
        let v1 = match key {
            "anon" => "total_rss",
            "shmem" => "total_shmem",
            "file" => "total_cache",
            "file_dirty" => "total_dirty",
            "inactive_file" => "total_inactive_file",
            "active_file" => "total_active_file",
            "workingset_refault_anon" => "total_workingset_refault_anon",
            "workingset_refault_file" => "total_workingset_refault_file",
            "pgmajfault" => "total_pgmajfault",
            other => panic!("{other} has no name in version 1"),
        };
        keyed(self.file(id, "memory", "memory.stat"), if self.is_v2 { key } else { v1 })
    }

    /// Waits until the kernel itself shows at least this much of what was just done.
    ///
    /// It sums up the figures of `memory.stat` when many have changed, and otherwise every two seconds (`FLUSH_TIME`
    /// in `mm/memcontrol.c`), so they may lag behind by that time.
    pub(crate) fn shows(self, id: u32, key: &str, least: f64) {
        eventually(&format!("{key} of {id} is {least}"), FLUSH_PATIENCE, || {
            self.memory_stat(id, key).filter(|shown| least <= *shown as f64)
        });
    }

    pub(crate) fn memory_current(self, id: u32) -> Option<u64> {
        first(self.file(id, "memory", if self.is_v2 { "memory.current" } else { "memory.usage_in_bytes" }))
    }

    pub(crate) fn cpu_usec(self, id: u32) -> Option<u64> {
        if self.is_v2 {
            keyed(self.file(id, "cpu", "cpu.stat"), "usage_usec")
        } else {
            first(self.file(id, "cpuacct", "cpuacct.usage")).map(|nanoseconds| nanoseconds / 1000)
        }
    }

    /// Processes killed by the OOM killer. Version 1 counts them at the group that they were in.
    pub(crate) fn oom_kills(self, id: u32) -> Option<u64> {
        if self.is_v2 {
            return keyed(self.file(id, "memory", "memory.events"), "oom_kill");
        }
        let at = |inner: &str| keyed(self.file(id, "memory", inner).join("memory.oom_control"), "oom_kill");
        Some(at("")? + at("ns")?)
    }

    /// Number of times the memory limit was hit.
    pub(crate) fn limit_hits(self, id: u32) -> Option<u64> {
        if self.is_v2 {
            keyed(self.file(id, "memory", "memory.events"), "max")
        } else {
            first(self.file(id, "memory", "memory.failcnt"))
        }
    }

    /// A pressure file of a container, or of the node.
    pub(crate) fn pressure(self, id: Option<u32>, resource: &str) -> PathBuf {
        match id {
            None => PathBuf::from(format!("/proc/pressure/{resource}")),
            Some(id) if self.is_v2 => self.file(id, "", &format!("{resource}.pressure")),
            Some(id) => Path::new(CGROUP).join(format!("unified/lxc/{id}/{resource}.pressure")),
        }
    }
}

/// The text of a file; empty if it does not exist.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first word of a file, as a number.
pub(crate) fn first(path: impl AsRef<Path>) -> Option<u64> {
    text(path).split_whitespace().next()?.parse().ok()
}

/// The number after a key at the beginning of a line.
pub(crate) fn keyed(path: impl AsRef<Path>, key: &str) -> Option<u64> {
    let text = text(path);
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == key).then(|| words.next()?.parse().ok()).flatten())
}

/// The `total=` of one line (`some` or `full`) of a pressure file, in microseconds.
pub(crate) fn stall_usec(path: &Path, line: &str) -> Option<u64> {
    let text = text(path);
    let line = text.lines().find(|candidate| candidate.starts_with(line))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// Busy ticks and all ticks of all CPUs (`/proc/stat`). Busy is everything except idle time, waiting for disks and
/// stolen time.
pub(crate) fn cpu_ticks() -> (f64, f64) {
    let text = text("/proc/stat");
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else {
        panic!("/proc/stat: {line}")
    };
    let busy = user + nice + system + irq + softirq;
    (busy, busy + idle + iowait + steal)
}
