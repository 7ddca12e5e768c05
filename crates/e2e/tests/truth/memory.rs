//! Memory (A4): what can be dropped does not count as used, everything else does.

use crate::container::Limits;
use crate::monitor::record;
use crate::{Proof, around};

/// Memory that varies with any activity: slab, page tables, the kernel's per-CPU stocks of charges.
const SLACK_MIB: f64 = 8.0;
const MIB: f64 = 1_048_576.0;

pub(crate) fn check(proof: &mut Proof) {
    let limits = Limits { quota_cores: None, memory_mib: 512, swap_mib: 0, pids: None };
    let mut container = proof.container(limits);
    let (id, machine) = (container.id, proof.machine);
    let file = format!("/data/cache-{id}");
    let usage = |proof: &Proof| record(&proof.monitor.once(), id).memory_usage_mb.unwrap();
    let near = |mebibytes: f64| mebibytes - SLACK_MIB..=mebibytes + SLACK_MIB;

    let (snapshot, kernel) = around(|| machine.memory_current(id), || proof.monitor.once());
    let at_rest = record(&snapshot, id).memory_usage_mb.unwrap();
    let current = record(&snapshot, id).memory.map(|memory| memory.current_mb);
    proof.findings.gauge_mib("memory.current_mb", current, kernel, 2.0);

    // 200 MiB in a tmpfs.
    container.order("write /ram/fill 200 dirty");
    machine.shows(id, "shmem", 200.0 * MIB);
    let snapshot = proof.monitor.once();
    let seen = record(&snapshot, id);
    let percent = seen.memory_usage_mb.map(|usage| 100.0 * usage / 512.0);
    proof.findings.within("tmpfs: percent of 512 MiB", percent, 39.0..=45.0);
    proof.findings.within("tmpfs: memory_usage_mb", seen.memory_usage_mb, near(at_rest + 200.0));
    proof.findings.within("tmpfs: memory.shmem_mb", seen.memory.map(|memory| memory.shmem_mb), 200.0..=201.0);
    container.order("remove /ram/fill");

    // 300 MiB of page cache, all of it on the disk.
    let at_rest = usage(proof);
    container.order(&format!("write {file} 300 sync"));
    machine.shows(id, "file", 290.0 * MIB);
    let snapshot = proof.monitor.once();
    let seen = record(&snapshot, id);
    let memory = seen.memory.unwrap();
    proof.findings.within("clean cache: memory.current_mb", memory.current_mb, 300.0..=512.0);
    proof.findings.within("clean cache: memory.file_mb", memory.file_mb, 290.0..=320.0);
    // The kernel's own bookkeeping of the cache (buffer heads, the index of the pages) is slab, and nobody knows
    // whether it can be freed; it is about three percent.
    let not_raised = at_rest - SLACK_MIB..=at_rest + SLACK_MIB + 0.03 * 300.0;
    proof.findings.within("clean cache: memory_usage_mb", seen.memory_usage_mb, not_raised.clone());
    // Pages that are read a second time move to the active list, but can still be dropped there.
    container.order(&format!("read {file}"));
    container.order(&format!("read {file}"));
    proof.findings.within("read again: memory_usage_mb", usage(proof), not_raised);
    container.order(&format!("remove {file}"));

    // 24 MiB that are not on the disk yet: too little for the kernel to start writing by itself.
    let at_rest = usage(proof);
    container.order(&format!("write {file} 24 dirty"));
    let (snapshot, kernel) = around(|| machine.memory_stat(id, "file_dirty"), || proof.monitor.once());
    let seen = record(&snapshot, id);
    let dirty = seen.memory.map(|memory| memory.dirty_mb);
    proof.findings.gauge_mib("dirty: memory.dirty_mb", dirty, kernel, 0.5);
    let wanted = at_rest + dirty.unwrap_or(f64::NAN);
    proof.findings.within("dirty: memory_usage_mb", seen.memory_usage_mb, near(wanted));
    container.order(&format!("uncache {file}"));
    container.order(&format!("remove {file}"));

    // 150 MiB of a process's own memory.
    let at_rest = usage(proof);
    let anon_at_rest = record(&proof.monitor.once(), id).memory.unwrap().anon_mb;
    container.order("fill 150");
    machine.shows(id, "anon", (anon_at_rest + 149.0) * MIB);
    let snapshot = proof.monitor.once();
    let seen = record(&snapshot, id);
    let anon = seen.memory.map(|memory| memory.anon_mb - anon_at_rest);
    proof.findings.within("anon: memory.anon_mb", anon, 149.0..=153.0);
    proof.findings.within("anon: memory_usage_mb", seen.memory_usage_mb, near(at_rest + 150.0));
}
