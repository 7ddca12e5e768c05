//! What the log says of a disk that is full for a long time, and of a log that is on it.

use std::fs::File;
use std::io::Write;

use lxc_autoscale_e2e::http::get;

use crate::exporter::{address, wait_until};
use crate::history::SmallDisk;
use crate::program::{Daemon, node};

/// Takes what is left of the disk, to the last page.
fn fill(disk: &SmallDisk) -> std::path::PathBuf {
    let path = disk.0.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

/// Each failure gives up the copies that rest, so that the next cycle can write, and the one after it cannot.
#[test]
fn a_full_disk_is_said_once_however_often_a_cycle_finds_room() {
    let node = node();
    let config = node.config_file();
    let Some(disk) = SmallDisk::mount(node.path("small")) else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let text = std::fs::read_to_string(&config).unwrap();
    let file = disk.0.join("metrics.json");
    let text = text.replace(&node.path("metrics.json").display().to_string(), &file.display().to_string());
    node.write("lxc_monitor.toml", &text.replace("interval_seconds = 0.2", "interval_seconds = 0.1"));
    let mut daemon = Daemon::start(&config);
    for _ in 0..20 {
        daemon.wait_for("measured 1 running container in ");
    }
    let filler = fill(&disk);
    for _ in 0..150 {
        daemon.wait_for("measured 1 running container in ");
    }
    let said = |what: &str| {
        let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
        (log.lines().filter(|line| line.contains(what)).count(), log)
    };
    let (failures, log) = said("cannot write the metrics file");
    assert!(log.contains("not written"), "it was not full: {log}");
    let (recoveries, _) = said("is written again");
    println!("{failures} failures and {recoveries} recoveries said");
    assert!(failures <= 4 && recoveries <= 3, "{log}");
    std::fs::remove_file(filler).unwrap();
}

/// Also one that is full only later; the lines are on standard output all the while.
#[test]
fn a_log_that_cannot_be_written_is_shown_while_it_cannot() {
    let node = node();
    let config = node.config_file();
    let Some(disk) = SmallDisk::mount(node.path("small")) else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let text = std::fs::read_to_string(&config).unwrap();
    let log = disk.0.join("monitor.log");
    let text = text.replace(&node.path("monitor.log").display().to_string(), &log.display().to_string());
    node.write("lxc_monitor.toml", &text);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("metrics for Prometheus are at http://");
    daemon.wait_for("measured 1 running container in ");
    let address = address(&node);
    let health = || get(address, "/health", "");
    wait_until("health", || health().body == "ok\n");
    let is_writable = |value: &str| {
        let line = format!("\nlxc_monitor_log_file_writable {value}\n");
        get(address, "/metrics", "").body.contains(&line)
    };
    assert!(is_writable("1"));
    let filler = fill(&disk);
    // A page of the log may have room for many lines.
    wait_until("the trouble of the log", || health().body != "ok\n");
    let shown = health();
    assert_eq!(shown.status, 200, "measurements are made");
    assert!(
        shown.body.starts_with("ok\nthe log file `") && shown.body.contains("No space left"),
        "{}",
        shown.body
    );
    assert!(is_writable("0"));
    std::fs::remove_file(filler).unwrap();
    wait_until("the end of it", || health().body == "ok\n");
    assert!(is_writable("1"));
}

#[test]
fn a_log_that_could_not_be_opened_is_shown() {
    let node = node();
    let config = node.config_file();
    node.mkdir("monitor.log");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("metrics for Prometheus are at http://");
    daemon.wait_for("measured 1 running container in ");
    let address = address(&node);
    wait_until("health", || get(address, "/health", "").status == 200);
    let shown = get(address, "/health", "").body;
    let log = node.path("monitor.log");
    let want = format!("ok\nthe log file `{}` cannot be written: ", log.display());
    assert!(shown.starts_with(&want), "{shown}");
}
