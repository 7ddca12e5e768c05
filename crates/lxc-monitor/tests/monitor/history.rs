//! The history as the program writes it: on a full disk, broken, switched off, and shown. Larger numbers of kills and
//! damages are in the torture tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lxc_autoscale_core::history_store::{HistoryReader, Metric, Series, Tier};
use lxc_autoscale_core::metrics_file::MetricsReader;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::fixture::Node;
use crate::program::{Daemon, PROGRAM, node};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Samples of the node by minute; empty while there is no history.
fn minutes(file: &Path) -> Vec<(i64, u32)> {
    let Some(reader) = HistoryReader::open(file).unwrap() else { return Vec::new() };
    let found = reader.read(Series::NODE, Metric::Containers, Tier::Minute.between(0, i64::MAX)).unwrap();
    assert_eq!(found.damaged_blocks, 0);
    found.points.iter().map(|point| (point.start_ms, point.samples)).collect()
}

fn samples(file: &Path) -> u64 {
    minutes(file).iter().map(|(_, samples)| u64::from(*samples)).sum()
}

fn snapshots(node: &Node) -> u64 {
    MetricsReader::new(node.path("metrics.json")).read_new().map_or(0, |read| read.snapshots.len() as u64)
}

fn history(node: &Node) -> PathBuf {
    node.path("state/metrics.sqlite")
}

/// Waits until the history has all samples of the metrics file.
#[track_caller]
fn wait_until_complete(node: &Node, file: &Path, at_least: u64) {
    let begun = Instant::now();
    loop {
        let (written, recorded) = (snapshots(node), samples(file));
        if at_least <= recorded && written <= recorded {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{recorded} of {written}");
        std::thread::yield_now();
    }
}

/// A file system of 1 MiB.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        mount("small", &path, "tmpfs", MountFlags::empty(), c"size=1m").ok()?;
        Some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Removed, renamed, or replaced by another one.
#[test]
fn a_history_that_is_gone_is_written_anew() {
    let node = node();
    let config = node.config_file();
    let file = history(&node);
    let mut daemon = Daemon::start(&config);
    let said = "was removed, renamed or replaced while it was open; measuring goes on, and the history will be completed";
    wait_until_complete(&node, &file, 1);
    std::fs::remove_file(&file).unwrap();
    daemon.wait_for(said);
    daemon.wait_for("is written again");
    wait_until_complete(&node, &file, 2);
    let elsewhere = node.path("state/elsewhere.sqlite");
    std::fs::rename(&file, &elsewhere).unwrap();
    daemon.wait_for(said);
    daemon.wait_for("is written again");
    wait_until_complete(&node, &file, 3);
    // Nothing of it is left in a log that has another name.
    assert!(2 <= samples(&elsewhere), "{}", samples(&elsewhere));
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
}

/// Opening a FIFO waits for a writer that never comes.
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let node = node();
    let config = node.config_file();
    node.mkdir("state");
    node.put_fifo("state/metrics.sqlite");
    let output = Command::new(PROGRAM).args(["history", "node", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("metrics.sqlite` is not a regular file"), "{said}");
}

#[test]
fn a_full_disk_stops_the_history_and_nothing_else() {
    let node = node();
    let config = node.config_file();
    let Some(disk) = SmallDisk::mount(node.path("small")) else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let file = disk.0.join("metrics.sqlite");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&format!("'{}'", history(&node).display()), &format!("'{}'", file.display()));
    node.write("lxc_monitor.toml", &text);
    // Full to the last byte.
    let filler = disk.0.join("filler");
    assert!(std::fs::write(&filler, vec![0; 2 << 20]).is_err());

    let mut daemon = Daemon::start(&config);
    daemon.wait_for("measuring goes on, and the history will be completed from the metrics file");
    daemon.wait_for("measured 1 running container in ");
    daemon.wait_for("measured 1 running container in ");
    std::fs::remove_file(&filler).unwrap();
    daemon.wait_for("is written again");
    wait_until_complete(&node, &file, 3);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    assert!(daemon.process.wait().unwrap().success());
    let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
    assert_eq!(log.matches("measuring goes on, and the history").count(), 1, "said once: {log}");
    assert_eq!(samples(&file), snapshots(&node));
}

/// The cycles that could not be written were under way when the disk became full.
#[test]
fn a_disk_that_becomes_full_costs_no_sample() {
    let node = node();
    let config = node.config_file();
    let Some(disk) = SmallDisk::mount(node.path("small")) else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let file = disk.0.join("metrics.sqlite");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&format!("'{}'", history(&node).display()), &format!("'{}'", file.display()));
    node.write("lxc_monitor.toml", &text);
    let mut daemon = Daemon::start(&config);
    wait_until_complete(&node, &file, 3);
    let filler = disk.0.join("filler");
    assert!(std::fs::write(&filler, vec![0; 2 << 20]).is_err());
    daemon.wait_for("measuring goes on, and the history will be completed from the metrics file");
    std::fs::remove_file(&filler).unwrap();
    daemon.wait_for("is written again");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    daemon.process.wait().unwrap();
    assert_eq!(samples(&file), snapshots(&node));
}

#[test]
fn a_broken_database_is_begun_anew_from_the_metrics_file() {
    let node = node();
    let config = node.config_file();
    let file = history(&node);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("measured");
    wait_until_complete(&node, &file, 3);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    daemon.process.wait().unwrap();
    std::fs::write(&file, vec![7; 50_000]).unwrap();

    let mut daemon = Daemon::start(&config);
    daemon.wait_for("the history was broken; a new one was made");
    wait_until_complete(&node, &file, 4);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    assert!(file.with_file_name("metrics.sqlite.corrupt-1").exists());
    assert_eq!(samples(&file), snapshots(&node));
}

/// A container is destroyed, and another one gets its id.
#[test]
fn a_container_that_got_the_id_of_another_does_not_inherit_its_history() {
    let node = node();
    let config = node.config_file();
    let memory = |mib: u64| node.replace("cgroup/lxc/104/memory.current", &format!("{}\n", mib << 20));
    memory(300);
    node.write(
        "cgroup/lxc/104/memory.stat",
        "anon 0\nfile 0\nshmem 0\nfile_dirty 0\nfile_writeback 0\ninactive_file 0\nactive_file 0\n",
    );
    let mut daemon = Daemon::start(&config);
    wait_until_complete(&node, &history(&node), 3);
    // A rename while it runs changes nothing.
    node.replace("pve/lxc/104.conf", "hostname: bigdb\nmemory: 512\n");
    let renamed = samples_of(&node, 104);
    wait_until(|| renamed + 2 < samples_of(&node, 104));
    // It is gone, and then there is one that started later and has another name.
    let running = std::fs::read_to_string(node.path("proc/net/unix")).unwrap();
    node.replace("proc/net/unix", running.lines().next().unwrap());
    daemon.wait_for("measured 0 running containers");
    node.replace("proc/7104/stat", &crate::fixture::process_stat(7104, 199_000));
    node.replace("pve/lxc/104.conf", "hostname: tinyweb\nmemory: 512\n");
    memory(250);
    node.replace("proc/net/unix", &running);
    daemon.wait_for("the id belonged to `bigdb`; the history of `tinyweb` begins now");
    wait_until(|| 2 < samples_of(&node, 104));
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    daemon.process.wait().unwrap();
    let show = |id: &str| {
        let output = Command::new(PROGRAM)
            .args(["history", id, "--metric", "memory", "--tier", "1m", "--json", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let extremes = |key: &str| -> Vec<f64> {
            value["points"].as_array().unwrap().iter().map(|point| point[key].as_f64().unwrap()).collect()
        };
        (extremes("min"), extremes("max"), String::from_utf8(output.stderr).unwrap())
    };
    let (min, max, said) = show("tinyweb");
    assert!(!min.is_empty() && min == max, "{min:?} {max:?}: only its own use");
    assert!(said.contains("104 was another container, which `history bigdb` shows"), "{said}");
    let (_, _, said) = show("bigdb");
    assert!(said.contains("this is `bigdb`, which had the id 104 until"), "{said}");
}

/// Whom the ids belonged to before.
fn former(node: &Node) -> Vec<String> {
    let reader = HistoryReader::open(&history(node)).unwrap().unwrap();
    reader.former().unwrap().into_iter().map(|info| info.name).collect()
}

fn end(mut daemon: Daemon) {
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    daemon.process.wait().unwrap();
}

/// Proxmox's cluster file system does not answer while a container is replaced by another one with its id.
#[test]
fn a_container_that_got_an_id_while_no_name_could_be_read_does_not_inherit_its_history() {
    let node = node();
    let config = node.config_file();
    node.replace("pve/lxc/104.conf", "hostname: bigdb\nmemory: 512\n");
    let mut daemon = Daemon::start(&config);
    wait_until_complete(&node, &history(&node), 3);
    std::fs::rename(node.path("pve/lxc"), node.path("elsewhere")).unwrap();
    daemon.wait_for("configurations of the containers");
    let running = std::fs::read_to_string(node.path("proc/net/unix")).unwrap();
    node.replace("proc/net/unix", running.lines().next().unwrap());
    daemon.wait_for("measured 0 running containers");
    node.replace("proc/7104/stat", &crate::fixture::process_stat(7104, 199_000));
    node.replace("proc/net/unix", &running);
    daemon.wait_for("measured 1 running container");
    daemon.wait_for("measured 1 running container");
    node.write("elsewhere/104.conf", "hostname: tinyweb\nmemory: 512\n");
    std::fs::rename(node.path("elsewhere"), node.path("pve/lxc")).unwrap();
    daemon.wait_for("the id belonged to `bigdb`; the history of `tinyweb` begins now");
    end(daemon);
    assert_eq!(former(&node), ["bigdb"]);
}

/// The metrics file is gone, and with it the uptimes of before.
#[test]
fn a_rename_that_no_record_tells_of_makes_no_other_container() {
    let node = node();
    let config = node.config_file();
    node.replace("pve/lxc/104.conf", "hostname: bigdb\nmemory: 512\n");
    let daemon = Daemon::start(&config);
    wait_until_complete(&node, &history(&node), 3);
    end(daemon);
    let directory = std::fs::read_dir(node.path("metrics.json").parent().unwrap()).unwrap();
    for entry in directory.flatten() {
        if entry.file_name().to_string_lossy().contains("metrics.json") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let before = samples(&history(&node));
    node.replace("pve/lxc/104.conf", "hostname: renamed\nmemory: 512\n");
    let daemon = Daemon::start(&config);
    wait_until(|| before + 2 < samples(&history(&node)));
    end(daemon);
    assert_eq!(former(&node), [""; 0]);
    let reader = HistoryReader::open(&history(&node)).unwrap().unwrap();
    assert!(reader.series().unwrap().iter().any(|info| info.name == "renamed"));
}

/// Samples of the container that has this id.
fn samples_of(node: &Node, id: u32) -> u64 {
    let Some(reader) = HistoryReader::open(&history(node)).unwrap() else { return 0 };
    let found = reader.read(Series::from_raw(id), Metric::Memory, Tier::Minute.between(0, i64::MAX)).unwrap();
    found.points.iter().map(|point| u64::from(point.samples)).sum()
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "in vain");
        std::thread::yield_now();
    }
}

/// What is measured before the metrics file can be opened waits for it, and so does the history.
#[test]
fn a_directory_in_place_of_the_metrics_file_holds_the_history_up_only_while_it_is_there() {
    let node = node();
    node.write("metrics.json/something", "");
    let mut daemon = Daemon::start(&node.config_file());
    daemon.wait_for("a directory that is not empty is there; measuring goes on");
    daemon.wait_for("measured 1 running container in ");
    daemon.wait_for("measured 1 running container in ");
    std::fs::remove_dir_all(node.path("metrics.json")).unwrap();
    daemon.wait_for("is written again");
    assert!(3 <= snapshots(&node), "{}", snapshots(&node));
    wait_until_complete(&node, &history(&node), 3);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
}

#[test]
fn a_fifo_in_place_of_the_metrics_file_is_put_aside_at_the_start() {
    let node = node();
    node.put_fifo("metrics.json");
    let mut daemon = Daemon::start(&node.config_file());
    daemon.wait_for("metrics.json.before-1` now, and the file was created");
    daemon.wait_for("measured 1 running container in ");
    wait_until_complete(&node, &history(&node), 1);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
}

/// The history is in a directory of the monitor's user, and root imports.
#[test]
fn an_import_by_root_writes_through_no_link_and_waits_for_no_fifo() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: it takes root");
        return;
    }
    let (node, nobody) = (node(), 65_534);
    let config = node.config_file();
    node.write(
        "new.json",
        "[\n{\"104\":{\"timestamp\":\"2026-11-23T17:20:00Z\",\"memory_usage_mb\":5.5},\
         \"summary\":{\"collection_start_time\":\"2026-11-23T17:20:00Z\",\"collection_end_time\":\"2026-11-23T17:20:00Z\",\
         \"total_containers\":1,\"total_duration_seconds\":0.1,\"schema_version\":1}}\n]\n",
    );
    let import = || {
        let output = Command::new(PROGRAM)
            .arg("import")
            .arg(node.path("new.json"))
            .arg("--config")
            .arg(&config)
            .output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(import().0, Some(0));
    let database = std::fs::read(history(&node)).unwrap();
    std::fs::remove_dir_all(node.path("state")).unwrap();
    node.mkdir("state");
    std::os::unix::fs::chown(node.path("state"), Some(nobody), Some(nobody)).unwrap();
    // A truncated database would be extended to the length in its header, and anything else be renamed.
    for victim in [&database[..4096], b"root:x:0:0:root:/root:/bin/sh\n"] {
        std::fs::write(node.path("victim"), victim).unwrap();
        std::os::unix::fs::symlink(node.path("victim"), history(&node)).unwrap();
        let (code, said) = import();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("not a regular file but a link, a FIFO or similar"), "{said}");
        assert_eq!(std::fs::read(node.path("victim")).unwrap(), victim);
        std::fs::remove_file(history(&node)).unwrap();

        std::os::unix::fs::symlink(node.path("victim"), node.path("state/metrics.sqlite-wal")).unwrap();
        import();
        assert_eq!(std::fs::read(node.path("victim")).unwrap(), victim, "SQLite's log");
        std::fs::remove_dir_all(node.path("state")).unwrap();
        node.mkdir("state");
    }
    node.put_fifo("state/metrics.sqlite");
    let (code, said) = import();
    assert!(code == Some(2) && said.contains("not a regular file but a link"), "{said}");
}

#[test]
fn it_is_shown_while_the_daemon_writes_it_and_not_written_when_switched_off() {
    let node = node();
    let config = node.config_file();
    let mut daemon = Daemon::start(&config);
    wait_until_complete(&node, &history(&node), 3);
    let show = |args: &[&str]| {
        Command::new(PROGRAM).arg("history").args(args).arg("--config").arg(&config).output().unwrap()
    };
    let shown = show(&["node", "--metric", "containers", "--since", "10m", "--json"]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let value: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(value["points"][0]["max"], 1.0, "{value}");
    let table = String::from_utf8(show(&["104", "--metric", "memory"]).stdout).unwrap();
    assert!(table.contains("memory in MiB: working set"), "{table}");
    let unknown = show(&["105"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean `104`?"));

    // SIGHUP applies it: another file from now on, and none when it is switched off.
    let moved = std::fs::read_to_string(&config).unwrap().replace("metrics.sqlite", "moved.sqlite");
    node.write("lxc_monitor.toml", &moved);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for("again");
    wait_until_complete(&node, &node.path("state/moved.sqlite"), 3);
    let off = moved.replace("moved.sqlite'", "off.sqlite'\nenabled = false");
    node.write("lxc_monitor.toml", &off);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for("again");
    daemon.wait_for("measured 1 running container in ");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    assert!(!node.path("state/off.sqlite").exists());
}

/// As after an upgrade: `install.sh` moves the file of the original to where the monitor writes its own.
#[test]
fn of_a_file_of_the_original_only_what_is_true_reaches_the_history() {
    let node = node();
    let config = node.config_file();
    write_original(&node.path("metrics.json"), 5, 30);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("the history has taken what is true of 30 snapshots of the Python original");
    daemon.wait_for("measured 1 running container in ");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    daemon.process.wait().unwrap();
    let reader = HistoryReader::open(&history(&node)).unwrap().unwrap();
    let samples = |metric| -> u32 {
        // Up to the last day of that file.
        let found =
            reader.read(Series::from_raw(104), metric, Tier::Hour.between(0, 1_725_148_800_000)).unwrap();
        found.points.iter().map(|point| point.samples).sum()
    };
    let taken = [Metric::MemoryWithoutCache, Metric::RootfsUsed, Metric::RootfsTotal, Metric::Swap];
    assert_eq!(taken.map(samples), [30; 4]);
    assert_eq!(samples(Metric::NetRx), 29, "none to the first snapshot");
    let left_out = [
        Metric::Cpu,
        Metric::CpuShare,
        Metric::Memory,
        Metric::Processes,
        Metric::IoRead,
        Metric::IoWrite,
        Metric::SwapLimit,
    ];
    for metric in left_out {
        assert_eq!(samples(metric), 0, "{}", metric.name());
    }
    // The complete file that was put aside has nothing that is not there.
    let again = Command::new(PROGRAM)
        .args(["import", "--json", "--config"])
        .arg(&config)
        .arg(node.path("metrics.json.before-1"))
        .output()
        .unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    // Whether the daemon or the import makes the roll-ups of what the daemon has taken is a matter of time.
    assert_eq!(again["new_frames"], 0, "{again}");
    assert_eq!(taken.map(samples), [30; 4]);
    assert_eq!(samples(Metric::NetRx), 29);
}

/// B6: any size in constant memory, measured for the whole program.
#[test]
fn a_large_file_is_imported_in_little_memory() {
    let node = node();
    let config = node.config_file();
    let large = node.path("large.json");
    write_original(&large, 40, 1500);
    let size_mib = std::fs::metadata(&large).unwrap().len() >> 20;
    assert!(30 <= size_mib, "{size_mib} MiB");
    let import = |file: &Path| {
        let output = Command::new(PROGRAM)
            .args(["import", "--json", "--time-zone", "UTC", "--config"])
            .arg(&config)
            .arg(file)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", output.id());
        let mut peak_kib = 0;
        // After the program has ended, the file is gone or has no such line.
        while let Some(kib) = std::fs::read_to_string(&status).ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        }) {
            peak_kib = peak_kib.max(kib);
            std::thread::yield_now();
        }
        let output = output.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "a progress bar is for terminals");
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), peak_kib >> 10)
    };
    let (report, peak_mib) = import(&large);
    println!("{size_mib} MiB imported with {peak_mib} MiB resident at the most");
    assert_eq!((&report["snapshots"], &report["of_the_original"]), (&1500.into(), &1500.into()));
    assert!(peak_mib <= 24, "{peak_mib} MiB");
    let (again, _) = import(&large);
    assert_eq!((&again["new_roll_ups"], &again["new_frames"]), (&0.into(), &0.into()), "{again}");
}

fn write_original(path: &Path, containers: u32, snapshots: u32) {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    out.write_all(b"[").unwrap();
    for snapshot in 0..snapshots {
        let time =
            format!("2024-08-{:02}T{:02}:{:02}:07", 1 + snapshot / 1440, snapshot / 60 % 24, snapshot % 60);
        let separator = if snapshot == 0 { "" } else { "," };
        writeln!(out, "{separator}\n    {{").unwrap();
        for id in 100..100 + containers {
            writeln!(
                out,
                "        \"{id}\": {{\n            \"timestamp\": \"{time}.100000\",\n            \"cpu_usage_percent\": 37.5,\n            \"memory_usage_mb\": {}.25,\n            \"swap_usage_mb\": 0.0,\n            \"swap_total_mb\": 512.0,\n            \"process_count\": 31,\n            \"io_stats\": {{\n                \"reads\": 81920,\n                \"writes\": 40960\n            }},\n            \"network_usage\": {{\n                \"rx_bytes\": {},\n                \"tx_bytes\": 5\n            }},\n            \"filesystem_usage_gb\": 1.5,\n            \"filesystem_total_gb\": 8.0,\n            \"filesystem_free_gb\": 6.5\n        }},",
                200 + (snapshot * id) % 97,
                u64::from(snapshot) * 100_000
            )
            .unwrap();
        }
        write!(
            out,
            "        \"summary\": {{\n            \"collection_start_time\": \"{time}.000000\",\n            \"collection_end_time\": \"{time}.200000\",\n            \"total_containers\": {containers},\n            \"total_duration_seconds\": 0.2\n        }}\n    }}"
        )
        .unwrap();
    }
    out.write_all(b"\n]").unwrap();
    out.flush().unwrap();
}
