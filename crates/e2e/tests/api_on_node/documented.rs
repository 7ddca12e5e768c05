//! Every `curl` line of the product's first description, verbatim; what counts is the change on the node.

use std::fs;
use std::process::Command;

use lxc_autoscale_e2e::{binary, output};
use serde_json::Value;

use crate::node::{BackEnd, Node};
use crate::schema;

#[test]
fn every_documented_call_does_what_it_says_through_pct() {
    every_documented_call_does_what_it_says(BackEnd::Pct);
}

#[test]
fn every_documented_call_does_what_it_says_through_the_rest_api() {
    every_documented_call_does_what_it_says(BackEnd::Rest);
}

fn every_documented_call_does_what_it_says(back_end: BackEnd) {
    let node = Node::start(back_end);
    let json = r#"-H "Content-Type: application/json""#;

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/cores {json} -d '{{"vm_id": 104, "cores": 4}}'"#
    ));
    assert_eq!(node.config(104).cores, Some(4));

    let limit = |cores: &str| {
        node.run(&format!(
            r#"curl -X POST http://proxmox:5000/scale/cpulimit {json} -d '{{"vm_id": 104, "cpulimit": {cores}}}'"#
        ))
    };
    limit("1.5");
    assert_eq!(node.config(104).cpulimit, Some(1.5));
    assert_eq!(node.cgroup(104, "cpu.max"), "150000 100000", "a running container has it at once");
    limit("0");
    assert_eq!(node.config(104).cpulimit, None);
    assert!(node.cgroup(104, "cpu.max").starts_with("max"), "and loses it at once");

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/ram {json} -d '{{"vm_id": 104, "memory": 4096}}'"#
    ));
    assert_eq!(node.config(104).memory_mb.get(), 4096);
    assert_eq!(
        node.cgroup(104, "memory.max"),
        (4096_u64 << 20).to_string(),
        "a running container has it at once"
    );

    let before = node.config(104).rootfs_mb.unwrap().get();
    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/storage/increase {json} -d '{{"vm_id": 104, "disk_size": 2}}'"#
    ));
    assert_eq!(node.config(104).rootfs_mb.unwrap().get(), before + 2048);

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/snapshot/create {json} -d '{{"vm_id": 104, "snapshot_name": "my_snapshot"}}'"#
    ));
    assert!(fs::read_to_string(node.config_path(104)).unwrap().contains("[my_snapshot]"));

    let list = node.run(r#"curl -X GET "http://proxmox:5000/snapshot/list?vm_id=104""#);
    assert_eq!(list["data"]["snapshots"][0]["name"], "my_snapshot", "{list}");

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/ram {json} -d '{{"vm_id": 104, "memory": 5120}}'"#
    ));
    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/snapshot/rollback {json} -d '{{"vm_id": 104, "snapshot_name": "my_snapshot"}}'"#
    ));
    assert_eq!(node.config(104).memory_mb.get(), 4096, "the snapshot's size is back");
    assert!(node.runs(104), "a container that ran runs again after the rollback");

    keeps_the_newest_snapshots(&node, json);

    let clone = node.run(&format!(
        r#"curl -X POST http://proxmox:5000/clone/create {json} -d '{{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "cloned_container"}}'"#
    ));
    assert_eq!(node.config(105).name.as_deref(), Some("cloned-container"), "{clone}");
    assert!(node.runs(104));
    let source = fs::read_to_string(node.config_path(104)).unwrap();
    assert_eq!(source.matches("\nsnaptime:").count(), 1, "no temporary snapshot is left behind: {source}");
    assert!(!source.contains("lock:"), "{source}");

    node.proxmox.succeed("pct start 105");
    assert!(node.runs(105), "so that deleting has to stop it");
    node.run(&format!(r#"curl -X DELETE http://proxmox:5000/clone/delete {json} -d '{{"vm_id": 105}}'"#));
    assert!(!node.config_path(105).exists());

    starts_and_stops(&node, json);

    let status = node.run(r#"curl -X GET "http://proxmox:5000/resource/vm/status?vm_id=104""#);
    assert_eq!(status["data"]["state"], "running", "{status}");
    assert_eq!(status["data"]["allocation"]["memory_mb"], 4096, "{status}");

    let config = node.run(r#"curl -X GET "http://proxmox:5000/resource/lxc/config?lxc_id=104""#);
    let text = fs::read_to_string(node.config_path(104)).unwrap();
    assert_eq!(config["data"]["settings"]["memory"], "4096", "{config}");
    assert!(
        text.contains(&format!("hostname: {}\n", config["data"]["settings"]["hostname"].as_str().unwrap()))
    );
    assert!(config["data"]["digest"].as_str().is_some_and(|digest| digest.len() == 40), "{config}");

    tells_of_its_cluster(&node);

    let status = node.run(r#"curl -X GET "http://proxmox:5000/resource/node/status?node_name=proxmox""#);
    assert_eq!(status["data"]["node_name"], "proxmox", "{status}");

    let routes = node.run("curl -X GET http://proxmox:5000/routes");
    assert!(routes["data"].as_array().is_some_and(|routes| 12 < routes.len()), "{routes}");

    node.run("curl -X GET http://proxmox:5000/health/check");

    tells_why(&node);

    if back_end == BackEnd::Rest {
        let calls = fs::read_to_string(node.proxmox.at("calls.jsonl")).unwrap();
        let seen = schema::check_calls(&calls);
        // All calls of the client, except for reading privileges, which only `check` does, cancelling, and looking
        // for calls that were lost or containers that have moved.
        let elsewhere = [
            "GET /access/permissions",
            "DELETE /nodes/{node}/tasks/{upid}",
            "GET /nodes/{node}/tasks",
            "GET /cluster/resources",
        ];
        let missing: Vec<&str> = schema::methods()
            .into_iter()
            .filter(|method| !seen.contains(*method) && !elsewhere.contains(method))
            .collect();
        assert_eq!(missing, [""; 0], "calls that were never made");
    }
}

#[test]
fn health_says_what_is_missing_and_a_fresh_monitor_makes_it_whole() {
    let node = Node::start(BackEnd::Pct);
    let health = node.run("curl -X GET http://proxmox:5000/health/check");
    assert_eq!(health["data"]["state"], "degraded", "no monitor has written yet: {health}");
}

fn keeps_the_newest_snapshots(node: &Node, json: &str) {
    for name in ["daily-1", "daily-2"] {
        node.run(&format!(
            r#"curl -X POST http://proxmox:5000/snapshot/create {json} -d '{{"vm_id": 104, "snapshot_name": "{name}"}}'"#
        ));
    }
    let pruned = node.run(&format!(
        r#"curl -X POST http://proxmox:5000/snapshot/prune {json} -d '{{"vm_id": 104, "keep": 1, "name_prefix": "daily-"}}'"#
    ));
    assert_eq!(
        (&pruned["data"]["removed"][0], &pruned["data"]["kept"][0]),
        (&"daily-1".into(), &"daily-2".into()),
        "{pruned}"
    );
    node.run(&format!(
        r#"curl -X DELETE http://proxmox:5000/snapshot/delete {json} -d '{{"vm_id": 104, "snapshot_name": "daily-2"}}'"#
    ));
    let config = fs::read_to_string(node.config_path(104)).unwrap();
    assert!(config.contains("[my_snapshot]") && !config.contains("[daily-"), "{config}");
}

fn starts_and_stops(node: &Node, json: &str) {
    for (verb, more, runs) in [
        ("reboot", "", true),
        ("reboot", r#", "force": true, "timeout": 20"#, true),
        ("shutdown", "", false),
        ("start", "", true),
        ("start", "", true),
        ("stop", "", false),
        ("shutdown", r#", "force": true"#, false),
        ("start", "", true),
    ] {
        let line =
            format!(r#"curl -X POST http://proxmox:5000/power/{verb} {json} -d '{{"lxc_id": 104{more}}}'"#);
        let answer = node.run(&line);
        assert_eq!((&answer["data"]["running"], node.runs(104)), (&runs.into(), runs), "{line}: {answer}");
    }
}

/// The answer of the ml daemon's own program, based on a measurement that the monitor has just made.
fn tells_why(node: &Node) {
    let at = |path: &str| node.proxmox.at(path).display().to_string();
    let monitor = format!(
        "[paths]\ncgroup = '{0}/sys/fs/cgroup'\nproc = '{0}/proc'\nsys = '{0}/sys'\npve = '{0}/etc/pve'\n\
         [logging]\nfile = ''\n",
        at("node")
    );
    fs::write(at("monitor.toml"), monitor).unwrap();
    let mut measure = Command::new(binary("lxc-monitor"));
    let measured = output(measure.args(["once", "--config", &at("monitor.toml")]));
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let snapshot: Value = serde_json::from_slice(&measured.stdout).unwrap();
    fs::write(at("lxc_metrics.json"), format!("[\n{snapshot}\n]\n")).unwrap();
    let shipped = fs::read_to_string(at("lxc_autoscale_ml.toml")).unwrap();
    let own = shipped
        .replace("/var/log/lxc_metrics.json", &at("lxc_metrics.json"))
        .replace("/var/lib/lxc_autoscale_ml/ml", &at("ml-state"))
        .replace("/var/lib/lxc_autoscale_ml/monitor", &at("monitor-state"));
    fs::write(at("lxc_autoscale_ml.toml"), own).unwrap();

    let why = node.run(r#"curl -X GET "http://proxmox:5000/resource/lxc/why?lxc_id=104""#);
    let now = &why["data"]["explanation"]["now"];
    assert_eq!(why["data"].get("kind_of_load"), None, "not known from one measurement: {why}");
    let has = node.config(104).memory_mb.get();
    assert_eq!(now["inputs"]["allocation"]["memory_mib"].as_f64(), Some(has as f64), "{why}");
    assert!(now["memory"]["reason"].is_object() || now["memory"]["reason"].is_string(), "{why}");
    assert!(why["data"]["explanation"]["otherwise"]["memory"].is_object(), "{why}");
    for (query, code) in [
        ("lxc_id=999", "no_decision"),
        // No decision was ever made here.
        ("lxc_id=104&at=2026-11-25T13:05:00Z", "no_decision"),
    ] {
        let answer = node.ask(&format!(r#"curl -X GET "http://proxmox:5000/resource/lxc/why?{query}""#));
        assert_eq!(answer["code"], code, "{answer}");
    }
}

fn tells_of_its_cluster(node: &Node) {
    let members = node.proxmox.at("node/etc/pve/.members");
    let cluster = || node.run("curl -X GET http://proxmox:5000/resource/cluster/status")["data"].clone();
    let alone = cluster();
    assert_eq!((alone.get("cluster"), &alone["nodes"][0]["name"]), (None, &"proxmox".into()), "{alone}");
    let two = r#"{"nodename": "proxmox", "cluster": {"name": "home", "version": 2, "nodes": 2, "quorate": 1},
        "nodelist": {"proxmox": {"id": 1, "online": 1, "ip": "10.0.0.1"}, "pve2": {"id": 2, "online": 0, "ip": "10.0.0.2"}}}"#;
    fs::write(members, two).unwrap();
    let home = cluster();
    assert_eq!(
        (&home["cluster"]["quorate"], &home["nodes"][1]["online"]),
        (&true.into(), &false.into()),
        "{home}"
    );
}
