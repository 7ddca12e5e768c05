//! Unusual values flagged by the program: a shift on a synthetic node, the log, the state across a restart.

use std::path::Path;

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::Snapshot;
use rustix::process::Signal;

use crate::fixture::{Node, process_stat, vmid};
use crate::program::Daemon;

/// A node whose container uses `mib`, and a monitor that learns quickly.
fn node(mib: u64) -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpu memory\n");
    node.start(104, 7104);
    node.write("cgroup/lxc/104/cgroup.procs", "7104\n");
    node.write("cgroup/lxc/104/cpu.stat", "usage_usec 5\n");
    use_memory(&node, mib);
    let config = std::fs::read_to_string(node.config_file()).unwrap();
    let quick = "[anomaly]\nstep_seconds = 0.2\nmin_history_hours = 0.001";
    let config = config.replace("[anomaly]", quick);
    node.write("lxc_monitor.toml", &config);
    node
}

fn use_memory(node: &Node, mib: u64) {
    let bytes = mib << 20;
    // Replaced as a whole, like the kernel's file.
    node.write(
        "cgroup/lxc/104/memory.stat.new",
        &format!("anon {bytes}\nfile 0\ninactive_file 0\nactive_file 0\n"),
    );
    std::fs::rename(node.path("cgroup/lxc/104/memory.stat.new"), node.path("cgroup/lxc/104/memory.stat"))
        .unwrap();
    node.write("cgroup/lxc/104/memory.current.new", &format!("{bytes}\n"));
    std::fs::rename(
        node.path("cgroup/lxc/104/memory.current.new"),
        node.path("cgroup/lxc/104/memory.current"),
    )
    .unwrap();
}

fn snapshots(file: &Path) -> Vec<Snapshot> {
    MetricsReader::new(file).read_new().unwrap().snapshots
}

#[test]
fn a_shift_is_flagged_with_its_range_and_said_once() {
    let node = node(200);
    let mut daemon = Daemon::start(&node.path("lxc_monitor.toml"));
    for _ in 0..40 {
        daemon.wait_for("measured 1 running container in ");
    }
    use_memory(&node, 400);
    daemon.wait_for("container 104: memory_usage_mb: the working set is unusually high at 400 MiB");
    for _ in 0..3 {
        daemon.wait_for("measured 1 running container in ");
    }
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");

    let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
    assert_eq!(log.matches("memory_usage_mb: the working set").count(), 1, "{log}");
    let snapshots = snapshots(&node.path("metrics.json"));
    let records: Vec<_> = snapshots.iter().map(|snapshot| &snapshot.containers[&vmid(104)]).collect();
    let shifted = records.iter().position(|record| record.memory_usage_mb == Some(400.0)).unwrap();
    assert!(records[..shifted].iter().all(|record| record.anomalies.is_empty()));
    let found = records[shifted..].iter().position(|record| !record.anomalies.is_empty()).unwrap();
    let anomaly = &records[shifted + found].anomalies[0];
    assert_eq!((anomaly.metric.as_str(), anomaly.observed), ("memory_usage_mb", 400.0));
    assert!(anomaly.expected_low < 200.0 && 200.0 < anomaly.expected_high, "{anomaly:?}");
    assert!(anomaly.expected_high < 400.0, "{anomaly:?}");
    assert!(0 < std::fs::metadata(node.path("state/anomaly.state")).unwrap().len());
}

#[test]
fn what_was_learnt_outlives_the_program_and_damage_is_set_aside() {
    let node = node(200);
    let config = node.path("lxc_monitor.toml");
    let mut daemon = Daemon::start(&config);
    for _ in 0..40 {
        daemon.wait_for("measured 1 running container in ");
    }
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    drop(daemon);

    // Ten samples are less than the required history: it is the one from before.
    let mut daemon = Daemon::start(&config);
    for _ in 0..10 {
        daemon.wait_for("measured 1 running container in ");
    }
    use_memory(&node, 400);
    daemon.wait_for("container 104: memory_usage_mb: the working set is unusually high at 400 MiB");
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    drop(daemon);

    node.write("state/anomaly.state", "something else");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("its checksum is wrong; the file is now ");
    daemon.wait_for("measured 1 running container in ");
    assert_eq!(std::fs::read_to_string(node.path("state/anomaly.state.damaged")).unwrap(), "something else");
}

/// The id of a container that was destroyed, given to a new one.
#[test]
fn another_container_with_the_same_id_is_learnt_from_scratch() {
    let node = node(200);
    let config = node.path("lxc_monitor.toml");
    let mut daemon = Daemon::start(&config);
    for _ in 0..40 {
        daemon.wait_for("measured 1 running container in ");
    }
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    drop(daemon);

    // It began 10 s ago, uses more, and has another name.
    let start_ticks = 2050 * rustix::param::clock_ticks_per_second();
    node.write("proc/7104/stat", &process_stat(7104, start_ticks));
    node.replace("proc/uptime", "2060.00 5000.00\n");
    node.replace("pve/lxc/104.conf", "hostname: other\nmemory: 512\n");
    use_memory(&node, 400);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("container 104 is another one than before, by its name and its start");
    for _ in 0..8 {
        daemon.wait_for("measured 1 running container in ");
    }
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    let snapshots = snapshots(&node.path("metrics.json"));
    assert!(snapshots.iter().all(|snapshot| snapshot.containers[&vmid(104)].anomalies.is_empty()));
}

#[test]
fn switched_off_it_flags_and_keeps_nothing() {
    let node = node(200);
    let config = std::fs::read_to_string(node.path("lxc_monitor.toml")).unwrap();
    node.write("lxc_monitor.toml", &config.replace("[anomaly]", "[anomaly]\nenabled = false"));
    let mut daemon = Daemon::start(&node.path("lxc_monitor.toml"));
    for _ in 0..40 {
        daemon.wait_for("measured 1 running container in ");
    }
    use_memory(&node, 400);
    for _ in 0..8 {
        daemon.wait_for("measured 1 running container in ");
    }
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    let snapshots = snapshots(&node.path("metrics.json"));
    assert!(snapshots.iter().all(|snapshot| snapshot.containers[&vmid(104)].anomalies.is_empty()));
    assert!(!node.path("state/anomaly.state").exists());
}
