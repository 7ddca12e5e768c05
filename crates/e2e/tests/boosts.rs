//! A boost through the real API, together with the real ml daemon: the boost is respected while it lasts, and
//! afterwards does not count as a manual change; and one that runs out by itself gives the size back.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_e2e::{Process, binary, eventually, output, request, short_directory};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(2);
/// An idle mail server with far too much memory; only this container is scaled, and soon.
const POLICIES: &str = "[policy.all]\nnames = [\"*\"]\nscaling.mode = \"off\"\n\
     [policy.mail]\nids = [101]\nscaling.mode = \"auto\"\nscaling.cpu.mode = \"off\"\nscaling.memory.cooldown_down_seconds = 14\n\
     scaling.guard.watch_seconds = 1\nscaling.guard.watch_samples = 1\n";

fn memory_mib(directory: &Path) -> f64 {
    let text = fs::read_to_string(directory.join("node/etc/pve/lxc/101.conf")).unwrap();
    ContainerConfig::parse(&text).0.memory_mb.as_f64()
}

/// The output of a command, parsed as JSON and raw.
fn told(directory: &Path, command: &str) -> (Option<Value>, String) {
    let config = directory.join("etc/lxc_autoscale_ml.toml");
    let mut program = Command::new(binary("lxc-autoscale-ml"));
    let told = output(program.args([command, "101", "--json", "--config"]).arg(config));
    (serde_json::from_slice(&told.stdout).ok(), String::from_utf8(told.stdout).unwrap())
}

/// What the daemon would decide about memory now, and the state of its guards.
fn why(directory: &Path) -> Option<(Value, Value)> {
    let now = told(directory, "why").0?.get("now")?.clone();
    Some((now["memory"].clone(), now["inputs"]["guard"]["memory"].clone()))
}

/// The demo, in which the daemon has just shrunk the container for the first time.
struct Demo {
    process: Process,
    directory: TempDir,
    address: String,
    /// The memory after that.
    first: f64,
}

impl Demo {
    fn start() -> Self {
        let directory = short_directory();
        let path = directory.path();
        let policies = path.join("policies.toml");
        fs::write(&policies, POLICIES).unwrap();
        let mut command = Command::new(binary("lxc-autoscale-sim"));
        command.args(["demo", "--seconds", "3600", "--dir"]).arg(path).arg("--policies").arg(&policies);
        let process = Process::start(&mut command, &path.join("demo.out"));
        let first = eventually("the daemon shrinks it", LIMIT, || {
            let has = path.join("node/etc/pve/lxc/101.conf").exists().then(|| memory_mib(path))?;
            let log = fs::read_to_string(path.join("log/lxc_autoscale_ml.log")).ok()?;
            log.contains("Successfully scaled RAM for LXC ID 101").then_some(has)
        });
        let config = fs::read_to_string(path.join("etc/lxc_autoscale_ml.toml")).unwrap();
        let address = config.split("url = \"http://").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let address = address.to_owned();
        Self { process, directory, address, first }
    }

    fn ask(&self, method: &str, route: &str, body: &Value) -> Value {
        let answer = request(&self.address, method, route, &[], body).unwrap();
        assert_eq!(answer.status, 200, "{method} {route}: {}", answer.body);
        answer.body["data"].clone()
    }

    fn stop(mut self) {
        self.process.signal(Signal::INT);
        assert!(self.process.wait(Duration::from_mins(1)).success(), "{}", self.process.output());
    }
}

#[test]
fn a_boost_is_respected_while_it_lasts_and_an_undo_for_a_day() {
    let demo = Demo::start();
    let (path, first) = (demo.directory.path(), demo.first);
    let ask = |method: &str, route: &str, body: Value| demo.ask(method, route, &body);
    let answer = ask("GET", "/resource/lxc/why?vm_id=101", Value::Null);
    assert_eq!(answer["kind_of_load"]["name"], "idle", "{answer:#}");

    let boosts = ask("POST", "/boost", json!({"vm_id": 101, "memory": 3072, "minutes": 60}));
    let base = boosts[0]["base"].as_f64().unwrap();
    assert!(base <= first && memory_mib(path) > 3071.0);
    eventually("the boost is seen, and holds the shrink", LIMIT, || {
        let (decision, guard) = why(path)?;
        let is_held = decision["reason"]["kind"] == "boosted" && guard["boost"]["size"] == 3072.0;
        is_held.then(|| assert_eq!(guard.get("manual"), None, "nobody set that by hand: {guard:#}"))
    });

    eventually("the daemon has decided so itself", LIMIT, || {
        told(path, "why").1.contains("is boosted to 3072 MiB").then_some(())
    });

    ask("DELETE", "/boost", json!({"vm_id": 101}));
    assert!((memory_mib(path) - base).abs() < 0.5, "what it had before");
    eventually("scaling goes on at once", LIMIT, || (memory_mib(path) < base).then_some(()));
    let (_, kept) = told(path, "why");
    assert!(kept.contains("is boosted to 3072 MiB") && !kept.contains("set_by_hand"), "{kept}");

    // Undoing it is intended. A change within seconds of a change by the daemon would count as the daemon's own.
    eventually("the daemon's own change is a while ago", LIMIT, || {
        let reason = why(path)?.0["reason"].clone();
        let left = reason["remaining_seconds"].as_u64()?;
        (reason["kind"] == "cool_down_down" && left <= 6).then_some(())
    });
    ask("POST", "/undo", json!({"vm_id": 101, "to": "original"}));
    let original = memory_mib(path);
    eventually("the undo is respected", LIMIT, || {
        let (decision, guard) = why(path)?;
        (guard["manual"]["size"] == original && decision["reason"]["kind"] == "set_by_hand").then_some(())
    });

    demo.stop();
}

/// What the ledger has of the container's memory from the start of the newest boost on, oldest first.
fn since_the_boost(demo: &Demo) -> Vec<(String, f64, f64)> {
    let page = demo.ask("GET", "/ledger?vm_id=101", &Value::Null);
    let entries = page["entries"].as_array().unwrap().iter().filter(|entry| entry["resource"] == "memory");
    let of = |entry: &Value| {
        let size = |key: &str| entry[key].as_f64().unwrap();
        (entry["why"].as_str().unwrap().to_owned(), size("before"), size("after"))
    };
    let mut found: Vec<_> = entries.map(of).collect();
    let boost = found.iter().position(|(why, ..)| why == "boost").unwrap();
    found.truncate(boost + 1);
    found.reverse();
    found
}

/// The daemon has something to shrink in each of its cycles, also in the one in which the boost ends.
#[test]
fn a_boost_that_runs_out_gives_the_size_back_before_the_daemon_goes_on() {
    let demo = Demo::start();
    let boosts = demo.ask("POST", "/boost", &json!({"vm_id": 101, "memory": 3072, "minutes": 1}));
    let base = boosts[0]["base"].as_f64().unwrap();
    assert!(memory_mib(demo.directory.path()) > 3071.0);
    eventually("the boost ends by itself", LIMIT, || {
        demo.ask("GET", "/boost", &Value::Null).as_array().unwrap().is_empty().then_some(())
    });
    let found = since_the_boost(&demo);
    let (_, rest) = found.split_first().unwrap();
    let given_back = ("end of boost".to_owned(), 3072.0, base);
    assert_eq!(rest.first(), Some(&given_back), "nobody came in between: {found:?}");
    demo.stop();
}
