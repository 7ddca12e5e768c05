//! Behaviour at the memory limit (A5): page cache that is read again and again, swap, and the OOM killer.

use lxc_autoscale_core::snapshot::ContainerRecord;

use crate::container::Limits;
use crate::machine::keyed;
use crate::monitor::record;
use crate::{Proof, around};

const PAGES_PER_MIB: f64 = 256.0;

/// A file larger than the limit, read three times; then a process larger than the limit.
pub(crate) fn refaults_and_oom_kill(proof: &mut Proof) {
    let mut container =
        proof.container(Limits { quota_cores: None, memory_mib: 64, swap_mib: 0, pids: None });
    let (id, machine) = (container.id, proof.machine);
    let file = format!("/data/cycle-{id}");
    let before = proof.monitor.once();
    let earlier = record(&before, id);
    // Each pass reads at least what cannot stay cached, and at most everything, from the disk again.
    let least = 2.0 * (96.0 - 64.0) * PAGES_PER_MIB;
    let refaulted = earlier.paging.unwrap_or_default().refault_file;
    container.order(&format!("write {file} 96 sync"));
    for _ in 0..3 {
        container.order(&format!("read {file}"));
    }
    machine.shows(id, "workingset_refault_file", refaulted.unwrap() as f64 + least);
    let refaults = || machine.memory_stat(id, "workingset_refault_file");
    let (snapshot, kernel) = around(refaults, || proof.monitor.once());
    let paging = record(&snapshot, id).paging.unwrap_or_default();
    proof.findings.counter("paging.refault_file", paging.refault_file, kernel);
    let rise = paging.refault_file.zip(refaulted).map(|(now, before)| (now - before) as f64);
    proof.findings.within("paging.refault_file rises", rise, least..=3.0 * 96.0 * PAGES_PER_MIB * 1.05);
    let faults = || machine.memory_stat(id, "pgmajfault");
    let (snapshot, kernel) = around(faults, || proof.monitor.once());
    let major_faults = record(&snapshot, id).paging.and_then(|paging| paging.major_faults);
    proof.findings.counter("paging.major_faults", major_faults, kernel);
    let (snapshot, kernel) = around(|| machine.limit_hits(id), || proof.monitor.once());
    let hits = record(&snapshot, id).memory_events.map(|events| events.max);
    proof.findings.counter("memory_events.max", hits, kernel);
    let hits = hits.zip(earlier.memory_events).map(|(now, before)| now as f64 - before.max as f64);
    proof.findings.within("memory_events.max rises", hits, 1.0..=1e6);
    crate::system::pressure(proof, &container);
    container.order(&format!("remove {file}"));

    let kills = |record: &ContainerRecord| record.memory_events?.oom_kill;
    let signal = container.ask("eat 128");
    proof.findings.within("oom: the victim was killed", signal, 9.0..=9.0);
    let kernel_says = || [machine.oom_kills(id), keyed("/proc/vmstat", "oom_kill")];
    let (after, (low, high)) = around(kernel_says, || proof.monitor.once());
    let later = record(&after, id);
    proof.findings.counter("memory_events.oom_kill", kills(later), (low[0], high[0]));
    let rise = kills(later).zip(kills(earlier)).map(|(now, before)| now as f64 - before as f64);
    proof.findings.within("memory_events.oom_kill, known", rise, 1.0..=1.0);
    let node_kills = after.summary.node.as_ref().and_then(|node| node.oom_kill);
    proof.findings.counter("node.oom_kill", node_kills, (low[1], high[1]));
    let lives = earlier.uptime_seconds.zip(later.uptime_seconds).is_some_and(|(before, now)| before < now);
    let found = format!("{:?} s → {:?} s", earlier.uptime_seconds, later.uptime_seconds);
    proof.findings.holds("oom: the container lives", "its uptime goes on", lives, found);
    if machine.is_v2 {
        let ooms = keyed(machine.file(id, "memory", "memory.events"), "oom");
        let measured = later.memory_events.and_then(|events| events.oom);
        proof.findings.counter("memory_events.oom", measured, (ooms, ooms));
    } else {
        proof.findings.skip(&["memory_events.oom"], "version 1 does not count it");
    }
}

/// A process larger than the memory limit and smaller than memory and swap together.
pub(crate) fn swap(proof: &mut Proof) {
    const ROWS: [&str; 12] = [
        "swap_usage_mb",
        "swap_usage_mb, known",
        "swap_total_mb",
        "limits.swap_mb",
        "paging.refault_anon",
        "paging.refault_anon rises",
        "paging.major_faults rises",
        "memory_swap_events.max",
        "memory_swap_events.fail",
        "node.swap_used_mb",
        "node.paging.swap_out",
        "node.paging.swap_in",
    ];
    let machine = proof.machine;
    if !machine.is_v2 || !machine.has_swap {
        return proof.findings.skip(&ROWS, "no swap space, or version 1");
    }
    let limits = Limits { quota_cores: None, memory_mib: 96, swap_mib: 160, pids: None };
    let mut container = proof.container(limits);
    let id = container.id;
    let swapped = |direction: &str| keyed("/proc/vmstat", direction).unwrap() as f64;
    let (out_before, in_before) = (swapped("pswpout"), swapped("pswpin"));
    let before = proof.monitor.once();
    container.order("fill 150");
    let current = || crate::machine::first(machine.file(id, "memory", "memory.swap.current"));
    let (snapshot, kernel) = around(current, || proof.monitor.once());
    let seen = record(&snapshot, id);
    proof.findings.gauge_mib("swap_usage_mb", seen.swap_usage_mb, kernel, 1.0);
    // 150 MiB in 96 MiB: at least the difference is in swap, and at most everything.
    proof.findings.within("swap_usage_mb, known", seen.swap_usage_mb, 150.0 - 96.0..=160.0);
    proof.findings.within("swap_total_mb", seen.swap_total_mb, 160.0..=160.0);
    proof.findings.within("limits.swap_mb", seen.limits.and_then(|limits| limits.swap_mb), 160.0..=160.0);

    // Everything is read again: what is in swap comes back, and pushes out other pages.
    container.order("touch");
    container.order("touch");
    let refaults = || machine.memory_stat(id, "workingset_refault_anon");
    let (snapshot, kernel) = around(refaults, || proof.monitor.once());
    let refault_anon = record(&snapshot, id).paging.and_then(|paging| paging.refault_anon);
    proof.findings.counter("paging.refault_anon", refault_anon, kernel);
    let earlier = record(&before, id).paging.and_then(|paging| paging.refault_anon);
    let rise = refault_anon.zip(earlier).map(|(now, before)| (now - before) as f64);
    let least = (150.0 - 96.0) * PAGES_PER_MIB;
    proof.findings.within("paging.refault_anon rises", rise, least..=4.0 * 150.0 * PAGES_PER_MIB);
    let faults = |record: &ContainerRecord| Some(record.paging?.major_faults? as f64);
    let rise =
        faults(record(&snapshot, id)).zip(faults(record(&before, id))).map(|(now, before)| now - before);
    // The kernel reads ahead from swap, eight pages at a time, and only the first of them causes a fault.
    proof.findings.within("paging.major_faults rises", rise, least / 8.0..=4.0 * 150.0 * PAGES_PER_MIB);
    let events = machine.file(id, "memory", "memory.swap.events");
    let counters = || (keyed(&events, "max"), keyed(&events, "fail"));
    let (snapshot, (low, high)) = around(counters, || proof.monitor.once());
    let events = record(&snapshot, id).memory_swap_events;
    proof.findings.counter("memory_swap_events.max", events.map(|events| events.max), (low.0, high.0));
    proof.findings.counter("memory_swap_events.fail", events.map(|events| events.fail), (low.1, high.1));

    let used = || {
        let kib = |key| keyed("/proc/meminfo", key).map(|kib| kib * 1024);
        Some(kib("SwapTotal:")? - kib("SwapFree:")?)
    };
    let (snapshot, kernel) = around(used, || proof.monitor.once());
    let node = snapshot.summary.node.unwrap();
    proof.findings.gauge_mib("node.swap_used_mb", node.swap_used_mb, kernel, 2.0);
    let paging = node.paging.unwrap_or_default();
    let known = |before: f64, now: f64| before + least..=now;
    let swap_out = paging.swap_out.map(|pages| pages as f64);
    proof.findings.within("node.paging.swap_out", swap_out, known(out_before, swapped("pswpout")));
    let swap_in = paging.swap_in.map(|pages| pages as f64);
    proof.findings.within("node.paging.swap_in", swap_in, known(in_before, swapped("pswpin")));
}
