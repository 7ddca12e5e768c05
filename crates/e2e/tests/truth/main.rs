//! The truth test: compares every metric of `lxc-monitor` with what is known to be true, on real LXC containers.
//!
//! A load of known size runs in each container, and the monitor's own binary measures it, reading the machine's own
//! `/proc`, `/sys` and control groups. The measurements are compared with the load's own figures, the sizes it was
//! told, and the kernel's files, which are read before and after without any code of the monitor. The same test runs
//! on a developer's machine and in the virtual machine of `cargo xtask test --vm` (Debian's kernel, cgroup version 2,
//! systemd, swap, a separate disk), where no row may be skipped.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test that cannot set up its case must fail"
)]

mod container;
mod cpu;
mod findings;
mod lifecycle;
mod machine;
mod memory;
mod monitor;
mod node;
mod paging;
mod system;
mod traffic;

use std::path::{Path, PathBuf};

use lxc_autoscale_e2e::{can_run_containers, short_directory};

use crate::container::{Container, Limits};
use crate::findings::Findings;
use crate::machine::Machine;
use crate::monitor::Monitor;

/// The state shared by every part of the test.
pub(crate) struct Proof {
    pub(crate) machine: Machine,
    pub(crate) monitor: Monitor,
    pub(crate) findings: Findings,
    /// A directory of the node that containers see as `/data`; on a disk of its own if there is one.
    pub(crate) data: PathBuf,
    next_id: u32,
}

impl Proof {
    /// Starts a container with an id that no other test on this machine uses at the same time.
    pub(crate) fn container(&mut self, limits: Limits) -> Container {
        let id = self.next_id;
        self.next_id += 1;
        Container::start(self.machine, &self.monitor, id, limits, &self.data)
    }
}

#[test]
fn every_metric_agrees_with_what_is_known_to_be_true() {
    if !can_run_containers() {
        println!("skipped: needs root and Debian's lxc");
        return;
    }
    let directory = short_directory();
    let machine = Machine::look();
    let own_disk = std::env::var_os("LXC_AUTOSCALE_TRUTH_DATA").map(PathBuf::from);
    let data = own_disk.unwrap_or_else(|| directory.path().join("data"));
    std::fs::create_dir_all(&data).unwrap();
    let mut proof = Proof {
        machine,
        monitor: Monitor::new(directory.path()),
        findings: Findings::default(),
        data,
        next_id: 100_000 + 16 * (std::process::id() % 50_000),
    };
    println!("{machine:?}");

    for (name, part) in PARTS {
        let begun = std::time::Instant::now();
        part(&mut proof);
        println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    }

    println!("{}", proof.findings.table());
    let rows: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    let may_be_skipped: Vec<&str> =
        ROWS.iter().filter(|(_, needs)| needs.may_be_absent(machine)).map(|(name, _)| *name).collect();
    let complaints = proof.findings.complaints(&rows, &may_be_skipped);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

type Part = fn(&mut Proof);

const PARTS: [(&str, Part); 9] = [
    ("cpu", cpu::burning),
    ("throttling", cpu::throttled),
    ("system", system::check),
    ("memory", memory::check),
    ("paging", paging::refaults_and_oom_kill),
    ("swap", paging::swap),
    ("network", traffic::network),
    ("disk", traffic::disk),
    ("lifecycle", lifecycle::check),
];

/// What a row needs from the machine.
#[derive(Clone, Copy)]
enum Needs {
    Nothing,
    /// CPUs that nothing else keeps busy.
    Idle,
    /// Control groups of version 2.
    V2,
    /// Control groups that count block I/O; those of version 1 do so only after a throttle was set once.
    BlockIo,
    /// Swap space, and version 2 to account for it.
    Swap,
}

impl Needs {
    fn may_be_absent(self, machine: Machine) -> bool {
        !machine.is_complete
            && match self {
                Self::Nothing => false,
                Self::Idle => true,
                Self::V2 | Self::BlockIo => !machine.is_v2,
                Self::Swap => !machine.is_v2 || !machine.has_swap,
            }
    }
}

/// Every row, so that none can get lost unnoticed.
const ROWS: &[(&str, Needs)] = &[
    ("first sample: no rate", Needs::Nothing),
    ("cpu_cores_used, least", Needs::Nothing),
    ("cpu_cores_used, most", Needs::Nothing),
    ("cpu_cores_used, nominal", Needs::Idle),
    ("cpu_usage_percent, nominal", Needs::Idle),
    ("cpu_usage_percent, of the limit", Needs::Nothing),
    ("cpu_usage_usec", Needs::Nothing),
    ("limits.quota_cores", Needs::Nothing),
    ("limits.cores", Needs::Nothing),
    ("node.cpu_cores_used, least", Needs::Nothing),
    ("node.cpu_cores_used, most", Needs::Nothing),
    ("throttled: cpu_cores_used, least", Needs::Nothing),
    ("throttled: cpu_cores_used, most", Needs::Nothing),
    ("throttled: cpu_cores_used, nominal", Needs::Idle),
    ("throttling.nr_periods", Needs::Nothing),
    ("throttling.nr_throttled", Needs::Nothing),
    ("throttling.nr_throttled rises", Needs::Idle),
    ("throttling.throttled_usec", Needs::Nothing),
    ("cpu_throttled_share", Needs::Nothing),
    ("pressure.cpu.some.total_usec", Needs::Nothing),
    ("pressure.memory.some.total_usec", Needs::Nothing),
    ("pressure.memory.full.total_usec", Needs::Nothing),
    ("pressure.io.some.total_usec", Needs::Nothing),
    ("pressure.cpu.some.avg10", Needs::Nothing),
    ("uptime_seconds", Needs::Nothing),
    ("filesystem_total_gb", Needs::Nothing),
    ("filesystem_free_gb", Needs::Nothing),
    ("filesystem_usage_gb", Needs::Nothing),
    ("filesystem_inodes_total", Needs::Nothing),
    ("filesystem_inodes_used", Needs::Nothing),
    ("process_count", Needs::Nothing),
    ("process_count, 40 more", Needs::Nothing),
    ("limits.pids", Needs::Nothing),
    ("pids_events.max", Needs::Nothing),
    ("limits.memory_mb", Needs::Nothing),
    ("configuration", Needs::Nothing),
    ("node.cpus", Needs::Nothing),
    ("node.memory_total_mb", Needs::Nothing),
    ("node.memory_available_mb", Needs::Nothing),
    ("node.swap_total_mb", Needs::Nothing),
    ("node.load", Needs::Nothing),
    ("node.kernel", Needs::Nothing),
    ("node.pressure.cpu.some.total_usec", Needs::Nothing),
    ("node.pressure.io.full.total_usec", Needs::Nothing),
    ("node.containers_memory_limit_mb", Needs::Nothing),
    ("node.containers_working_set_mb", Needs::Nothing),
    ("node.containers_cores_limit", Needs::Nothing),
    ("memory.current_mb", Needs::Nothing),
    ("tmpfs: percent of 512 MiB", Needs::Nothing),
    ("tmpfs: memory_usage_mb", Needs::Nothing),
    ("tmpfs: memory.shmem_mb", Needs::Nothing),
    ("clean cache: memory.current_mb", Needs::Nothing),
    ("clean cache: memory.file_mb", Needs::Nothing),
    ("clean cache: memory_usage_mb", Needs::Nothing),
    ("read again: memory_usage_mb", Needs::Nothing),
    ("dirty: memory.dirty_mb", Needs::Nothing),
    ("dirty: memory_usage_mb", Needs::Nothing),
    ("anon: memory.anon_mb", Needs::Nothing),
    ("anon: memory_usage_mb", Needs::Nothing),
    ("paging.refault_file", Needs::Nothing),
    ("paging.refault_file rises", Needs::Nothing),
    ("paging.major_faults", Needs::Nothing),
    ("memory_events.max", Needs::Nothing),
    ("memory_events.max rises", Needs::Nothing),
    ("memory_events.oom", Needs::V2),
    ("memory_events.oom_kill", Needs::Nothing),
    ("memory_events.oom_kill, known", Needs::Nothing),
    ("oom: the victim was killed", Needs::Nothing),
    ("oom: the container lives", Needs::Nothing),
    ("node.oom_kill", Needs::Nothing),
    ("swap_usage_mb", Needs::Swap),
    ("swap_usage_mb, known", Needs::Swap),
    ("swap_total_mb", Needs::Swap),
    ("limits.swap_mb", Needs::Swap),
    ("paging.refault_anon", Needs::Swap),
    ("paging.refault_anon rises", Needs::Swap),
    ("paging.major_faults rises", Needs::Swap),
    ("memory_swap_events.max", Needs::Swap),
    ("memory_swap_events.fail", Needs::Swap),
    ("node.swap_used_mb", Needs::Swap),
    ("node.paging.swap_out", Needs::Swap),
    ("node.paging.swap_in", Needs::Swap),
    ("network_usage.rx_bytes", Needs::Nothing),
    ("network_usage.tx_bytes", Needs::Nothing),
    ("network_usage.rx_bytes, kernel", Needs::Nothing),
    ("network_usage.tx_bytes, kernel", Needs::Nothing),
    ("network_interfaces", Needs::Nothing),
    ("io_stats.writes", Needs::Nothing),
    ("io_stats.reads", Needs::Nothing),
    ("io_devices.wbytes", Needs::BlockIo),
    ("io_devices.wbytes, kernel", Needs::BlockIo),
    ("io_devices.rbytes", Needs::BlockIo),
    ("io_devices.rios", Needs::BlockIo),
    ("io_devices, other devices", Needs::BlockIo),
    ("stopped: counted, no record", Needs::Nothing),
    ("killed: only its own row", Needs::Nothing),
    ("restarted: no rate", Needs::Nothing),
    ("restarted: uptime_seconds", Needs::Nothing),
];

/// The kernel's figures before and after an action.
pub(crate) fn around<T, R>(mut kernel: impl FnMut() -> T, doing: impl FnOnce() -> R) -> (R, (T, T)) {
    let before = kernel();
    let done = doing();
    (done, (before, kernel()))
}

/// The name of the block device of a directory, such as `vdc`.
pub(crate) fn device_of(directory: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let number = std::fs::metadata(directory).ok()?.dev();
    let link = format!("/sys/dev/block/{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    Some(std::fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}
