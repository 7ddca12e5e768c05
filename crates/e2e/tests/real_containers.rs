//! The three daemons on real LXC containers: one uses CPU, one fills tmpfs and page cache, one is idle. The results
//! are read from the kernel's own files.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_autoscale_e2e::{Process, binary, can_run_containers, eventually, kernel_number, short_directory};
use rustix::process::Signal;

const BURN: u32 = 100;
const FILL: u32 = 101;
const IDLE: u32 = 102;

/// A control file of a container, for the cgroup version that this machine mounts.
fn control(id: u32, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        root.join(format!("lxc/{id}/{v2}"))
    } else {
        root.join(format!("{controller}/lxc/{id}/{v1}"))
    }
}

fn memory_limit_bytes(id: u32) -> Option<u64> {
    kernel_number(&control(id, "memory", "memory.limit_in_bytes", "memory.max"))
}

/// CPUs in the container's effective cpuset, such as `0-1,4`.
fn cpus(id: u32) -> Option<u32> {
    let path = control(id, "cpuset", "cpuset.effective_cpus", "cpuset.cpus.effective");
    let text = fs::read_to_string(path).ok()?;
    text.trim().split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(sum + last.parse::<u32>().ok()? - first.parse::<u32>().ok()? + 1)
    })
}

/// Memory in a container's tmpfs, which the kernel cannot drop, in bytes.
fn shmem_bytes(id: u32) -> Option<u64> {
    let text = fs::read_to_string(control(id, "memory", "memory.stat", "memory.stat")).ok()?;
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse::<u64>().ok())
    };
    value("total_shmem").or_else(|| value("shmem"))
}

fn newest(directory: &Path, id: u32) -> Option<ContainerRecord> {
    let snapshot = MetricsReader::read_newest(&directory.join("log/lxc_metrics.json")).ok()??;
    snapshot.containers.get(&Vmid::try_from(id).unwrap()).cloned()
}

#[test]
fn real_containers_are_measured_and_resized() {
    if !can_run_containers() {
        println!("skipped: needs root and Debian's lxc");
        return;
    }
    let directory = short_directory();
    let report = directory.path().join("r.json");
    let mut command = Command::new(binary("lxc-autoscale-sim"));
    command
        .args(["demo", "--engine", "lxc", "--ct", "3", "--seconds", "3600", "--dir"])
        .arg(directory.path());
    let mut demo = Process::start(command.arg("--report").arg(&report), &directory.path().join("demo.out"));

    let limit = Duration::from_mins(3);
    let started = |id| {
        eventually("the container runs with its limit", limit, || Some((cpus(id)?, memory_limit_bytes(id)?)))
    };
    let [_, _, idle] = [BURN, FILL, IDLE].map(started);

    // The monitor must report what the kernel reports.
    eventually("tmpfs counts as used memory and clean page cache does not", limit, || {
        let record = newest(directory.path(), FILL)?;
        let shmem_mib = shmem_bytes(FILL)? as f64 / f64::from(1 << 20);
        let memory = record.memory?;
        let working_set = record.memory_usage_mb?;
        // The workload writes 100 MiB and more to a tmpfs, and also reads files.
        let holds = 100.0 < shmem_mib
            && memory.shmem_mb <= working_set
            && working_set <= memory.anon_mb + memory.shmem_mb + memory.dirty_mb + 32.0;
        holds.then_some(())
    });
    eventually("a container that burns CPU is seen to use all it may", limit, || {
        let record = newest(directory.path(), BURN)?;
        (0.9..=1.05).contains(&(record.cpu_cores_used? / record.limits?.cores?)).then_some(())
    });

    // In the end, the kernel must enforce what the daemons decided.
    if 1 < std::thread::available_parallelism().unwrap().get() {
        // It began with one, which it may have left before the first check.
        eventually("the busy container may use more CPUs", limit, || (1 < cpus(BURN)?).then_some(()));
    }
    eventually("the idle container's CPUs fall", limit, || {
        (cpus(IDLE)? < idle.0 || idle.0 == 1).then_some(())
    });
    eventually("the idle container's memory limit falls", limit, || {
        (memory_limit_bytes(IDLE)? < idle.1).then_some(())
    });

    demo.signal(Signal::INT);
    let status = demo.wait(limit);
    assert!(status.success(), "{status}\n{}", demo.output());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["oom_kills"], 0, "{report:#}");
    assert_eq!(memory_limit_bytes(BURN), None, "nothing of the containers is left in the kernel");
}
