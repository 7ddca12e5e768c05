//! A second monitor that writes what the first one writes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::Node;
use crate::program::{Daemon, PROGRAM, node};

const PATIENCE: Duration = Duration::from_mins(1);

/// Writes another configuration, in which everything but `shared` is the second monitor's own.
fn second_config(node: &Node, shared: &str) -> std::path::PathBuf {
    let mut text = std::fs::read_to_string(node.config_file()).unwrap();
    let own = [
        "metrics.json",
        "state/alerts.json",
        "state/anomaly.state",
        "state/notifications",
        "state/metrics.sqlite",
        "exporter.address",
        "monitor.log",
    ];
    for path in own.into_iter().filter(|path| *path != shared) {
        let (from, to) = (node.path(path), node.path(&format!("second/{path}")));
        text = text.replace(&format!("'{}'", from.display()), &format!("'{}'", to.display()));
    }
    node.write("second.toml", &text);
    node.path("second.toml")
}

/// The exit code and what a monitor says that does not start; `None` if it measures.
fn refusal(config: &Path, output: &Path) -> Option<(Option<i32>, String)> {
    let mut process = Command::new(PROGRAM)
        .args(["run", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        if process.try_wait().unwrap().is_some() {
            let output = process.wait_with_output().unwrap();
            return Some((output.status.code(), String::from_utf8(output.stderr).unwrap()));
        }
        if std::fs::read_to_string(output).is_ok_and(|text| text.contains("collection_start_time")) {
            process.kill().unwrap();
            process.wait().unwrap();
            return None;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn a_second_monitor_that_shares_any_of_its_files_is_refused() {
    let node = node();
    let config = node.config_file();
    let mut first = Daemon::start(&config);
    first.wait_for("measured 1 running container in ");
    let output = node.path("second/metrics.json");
    for (shared, key) in [
        ("state/alerts.json", "alerts.state_file"),
        ("state/anomaly.state", "anomaly.state_file"),
        ("state/notifications", "notifications.directory"),
        ("state/metrics.sqlite", "history.file"),
    ] {
        let (code, said) = refusal(&second_config(&node, shared), &output)
            .unwrap_or_else(|| panic!("`{shared}` is shared, and it measures"));
        assert_eq!(code, Some(2), "{said}");
        let want = format!("another lxc-monitor is writing `{}`", node.path(shared).display());
        assert!(said.contains(&want) && said.contains(&format!("`{key}`")), "{said}");
    }
    assert_eq!(refusal(&second_config(&node, "nothing"), &output), None);
    // What the first one does not write is free.
    first.signal(rustix::process::Signal::TERM);
    first.wait_for("lxc-monitor ends");
    first.process.wait().unwrap();
    std::fs::remove_file(&output).unwrap();
    assert_eq!(refusal(&second_config(&node, "state/metrics.sqlite"), &output), None);
}

#[test]
fn a_reload_to_what_another_monitor_writes_changes_nothing() {
    let node = node();
    let config = node.config_file();
    let mut first = Daemon::start(&config);
    first.wait_for("measured 1 running container in ");
    let own = second_config(&node, "nothing");
    let mut second = Daemon::start(&own);
    second.wait_for("measured 1 running container in ");
    let text = std::fs::read_to_string(&own).unwrap();
    let history = node.path("state/metrics.sqlite").display().to_string();
    let shared = text.replace(&node.path("second/state/metrics.sqlite").display().to_string(), &history);
    node.write("second.toml", &shared);
    second.signal(rustix::process::Signal::HUP);
    second.wait_for("metrics.sqlite`; stop it first, or set `history.file` to another place; the settings stay as they were");
    second.wait_for("measured 1 running container in ");
    // To a place of its own, and back to that of before.
    let moved = text.replace("second/state/metrics.sqlite", "second/state/moved.sqlite");
    for text in [&moved, &text] {
        node.write("second.toml", text);
        second.signal(rustix::process::Signal::HUP);
        second.wait_for("read the configuration");
    }
    first.wait_for("measured 1 running container in ");
}
