//! The unattended demo: the whole data path on the simulated node, and the effect of a `kill -9`.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_e2e::{Process, binary, eventually, output, short_directory};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const DAEMONS: [&str; 3] = ["lxc-monitor", "lxc-autoscale-api", "lxc-autoscale-ml"];

fn demo(directory: &Path, seconds: u32, report: &Path) -> Process {
    let mut command = Command::new(binary("lxc-autoscale-sim"));
    command.args(["demo", "--seconds", &seconds.to_string(), "--dir"]).arg(directory);
    Process::start(command.arg("--report").arg(report), &directory.join("demo.out"))
}

fn read_report(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The process id of a daemon of this demo, by its command line.
fn daemon(name: &str, directory: &Path) -> Option<Pid> {
    let marker = directory.display().to_string();
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let command_line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let program = command_line.split('\0').next()?;
        (program.ends_with(name) && command_line.contains(&marker)).then(|| Pid::from_raw(pid))?
    })
}

fn newest(directory: &Path) -> Option<jiff::Timestamp> {
    let snapshot = MetricsReader::read_newest(&directory.join("log/lxc_metrics.json")).ok()??;
    Some(snapshot.summary.collection_start_time.instant())
}

#[test]
fn starved_containers_grow_and_idle_ones_shrink_without_an_oom_kill() {
    let directory = short_directory();
    let report = directory.path().join("r.json");
    let mut demo = demo(directory.path(), 60, &report);
    let status = demo.wait(Duration::from_mins(3));
    assert!(status.success(), "{status}\n{}", demo.output());

    let report = read_report(&report);
    assert_eq!(report["oom_kills"], 0, "{report:#}");
    assert_eq!(report["daemons_healthy"], true, "{report:#}");
    assert!(1 <= report["resizes_up"].as_u64().unwrap(), "{report:#}");
    assert!(1 <= report["resizes_down"].as_u64().unwrap(), "{report:#}");
    let ids: Vec<_> =
        report["containers"].as_array().unwrap().iter().map(|ct| ct["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [100, 101, 102, 103, 104, 110, 111, 112, 113, 114]);
    let busy = report["containers"].as_array().unwrap().iter().find(|ct| ct["id"] == 104).unwrap();
    assert!(
        busy["first"]["cores"].as_f64().unwrap() < busy["last"]["cores"].as_f64().unwrap(),
        "the busy container got more cores: {busy:#}"
    );
}

#[test]
fn a_killed_daemon_loses_nothing_and_work_resumes() {
    let directory = short_directory();
    let report = directory.path().join("r.json");
    let mut demo = demo(directory.path(), 3600, &report);
    let first = eventually("the first live record", Duration::from_mins(2), || {
        daemon("lxc-monitor", directory.path()).and_then(|_| newest(directory.path()))
    });
    let mut last = eventually("records go on", Duration::from_mins(1), || {
        newest(directory.path()).filter(|time| first < *time)
    });
    for name in DAEMONS {
        let killed = eventually(name, Duration::from_mins(1), || daemon(name, directory.path()));
        kill_process(killed, Signal::KILL).unwrap();
        // At this very moment, anyone must be able to read a complete published file.
        let file = fs::read(directory.path().join("log/lxc_metrics.json")).unwrap();
        serde_json::from_slice::<Vec<Value>>(&file).unwrap();
        eventually(&format!("{name} runs again"), Duration::from_mins(1), || {
            daemon(name, directory.path()).filter(|pid| *pid != killed)
        });
        last = eventually("records go on", Duration::from_mins(1), || {
            newest(directory.path()).filter(|time| last < *time)
        });
    }
    let mut reader = MetricsReader::new(directory.path().join("log/lxc_metrics.json"));
    let found = reader.read_new().unwrap();
    assert!(found.unreadable.is_empty());
    assert!(
        found.snapshots.iter().any(|s| s.summary.collection_start_time.instant() == first),
        "nothing is lost"
    );

    demo.signal(Signal::INT);
    let status = demo.wait(Duration::from_mins(1));
    assert!(status.success(), "{status}\n{}", demo.output());
    assert_eq!(read_report(&report)["daemons_healthy"], true);
    for name in DAEMONS {
        assert_eq!(daemon(name, directory.path()), None, "{name} ended with the demo");
    }
}

/// From Proxmox's list of pools, through monitor, file, ml daemon and API, to the container's quota.
#[test]
fn a_policy_for_a_pool_steers_its_containers_by_cpulimit() {
    let directory = short_directory();
    let (report, policies) = (directory.path().join("r.json"), directory.path().join("policies.toml"));
    fs::write(
        &policies,
        "[policy.office]\npools = [\"office\"]\nscaling.cpu.control = \"cpulimit\"\nscaling.cpu.min_cores = 0.2\n",
    )
    .unwrap();
    let mut command = Command::new(binary("lxc-autoscale-sim"));
    command.args(["demo", "--seconds", "3600", "--dir"]).arg(directory.path());
    command.arg("--report").arg(&report).arg("--policies").arg(&policies);
    let mut demo = Process::start(&mut command, &directory.path().join("demo.out"));
    let config = |id: u32| {
        let path = directory.path().join(format!("node/etc/pve/lxc/{id}.conf"));
        let text = fs::read_to_string(path).ok()?;
        Some(lxc_autoscale_core::container_config::ContainerConfig::parse(&text).0)
    };
    let limit = Duration::from_mins(2);
    // 101 is idle with four cores: it ends with a fraction of one, both in the configuration and in the kernel.
    let cores = eventually("the idle container of the pool gets a limit below one core", limit, || {
        config(101)?.cpulimit.filter(|cores| *cores < 1.0)
    });
    assert!(0.2 <= cores && (cores * 100.0).fract().abs() < 1e-6, "{cores}");
    eventually("the kernel enforces it", limit, || {
        let cpulimit = config(101)?.cpulimit?;
        let quota = fs::read_to_string(directory.path().join("node/sys/fs/cgroup/lxc/101/cpu.max")).ok()?;
        let quota: f64 = quota.split_whitespace().next()?.parse().ok()?;
        ((quota / 100_000.0 - cpulimit).abs() < 0.001).then_some(())
    });
    assert_eq!(config(101).unwrap().cores, Some(4), "its cores are left as they are");
    // 104 is not in a pool: it is scaled by cores, as usual.
    eventually("the busy container gets cores", limit, || config(104)?.cores.filter(|cores| 1 < *cores));
    assert_eq!(config(104).unwrap().cpulimit, None);
    let shown = output(
        Command::new(binary("lxc-autoscale-ml"))
            .arg("--config")
            .arg(directory.path().join("etc/lxc_autoscale_ml.toml"))
            .args(["policy", "show", "101"]),
    );
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("pool office") && shown.contains("\"cpulimit\""), "{shown}");
    demo.signal(Signal::INT);
    assert!(demo.wait(Duration::from_mins(1)).success(), "{}", demo.output());
}

/// The original's reader: it loads the whole file with Python's `json.load`, then accesses the keys it requires.
#[test]
fn the_originals_reader_takes_the_file() {
    const READER: &str = r#"
import json, sys
KEYS = ["timestamp", "cpu_usage_percent", "memory_usage_mb", "process_count", "io_stats", "network_usage",
        "filesystem_usage_gb", "filesystem_total_gb", "filesystem_free_gb"]
count = 0
for snapshot in json.load(open(sys.argv[1])):
    for name, record in snapshot.items():
        if name != "summary" and all(key in record for key in KEYS):
            record["io_stats"]["reads"] + record["io_stats"]["writes"]
            record["network_usage"]["rx_bytes"] + record["network_usage"]["tx_bytes"]
            count += 1
print(count)
"#;
    let directory = short_directory();
    let report = directory.path().join("r.json");
    let mut demo = demo(directory.path(), 10, &report);
    assert!(demo.wait(Duration::from_mins(2)).success(), "{}", demo.output());
    let mut python = Command::new("python3");
    let done = output(python.args(["-c", READER]).arg(directory.path().join("log/lxc_metrics.json")));
    let count: u32 = String::from_utf8(done.stdout).unwrap().trim().parse().unwrap();
    assert!(10 * 12 < count, "days of past and some live records: {count}");
}
