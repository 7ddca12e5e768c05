//! cgroup v1: one hierarchy per controller, and in addition a cgroup2 hierarchy without controllers, which has the
//! pressure files (systemd's hybrid layout, as on Proxmox VE 6).

use super::{File, lines, pages_in_bytes, pressure, whole};
use crate::kernel::container::Container;
use crate::kernel::io::BlockIo;
use crate::kernel::limits::Limits;
use crate::kernel::memory::Memory;

/// The device of all containers.
const DEVICE: &str = "253:0";
/// Clock ticks in a second, as user space sees them.
const TICKS_PER_SECOND: f64 = 100.0;
/// The value of an unlimited v1 memory limit: the largest count of pages.
const UNLIMITED: u64 = 9_223_372_036_854_771_712;

/// The files of a container's cgroups that its usage changes, each below `<controller>/lxc/<id>/`.
///
/// Limits are included only where the kernel repeats them, in `memory.stat`.
pub fn container_files(container: &Container, limits: &Limits) -> Vec<(&'static str, File)> {
    let memory = &container.memory;
    let swapped = pages_in_bytes(memory.swapped());
    let current = pages_in_bytes(memory.current());
    let usage_usec = container.cpu.usage_usec;
    let user_ticks = whole(container.cpu.user_usec / 1e6 * TICKS_PER_SECOND);
    let ticks = whole(usage_usec / 1e6 * TICKS_PER_SECOND);
    [
        ("cpu", "cpu.stat", cpu_stat(container)),
        ("cpuacct", "cpuacct.usage", format!("{}\n", whole(usage_usec * 1e3))),
        (
            "cpuacct",
            "cpuacct.stat",
            lines([("user", user_ticks), ("system", ticks.saturating_sub(user_ticks))]),
        ),
        ("memory", "memory.usage_in_bytes", format!("{current}\n")),
        ("memory", "memory.max_usage_in_bytes", format!("{}\n", pages_in_bytes(memory.peak))),
        ("memory", "memory.memsw.usage_in_bytes", format!("{}\n", current + swapped)),
        ("memory", "memory.failcnt", format!("{}\n", whole(memory.events.max))),
        ("memory", "memory.stat", memory_stat(memory, limits)),
        ("memory", "memory.oom_control", oom_control(memory)),
        ("blkio", "blkio.throttle.io_service_bytes", service(&container.io, true)),
        ("blkio", "blkio.throttle.io_service_bytes_recursive", service(&container.io, true)),
        ("blkio", "blkio.throttle.io_serviced", service(&container.io, false)),
        ("blkio", "blkio.throttle.io_serviced_recursive", service(&container.io, false)),
        ("pids", "pids.current", format!("{}\n", container.processes)),
        ("pids", "pids.events", format!("max {}\n", container.forks_refused)),
        ("unified", "cpu.pressure", pressure(&container.cpu.pressure)),
        ("unified", "memory.pressure", pressure(&memory.pressure)),
        ("unified", "io.pressure", pressure(&container.io.pressure)),
    ]
    .map(|(controller, name, text)| (controller, (name.to_owned(), text)))
    .into()
}

fn cpu_stat(container: &Container) -> String {
    lines([
        ("nr_periods", whole(container.cpu.nr_periods)),
        ("nr_throttled", whole(container.cpu.nr_throttled)),
        ("throttled_time", whole(container.cpu.throttled_usec * 1e3)),
    ])
}

fn oom_control(memory: &Memory) -> String {
    lines([("oom_kill_disable", 0), ("under_oom", 0), ("oom_kill", whole(memory.events.oom_kill))])
}

/// Reads and writes of the only device, in bytes or in requests, as blk-throttle lists them.
fn service(io: &BlockIo, in_bytes: bool) -> String {
    let (read, write) = if in_bytes {
        (whole(io.read_bytes / 512.0) * 512, whole(io.written_bytes / 512.0) * 512)
    } else {
        (whole(io.read_ops.ceil()), whole(io.write_ops.ceil()))
    };
    let total = read + write;
    if total == 0 {
        return "Total 0\n".to_owned();
    }
    format!(
        "{DEVICE} Read {read}\n{DEVICE} Write {write}\n{DEVICE} Sync {total}\n{DEVICE} Async 0\n\
         {DEVICE} Discard 0\n{DEVICE} Total {total}\nTotal {total}\n"
    )
}

/// Its own counters, the limits, then the same counters for the whole subtree (`total_`).
///
/// The processes are in `ns` below the container's cgroup, so its own counters stay zero.
fn memory_stat(memory: &Memory, limits: &Limits) -> String {
    let bytes = |limit: Option<f64>| limit.map_or(UNLIMITED, pages_in_bytes);
    let memsw = limits.memory_max_bytes.and_then(|max| Some(max + limits.swap_max_bytes?));
    let subtree = subtree(memory);
    let mut text = subtree.map(|(name, _)| format!("{name} 0\n")).concat();
    text.push_str(&lines([
        ("hierarchical_memory_limit", bytes(limits.memory_max_bytes)),
        ("hierarchical_memsw_limit", bytes(memsw)),
    ]));
    text.push_str(&subtree.map(|(name, value)| format!("total_{name} {value}\n")).concat());
    text
}

fn subtree(memory: &Memory) -> [(&'static str, u64); 18] {
    let events = &memory.events;
    let anon = pages_in_bytes(memory.anon);
    let shmem = pages_in_bytes(memory.shmem);
    let active_file = pages_in_bytes(memory.active_file);
    let inactive_file = pages_in_bytes(memory.inactive_file);
    [
        ("cache", active_file + inactive_file + shmem),
        ("rss", anon),
        ("rss_huge", 0),
        ("shmem", shmem),
        ("mapped_file", active_file / 2),
        ("dirty", pages_in_bytes(memory.dirty)),
        ("writeback", 0),
        ("workingset_refault_anon", whole(events.swap_in)),
        ("workingset_refault_file", whole(events.refault_file)),
        ("swap", pages_in_bytes(memory.swapped())),
        ("pgpgin", whole(events.faults)),
        ("pgpgout", whole(events.stolen)),
        ("pgfault", whole(events.faults)),
        ("pgmajfault", whole(events.major_faults)),
        ("inactive_anon", anon / 2 + shmem),
        ("active_anon", anon - anon / 2),
        ("inactive_file", inactive_file),
        ("active_file", active_file),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::files::tests::{squeezed, value};

    fn text(files: &[(&'static str, File)], controller: &str, name: &str) -> String {
        let found = files.iter().find(|(at, (file, _))| *at == controller && file == name);
        found.unwrap().1.1.clone()
    }

    #[test]
    fn a_container_that_has_just_started() {
        let files = container_files(&Container::default(), &Limits::default());
        assert_eq!(text(&files, "cpu", "cpu.stat"), "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n");
        assert_eq!(text(&files, "cpuacct", "cpuacct.usage"), "0\n");
        assert_eq!(
            text(&files, "memory", "memory.oom_control"),
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"
        );
        assert_eq!(text(&files, "blkio", "blkio.throttle.io_service_bytes_recursive"), "Total 0\n");
        let stat = text(&files, "memory", "memory.stat");
        assert_eq!(value(&stat, "hierarchical_memory_limit"), UNLIMITED);
    }

    #[test]
    fn a_squeezed_container_shows_it_everywhere() {
        let container = squeezed();
        let limits = Limits {
            memory_max_bytes: Some(209_715_200.0),
            swap_max_bytes: Some(104_857_600.0),
            ..Limits::default()
        };
        let files = container_files(&container, &limits);
        let cpu = text(&files, "cpu", "cpu.stat");
        assert_eq!((value(&cpu, "nr_periods"), value(&cpu, "nr_throttled")), (100, 100));
        assert_eq!(value(&cpu, "throttled_time"), whole(container.cpu.throttled_usec * 1e3));
        let stat = text(&files, "memory", "memory.stat");
        assert_eq!(value(&stat, "hierarchical_memory_limit"), 209_715_200);
        assert_eq!(value(&stat, "hierarchical_memsw_limit"), 314_572_800);
        assert_eq!(
            (value(&stat, "rss"), value(&stat, "total_rss")),
            (0, pages_in_bytes(container.memory.anon))
        );
        let usage: u64 = text(&files, "memory", "memory.usage_in_bytes").trim().parse().unwrap();
        let memsw: u64 = text(&files, "memory", "memory.memsw.usage_in_bytes").trim().parse().unwrap();
        assert_eq!(memsw - usage, value(&stat, "total_swap"));
        let io = text(&files, "blkio", "blkio.throttle.io_service_bytes_recursive");
        assert_eq!(value(&io, "253:0 Read") + value(&io, "253:0 Write"), value(&io, "Total"));
    }
}
