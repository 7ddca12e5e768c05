//! Alerts of the running program: fired once and cleared once, however often it is killed.

use std::path::Path;
use std::process::Command;

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::notification::{Consumer, Kind, Notification};
use rustix::process::Signal;

use crate::fixture::{Node, process_stat, vmid};
use crate::program::{Daemon, PROGRAM};
use crate::trees::container_v1;

const FIRED: &str =
    "warning alert `processes` of container 104 (ct104): processes 90 % (fires at 85 %) since ";
const OVER: &str =
    "alert `processes` of container 104 (ct104) is over: processes 5 % (75 % or less); it began ";
const CYCLE: &str = "measured 1 running container";

/// Container 104 with a process limit of 200, and a rule about it without hold times.
fn node() -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpu memory pids\n");
    node.start(104, 7104);
    node.write("cgroup/lxc/104/cgroup.procs", "7104\n");
    node.write("cgroup/lxc/104/cpu.stat", "usage_usec 5\n");
    node.write("cgroup/lxc/104/pids.max", "200\n");
    processes(&node, 180);
    node
}

fn processes(node: &Node, count: u32) {
    node.replace("cgroup/lxc/104/pids.current", &format!("{count}\n"));
}

fn configure(node: &Node, levels: &str) -> std::path::PathBuf {
    let config = node.config_file();
    node.append(
        "lxc_monitor.toml",
        &format!("[alerts.rule.processes]\n{levels}for_seconds = 0\nclear_for_seconds = 0\n"),
    );
    config
}

fn kill(daemon: Daemon) {
    daemon.signal(Signal::KILL);
    drop(daemon);
}

fn queued(node: &Node) -> Vec<Notification> {
    let consumer = Consumer::open(node.path("state/notifications")).unwrap();
    let pending = consumer.pending(usize::MAX).unwrap();
    assert!(pending.unreadable.is_empty(), "{:?}", pending.unreadable);
    pending.notifications
}

/// The output of `alerts`, and its warning; with one, the exit code says that nothing is known.
fn list_and_warning(config: &Path, arguments: &[&str]) -> (String, String) {
    let output =
        Command::new(PROGRAM).arg("alerts").args(arguments).arg("--config").arg(config).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (printed, warning) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(if warning.is_empty() { 0 } else { 5 }), "{warning}");
    (printed, warning)
}

/// The output of `alerts`, and what it says besides; the list counts all the same.
fn list_and_note(config: &Path, arguments: &[&str]) -> (String, String) {
    let output =
        Command::new(PROGRAM).arg("alerts").args(arguments).arg("--config").arg(config).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (printed, said) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    (printed, said)
}

fn list(config: &Path, arguments: &[&str]) -> String {
    let (printed, warning) = list_and_warning(config, arguments);
    assert_eq!(warning, "");
    printed
}

#[test]
fn an_alert_fires_once_survives_a_kill_and_clears_once() {
    let node = node();
    let config = configure(&node, "");
    let (printed, warning) = list_and_warning(&config, &[]);
    assert_eq!(printed, "No alert is active.\n");
    assert!(warning.contains("holds no measurement, so nothing is known of now"), "{warning}");
    let (printed, _) = list_and_warning(&config, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let known = [&json["measured"], &json["stale"], &json["alerts"]];
    assert_eq!(known, [&serde_json::Value::Null, &true.into(), &serde_json::json!([])]);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    daemon.wait_for(CYCLE);
    kill(daemon);

    let table = list(&config, &[]);
    assert!(table.contains("warning   104 ct104  processes  90 % (fires at 85 %)  20"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&list(&config, &["--json"])).unwrap();
    let alert = &json["alerts"][0];
    assert_eq!((&alert["container"], &alert["value"]), (&104.into(), &90.0.into()));
    let newest = MetricsReader::read_newest(&node.path("metrics.json")).unwrap().unwrap();
    assert_eq!(json["measured"], newest.summary.collection_end_time.to_string());
    assert_eq!((&json["stale"], &json["reason"]), (&false.into(), &serde_json::Value::Null));
    let shown = &newest.containers[&vmid(104)].alerts[0];
    assert_eq!((shown.rule.as_str(), shown.value, shown.level), ("processes", Some(90.0), 85.0));

    let mut daemon = Daemon::start(&config);
    for _ in 0..3 {
        daemon.wait_for(CYCLE);
    }
    processes(&node, 10);
    daemon.wait_for(OVER);
    daemon.wait_for(CYCLE);
    kill(daemon);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(CYCLE);
    daemon.wait_for(CYCLE);
    kill(daemon);

    assert_eq!(list(&config, &[]), "No alert is active.\n");
    let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
    assert_eq!((log.matches(FIRED).count(), log.matches(OVER).count()), (1, 1), "{log}");
    let queued = queued(&node);
    assert_eq!(queued.iter().map(|one| one.kind).collect::<Vec<_>>(), [Kind::Fired, Kind::Cleared]);
    assert_eq!(queued[0].container, Some(vmid(104)));
    assert!(queued[0].text.starts_with(FIRED), "{}", queued[0].text);
    let newest = MetricsReader::read_newest(&node.path("metrics.json")).unwrap().unwrap();
    assert!(newest.containers[&vmid(104)].alerts.is_empty());
}

/// As on a full disk, or where the monitor may not write; `/proc` takes no file.
#[test]
fn what_fires_is_listed_where_the_state_cannot_be_saved() {
    let node = node();
    let config = configure(&node, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let own = node.path("state/alerts.json").display().to_string();
    node.write("lxc_monitor.toml", &text.replace(&own, "/proc/alerts.json"));
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    daemon.wait_for(CYCLE);
    kill(daemon);
    let (table, said) = list_and_note(&config, &[]);
    assert!(table.contains("warning   104 ct104  processes  90 % (fires at 85 %)  20"), "{table}");
    assert!(said.contains("the alerts' state does not have `processes` of 104; what was measured"), "{said}");
    assert!(said.contains("why `/proc/alerts.json` is not saved"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&list_and_note(&config, &["--json"]).0).unwrap();
    assert_eq!((&json["alerts"][0]["clear"], &json["stale"]), (&75.0.into(), &false.into()));
    assert!(json["disagreement"].as_str().unwrap().starts_with("the alerts' state does not have"), "{json}");
}

#[test]
fn an_alert_that_is_over_is_not_listed_because_the_state_could_not_be_saved() {
    let node = node();
    let config = configure(&node, "");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    daemon.wait_for(CYCLE);
    // In the way of the next one that is written.
    node.write("state/.alerts.json.new/something", "");
    processes(&node, 10);
    daemon.wait_for(OVER);
    daemon.wait_for(CYCLE);
    kill(daemon);
    let (table, said) = list_and_note(&config, &[]);
    assert_eq!(table, "No alert is active.\n");
    assert!(said.contains("the alerts' state still has `processes` of 104; what was measured"), "{said}");
    // A state that cannot even be read.
    std::fs::remove_file(node.path("state/alerts.json")).unwrap();
    node.mkdir("state/alerts.json");
    let (table, said) = list_and_note(&config, &[]);
    assert_eq!(table, "No alert is active.\n");
    assert!(said.contains("alerts.json` does not hold the state of alerts"), "{said}");
    // Killed after the state was saved and before the measurement was written.
    std::fs::remove_dir(node.path("state/alerts.json")).unwrap();
    std::fs::remove_dir_all(node.path("state/.alerts.json.new")).unwrap();
    std::fs::rename(node.path("metrics.json"), node.path("earlier.json")).unwrap();
    processes(&node, 180);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    daemon.wait_for(CYCLE);
    kill(daemon);
    std::fs::rename(node.path("earlier.json"), node.path("metrics.json")).unwrap();
    let table = list(&config, &[]);
    assert!(table.contains("warning   104 ct104  processes  unknown (fires at 85 %)  20"), "{table}");
}

#[test]
fn a_name_cannot_drive_the_terminal() {
    let node = node();
    let config = configure(&node, "");
    let stored = std::fs::read_to_string(node.path("pve/lxc/104.conf")).unwrap();
    node.replace("pve/lxc/104.conf", &stored.replace("ct104", "ct\u{1b}[2J"));
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("alert `processes` of container 104 ");
    daemon.wait_for(CYCLE);
    kill(daemon);
    let printed = list(&config, &[]);
    assert!(printed.contains("104 ct\\x1b[2J  processes"), "{printed}");
    let checked = Command::new(PROGRAM).arg("check").arg("--config").arg(&config).output().unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.contains("104 ct\\x1b[2J") && !checked.contains('\u{1b}'), "{checked}");
}

#[test]
fn a_renamed_container_is_listed_under_its_present_name() {
    let node = node();
    let config = configure(&node, "");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    daemon.wait_for(CYCLE);
    kill(daemon);
    let stored = std::fs::read_to_string(node.path("pve/lxc/104.conf")).unwrap();
    node.replace("pve/lxc/104.conf", &stored.replace("ct104", "renamed"));
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(CYCLE);
    kill(daemon);
    let table = list(&config, &[]);
    assert!(table.contains("warning   104 renamed  processes  90 % (fires at 85 %)  20"), "{table}");
}

/// On cgroup version 1 the kills are a sum over the existing groups: it falls when systemd removes that of a service
/// that ended, and is the same again after a restart with as many kills.
#[test]
fn a_kill_is_told_by_the_run_of_the_container_and_not_by_a_counter_that_went_back() {
    let node = Node::new();
    container_v1(&node, "lxc/104", 7104);
    node.start(104, 7104);
    let counter = |group: &str| format!("cgroup/memory/lxc/104/ns{group}/memory.oom_control");
    let kills = |group: &str, number: u32| {
        let text = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {number}\n");
        node.replace(&counter(group), &text);
    };
    // In addition to the four of the tree.
    kills("/ended.service", 3);
    let config = node.config_file();
    let rule = "[alerts.rule.oom-kill]\nfor_seconds = 0\nclear_for_seconds = 0\n";
    node.append("lxc_monitor.toml", &format!("{rule}[collection]\nfull_look_seconds = 0"));
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(CYCLE);
    std::fs::remove_dir_all(node.path("cgroup/memory/lxc/104/ns/ended.service")).unwrap();
    for _ in 0..3 {
        daemon.wait_for(CYCLE);
    }
    kills("", 5);
    let fired = |number: u32| {
        format!("alert `oom-kill` of container 104 (ct104): processes killed for lack of memory {number} ")
    };
    daemon.wait_for(&fired(1));
    daemon.wait_for("alert `oom-kill` of container 104 (ct104) is over");

    // Another init, ten seconds old, and as many kills as before.
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    node.write("proc/7204/status", "Name:\tinit\nNSpid:\t7204\t1\n");
    node.write("proc/7204/stat", &process_stat(7204, 2050 * ticks_per_second));
    node.mkdir("proc/7204/root");
    node.replace("proc/uptime", "2060.00 5000.00\n");
    node.replace("cgroup/memory/lxc/104/ns/cgroup.procs", "7204\n");
    std::fs::remove_dir_all(node.path("proc/7104")).unwrap();
    daemon.wait_for(&fired(5));
    // Later cycles are written later: the file contains it by then.
    daemon.wait_for(CYCLE);
    kill(daemon);
    let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
    assert_eq!(log.matches("critical alert `oom-kill`").count(), 2, "{log}");
}

/// A container that was listed as stopped, and is killed for lack of memory before it is looked at for the first time.
#[test]
fn kills_before_the_first_look_at_a_started_container_are_told() {
    let node = node();
    node.write("pve/lxc/105.conf", "hostname: ct105\nmemory: 512\n");
    let config = node.config_file();
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(CYCLE);
    node.write("cgroup/lxc/105/cgroup.procs", "7105\n");
    node.write("cgroup/lxc/105/cpu.stat", "usage_usec 5\n");
    node.write("cgroup/lxc/105/memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 4\n");
    node.start(105, 7105);
    daemon.wait_for(
        "critical alert `oom-kill` of container 105 (ct105): processes killed for lack of memory 4 ",
    );
    kill(daemon);
}

/// Killed at any point while the value goes up and down.
#[test]
fn fired_and_cleared_take_turns_whenever_it_is_killed() {
    let node = node();
    let config = configure(&node, "");
    for round in 0..24 {
        processes(&node, if round % 2 == 0 { 180 } else { 10 });
        let mut daemon = Daemon::start(&config);
        // From before its first line to after its first cycle.
        match round % 3 {
            0 => daemon.wait_for("lxc-monitor "),
            1 => daemon.wait_for(CYCLE),
            _ => {}
        }
        kill(daemon);
    }
    processes(&node, 10);
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(CYCLE);
    daemon.wait_for(CYCLE);
    kill(daemon);
    let kinds: Vec<_> = queued(&node).iter().map(|one| one.kind).collect();
    assert!(!kinds.is_empty());
    for pair in kinds.chunks(2) {
        assert_eq!(pair, [Kind::Fired, Kind::Cleared], "{kinds:?}");
    }
}

#[test]
fn an_alert_is_over_when_its_limit_is_taken_away() {
    let node = node();
    let config = configure(&node, "");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    node.replace("cgroup/lxc/104/pids.max", "max\n");
    daemon.wait_for("alert `processes` of container 104 (ct104) is over: there is no limit any more");
    node.replace("cgroup/lxc/104/pids.max", "200\n");
    daemon.wait_for(FIRED);
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
}

#[test]
fn new_rules_apply_at_once_and_a_wrong_one_changes_nothing() {
    let node = node();
    let config = configure(&node, "");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(FIRED);
    configure(&node, "trigger = 60\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for(
        "`alerts.rule.processes.clear` is 75 and must be less than `trigger`, 60; the settings stay",
    );
    configure(&node, "trigger = 95\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for("alert `processes` of container 104 (ct104) is over: the rule has other levels now");
    configure(&node, "");
    daemon.signal(Signal::HUP);
    daemon.wait_for(FIRED);
    node.config_file();
    node.append("lxc_monitor.toml", "[alerts.container.104.rule.processes]\nenabled = false");
    daemon.signal(Signal::HUP);
    daemon.wait_for("is over: the rule was switched off");
    daemon.signal(Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
}

#[test]
fn a_damaged_state_is_put_aside_and_said() {
    let node = node();
    let config = configure(&node, "");
    node.write("state/alerts.json", "{\"version\":1,\"state\":{\"alerts\":");
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("alerts.json.damaged`, alerts start over and may fire again");
    daemon.wait_for(FIRED);
    kill(daemon);
    assert!(node.path("state/alerts.json.damaged").exists());
}
