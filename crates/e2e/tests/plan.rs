//! A plan on the simulated node: it is written by the program and carried out by `pct` through the real API, next to
//! the real daemon, which only recommends.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_e2e::{Process, binary, eventually, output, short_directory};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(2);
/// The daemon changes no container.
const RECOMMEND: &str = "[policy.all]\nnames = [\"*\"]\nscaling.mode = \"recommend\"\n";

fn ml(directory: &Path, arguments: &[&str]) -> Output {
    let config = directory.join("etc/lxc_autoscale_ml.toml");
    output(Command::new(binary("lxc-autoscale-ml")).args(arguments).arg("--config").arg(config))
}

/// Cores and memory in Proxmox's configuration.
fn sizes(directory: &Path, id: u64) -> (f64, f64) {
    let text = fs::read_to_string(directory.join(format!("node/etc/pve/lxc/{id}.conf"))).unwrap();
    let config = ContainerConfig::parse(&text).0;
    (f64::from(config.cores.unwrap()), config.memory_mb.as_f64())
}

#[test]
fn a_plan_is_carried_out_exactly_beside_a_daemon_and_kept() {
    let directory = short_directory();
    let path = directory.path();
    let policies = path.join("policies.toml");
    fs::write(&policies, RECOMMEND).unwrap();
    let mut command = Command::new(binary("lxc-autoscale-sim"));
    command.args(["demo", "--seconds", "3600", "--dir"]).arg(path).arg("--policies").arg(&policies);
    let mut demo = Process::start(&mut command, &path.join("demo.out"));
    let ledger = path.join("state/decisions.sqlite");
    eventually("the daemon decides", LIMIT, || {
        ml(path, &["decisions"]).status.success().then_some(ledger.exists())
    });

    // If a container's recommendation changes between plan and apply, apply refuses, so a plan may need several
    // attempts.
    let file = path.join("plan.json");
    let file_name = file.to_str().unwrap();
    let (plan, before, report) = eventually("a plan is applied", LIMIT, || {
        assert_eq!(ml(path, &["plan", "--out", file_name]).status.code(), Some(2));
        let plan: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let ids = plan["changes"].as_array().unwrap().iter().map(|it| it["id"].as_u64().unwrap());
        let before: Vec<_> = ids.map(|id| sizes(path, id)).collect();
        let applied = ml(path, &["apply", file_name, "--yes", "--json"]);
        let report: Value = serde_json::from_slice(&applied.stdout).unwrap();
        if applied.status.code() == Some(3) {
            let ids = plan["changes"].as_array().unwrap().iter().map(|it| it["id"].as_u64().unwrap());
            let now: Vec<_> = ids.map(|id| sizes(path, id)).collect();
            assert_eq!(now, before, "what is refused changes nothing: {report:#}");
            return None;
        }
        assert!(applied.status.success(), "{report:#}");
        Some((plan, before, report))
    });
    let changes = plan["changes"].as_array().unwrap();
    assert!(!changes.is_empty() && report["result"] == "done", "{report:#}");
    for change in changes {
        let (cores, memory) = sizes(path, change["id"].as_u64().unwrap());
        let has = if change["resource"] == "cpu" { cores } else { memory };
        assert_eq!(Some(has), change["to"].as_f64(), "{change:#}, before: {before:?}");
    }

    let id = changes[0]["id"].to_string();
    let history: Value = serde_json::from_slice(&ml(path, &["history", &id, "--json"]).stdout).unwrap();
    let wanted = format!("plan {}", plan["id"].as_str().unwrap());
    let by_plan = |it: &Value| it["wanted_by"].as_str().is_some_and(|by| by.ends_with(&wanted));
    assert!(history["decisions"].as_array().unwrap().iter().any(by_plan), "{history:#}");
    // The daemon, which only recommends, treats the change as its own: it is watched or cooled down, not respected as
    // a size set by hand.
    let log = path.join("log/lxc_autoscale_ml.log");
    eventually("the daemon takes it in", LIMIT, || {
        fs::read_to_string(&log).unwrap().contains("applied by hand, and taken over").then_some(())
    });
    let decisions = ml(path, &["decisions"]);
    let decisions = String::from_utf8(decisions.stdout).unwrap();
    assert!(!decisions.contains("somebody set it"), "{decisions}");

    demo.signal(Signal::INT);
    assert!(demo.wait(Duration::from_mins(1)).success(), "{}", demo.output());
}
