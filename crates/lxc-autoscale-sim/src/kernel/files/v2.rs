//! cgroup v2.

use super::{File, lines, pages_in_bytes, pressure, whole};
use crate::kernel::container::Container;
use crate::kernel::io::BlockIo;
use crate::kernel::memory::Memory;

/// The device of all containers: `dm-0`, the first LVM volume.
const DEVICE: &str = "252:0";

/// The files of a container's cgroup that its usage changes. Limits are not included, because `pct` writes them.
pub fn container_files(container: &Container) -> Vec<File> {
    let memory = &container.memory;
    [
        ("cpu.stat", cpu_stat(container)),
        ("cpu.pressure", pressure(&container.cpu.pressure)),
        ("memory.current", format!("{}\n", pages_in_bytes(memory.current()))),
        ("memory.peak", format!("{}\n", pages_in_bytes(memory.peak))),
        ("memory.stat", memory_stat(memory)),
        ("memory.events", memory_events(memory)),
        ("memory.swap.current", format!("{}\n", pages_in_bytes(memory.swapped()))),
        ("memory.swap.events", swap_events(memory)),
        ("memory.pressure", pressure(&memory.pressure)),
        ("io.stat", io_stat(&container.io)),
        ("io.pressure", pressure(&container.io.pressure)),
        ("pids.current", format!("{}\n", container.processes)),
        ("pids.events", format!("max {}\n", container.forks_refused)),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

fn cpu_stat(container: &Container) -> String {
    let cpu = &container.cpu;
    let usage = whole(cpu.usage_usec);
    let user = whole(cpu.user_usec).min(usage);
    lines([
        ("usage_usec", usage),
        ("user_usec", user),
        ("system_usec", usage - user),
        ("nice_usec", 0),
        ("nr_periods", whole(cpu.nr_periods)),
        ("nr_throttled", whole(cpu.nr_throttled)),
        ("throttled_usec", whole(cpu.throttled_usec)),
        ("nr_bursts", 0),
        ("burst_usec", 0),
    ])
}

fn memory_events(memory: &Memory) -> String {
    let events = &memory.events;
    lines([
        ("low", 0),
        ("high", whole(events.high)),
        ("max", whole(events.max)),
        ("oom", whole(events.oom)),
        ("oom_kill", whole(events.oom_kill)),
        ("oom_group_kill", 0),
    ])
}

fn swap_events(memory: &Memory) -> String {
    lines([("high", 0), ("max", whole(memory.events.swap_max)), ("fail", whole(memory.events.swap_fail))])
}

fn memory_stat(memory: &Memory) -> String {
    let events = &memory.events;
    let shmem = pages_in_bytes(memory.shmem);
    let anon = pages_in_bytes(memory.anon);
    let active_file = pages_in_bytes(memory.active_file);
    let inactive_file = pages_in_bytes(memory.inactive_file);
    let kernel = pages_in_bytes(memory.kernel);
    lines([
        ("anon", anon),
        ("file", active_file + inactive_file + shmem),
        ("kernel", kernel),
        ("kernel_stack", kernel / 16),
        ("pagetables", kernel / 8),
        ("sec_pagetables", 0),
        ("percpu", kernel / 8),
        ("sock", 0),
        ("vmalloc", 0),
        ("shmem", shmem),
        ("file_mapped", active_file / 2),
        ("file_dirty", pages_in_bytes(memory.dirty)),
        ("file_writeback", 0),
        ("swapcached", 0),
        ("anon_thp", 0),
        ("file_thp", 0),
        ("shmem_thp", 0),
        // Shared memory is on the anonymous lists, because only swap could take it.
        ("inactive_anon", anon / 2 + shmem),
        ("active_anon", anon - anon / 2),
        ("inactive_file", inactive_file),
        ("active_file", active_file),
        ("unevictable", 0),
        ("slab_reclaimable", kernel / 4),
        ("slab_unreclaimable", kernel / 4),
        ("slab", kernel / 4 * 2),
        ("workingset_refault_anon", whole(events.swap_in)),
        ("workingset_refault_file", whole(events.refault_file)),
        ("workingset_activate_anon", whole(events.swap_in)),
        ("workingset_activate_file", whole(events.refault_file)),
        ("workingset_restore_anon", 0),
        ("workingset_restore_file", 0),
        ("workingset_nodereclaim", 0),
        ("pgscan", whole(events.scanned)),
        ("pgsteal", whole(events.stolen)),
        ("pswpin", whole(events.swap_in)),
        ("pswpout", whole(events.swap_out)),
        ("pgscan_kswapd", 0),
        ("pgscan_direct", whole(events.scanned)),
        ("pgsteal_kswapd", 0),
        ("pgsteal_direct", whole(events.stolen)),
        ("pgfault", whole(events.faults)),
        ("pgmajfault", whole(events.major_faults)),
        ("pgrefill", 0),
        ("pgactivate", 0),
        ("pgdeactivate", 0),
        ("pglazyfree", 0),
        ("pglazyfreed", 0),
    ])
}

fn io_stat(io: &BlockIo) -> String {
    if io.read_bytes + io.written_bytes < 1.0 {
        return String::new();
    }
    format!(
        "{DEVICE} rbytes={} wbytes={} rios={} wios={} dbytes=0 dios=0\n",
        whole(io.read_bytes / 512.0) * 512,
        whole(io.written_bytes / 512.0) * 512,
        whole(io.read_ops.ceil()),
        whole(io.write_ops.ceil())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::files::tests::{squeezed, value};

    fn text(files: &[File], name: &str) -> String {
        files.iter().find(|(file, _)| file == name).unwrap().1.clone()
    }

    #[test]
    fn a_container_that_has_just_started() {
        let files = container_files(&Container::default());
        assert_eq!(
            text(&files, "cpu.stat"),
            "usage_usec 0\nuser_usec 0\nsystem_usec 0\nnice_usec 0\nnr_periods 0\nnr_throttled 0\n\
             throttled_usec 0\nnr_bursts 0\nburst_usec 0\n"
        );
        assert_eq!(
            text(&files, "memory.events"),
            "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"
        );
        assert_eq!(text(&files, "memory.swap.events"), "high 0\nmax 0\nfail 0\n");
        assert_eq!(
            text(&files, "memory.pressure"),
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        );
        assert_eq!(text(&files, "io.stat"), "");
        assert_eq!(text(&files, "pids.current"), "1\n");
    }

    #[test]
    fn a_squeezed_container_shows_it_everywhere() {
        let files = container_files(&squeezed());
        let cpu = text(&files, "cpu.stat");
        assert_eq!(value(&cpu, "usage_usec"), value(&cpu, "user_usec") + value(&cpu, "system_usec"));
        assert_eq!((value(&cpu, "nr_periods"), value(&cpu, "nr_throttled")), (100, 100));
        let stat = text(&files, "memory.stat");
        assert_eq!(
            value(&stat, "file"),
            value(&stat, "active_file") + value(&stat, "inactive_file") + value(&stat, "shmem")
        );
        let total = value(&stat, "anon") + value(&stat, "file") + value(&stat, "kernel");
        let current: u64 = text(&files, "memory.current").trim().parse().unwrap();
        assert!(current.abs_diff(total) <= 8 * 4096, "{current} {total}");
        assert!(0 < value(&stat, "pswpout") && 0 < value(&text(&files, "memory.events"), "high"));
        assert!(text(&files, "cpu.pressure").starts_with("some avg10="));
        let io = text(&files, "io.stat");
        assert!(io.starts_with("252:0 rbytes=") && io.ends_with(" dbytes=0 dios=0\n"), "{io}");
    }
}
