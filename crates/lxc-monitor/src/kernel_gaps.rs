//! What this node's kernel does not count at all, in words.
//!
//! A value the kernel does not have is absent from the records without a reason in `missing`, which is reserved for
//! values that could not be read. Such gaps follow from the control group version and the kernel version, and are
//! reported once: in the log when first noticed, and by `lxc-monitor check`.
//!
//! They are detected by what is present, not by the kernel's version number, because distributions backport changes.
//! The versions in the texts are those of kernel.org; the Proxmox VE releases are the first with such a kernel by
//! default.

use lxc_autoscale_core::missing::MissingFields;
use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord};
use serde::Serialize;

/// The version of the control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// A tree per controller.
    V1,
    /// One tree.
    V2,
}

/// Something the kernel does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KernelGap {
    /// The fields of the record that are absent for the same reason; those of the node begin with `node.`.
    pub fields: &'static [&'static str],
    /// The reason, and what replaces them.
    pub why: &'static str,
}

impl KernelGap {
    /// The fields in one word.
    pub fn name(&self) -> String {
        self.fields.join(", ")
    }
}

/// The gaps found, without those that a failed read explains.
struct Found<'a> {
    missing: &'a MissingFields,
    gaps: Vec<KernelGap>,
}

impl Found<'_> {
    fn say(&mut self, absent: bool, fields: &'static [&'static str], why: &'static str) {
        let unreadable = fields.iter().any(|field| self.missing.contains(key_in_missing(field)));
        if absent && !unreadable {
            self.gaps.push(KernelGap { fields, why });
        }
    }
}

/// The key under which `missing` would list a field or its object.
fn key_in_missing(field: &str) -> &str {
    let of_record = field.strip_prefix("node.").unwrap_or(field);
    of_record.split('.').next().unwrap_or(of_record)
}

/// What is absent from a container's record because the kernel does not have it.
///
/// A complete lack of pressure is not included: whether it is available depends on the node's own, too.
pub fn of_container(version: CgroupVersion, record: &ContainerRecord) -> Vec<KernelGap> {
    let mut found = Found { missing: &record.missing, gaps: Vec::new() };
    let of_version = |v1: &'static str, v2: &'static str| match version {
        CgroupVersion::V1 => v1,
        CgroupVersion::V2 => v2,
    };
    found.say(
        record.pressure.cpu.is_some_and(|cpu| cpu.full.is_none()),
        &["pressure.cpu.full"],
        "there since Linux 5.13 (Proxmox VE 7)",
    );
    events(&mut found, version, record);
    if let Some(paging) = record.paging {
        found.say(
            paging.refault_file.is_none() || paging.refault_anon.is_none(),
            if paging.refault_file.is_none() {
                &["paging.refault_file", "paging.refault_anon"]
            } else {
                &["paging.refault_anon"]
            },
            of_version(
                "cgroup version 1 counts them on newer kernels only; `pressure.memory`, where there is any, stands for them",
                "counted apart since Linux 5.9 (Proxmox VE 7); before that one counter held the file pages",
            ),
        );
        found.say(
            paging.swap_in.is_none(),
            &["paging.swap_in", "paging.swap_out"],
            of_version(
                "cgroup version 1 does not count them; `swap_usage_mb` shows what is swapped out",
                "counted since Linux 6.13 (Proxmox VE 9); `refault_anon` counts what was swapped in again",
            ),
        );
    }
    let is_of_processes = record.io_stats.is_some_and(|io| io.read_ops.is_none());
    found.say(
        is_of_processes && record.io_devices.is_empty(),
        &["io_stats.read_ops", "io_stats.write_ops", "io_devices"],
        "the kernel counts no block I/O for the group (cgroup version 1 since Linux 6.10); the sectors are those of \
         the container's processes",
    );
    found.say(
        is_of_processes && !record.io_devices.is_empty(),
        &["io_stats.read_ops", "io_stats.write_ops"],
        "the sectors are those of the container's processes, which have no number of operations: the kernel began to \
         count block I/O for the group only later, in `io_devices`; the sectors are taken from there when the monitor \
         starts anew",
    );
    found.say(
        version == CgroupVersion::V1 && record.io_stats.is_some_and(|io| io.read_ops.is_some()),
        &["io_stats"],
        "cgroup version 1 counts what a container writes through the page cache with whoever writes it out, which is \
         mostly the kernel; direct and synchronous I/O is counted with the container",
    );
    found.say(
        record.filesystem_total_gb.is_some() && record.filesystem_inodes_total.is_none(),
        &["filesystem_inodes_used", "filesystem_inodes_total"],
        "the filesystem makes inodes as it goes and has no number of them (btrfs)",
    );
    found.gaps
}

/// The events of memory, swap and processes.
fn events(found: &mut Found<'_>, version: CgroupVersion, record: &ContainerRecord) {
    let on_v1 = version == CgroupVersion::V1;
    if let Some(events) = record.memory_events {
        found.say(
            on_v1 && events.high.is_none(),
            &["memory_events.low", "memory_events.high", "memory_events.oom", "memory_events.oom_group_kill"],
            "cgroup version 1 counts only hits of the limit (`max`) and kills (`oom_kill`)",
        );
        found.say(
            !on_v1 && events.oom_group_kill.is_none(),
            &["memory_events.oom_group_kill"],
            "counted since Linux 5.17 (Proxmox VE 8); `oom_kill` counts the processes killed",
        );
        found.say(events.oom_kill.is_none(), &["memory_events.oom_kill"], "counted since Linux 4.13");
    }
    let swap_why = if on_v1 {
        "cgroup version 1 does not count them; `swap_usage_mb` beside `limits.swap_mb` shows how full it is"
    } else {
        "counted since Linux 4.18, where swap is accounted (swapaccount=1)"
    };
    found.say(record.memory_swap_events.is_none(), &["memory_swap_events"], swap_why);
    found.say(
        record.memory_swap_events.is_some_and(|events| events.high.is_none()),
        &["memory_swap_events.high"],
        "`memory.swap.high` is there since Linux 5.8 (Proxmox VE 7)",
    );
    let pids_why = if on_v1 {
        "cgroup version 1 counts only in the group that wanted to fork; summed up where the container has a limit"
    } else {
        "counted for the container as a whole since Linux 6.11 (Proxmox VE 9); before that summed up where the \
         container has a limit"
    };
    found.say(record.pids_events.is_none(), &["pids_events"], pids_why);
}

/// What is absent from the node's record because the kernel does not have it.
pub fn of_node(record: &NodeRecord) -> Vec<KernelGap> {
    let mut found = Found { missing: &record.missing, gaps: Vec::new() };
    found.say(
        record.topology.is_none(),
        &["node.topology"],
        "sysfs has no list of the CPUs online (`devices/system/cpu/online`)",
    );
    if let Some(paging) = record.paging {
        found.say(
            paging.refault_anon.is_none(),
            &["node.paging.refault_anon"],
            "counted apart since Linux 5.9 (Proxmox VE 7); before that one counter held the file pages",
        );
        found.say(record.oom_kill.is_none(), &["node.oom_kill"], "counted since Linux 4.13");
    }
    found.gaps
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::snapshot::{
        DeviceIo, IoStats, MemoryEvents, MemorySwapEvents, Paging, PidsEvents,
    };

    use super::*;
    use crate::clock;

    fn record() -> ContainerRecord {
        let paging = Paging {
            refault_file: Some(0),
            refault_anon: Some(0),
            swap_in: Some(0),
            swap_out: Some(0),
            major_faults: Some(0),
        };
        let events = MemoryEvents {
            low: Some(0),
            high: Some(0),
            max: 0,
            oom: Some(0),
            oom_kill: Some(0),
            oom_group_kill: Some(0),
        };
        ContainerRecord {
            memory_events: Some(events),
            memory_swap_events: Some(MemorySwapEvents { high: Some(0), max: 0, fail: 0 }),
            paging: Some(paging),
            pids_events: Some(PidsEvents { max: 0 }),
            io_stats: Some(IoStats { reads: 0, writes: 0, read_ops: Some(0), write_ops: Some(0) }),
            ..ContainerRecord::empty(clock::record_time(clock::now().wall))
        }
    }

    #[track_caller]
    fn check(version: CgroupVersion, record: &ContainerRecord, want: &[&str]) {
        let fields: Vec<_> = of_container(version, record).iter().map(KernelGap::name).collect();
        assert_eq!(fields, want);
    }

    #[test]
    fn a_kernel_that_counts_everything_lacks_nothing() {
        check(CgroupVersion::V2, &record(), &[]);
    }

    #[test]
    fn what_could_not_be_read_is_no_gap_of_the_kernel() {
        let mut unread = record();
        unread.pids_events = None;
        check(CgroupVersion::V2, &unread, &["pids_events"]);
        unread.missing.insert("pids_events", "permission denied".into());
        check(CgroupVersion::V2, &unread, &[]);
    }

    #[test]
    fn devices_that_count_beside_the_processes_are_not_said_to_be_uncounted() {
        let mut of_processes = record();
        of_processes.io_stats = Some(IoStats { reads: 8, writes: 8, read_ops: None, write_ops: None });
        let why = |record: &ContainerRecord| {
            let gaps = of_container(CgroupVersion::V2, record);
            assert_eq!(gaps.len(), 1, "{gaps:?}");
            (gaps[0].name(), gaps[0].why)
        };
        let (fields, none) = why(&of_processes);
        assert_eq!(fields, "io_stats.read_ops, io_stats.write_ops, io_devices");
        assert!(none.starts_with("the kernel counts no block I/O for the group"), "{none}");
        of_processes.io_devices = [("sda".to_owned(), DeviceIo::default())].into();
        let (fields, beside) = why(&of_processes);
        assert_eq!(fields, "io_stats.read_ops, io_stats.write_ops");
        assert!(!beside.contains("counts no block I/O") && beside.contains("`io_devices`"), "{beside}");
    }

    #[test]
    fn what_is_nowhere_is_not_said_part_by_part() {
        check(
            CgroupVersion::V1,
            &ContainerRecord::empty(clock::record_time(clock::now().wall)),
            &["memory_swap_events", "pids_events"],
        );
    }
}
