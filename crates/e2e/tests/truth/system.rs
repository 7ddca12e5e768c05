//! The remaining metrics of a container and of the node (A1, A5, A7, A11).

use std::process::Command;
use std::time::Instant;

use lxc_autoscale_core::snapshot::PressureLine;
use lxc_autoscale_e2e::output;

use crate::container::{Container, Limits};
use crate::machine::{first, keyed, stall_usec, text};
use crate::monitor::record;
use crate::{Proof, around};

pub(crate) fn check(proof: &mut Proof) {
    let limits = Limits { quota_cores: Some(1.0), memory_mib: 256, swap_mib: 64, pids: Some(60) };
    let mut container = proof.container(limits);
    // A second container, so that sums have more than one term.
    let other = proof.container(Limits { quota_cores: Some(0.5), memory_mib: 128, swap_mib: 0, pids: None });
    processes(proof, &mut container);
    uptime(proof, &container);
    filesystem(proof, &container);
    configuration(proof, &container);
    node(proof, &[&container, &other]);
}

fn processes(proof: &mut Proof, container: &mut Container) {
    let (id, machine) = (container.id, proof.machine);
    let current = machine.file(id, "pids", "pids.current");
    let (snapshot, kernel) = around(|| first(&current), || proof.monitor.once());
    let before = record(&snapshot, id).process_count;
    proof.findings.counter("process_count", before, kernel);
    assert!((container.ask("processes 40") - 40.0).abs() < 0.1);
    let after = record(&proof.monitor.once(), id).process_count;
    let more = after.zip(before).map(|(after, before)| after as f64 - before as f64);
    proof.findings.within("process_count, 40 more", more, 40.0..=40.0);
    container.order("reap");

    assert!(container.ask("processes 90") < 60.0, "the limit holds");
    // Version 1, and version 2 before Linux 6.11, count at the group of the process that could not be started.
    let hits = || {
        let at = |name: &str| keyed(machine.file(id, "pids", name), "max");
        Some(at("pids.events")? + at("ns/pids.events")?)
    };
    let (snapshot, kernel) = around(hits, || proof.monitor.once());
    container.order("reap");
    let seen = record(&snapshot, id);
    let pids = seen.limits.and_then(|limits| limits.pids).map(|pids| pids as f64);
    proof.findings.within("limits.pids", pids, 60.0..=60.0);
    assert!(kernel.0 != Some(0), "the kernel counted that the limit was hit");
    proof.findings.counter("pids_events.max", seen.pids_events.map(|events| events.max), kernel);
}

fn uptime(proof: &mut Proof, container: &Container) {
    let (called, returned) = container.started;
    let before = Instant::now();
    let snapshot = proof.monitor.once();
    let after = Instant::now();
    // The kernel tells both ends to a hundredth of a second.
    let truth = (before - returned).as_secs_f64() - 0.03..=(after - called).as_secs_f64() + 0.03;
    proof.findings.within("uptime_seconds", record(&snapshot, container.id).uptime_seconds, truth);
}

/// From `stat`: all blocks, free blocks and those available to ordinary processes, in bytes; all inodes and free
/// inodes.
fn statfs(container: &Container) -> [u64; 5] {
    let mut command = Command::new("stat");
    let done = output(command.args(["-f", "-c", "%S %b %f %a %c %d"]).arg(container.rootfs()));
    let text = String::from_utf8(done.stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [size, blocks, free, available, inodes, free_inodes] = numbers[..] else { panic!("{text}") };
    [size * blocks, size * free, size * available, inodes, free_inodes]
}

fn filesystem(proof: &mut Proof, container: &Container) {
    // Other processes write to this filesystem, too.
    const SLACK_MIB: f64 = 64.0;
    let (snapshot, (low, high)) = around(|| statfs(container), || proof.monitor.once());
    let seen = record(&snapshot, container.id);
    let mib = |gib: Option<f64>| gib.map(|gib| gib * 1024.0);
    let kernel = |n: usize| (Some(low[n]), Some(high[n]));
    proof.findings.gauge_mib("filesystem_total_gb", mib(seen.filesystem_total_gb), kernel(0), 0.001);
    proof.findings.gauge_mib("filesystem_free_gb", mib(seen.filesystem_free_gb), kernel(2), SLACK_MIB);
    let used = (Some(low[0] - low[1]), Some(high[0] - high[1]));
    proof.findings.gauge_mib("filesystem_usage_gb", mib(seen.filesystem_usage_gb), used, SLACK_MIB);
    let number = |value: Option<u64>| value.map(|value| value as f64);
    let (total, used) = (low[3] as f64, |of: [u64; 5]| (of[3] - of[4]) as f64);
    proof.findings.within("filesystem_inodes_total", number(seen.filesystem_inodes_total), total..=total);
    let (before, after) = (used(low), used(high));
    let truth = before.min(after) - 2000.0..=before.max(after) + 2000.0;
    proof.findings.within("filesystem_inodes_used", number(seen.filesystem_inodes_used), truth);
}

/// Stall times: of a container under memory pressure before, and of the node.
pub(crate) fn pressure(proof: &mut Proof, container: &Container) {
    let total = |line: Option<PressureLine>| line.map(|line| line.total_usec);
    let (machine, id) = (proof.machine, Some(container.id));
    let files = [
        (machine.pressure(id, "memory"), "some"),
        (machine.pressure(id, "memory"), "full"),
        (machine.pressure(id, "io"), "some"),
        (machine.pressure(None, "cpu"), "some"),
        (machine.pressure(None, "io"), "full"),
    ];
    let kernel = || files.each_ref().map(|(path, line)| stall_usec(path, line));
    let (snapshot, (low, high)) = around(kernel, || proof.monitor.once());
    let seen = record(&snapshot, container.id).pressure;
    let node = snapshot.summary.node.as_ref().unwrap().pressure;
    let measured = [
        ("pressure.memory.some.total_usec", total(seen.memory.map(|memory| memory.some))),
        ("pressure.memory.full.total_usec", total(seen.memory.and_then(|memory| memory.full))),
        ("pressure.io.some.total_usec", total(seen.io.map(|io| io.some))),
        ("node.pressure.cpu.some.total_usec", total(node.cpu.map(|cpu| cpu.some))),
        ("node.pressure.io.full.total_usec", total(node.io.and_then(|io| io.full))),
    ];
    for (n, (name, measured)) in measured.into_iter().enumerate() {
        proof.findings.counter(name, measured, (low[n], high[n]));
    }
}

fn configuration(proof: &mut Proof, container: &Container) {
    let snapshot = proof.monitor.once();
    let seen = record(&snapshot, container.id);
    let memory = seen.limits.and_then(|limits| limits.memory_mb);
    proof.findings.within("limits.memory_mb", memory, 256.0..=256.0);
    let stored = seen.configuration.clone().unwrap();
    let agrees = stored.name == Some(format!("truth{}", container.id))
        && stored.cores == Some(2)
        && stored.cpulimit == Some(1.0)
        && (stored.memory_mb.get(), stored.swap_mb.get()) == (256, 64)
        && stored.rootfs_mb.is_some_and(|size| size.get() == 8192)
        && stored.tags == ["truth", "web"]
        && stored.onboot
        && !stored.template
        && stored.lock.is_none();
    proof.findings.holds("configuration", "the current section", agrees, format!("{:?}", stored.name));
}

fn node(proof: &mut Proof, running: &[&Container]) {
    let loads = || {
        let text = text("/proc/loadavg");
        text.split_whitespace().take(3).map(|word| word.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let bytes = |key: &str| keyed("/proc/meminfo", key).map(|kib| kib * 1024);
    let kernel = || (bytes("MemTotal:"), bytes("MemAvailable:"), bytes("SwapTotal:"), loads());
    let (snapshot, (low, high)) = around(kernel, || proof.monitor.once());
    let node = snapshot.summary.node.as_ref().unwrap();
    let cpus = f64::from(proof.machine.cpus);
    proof.findings.within("node.cpus", node.cpus.map(f64::from), cpus..=cpus);
    proof.findings.gauge_mib("node.memory_total_mb", node.memory_total_mb, (low.0, high.0), 0.001);
    // Other processes on the machine come and go between the two readings.
    let slack = 0.02 * node.memory_total_mb.unwrap_or(f64::NAN);
    proof.findings.gauge_mib("node.memory_available_mb", node.memory_available_mb, (low.1, high.1), slack);
    proof.findings.gauge_mib("node.swap_total_mb", node.swap_total_mb, (low.2, high.2), 0.001);
    let load = node.load.map(|load| load.to_vec());
    let agrees = load.as_ref() == Some(&low.3) || load.as_ref() == Some(&high.3);
    proof.findings.holds("node.load", &format!("{:?} or {:?}", low.3, high.3), agrees, format!("{load:?}"));
    let release = text("/proc/sys/kernel/osrelease").trim().to_owned();
    let agrees = node.kernel.as_ref() == Some(&release);
    proof.findings.holds("node.kernel", &release, agrees, format!("{:?}", node.kernel));

    proof.findings.within("node.containers_memory_limit_mb", node.containers_memory_limit_mb, 384.0..=384.0);
    proof.findings.within("node.containers_cores_limit", node.containers_cores_limit, 1.5..=1.5);
    let sum: f64 = running.iter().filter_map(|one| record(&snapshot, one.id).memory_usage_mb).sum();
    let working_sets = node.containers_working_set_mb;
    proof.findings.within("node.containers_working_set_mb", working_sets, sum - 0.001..=sum + 0.001);
}
