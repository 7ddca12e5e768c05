//! The node's own status, read from procfs. A value that cannot be read is absent and listed as missing, never zero.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lxc_autoscale_core::api::NodeStatus;
use lxc_autoscale_core::procfs::{self, NodeCpuTime, Unexpected};
use lxc_autoscale_core::snapshot::PressureSet;
use lxc_autoscale_core::units::bytes_to_mib;

use crate::invariants::NodeMemory;

/// How often the CPU counters are read as the base of a measurement.
pub const CPU_INTERVAL: Duration = Duration::from_secs(5);
/// Shorter windows are too coarse: the counters advance by hundredths of a second.
const MIN_CPU_WINDOW: Duration = Duration::from_secs(1);

/// CPU use between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuUse {
    cores: f64,
    percent: f64,
    window: Duration,
}

/// Remembers CPU counters, so that the use over the last seconds can be computed.
#[derive(Debug, Default)]
pub struct CpuMeter {
    /// The two newest readings, older first.
    readings: Mutex<[Option<(Instant, NodeCpuTime)>; 2]>,
}

impl CpuMeter {
    /// Takes a reading; must be called every [`CPU_INTERVAL`]. Nothing happens if the file cannot be read.
    pub fn read(&self, proc: &Path) {
        if let Ok(times) = read(proc, "stat", procfs::cpu_time) {
            let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
            *readings = [readings[1], Some((Instant::now(), times))];
        }
    }

    /// CPU use between a remembered reading and this one; the error is the reason why there is none yet.
    fn usage(&self, now: Instant, times: NodeCpuTime) -> Result<CpuUse, String> {
        let readings = *self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = readings.into_iter().flatten().find_map(|(then, before)| {
            let window = now.checked_duration_since(then)?;
            (MIN_CPU_WINDOW <= window).then(|| cpu_use(before, times, window))?
        });
        usable.ok_or_else(|| "the server has not watched the CPUs long enough yet".to_owned())
    }
}

fn cpu_use(before: NodeCpuTime, after: NodeCpuTime, window: Duration) -> Option<CpuUse> {
    let busy = after.busy_ticks.checked_sub(before.busy_ticks)? as f64;
    let total = after.total_ticks.checked_sub(before.total_ticks)? as f64;
    if total <= 0.0 {
        return None;
    }
    let share = (busy / total).min(1.0);
    Some(CpuUse { cores: share * f64::from(after.cpus), percent: share * 100.0, window })
}

/// The node's host name.
///
/// # Errors
/// If it cannot be read from procfs.
pub fn name(proc: &Path) -> Result<String, String> {
    read(proc, "sys/kernel/hostname", |text| match text.trim() {
        "" => Err(Unexpected::new("a host name", text)),
        name => Ok(name.to_owned()),
    })
}

/// Reads the status; the counts of containers are not in procfs and stay absent.
pub fn status(proc: &Path, node_name: &str, cpu: &CpuMeter) -> NodeStatus {
    let mut status = NodeStatus { node_name: node_name.to_owned(), ..NodeStatus::default() };
    let mut missing = BTreeMap::new();
    let mut note = |fields: &[&str], reason: &str| {
        for field in fields {
            missing.insert((*field).to_owned(), reason.to_owned());
        }
    };

    match read(proc, "uptime", procfs::uptime_seconds) {
        Ok(uptime) => status.uptime_seconds = Some(uptime),
        Err(reason) => note(&["uptime_seconds"], &reason),
    }
    match read(proc, "loadavg", procfs::load_averages) {
        Ok(load) => status.load = Some(load),
        Err(reason) => note(&["load"], &reason),
    }
    match read(proc, "stat", procfs::cpu_time) {
        Ok(times) => {
            status.cpus = Some(times.cpus);
            match cpu.usage(Instant::now(), times) {
                Ok(usage) => {
                    status.cpu_cores_used = Some(usage.cores);
                    status.cpu_usage_percent = Some(usage.percent);
                    status.cpu_window_seconds = Some(usage.window.as_secs_f64());
                }
                Err(reason) => note(&["cpu_cores_used", "cpu_usage_percent"], &reason),
            }
        }
        Err(reason) => note(&["cpus", "cpu_cores_used", "cpu_usage_percent"], &reason),
    }
    match read(proc, "meminfo", procfs::meminfo) {
        Ok(memory) => {
            status.memory_total_mb = Some(bytes_to_mib(memory.total));
            status.memory_available_mb = Some(bytes_to_mib(memory.available));
            status.swap_total_mb = Some(bytes_to_mib(memory.swap_total));
            status.swap_used_mb = Some(bytes_to_mib(memory.swap_used));
        }
        Err(reason) => {
            note(&["memory_total_mb", "memory_available_mb", "swap_total_mb", "swap_used_mb"], &reason);
        }
    }
    let pressure = |file: &str| read(proc, &format!("pressure/{file}"), procfs::pressure);
    let (cpu, memory, io) = (pressure("cpu"), pressure("memory"), pressure("io"));
    for (field, result) in [("pressure.cpu", &cpu), ("pressure.memory", &memory), ("pressure.io", &io)] {
        if let Err(reason) = result {
            note(&[field], reason);
        }
    }
    status.pressure = PressureSet { cpu: cpu.ok(), memory: memory.ok(), io: io.ok() };
    status.missing = missing;
    status
}

/// Whether a container is on this node; `home` is the name of its node, empty for this one.
pub(crate) fn is_here(proc: &Path, home: &str) -> bool {
    home.is_empty() || !name(proc).is_ok_and(|own| !own.eq_ignore_ascii_case(home))
}

/// The number of CPUs of the container's node, if that is this node; `home` is the name of its node.
pub fn cpus(proc: &Path, home: &str) -> Option<u32> {
    if !is_here(proc, home) {
        return None;
    }
    read(proc, "stat", procfs::cpu_time).ok().map(|times| times.cpus)
}

/// The memory of the container's node, as far as known; `home` is the name of its node.
pub fn memory(proc: &Path, home: &str) -> NodeMemory {
    if !is_here(proc, home) {
        return NodeMemory::Elsewhere;
    }
    match read(proc, "meminfo", procfs::meminfo) {
        Ok(memory) => NodeMemory::Known {
            available_mib: bytes_to_mib(memory.available),
            total_mib: bytes_to_mib(memory.total),
        },
        Err(reason) => NodeMemory::Unknown { reason },
    }
}

/// Reads and parses a file; the error is a reason in words.
fn read<T>(proc: &Path, file: &str, parse: impl FnOnce(&str) -> Result<T, Unexpected>) -> Result<T, String> {
    let path = proc.join(file);
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error: io::Error| format!("cannot read `{}`: {error}", path.display()))?;
    parse(&text).map_err(|unexpected| format!("cannot understand `{}`: {unexpected}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, file: &str, text: &str) {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_status_is_what_procfs_says() {
        let proc = tempfile::tempdir().unwrap();
        let path = proc.path();
        write(path, "uptime", "3600.25 7000.00\n");
        write(path, "loadavg", "0.50 0.25 0.10 1/200 4242\n");
        write(
            path,
            "stat",
            "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 50 0 50 350 50\ncpu1 50 0 50 350 50\nintr 1\n",
        );
        write(
            path,
            "meminfo",
            "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 1048576 kB\nSwapFree: 524288 kB\n",
        );
        write(path, "pressure/cpu", "some avg10=1.50 avg60=0.50 avg300=0.10 total=12345\n");
        let status = status(path, "proxmox", &CpuMeter::default());
        assert_eq!(
            (status.uptime_seconds, status.load, status.cpus),
            (Some(3600.25), Some([0.5, 0.25, 0.1]), Some(2))
        );
        assert_eq!((status.memory_total_mb, status.memory_available_mb), (Some(8192.0), Some(4096.0)));
        assert_eq!((status.swap_total_mb, status.swap_used_mb), (Some(1024.0), Some(512.0)));
        let pressure = status.pressure.cpu.unwrap();
        assert_eq!((pressure.some.avg10, pressure.some.total_usec, pressure.full), (1.5, 12345, None));
        let missing: Vec<&str> = status.missing.keys().map(String::as_str).collect();
        assert_eq!(missing, ["cpu_cores_used", "cpu_usage_percent", "pressure.io", "pressure.memory"]);
    }

    #[test]
    fn nothing_to_read_is_nothing_known() {
        let proc = tempfile::tempdir().unwrap();
        let status = status(proc.path(), "proxmox", &CpuMeter::default());
        assert_eq!((status.memory_total_mb, status.cpus, status.load), (None, None, None));
        assert!(status.missing["memory_total_mb"].contains("meminfo"));
        assert!(name(proc.path()).unwrap_err().contains("hostname"));
    }

    fn times(busy_ticks: u64, total_ticks: u64) -> NodeCpuTime {
        NodeCpuTime { busy_ticks, total_ticks, cpus: 4, ..NodeCpuTime::default() }
    }

    #[test]
    fn cpu_use_is_the_difference_of_two_readings() {
        let window = Duration::from_secs(5);
        let used = cpu_use(times(100, 1000), times(150, 1200), window).unwrap();
        assert_eq!(used, CpuUse { cores: 1.0, percent: 25.0, window });
        assert_eq!(cpu_use(times(100, 1000), times(50, 1200), window), None, "a counter that went back");
        assert_eq!(cpu_use(times(100, 1000), times(100, 1000), window), None, "a clock that stands still");
    }

    #[test]
    fn the_older_reading_is_the_base_and_a_moment_is_too_short() {
        let begun = Instant::now();
        let meter = CpuMeter::default();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(meter.usage(at(0), times(0, 0)).is_err());
        *meter.readings.lock().unwrap() = [None, Some((at(5), times(100, 1000)))];
        assert!(meter.usage(at(5), times(110, 1010)).is_err());
        assert_eq!(meter.usage(at(7), times(150, 1200)).unwrap().window, Duration::from_secs(2));
        *meter.readings.lock().unwrap() = [Some((at(0), times(0, 800))), Some((at(5), times(100, 1000)))];
        assert_eq!(meter.usage(at(7), times(150, 1200)).unwrap().window, Duration::from_secs(7));
    }
}
