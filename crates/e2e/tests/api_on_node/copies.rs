//! Copies that are under way when the server is killed: the next server compares them with the node, and never repeats
//! them.

use std::fs;

use lxc_autoscale_e2e::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::node::{BackEnd, Node, PATIENCE};

/// Starts to copy container 104, and returns once half of the copy is there.
fn begin_copy(node: &Node) {
    let json = r#"-H "Content-Type: application/json" -H "Prefer: respond-async""#;
    let body = r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#;
    node.run(&format!("curl -X POST http://proxmox:5000/clone/create {json} -d '{body}'"));
    eventually("half of the copy is there", PATIENCE, || {
        fs::read_to_string(node.config_path(105)).ok().filter(|copy| copy.contains("lock: create"))
    });
}

fn settled_job(node: &Node) -> Value {
    eventually("the job ends", PATIENCE, || {
        let job = node.look("/jobs/1");
        job["ended"].is_string().then_some(job)
    })
}

/// How many of the steps of a job copy a container.
fn copies(job: &Value) -> usize {
    let steps = job["steps"].as_array().unwrap().iter().filter_map(|step| step["text"].as_str());
    steps.filter(|step| step.starts_with("pct clone ") || step.ends_with("/lxc/104/clone")).count()
}

#[test]
fn a_copy_that_outlives_the_server_is_finished_by_the_next_one() {
    for back_end in [BackEnd::Pct, BackEnd::Rest] {
        let node = Node::start(back_end);
        let config = node.proxmox.at("api.toml");
        node.proxmox.set("volume_work_milliseconds", 3000);
        begin_copy(&node);
        let proxmox = node.kill();
        let node = Node::serve(proxmox, &config);
        let job = settled_job(&node);
        assert_eq!(
            (&job["state"], &job["result"]["new_vm_id"]),
            (&json!("done"), &json!(105)),
            "{back_end:?}: {job}"
        );
        assert_eq!(copies(&job), 1, "{back_end:?}: {job}");
        let copy = node.config(105);
        assert_eq!((copy.lock, copy.name.as_deref()), (None, Some("copy")), "{back_end:?}");
        assert!(copy.tags.contains(&"lxc-autoscale-clone-105".to_owned()), "{back_end:?}: {:?}", copy.tags);
        let source = fs::read_to_string(node.config_path(104)).unwrap();
        assert!(!source.contains("[lxc-autoscale-clone-105]") && !source.contains("lock:"), "{source}");
    }
}

/// Half a copy is removed. The lock that Proxmox leaves on the source then is not ours to remove, so it is named.
#[test]
fn a_copy_that_dies_with_the_server_leaves_nothing_but_what_is_named() {
    let node = Node::start(BackEnd::Pct);
    let config = node.proxmox.at("api.toml");
    node.proxmox.succeed("pct stop 104");
    node.proxmox.set("volume_work_milliseconds", 600_000);
    begin_copy(&node);
    let proxmox = node.kill();
    let own = proxmox.at("node").display().to_string();
    for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&own) && line.contains(" pct clone 104 105 ") {
            let id: i32 = process.file_name().to_str().unwrap().parse().unwrap();
            kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
        }
    }
    proxmox.set("volume_work_milliseconds", 0);
    let node = Node::serve(proxmox, &config);
    let job = settled_job(&node);
    assert_eq!((&job["state"], &job["code"]), (&json!("failed"), &json!("left_behind")), "{job}");
    let message = job["message"].as_str().unwrap();
    assert!(message.contains("there is no copy 105") && message.contains("`pct unlock 104`"), "{job}");
    assert_eq!(copies(&job), 1, "{job}");
    assert!(!node.config_path(105).exists());
    // What the job says to do helps.
    node.proxmox.succeed("pct unlock 104");
    let copied = node.post("/clone/create", r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#);
    assert_eq!(copied["status"], "success", "{copied}");
}
