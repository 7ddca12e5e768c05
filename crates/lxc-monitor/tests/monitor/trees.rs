//! Complete trees of either version, in either layout: the record has the values of the files.

use lxc_autoscale_core::snapshot::{
    ContainerRecord, DeviceIo, InterfaceTraffic, IoStats, MemoryEvents, MemorySwapEvents, NetworkUsage,
    Paging, PidsEvents, Snapshot, Throttling,
};
use lxc_monitor::collector::Collector;
use lxc_monitor::kernel_gaps::{self, CgroupVersion};

use crate::fixture::{Node, cpu_stat, cycle, process_stat, record, vmid};

const PRESSURE: &str = "some avg10=1.50 avg60=0.03 avg300=0.06 total=4253314\n\
    full avg10=0.00 avg60=0.00 avg300=0.00 total=417732\n";

/// A container in version 2; `group` is the path of its group.
pub(crate) fn container_v2(node: &Node, group: &str, pid: u32) {
    let files = [
        ("cgroup.events", "populated 1\nfrozen 0\n"),
        ("cgroup.procs", ""),
        ("ns/cgroup.procs", ""),
        (
            "cpu.stat",
            "usage_usec 35292297\nuser_usec 1\nsystem_usec 1\nnr_periods 120\nnr_throttled 7\nthrottled_usec 900\n",
        ),
        ("cpu.max", "150000 100000\n"),
        ("cpuset.cpus.effective", "0-1\n"),
        ("memory.current", "268435456\n"),
        (
            "memory.stat",
            "anon 52428800\nfile 209715200\nshmem 104857600\nfile_dirty 0\nfile_writeback 0\n\
             inactive_file 94371840\nactive_file 10485760\nworkingset_refault_anon 1\n\
             workingset_refault_file 2\npgmajfault 183\n",
        ),
        ("memory.max", "536870912\n"),
        ("memory.swap.current", "1048576\n"),
        ("memory.swap.max", "268435456\n"),
        ("memory.events", "low 5\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 6\n"),
        ("memory.swap.events", "high 0\nmax 8\nfail 9\n"),
        ("pids.events", "max 3\n"),
        ("pids.events.local", "max 0\n"),
        (
            "io.stat",
            "8:0 rbytes=5120 wbytes=1024 rios=4 wios=2\n253:1 rbytes=5120 wbytes=1024 rios=4 wios=2\n",
        ),
        ("pids.current", "31\n"),
        ("pids.max", "max\n"),
        ("cpu.pressure", PRESSURE),
        ("memory.pressure", PRESSURE),
        ("io.pressure", PRESSURE),
    ];
    for (name, text) in files {
        node.write(&format!("cgroup/{group}/{name}"), text);
    }
    node.write(&format!("cgroup/{group}/ns/init.scope/cgroup.procs"), &format!("{pid}\n"));
}

/// The same container in version 1, with `cpu` and `cpuacct` mounted together.
pub(crate) fn container_v1(node: &Node, group: &str, pid: u32) {
    let files = [
        ("cpu,cpuacct", "cpuacct.usage", "35292297999\n"),
        ("cpu,cpuacct", "cpu.stat", "nr_periods 120\nnr_throttled 7\nthrottled_time 900000\n"),
        ("cpu,cpuacct", "cpu.cfs_quota_us", "150000\n"),
        ("cpu,cpuacct", "cpu.cfs_period_us", "100000\n"),
        ("cpuset", "cpuset.effective_cpus", "0-1\n"),
        ("memory", "memory.usage_in_bytes", "268435456\n"),
        (
            "memory",
            "memory.stat",
            "cache 0\nrss 0\ntotal_cache 209715200\ntotal_rss 52428800\ntotal_shmem 104857600\ntotal_dirty 0\n\
             total_writeback 0\ntotal_inactive_file 94371840\ntotal_active_file 10485760\ntotal_swap 1048576\n\
             total_workingset_refault_anon 1\ntotal_workingset_refault_file 2\ntotal_pgmajfault 183\n",
        ),
        ("memory", "memory.limit_in_bytes", "536870912\n"),
        ("memory", "memory.memsw.limit_in_bytes", "805306368\n"),
        ("memory", "memory.failcnt", "2\n"),
        ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"),
        ("memory", "ns/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
        ("memory", "cgroup.procs", ""),
        ("pids", "pids.current", "31\n"),
        ("pids", "pids.max", "max\n"),
        ("blkio", "blkio.throttle.io_service_bytes_recursive", "8:0 Read 5120\n8:0 Write 1024\nTotal 6144\n"),
        ("blkio", "blkio.throttle.io_serviced_recursive", "8:0 Read 4\n8:0 Write 2\nTotal 6\n"),
        ("unified", "cpu.pressure", PRESSURE),
        ("unified", "memory.pressure", PRESSURE),
        ("unified", "io.pressure", PRESSURE),
    ];
    for (controller, name, text) in files {
        node.write(&format!("cgroup/{controller}/{group}/{name}"), text);
    }
    node.write(&format!("cgroup/memory/{group}/ns/cgroup.procs"), &format!("{pid}\n"));
}

pub(crate) fn node_v2() -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    node
}

/// Compares a record with the container of the trees above.
#[track_caller]
fn check(record: &ContainerRecord, events: MemoryEvents) {
    assert_eq!(record.cpu_usage_usec, Some(35_292_297));
    assert_eq!(record.throttling, Some(Throttling { nr_periods: 120, nr_throttled: 7, throttled_usec: 900 }));
    let limits = record.limits.unwrap();
    assert_eq!((limits.cores, limits.quota_cores, limits.cpuset_cores), (Some(1.5), Some(1.5), Some(2)));
    assert_eq!((limits.memory_mb, limits.swap_mb, limits.pids), (Some(512.0), Some(256.0), None));
    // 256 MiB less 100 MiB of clean page cache; the 100 MiB of tmpfs count.
    assert_eq!(record.memory_usage_mb, Some(156.0));
    let memory = record.memory.unwrap();
    assert_eq!((memory.current_mb, memory.anon_mb, memory.file_mb), (256.0, 50.0, 200.0));
    assert_eq!((memory.shmem_mb, memory.inactive_file_mb, memory.active_file_mb), (100.0, 90.0, 10.0));
    assert_eq!((record.swap_usage_mb, record.swap_total_mb), (Some(1.0), Some(256.0)));
    assert_eq!(record.memory_events, Some(events));
    let paging =
        Paging { refault_file: Some(2), refault_anon: Some(1), major_faults: Some(183), ..Paging::default() };
    assert_eq!(record.paging, Some(paging));
    let io = IoStats { reads: 10, writes: 2, read_ops: Some(4), write_ops: Some(2) };
    assert_eq!(record.io_stats, Some(io), "the disk is counted, the volume on it is not counted again");
    assert_eq!(record.network_usage, Some(NetworkUsage { rx_bytes: 1152, tx_bytes: 602 }));
    let veth = InterfaceTraffic {
        rx_bytes: 1152,
        rx_packets: 12,
        rx_errors: 1,
        rx_dropped: 2,
        tx_bytes: 602,
        tx_packets: 7,
        tx_errors: 3,
        tx_dropped: 4,
    };
    assert_eq!(record.network_interfaces, [("veth104i0".to_owned(), veth)].into());
    let device = DeviceIo { rbytes: 5120, wbytes: 1024, rios: 4, wios: 2 };
    assert_eq!(record.io_devices.get("sda"), Some(&device));
    assert_eq!(record.process_count, Some(31));
    assert!(record.filesystem_inodes_used <= record.filesystem_inodes_total);
    assert_eq!(record.pressure.memory.unwrap().some.total_usec, 4_253_314);
    assert!(0.0 < record.filesystem_total_gb.unwrap());
    let unread: Vec<_> = record.missing.keys().filter(|field| !field.starts_with("cpu_")).collect();
    assert!(unread.is_empty(), "{:?}", record.missing);
}

const EVENTS_V2: MemoryEvents = MemoryEvents {
    low: Some(5),
    high: Some(1),
    max: 2,
    oom: Some(3),
    oom_kill: Some(4),
    oom_group_kill: Some(6),
};
const EVENTS_V1: MemoryEvents =
    MemoryEvents { low: None, high: None, max: 2, oom: None, oom_kill: Some(4), oom_group_kill: None };

#[test]
fn version_2_in_the_layout_of_proxmox() {
    let node = node_v2();
    node.start(104, 7104);
    container_v2(&node, "lxc/104", 7104);
    node.write("pve/lxc/105.conf", "memory: 1024\n");
    node.write("pve/lxc/105.conf.tmp.9", "");
    node.mkdir("cgroup/lxc/105");
    node.write("cgroup/lxc/105/cgroup.events", "populated 0\nfrozen 0\n");
    let snapshot = cycle(&mut Collector::new(&node.config()));
    check(record(&snapshot, 104), EVENTS_V2);
    let found = record(&snapshot, 104);
    let swap_events = MemorySwapEvents { high: Some(0), max: 8, fail: 9 };
    assert_eq!(
        (found.memory_swap_events, found.pids_events),
        (Some(swap_events), Some(PidsEvents { max: 3 }))
    );
    assert_eq!(found.io_devices.keys().collect::<Vec<_>>(), ["dm-1", "sda"]);
    assert_eq!(snapshot.summary.stopped_containers, [vmid(105)], "a group left over does not run");
    let stored = record(&snapshot, 104).configuration.as_ref().unwrap();
    assert_eq!((stored.cores, stored.memory_mb.get()), (Some(2), 512));
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    assert_eq!(record(&snapshot, 104).uptime_seconds, Some(2000.0 - 100_000.0 / ticks_per_second));
}

#[test]
fn version_2_in_the_layout_of_plain_lxc() {
    let node = node_v2();
    node.start(104, 7104);
    container_v2(&node, "lxc.payload.104", 7104);
    std::fs::remove_dir_all(node.path("pve")).unwrap();
    node.mkdir("cgroup/lxc.payload.web");
    let snapshot = cycle(&mut Collector::new(&node.config()));
    check(record(&snapshot, 104), EVENTS_V2);
    assert_eq!(record(&snapshot, 104).configuration, None);
    assert_eq!(snapshot.containers.len(), 1);
}

#[test]
fn version_1_in_both_layouts() {
    for group in ["lxc/104", "lxc.payload.104"] {
        let node = Node::new();
        node.start(104, 7104);
        container_v1(&node, group, 7104);
        let snapshot = cycle(&mut Collector::new(&node.config()));
        check(record(&snapshot, 104), EVENTS_V1);
    }
}

#[test]
fn version_1_without_block_counters_asks_the_processes() {
    let node = Node::new();
    node.start(104, 7104);
    container_v1(&node, "lxc/104", 7104);
    let io = "cgroup/blkio/lxc/104/blkio.throttle.io_service";
    node.write(&format!("{io}_bytes_recursive"), "Total 0\n");
    node.write(&format!("{io}d_recursive"), "Total 0\n");
    node.write("proc/7104/io", "read_bytes: 2048\nwrite_bytes: 512\n");
    let snapshot = cycle(&mut Collector::new(&node.config()));
    let want = IoStats { reads: 4, writes: 1, read_ops: None, write_ops: None };
    assert_eq!(record(&snapshot, 104).io_stats, Some(want));
}

/// The sectors stay those of the processes, and what is said of them stays true.
#[test]
fn devices_that_begin_to_count_beside_the_processes_are_not_said_to_be_uncounted() {
    let node = Node::new();
    node.start(104, 7104);
    container_v1(&node, "lxc/104", 7104);
    let io = "cgroup/blkio/lxc/104/blkio.throttle.io_service";
    node.write(&format!("{io}_bytes_recursive"), "Total 0\n");
    node.write(&format!("{io}d_recursive"), "Total 0\n");
    node.write("proc/7104/io", "read_bytes: 2048\nwrite_bytes: 512\n");
    let mut collector = Collector::new(&node.config());
    let mut said = || {
        let snapshot = cycle(&mut collector);
        let record = record(&snapshot, 104);
        assert_eq!(record.io_stats.unwrap().read_ops, None);
        let gaps = kernel_gaps::of_container(CgroupVersion::V1, record);
        gaps.iter().any(|gap| gap.why.starts_with("the kernel counts no block I/O for the group"))
    };
    assert!(said());
    node.write(&format!("{io}_bytes_recursive"), "8:0 Read 512\n8:0 Write 0\nTotal 512\n");
    node.write(&format!("{io}d_recursive"), "8:0 Read 1\n8:0 Write 0\nTotal 1\n");
    assert!(!said());
}

#[test]
fn the_node_is_what_its_files_say() {
    let node = node_v2();
    node.start(104, 7104);
    container_v2(&node, "lxc/104", 7104);
    node.write("proc/pressure/cpu", PRESSURE);
    node.write(
        "proc/spl/kstat/zfs/arcstats",
        "13 1 0x01\nname type data\nc_min 4 536870912\nc_max 4 2147483648\nsize 4 1073741824\n",
    );
    let mut collector = Collector::new(&node.config());
    cycle(&mut collector);
    node.write("proc/stat", &cpu_stat(1100, 9300));
    let Snapshot { summary, .. } = cycle(&mut collector);
    let found = summary.node.unwrap();
    assert_eq!(found.name, "proxmox");
    assert_eq!((found.cpus, found.cpu_cores_used), (Some(4), Some(1.0)));
    assert_eq!(found.load, Some([1.21, 1.22, 1.07]));
    assert_eq!((found.memory_total_mb, found.memory_available_mb), (Some(4096.0), Some(3072.0)));
    assert_eq!((found.swap_total_mb, found.swap_used_mb), (Some(1024.0), Some(0.5)));
    let arc = (found.zfs_arc_mb, found.zfs_arc_min_mb, found.zfs_arc_max_mb);
    assert_eq!(arc, (Some(1024.0), Some(512.0), Some(2048.0)));
    assert_eq!((found.kernel.as_deref(), found.threads), (Some("6.8.12-4-pve"), Some(134)));
    let paging = found.paging.unwrap();
    assert_eq!((paging.swap_in, paging.swap_out, paging.major_faults), (Some(11), Some(12), Some(13)));
    assert_eq!((paging.refault_anon, paging.refault_file, found.oom_kill), (Some(14), Some(15), Some(16)));
    assert_eq!((found.cpu_iowait_cores, found.cpu_steal_cores), (Some(0.0), Some(0.0)));
    assert_eq!(found.topology.unwrap().online, "0-3");
    assert_eq!(found.pressure.cpu.map(|cpu| cpu.some.avg10), Some(1.5));
    assert_eq!((found.pressure.io, found.missing.contains("pressure.io")), (None, false));
    assert_eq!(found.containers_memory_limit_mb, Some(512.0));
    assert_eq!(found.containers_working_set_mb, Some(156.0));
    assert_eq!(found.containers_cores_limit, Some(1.5));
}

#[test]
fn a_restarted_container_has_no_rate_until_it_was_seen_twice() {
    let node = node_v2();
    node.start(104, 7104);
    container_v2(&node, "lxc/104", 7104);
    let mut collector = Collector::new(&node.config());
    let rates = |collector: &mut Collector| {
        std::thread::sleep(std::time::Duration::from_millis(15));
        let snapshot = cycle(collector);
        let record = record(&snapshot, 104);
        (record.cpu_cores_used, record.missing.reason("cpu_cores_used").map(str::to_owned))
    };
    assert_eq!(rates(&mut collector), (None, Some("this is the first sample".to_owned())));
    assert_eq!(rates(&mut collector).0, Some(0.0));
    node.write("proc/7104/stat", &process_stat(7104, 150_000));
    assert_eq!(rates(&mut collector).1.unwrap(), "the container was restarted between the samples");
    assert_eq!(rates(&mut collector).0, Some(0.0));
}

/// Every field that the Python original wrote, with its place and type, in a snapshot of two cycles.
#[test]
fn the_field_list_of_the_original_is_kept() {
    let node = node_v2();
    node.start(104, 7104);
    container_v2(&node, "lxc/104", 7104);
    let mut collector = Collector::new(&node.config());
    cycle(&mut collector);
    std::thread::sleep(std::time::Duration::from_millis(15));
    let snapshot = cycle(&mut collector);
    let json = serde_json::to_value(&snapshot).unwrap();
    for line in include_str!("original_fields.txt").lines() {
        let (pointer, kind) = line.split_once(' ').unwrap();
        let value = json.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing in {json:#}"));
        let is_kind = if kind == "string" { value.is_string() } else { value.is_number() };
        assert!(is_kind, "{pointer} is no {kind}: {value}");
    }
}
