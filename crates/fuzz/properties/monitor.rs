// What must hold for any bytes that reach the parsers of the monitor. The fuzz targets look for bytes for which it
// does not; `crates/lxc-monitor/tests/corpus.rs` replays what they found so far.

use lxc_autoscale_core::config::{Validate, parse as parse_config};
use lxc_monitor::cgroup::parse as cgroup_files;
use lxc_monitor::config::MonitorConfig;
use lxc_monitor::procfs::parse as proc_files;

/// Any control group file gives values that make sense, or an error.
pub(crate) fn cgroup(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let text = &*text;
    let second = text.split_once('\0').map_or("", |(_, second)| second);
    match which % 26 {
        0 => check_round_trip(text),
        1 => drop(cgroup_files::limit(text)),
        2 => drop(cgroup_files::limit_v1(text)),
        3 => drop(cgroup_files::cpu_usage_usec(text)),
        4 => drop(cgroup_files::throttling(text)),
        5 => check_cores(cgroup_files::cpu_max(text).ok().flatten()),
        6 => drop(cgroup_files::cfs_quota(text)),
        7 => {
            if let Ok(cpus) = cgroup_files::cpu_list(text) {
                assert!(0 < cpus);
            }
        }
        8 => {
            if let Ok((memory, _)) = cgroup_files::memory_stat_v2(text) {
                assert_eq!(cgroup_files::memory_stat_v2(text).map(|(again, _)| again).ok(), Some(memory));
            }
        }
        9 => drop(cgroup_files::memory_stat_v1(text)),
        10 => drop(cgroup_files::swap_v1(text)),
        11 => drop(cgroup_files::memory_events(text)),
        12 => {
            if let Ok(devices) = cgroup_files::io_stat(text) {
                assert!(devices.len() <= text.split_whitespace().count());
            }
        }
        13 => drop(cgroup_files::blkio(text, second)),
        14 => drop(cgroup_files::populated(text)),
        15 => {
            if let Ok(processes) = cgroup_files::processes(text) {
                assert!(processes.len() <= text.split_whitespace().count());
            }
        }
        16 => drop(cgroup_files::oom_kill_v1(text)),
        17 => drop(proc_files::network_devices(text)),
        18 => drop(proc_files::start_ticks(text)),
        19 => drop(proc_files::is_container_init(text)),
        20 => drop(proc_files::process_io(text)),
        21 => drop(proc_files::arc(text)),
        22 => drop(proc_files::vmstat(text)),
        23 => drop(cgroup_files::memory_swap_events(text)),
        24 => drop(cgroup_files::pids_events(text)),
        _ => {
            if let Ok(ids) = cgroup_files::cpu_ids(text) {
                assert_eq!(cgroup_files::cpu_list(text).ok().map(|cpus| cpus as usize), Some(ids.len()));
            }
        }
    }
}

/// A configuration is refused with a reason or follows every rule.
pub(crate) fn monitor_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_config::<MonitorConfig>(text) {
        Ok(config) => {
            assert!(config.validate().is_ok());
            assert!(!config.interval().is_zero());
        }
        Err((line, problem)) => {
            assert!(line <= text.lines().count() + 1, "line {line}: {problem}");
            assert!(!problem.to_string().is_empty());
        }
    }
}

fn check_round_trip(text: &str) {
    if let Ok(number) = cgroup_files::number(text) {
        assert_eq!(cgroup_files::number(&number.to_string()).ok(), Some(number));
    }
}

fn check_cores(cores: Option<f64>) {
    assert!(cores.is_none_or(|cores| cores.is_finite() && 0.0 <= cores), "{cores:?}");
}
