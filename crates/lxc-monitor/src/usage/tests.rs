//! Two samples in, one record out.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, DeviceIo, InterfaceTraffic, IoStats, MemoryEvents, MemorySwapEvents, NetworkUsage,
    Paging, PidsEvents, Throttling,
};
use lxc_autoscale_core::table::Table;
use proptest::prelude::*;

use super::*;
use crate::sample::{
    ArcUse, BlockIo, CgroupSample, ContainerSample, CpuTime, FilesystemUse, InitProcess, InodeUse, IoCounts,
    MemoryUse, NodeCpuTime, NodeMemory, NodePaging, NodeSample, PressureReadings, Traffic,
};

const MIB: u64 = 1 << 20;
const NODE: NodeFacts =
    NodeFacts { cpus: Some(4), swap_total: Some(1024 * MIB), uptime_seconds: None, boot: None };

fn moment(seconds: f64) -> Moment {
    let begin: Timestamp = "2026-11-23T17:20:00Z".parse().unwrap();
    let offset = Duration::from_secs_f64(seconds);
    Moment { wall: begin + offset, since_boot: Duration::from_secs(1000) + offset }
}

fn no_pressure() -> PressureReadings {
    PressureReadings::NONE
}

/// A container at `seconds` that has used `cpu_seconds` so far and may use 2 cores and 512 MiB.
fn sample(seconds: f64, cpu_seconds: f64) -> ContainerSample {
    let at = moment(seconds);
    ContainerSample {
        at,
        cgroup: CgroupSample {
            cpu: Ok(CpuTime {
                usage_usec: Duration::from_secs_f64(cpu_seconds).as_micros().try_into().unwrap(),
                at,
                read_took: Duration::from_micros(50),
            }),
            throttling: Ok(Throttling { nr_periods: 0, nr_throttled: 0, throttled_usec: 0 }),
            quota_cores: Ok(Some(2.0)),
            cpuset_cpus: Ok(Some(3)),
            memory: Ok(MemoryUse { current: 300 * MIB, inactive_file: 100 * MIB, ..MemoryUse::default() }),
            memory_limit: Ok(Some(512 * MIB)),
            swap: Ok(0),
            swap_limit: Ok(Some(512 * MIB)),
            memory_events: Ok(MemoryEvents { oom_kill: Some(0), ..MemoryEvents::default() }),
            memory_swap_events: Ok(Some(MemorySwapEvents { high: Some(1), max: 2, fail: 3 })),
            paging: Ok(Paging::default()),
            pids_events: Ok(Some(PidsEvents { max: 4 })),
            pids: Ok(31),
            pids_limit: Ok(None),
            io: Ok(BlockIo {
                counts: IoCounts::Processes(IoStats { reads: 1, writes: 2, read_ops: None, write_ops: None }),
                devices: [("sda".to_owned(), DeviceIo { rbytes: 512, ..DeviceIo::default() })].into(),
            }),
        },
        pressure: no_pressure(),
        init: Ok(InitProcess { pid: 71, start_ticks: 5 }),
        uptime_seconds: Ok(seconds),
        network: Ok(Traffic {
            total: NetworkUsage { rx_bytes: 1, tx_bytes: 2 },
            interfaces: [("veth104i0".to_owned(), InterfaceTraffic::default())].into(),
        }),
        filesystem: Ok(FilesystemUse {
            total: 8 << 30,
            used: 1 << 30,
            available: 6 << 30,
            inodes: Some(InodeUse { total: 1000, used: 10 }),
            is_zfs: false,
        }),
        configuration: Ok(None),
    }
}

fn container_record(
    previous: Option<&ContainerSample>,
    now: &ContainerSample,
    node: NodeFacts,
) -> ContainerRecord {
    let previous = previous.map(|previous| super::container_record(None, previous.clone(), node).1);
    super::container_record(previous.as_ref(), now.clone(), node).0
}

/// Compares the CPU fields of a record with the expected ones.
#[track_caller]
fn check_cpu(previous: Option<&ContainerSample>, now: &ContainerSample, want: Result<(f64, f64), &str>) {
    let record = container_record(previous, now, NODE);
    let found = (record.cpu_cores_used, record.cpu_usage_percent);
    match want {
        Ok((cores, percent)) => {
            let (Some(found_cores), Some(found_percent)) = found else {
                panic!("absent: {:?}", record.missing)
            };
            assert!((found_cores - cores).abs() < 1e-9, "{found_cores} cores");
            assert!((found_percent - percent).abs() < 1e-6, "{found_percent} %");
        }
        Err(reason) => {
            assert_eq!(found, (None, None));
            for field in ["cpu_cores_used", "cpu_usage_percent"] {
                assert!(record.missing.reason(field).unwrap().contains(reason), "{:?}", record.missing);
            }
        }
    }
}

#[test]
fn cpu_is_a_rate_in_cores_with_its_share_of_the_limit() {
    check_cpu(Some(&sample(0.0, 100.0)), &sample(60.0, 190.0), Ok((1.5, 75.0)));
    check_cpu(Some(&sample(0.0, 100.0)), &sample(60.0, 100.0), Ok((0.0, 0.0)));
}

#[test]
fn a_rate_is_unknown_where_two_samples_say_nothing_about_the_time_between() {
    let previous = sample(0.0, 100.0);
    check_cpu(None, &sample(60.0, 190.0), Err("first sample"));
    check_cpu(Some(&previous), &sample(60.0, 1.0), Err("counter was reset"));
    check_cpu(Some(&previous), &sample(0.001, 100.0), Err("too close"));
    check_cpu(Some(&previous), &sample(60.0, 100_000.0), Err("the node has 4"));

    let mut restarted = sample(60.0, 190.0);
    restarted.init = Ok(InitProcess { pid: 72, start_ticks: 9 });
    check_cpu(Some(&previous), &restarted, Err("restarted between"));

    for step_seconds in [-3600.0_f64, -1.0, 1.0, 3600.0] {
        let mut stepped = sample(60.0, 190.0);
        stepped.cgroup.cpu.as_mut().unwrap().at.wall = moment(3600.0 + 60.0 + step_seconds).wall;
        let mut early = previous.clone();
        early.cgroup.cpu.as_mut().unwrap().at.wall = moment(3600.0).wall;
        check_cpu(Some(&early), &stepped, Err("clock was set"));
    }

    let mut unread = sample(60.0, 190.0);
    unread.cgroup.cpu = Err(Missing::because("permission denied"));
    check_cpu(Some(&previous), &unread, Err("permission denied"));
    check_cpu(Some(&unread), &sample(120.0, 190.0), Err("permission denied"));
}

#[test]
fn jitter_beyond_the_limit_is_cut() {
    check_cpu(Some(&sample(0.0, 0.0)), &sample(1.0, 2.1), Ok((2.1, 100.0)));
    check_cpu(Some(&sample(0.0, 0.0)), &sample(1.0, 4.3), Ok((4.0, 100.0)));
}

/// Jitter does not grow with the interval, so over a minute the same excess means a wrong counter.
#[test]
fn more_than_jitter_beyond_the_node_is_unknown() {
    check_cpu(Some(&sample(0.0, 0.0)), &sample(60.0, 60.0 * 4.005), Ok((4.0, 100.0)));
    check_cpu(Some(&sample(0.0, 0.0)), &sample(60.0, 60.0 * 4.3), Err("the node has 4"));
    check_cpu(Some(&sample(0.0, 0.0)), &sample(0.1, 0.1 * 7.9), Ok((4.0, 100.0)));
    check_cpu(Some(&sample(0.0, 0.0)), &sample(0.1, 0.1 * 8.1), Err("the node has 4"));
}

#[test]
fn the_share_is_that_of_the_smallest_limit_and_of_the_larger_of_two_in_turn() {
    let mut previous = sample(0.0, 0.0);
    let mut now = sample(10.0, 15.0);
    now.cgroup.quota_cores = Ok(None);
    previous.cgroup.quota_cores = Ok(None);
    check_cpu(Some(&previous), &now, Ok((1.5, 50.0)));
    now.cgroup.cpuset_cpus = Ok(None);
    previous.cgroup.cpuset_cpus = Ok(None);
    check_cpu(Some(&previous), &now, Ok((1.5, 37.5)));
    now.cgroup.quota_cores = Ok(Some(1.0));
    check_cpu(Some(&previous), &now, Ok((1.5, 37.5)));
}

#[test]
fn without_a_known_limit_the_cores_are_known_and_the_share_is_not() {
    let mut now = sample(10.0, 15.0);
    now.cgroup.cpuset_cpus = Err(Missing::because("permission denied"));
    let record = container_record(Some(&sample(0.0, 0.0)), &now, NODE);
    assert_eq!((record.cpu_cores_used, record.cpu_usage_percent), (Some(1.5), None));
    for field in ["cpu_usage_percent", "limits.cores", "limits.cpuset_cores"] {
        assert_eq!(record.missing.reason(field), Some("permission denied"));
    }
    assert!(!record.missing.contains("cpu_cores_used"));
}

#[track_caller]
fn check_throttled(before: (u64, u64), after: (u64, u64), want: Option<f64>) {
    let with = |seconds, (nr_periods, nr_throttled)| {
        let mut sample = sample(seconds, 0.0);
        sample.cgroup.throttling = Ok(Throttling { nr_periods, nr_throttled, throttled_usec: 0 });
        sample
    };
    let record = container_record(Some(&with(0.0, before)), &with(60.0, after), NODE);
    assert_eq!(record.cpu_throttled_share, want, "{before:?} -> {after:?}");
}

#[test]
fn the_throttled_share_is_that_of_the_periods_in_between() {
    check_throttled((100, 10), (200, 60), Some(0.5));
    check_throttled((100, 10), (200, 10), Some(0.0));
    check_throttled((0, 0), (0, 0), Some(0.0));
    check_throttled((200, 60), (100, 10), None);
}

#[test]
fn every_field_that_could_not_be_read_is_absent_with_its_reason() {
    let mut blind = sample(60.0, 0.0);
    let missing = || Missing::because("permission denied");
    blind.cgroup.memory = Err(missing());
    blind.cgroup.swap = Err(missing());
    blind.cgroup.swap_limit = Err(missing());
    blind.cgroup.pids = Err(missing());
    blind.cgroup.io = Err(missing());
    blind.network = Err(missing());
    blind.filesystem = Err(missing());
    blind.configuration = Err(missing());
    let json = serde_json::to_value(container_record(None, &blind, NODE)).unwrap();
    for field in [
        "memory_usage_mb",
        "memory",
        "swap_usage_mb",
        "swap_total_mb",
        "process_count",
        "io_stats",
        "network_usage",
        "filesystem_usage_gb",
        "filesystem_total_gb",
        "filesystem_free_gb",
        "configuration",
    ] {
        assert!(json.get(field).is_none(), "{field}");
        assert_eq!(json["missing"][field], "permission denied", "{field}");
    }
}

#[test]
fn swap_is_bounded_by_the_limit_and_by_what_the_node_has() {
    let total = |limit: Option<u64>, node_swap| {
        let mut sample = sample(0.0, 0.0);
        sample.cgroup.swap_limit = Ok(limit);
        container_record(None, &sample, NodeFacts { swap_total: node_swap, ..NODE }).swap_total_mb
    };
    assert_eq!(total(Some(512 * MIB), Some(1024 * MIB)), Some(512.0));
    assert_eq!(total(Some(512 * MIB), Some(0)), Some(0.0));
    assert_eq!(total(None, Some(1024 * MIB)), Some(1024.0));
    assert_eq!(total(None, None), None);
}

/// The fields that the reader of the Python original requires, with their places and types.
#[test]
fn a_record_satisfies_the_field_list_of_the_original() {
    let record = container_record(Some(&sample(0.0, 100.0)), &sample(60.0, 190.0), NODE);
    let json = serde_json::to_value(record).unwrap();
    assert_eq!(json["timestamp"].as_str().unwrap().get(..4), Some("2026"));
    for pointer in [
        "/cpu_usage_percent",
        "/memory_usage_mb",
        "/swap_usage_mb",
        "/swap_total_mb",
        "/process_count",
        "/io_stats/reads",
        "/io_stats/writes",
        "/network_usage/rx_bytes",
        "/network_usage/tx_bytes",
        "/filesystem_usage_gb",
        "/filesystem_total_gb",
        "/filesystem_free_gb",
    ] {
        assert!(json.pointer(pointer).is_some_and(serde_json::Value::is_number), "{pointer} in {json}");
    }
    assert_eq!(json["memory_usage_mb"], 200.0);
    assert_eq!(json["filesystem_free_gb"], 6.0);
}

fn node(busy_ticks: u64, total_ticks: u64) -> NodeSample {
    NodeSample {
        name: Ok("proxmox".to_owned()),
        kernel: Ok("6.8.12-4-pve".to_owned()),
        uptime_seconds: Ok(2000.0),
        boot_id: Ok("0a9cb1de7a5e4f7c".parse().unwrap()),
        cpu: Ok(NodeCpuTime {
            busy_ticks,
            iowait_ticks: busy_ticks / 2,
            steal_ticks: 0,
            total_ticks,
            cpus: 4,
        }),
        topology: Ok(None),
        threads: Ok(134),
        paging: Ok(NodePaging::default()),
        load: Ok([1.0, 2.0, 3.0]),
        memory: Ok(NodeMemory { total: 8 * MIB, available: 4 * MIB, swap_total: 2 * MIB, swap_used: MIB }),
        zfs_arc: Ok(Some(ArcUse { size: 2 * MIB, min: MIB, max: 4 * MIB })),
        pressure: no_pressure(),
    }
}

#[track_caller]
fn check_node_cpu(previous: Option<&NodeSample>, now: &NodeSample, want: Option<f64>) {
    let none = RunningTotals { measured: Vec::new(), unmeasured: Vec::new() };
    let record = node_record(previous, now, &none);
    assert_eq!(record.cpu_cores_used, want);
    assert_eq!(record.missing.contains("cpu_cores_used"), want.is_none());
}

#[test]
fn the_nodes_cpu_is_a_rate_over_its_own_ticks() {
    check_node_cpu(Some(&node(100, 1000)), &node(200, 1400), Some(1.0));
    check_node_cpu(None, &node(200, 1400), None);
    check_node_cpu(Some(&node(100, 1000)), &node(100, 1000), None);
    check_node_cpu(Some(&node(200, 1400)), &node(100, 1000), None);
    let none = RunningTotals { measured: Vec::new(), unmeasured: Vec::new() };
    let record = node_record(Some(&node(100, 1000)), &node(200, 1400), &none);
    assert_eq!((record.cpu_iowait_cores, record.cpu_steal_cores), (Some(0.5), Some(0.0)));
    assert_eq!(
        (record.zfs_arc_mb, record.zfs_arc_min_mb, record.zfs_arc_max_mb),
        (Some(2.0), Some(1.0), Some(4.0))
    );
}

#[test]
fn what_the_kernel_counts_stands_in_the_record_under_its_names() {
    let json = serde_json::to_value(container_record(None, &sample(0.0, 0.0), NODE)).unwrap();
    for (pointer, want) in [
        ("/memory_swap_events/high", 1),
        ("/memory_swap_events/max", 2),
        ("/memory_swap_events/fail", 3),
        ("/pids_events/max", 4),
        ("/io_devices/sda/rbytes", 512),
        ("/io_devices/sda/wios", 0),
        ("/network_interfaces/veth104i0/rx_dropped", 0),
        ("/filesystem_inodes_used", 10),
        ("/filesystem_inodes_total", 1000),
    ] {
        assert_eq!(
            json.pointer(pointer).and_then(serde_json::Value::as_u64),
            Some(want),
            "{pointer}: {json}"
        );
    }
    assert!(json.get("pressure").is_none() && json["missing"].get("pressure.cpu").is_none(), "{json}");
}

#[test]
fn a_zfs_dataset_without_io_is_not_one_that_did_none() {
    let mut on_zfs = sample(0.0, 0.0);
    on_zfs.filesystem.as_mut().unwrap().is_zfs = true;
    assert!(container_record(None, &on_zfs, NODE).io_stats.is_some(), "a volume beside it was used");
    on_zfs.cgroup.io = Ok(BlockIo { counts: IoCounts::Parts([].into()), devices: Table::default() });
    let record = container_record(None, &on_zfs, NODE);
    assert_eq!(record.io_stats, None);
    assert!(record.missing.reason("io_stats").unwrap().starts_with("ZFS"), "{:?}", record.missing);
}

#[test]
fn sums_over_the_containers_are_absent_while_one_is_unknown() {
    let vmid = |id: u32| Vmid::try_from(id).unwrap();
    let known = container_record(None, &sample(0.0, 0.0), NODE);
    let mut unlimited = sample(0.0, 0.0);
    unlimited.cgroup.memory_limit = Ok(None);
    let unlimited = container_record(None, &unlimited, NODE);
    let sums = |records: &[(Vmid, &ContainerRecord)], unmeasured: Vec<Vmid>| {
        node_record(None, &node(1, 2), &RunningTotals { measured: records.to_vec(), unmeasured })
    };

    let all = sums(&[(vmid(100), &known), (vmid(101), &known)], Vec::new());
    assert_eq!(all.containers_memory_limit_mb, Some(1024.0));
    assert_eq!(all.containers_working_set_mb, Some(400.0));
    assert_eq!(all.containers_cores_limit, Some(4.0));

    let one = sums(&[(vmid(100), &known), (vmid(101), &unlimited)], Vec::new());
    assert_eq!(one.containers_memory_limit_mb, None);
    assert_eq!(one.missing.reason("containers_memory_limit_mb"), Some("container 101 has no memory limit"));
    assert_eq!(one.containers_working_set_mb, Some(400.0));

    let hanging = sums(&[(vmid(100), &known)], vec![vmid(102)]);
    assert_eq!(hanging.containers_working_set_mb, None);
    assert_eq!(
        hanging.missing.reason("containers_working_set_mb"),
        Some("container 102 could not be measured")
    );
}

proptest! {
    /// Whatever the counters do: a share is between 0 and 100, and cores do not exceed the node's.
    #[test]
    fn no_pair_of_samples_gives_nonsense(
        (before, after) in (0.0f64..1e6, 0.0f64..1e6),
        seconds in 0.0f64..1e5,
        quota in prop::option::of(0.0f64..8.0),
    ) {
        let mut now = sample(seconds, after);
        now.cgroup.quota_cores = Ok(quota);
        let record = container_record(Some(&sample(0.0, before)), &now, NODE);
        if let Some(percent) = record.cpu_usage_percent {
            prop_assert!((0.0..=100.0).contains(&percent));
        }
        match record.cpu_cores_used {
            Some(cores) => prop_assert!((0.0..=4.0).contains(&cores)),
            None => prop_assert!(record.missing.contains("cpu_cores_used")),
        }
    }
}
