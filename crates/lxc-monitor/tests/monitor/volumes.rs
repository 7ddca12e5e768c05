//! Volumes and interfaces that are attached and detached while a container runs.

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_monitor::collector::Collector;

use crate::fixture::{Node, cycle, record};
use crate::program::{self, Daemon};
use crate::trees::node_v2;

const SECTOR: u64 = 512;

/// Container 104, of which every look is a full one.
fn container() -> (Node, Collector) {
    let node = node_v2();
    node.start(104, 7104);
    for (file, text) in [("cgroup.procs", "7104\n"), ("cpu.stat", "usage_usec 5\n"), ("io.stat", "")] {
        node.write(&format!("cgroup/lxc/104/{file}"), text);
    }
    let mut config = node.config();
    config.collection.full_look_seconds = 0;
    let collector = Collector::new(&config);
    (node, collector)
}

fn dataset(node: &Node, number: u32, sectors_read: u64) {
    let text = format!(
        "28 1 0x01 7 2160 5523398096 127953381091805\nname type data\n\
         dataset_name 7 rpool/data/subvol-104-disk-{number}\n\
         writes 4 3\nnwritten 4 0\nreads 4 2\nnread 4 {}\nnunlinks 4 0\nnunlinked 4 0\n",
        SECTOR * sectors_read
    );
    node.replace(&file_of(number), &text);
}

fn file_of(number: u32) -> String {
    format!("proc/spl/kstat/zfs/rpool/objset-0x{number}")
}

fn sectors_read(snapshot: &Snapshot) -> Option<u64> {
    record(snapshot, 104).io_stats.map(|io| io.reads)
}

#[test]
fn what_a_volume_was_read_before_it_was_attached_is_not_the_containers() {
    let (node, mut collector) = container();
    let mut look = || cycle(&mut collector);
    dataset(&node, 0, 1000);
    assert_eq!(sectors_read(&look()), Some(1000));
    dataset(&node, 0, 1010);
    assert_eq!(sectors_read(&look()), Some(1010));
    dataset(&node, 0, 1020);
    dataset(&node, 1, 1 << 31);
    let snapshot = look();
    assert_eq!(sectors_read(&snapshot), Some(1020));
    let devices = &record(&snapshot, 104).io_devices;
    assert_eq!(
        devices.get("rpool/data/subvol-104-disk-1").unwrap().rbytes,
        SECTOR << 31,
        "that of the dataset"
    );
    dataset(&node, 1, (1 << 31) + 5);
    assert_eq!(sectors_read(&look()), Some(1025));
    std::fs::remove_file(node.path(&file_of(1))).unwrap();
    dataset(&node, 0, 1030);
    assert_eq!(sectors_read(&look()), Some(1035), "what was read there is not taken back");
}

/// What a monitor that was restarted knows, after these looks of the one before.
fn restarted(node: &Node, newest: &Snapshot) -> Collector {
    let mut config = node.config();
    config.collection.full_look_seconds = 0;
    let mut collector = Collector::new(&config);
    collector.go_on_from(newest);
    collector
}

#[test]
fn a_restart_of_the_monitor_changes_no_total_of_volumes() {
    let (node, mut collector) = container();
    dataset(&node, 0, 1000);
    cycle(&mut collector);
    dataset(&node, 1, 1 << 31);
    dataset(&node, 0, 1010);
    let newest = cycle(&mut collector);
    assert_eq!(sectors_read(&newest), Some(1010));
    // What is done while no monitor runs counts, and a volume that is attached then does not.
    dataset(&node, 0, 1015);
    dataset(&node, 1, (1 << 31) + 2);
    dataset(&node, 2, 1 << 30);
    let mut collector = restarted(&node, &newest);
    let snapshot = cycle(&mut collector);
    assert_eq!(sectors_read(&snapshot), Some(1017));
    dataset(&node, 2, (1 << 30) + 3);
    std::fs::remove_file(node.path(&file_of(1))).unwrap();
    let snapshot = cycle(&mut collector);
    assert_eq!(sectors_read(&snapshot), Some(1020));
    // A second restart, after one was detached.
    let mut collector = restarted(&node, &snapshot);
    assert_eq!(sectors_read(&cycle(&mut collector)), Some(1020));
}

#[test]
fn a_restart_of_the_monitor_changes_no_total_of_disks() {
    let (node, mut collector) = container();
    let disks = |lines: &[(&str, u64)]| {
        let line = |(numbers, sectors): &(&str, u64)| {
            format!("{numbers} rbytes={} wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n", SECTOR * sectors)
        };
        node.replace("cgroup/lxc/104/io.stat", &lines.iter().map(line).collect::<String>());
    };
    disks(&[("8:0", 100), ("9:9", 7)]);
    cycle(&mut collector);
    // A disk is detached: what was read there stays.
    disks(&[("8:0", 110)]);
    let newest = cycle(&mut collector);
    assert_eq!(sectors_read(&newest), Some(117));
    disks(&[("8:0", 120), ("9:9", 4)]);
    assert_eq!(sectors_read(&cycle(&mut restarted(&node, &newest))), Some(131));
    // A counter that went back, as of another container with the id whose start could not be seen.
    disks(&[("8:0", 3)]);
    let snapshot = cycle(&mut restarted(&node, &newest));
    assert_eq!(sectors_read(&snapshot), None, "{snapshot:?}");
}

#[test]
fn what_is_not_known_of_before_a_restart_leaves_the_first_total_unknown() {
    let (node, mut collector) = container();
    dataset(&node, 0, 1000);
    let newest = cycle(&mut collector);
    let with = |edit: &dyn Fn(&mut lxc_autoscale_core::snapshot::ContainerRecord)| {
        let mut newest = newest.clone();
        newest.containers.values_mut().for_each(edit);
        let mut collector = restarted(&node, &newest);
        [0; 2].map(|_| {
            let snapshot = cycle(&mut collector);
            let record = record(&snapshot, 104);
            (sectors_read(&snapshot), record.network_usage.map(|usage| usage.rx_bytes))
        })
    };
    let all = (Some(1000), Some(1152));
    assert_eq!(with(&|_| {}), [all; 2]);
    let unknown_io = with(&|record| record.io_stats = None);
    assert_eq!(unknown_io, [(None, Some(1152)), all]);
    let unknown_traffic = with(&|record| record.network_usage = None);
    assert_eq!(unknown_traffic, [(Some(1000), None), all]);
    // It is not known whether it is the same run.
    assert_eq!(with(&|record| record.uptime_seconds = None), [(None, None), all]);
    // It has been restarted: its counters begin at nothing.
    assert_eq!(with(&|record| record.uptime_seconds = Some(1e6)), [all; 2]);
    // It ran when the newest record was made, and could not be looked at.
    let mut without = newest.clone();
    without.containers = lxc_autoscale_core::snapshot::ContainerRecords::new();
    let mut collector = restarted(&node, &without);
    assert_eq!([0; 2].map(|_| sectors_read(&cycle(&mut collector))), [None, Some(1000)]);
    // One that was started since is new.
    without.summary.node.as_mut().unwrap().uptime_seconds = Some(900.0);
    assert_eq!(sectors_read(&cycle(&mut restarted(&node, &without))), Some(1000));
}

#[test]
fn a_restart_of_the_monitor_changes_no_total_of_traffic() {
    let (node, mut collector) = container();
    let veths = |veths: &[(u32, u64)]| {
        let line =
            |(number, sent): &(u32, u64)| format!("veth104i{number}: 0 0 0 0 0 0 0 0 {sent} 0 0 0 0 0 0 0\n");
        let lines: String = veths.iter().map(line).collect();
        node.replace(
            "proc/net/dev",
            &format!("Inter-|   Receive  |  Transmit\n face |bytes  |bytes\n{lines}"),
        );
    };
    let received =
        |snapshot: &Snapshot| record(snapshot, 104).network_usage.as_ref().map(|usage| usage.rx_bytes);
    veths(&[(0, 1000), (1, 50)]);
    cycle(&mut collector);
    veths(&[(0, 1010)]);
    let newest = cycle(&mut collector);
    assert_eq!(received(&newest), Some(1060));
    veths(&[(0, 1015), (2, 1 << 40)]);
    assert_eq!(received(&cycle(&mut restarted(&node, &newest))), Some(1065));
    veths(&[(0, 5)]);
    assert_eq!(received(&cycle(&mut restarted(&node, &newest))), None, "another one with its name");
}

#[test]
fn a_volume_that_cannot_be_read_leaves_the_io_unknown() {
    let (node, mut collector) = container();
    let mut look = || cycle(&mut collector);
    dataset(&node, 0, 1000);
    dataset(&node, 1, 1 << 31);
    look();
    node.replace(&file_of(1), "nonsense\n");
    let snapshot = look();
    assert_eq!(sectors_read(&snapshot), None);
    let reason = record(&snapshot, 104).missing.reason("io_stats").unwrap();
    assert!(reason.contains("objset-0x1`: expected "), "{reason}");
    dataset(&node, 1, (1 << 31) + 7);
    assert_eq!(sectors_read(&look()), Some(1000 + (1 << 31) + 7));
}

#[test]
fn what_an_interface_carried_before_it_was_attached_is_not_the_containers() {
    let (node, mut collector) = container();
    let mut received = |veths: &[(u32, u64)]| {
        let line =
            |(number, sent): &(u32, u64)| format!("veth104i{number}: 0 0 0 0 0 0 0 0 {sent} 0 0 0 0 0 0 0\n");
        let lines: String = veths.iter().map(line).collect();
        node.replace(
            "proc/net/dev",
            &format!("Inter-|   Receive  |  Transmit\n face |bytes  |bytes\n{lines}"),
        );
        record(&cycle(&mut collector), 104).network_usage.as_ref().map(|usage| usage.rx_bytes)
    };
    assert_eq!(received(&[(0, 1000)]), Some(1000));
    assert_eq!(received(&[(0, 1010), (1, 1 << 40)]), Some(1010));
    assert_eq!(received(&[(0, 1020), (1, (1 << 40) + 5)]), Some(1025));
    assert_eq!(received(&[(0, 1030)]), Some(1035));
    assert_eq!(received(&[(0, 2)]), None, "another one with its name");
    assert_eq!(received(&[(0, 5)]), Some(1038));
}

/// The program, with an interface that was attached before it is restarted.
#[test]
fn the_program_goes_on_from_its_newest_record() {
    let node = program::node();
    let end = |mut daemon: Daemon| {
        daemon.signal(rustix::process::Signal::TERM);
        daemon.wait_for("lxc-monitor ends");
        daemon.process.wait().unwrap();
    };
    let measured = |daemon: &mut Daemon| {
        daemon.wait_for("measured 1 running container");
        daemon.wait_for("measured 1 running container");
    };
    let mut daemon = Daemon::start(&node.config_file());
    measured(&mut daemon);
    node.append("proc/net/dev", "veth104i1: 0 0 0 0 0 0 0 0 1099511627776 12 1 2 0 0 0 0");
    measured(&mut daemon);
    end(daemon);
    let mut daemon = Daemon::start(&node.config_file());
    measured(&mut daemon);
    end(daemon);
    let read = MetricsReader::new(node.path("metrics.json")).read_new().unwrap();
    let received =
        read.snapshots.iter().map(|snapshot| record(snapshot, 104).network_usage.unwrap().rx_bytes);
    assert_eq!(received.collect::<std::collections::BTreeSet<_>>(), [1152].into());
}
