//! Answers of Proxmox that do not arrive, or not in time: the change may have been made all the same.

use std::fs::File;

use lxc_autoscale_e2e::eventually;
use serde_json::{Value, json};

use crate::node::{BackEnd, Node, PATIENCE, ROLE};
use crate::schema;

/// How an answer is lost: Proxmox's own proxy gives up, or the connection breaks.
const LOST: [&str; 2] = ["given-up", "lost"];

/// The ledger entries of container 104, oldest first.
fn ledger(node: &Node) -> Vec<String> {
    let page = node.look("/ledger?vm_id=104");
    let entries = page["entries"].as_array().unwrap().iter().rev();
    entries
        .map(|entry| {
            format!("{} to {} by {}", entry["resource"].as_str().unwrap(), entry["after"], entry["caller"])
        })
        .collect()
}

/// How often a call was made.
fn count(node: &Node, method: &str, path: &str) -> usize {
    let calls = node.calls();
    let calls = calls.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    calls.filter(|call| call["method"] == method && call["path"] == path).count()
}

#[test]
fn a_task_whose_name_is_lost_is_found_and_followed_to_its_end() {
    let node = Node::start(BackEnd::Rest);
    node.proxmox.set("volume_work_milliseconds", 1500);
    for (how, name) in LOST.into_iter().zip(["one", "two"]) {
        node.proxmox.set("answers_to_changes", how);
        let body = format!(r#"{{"vm_id": 104, "snapshot_name": "{name}"}}"#);
        let answer = node.post("/snapshot/create", &body);
        assert_eq!(answer["status"], "success", "{how}: {answer}");
    }
    assert_eq!(count(&node, "POST", "/nodes/proxmox/lxc/104/snapshot"), 2, "none is made twice");
    let seen = schema::check_calls(&node.calls());
    assert!(seen.contains("GET /nodes/{node}/tasks"), "{seen:?}");
}

/// A size is set without a task. It counts as our own change although nobody was told, and not as one from outside.
#[test]
fn a_size_that_was_set_without_an_answer_is_found_on_the_node() {
    let node = Node::start(BackEnd::Rest);
    let mut expected = Vec::new();
    for (how, cores) in LOST.into_iter().zip([3, 4]) {
        node.proxmox.set("answers_to_changes", how);
        let answer = node.post("/scale/cores", &format!(r#"{{"vm_id": 104, "cores": {cores}}}"#));
        assert_eq!(answer["code"], "answer_lost", "{how}: {answer}");
        assert!(!answer["message"].as_str().unwrap().contains("docs.rs"), "{how}: {answer}");
        expected.push(format!("cores to {cores}.0 by \"uid:0\""));
        eventually("the ledger has it", PATIENCE, || (ledger(&node) == expected).then_some(()));
    }
    node.proxmox.set("answers_to_changes", "whole");
    let body = r#"{"vm_id": 104, "cores": 5}"#;
    eventually("the container is free again", PATIENCE, || {
        (node.post("/scale/cores", body)["status"] == "success").then_some(())
    });
    expected.push("cores to 5.0 by \"uid:0\"".to_owned());
    assert_eq!(ledger(&node), expected);
}

/// A call that is not idempotent. A second request is refused while the first call is still under way, even if
/// Proxmox has not begun its task by the time limit of the call.
#[test]
fn a_disk_that_is_to_grow_grows_once() {
    let node = Node::start_with(BackEnd::Rest, "change_timeout_seconds = 1");
    let before = node.config(104).rootfs_mb.unwrap().get();
    let lock = node.proxmox.at("node/run/lock/lxc/pve-config-104.lock");
    let lock = File::options().create(true).append(true).open(lock).unwrap();
    lock.lock().unwrap();
    let body = r#"{"vm_id": 104, "disk_size": 1}"#;
    let answer = node.post("/scale/storage/increase", body);
    assert_eq!(answer["code"], "pct_timed_out", "{answer}");
    let again = node.post("/scale/storage/increase", body);
    assert_eq!(again["code"], "change_in_progress", "{again}");
    let job = node.look("/jobs/1");
    assert_eq!((&job["state"], &job["code"]), (&json!("running"), &json!("pct_timed_out")), "{job}");
    drop(lock);
    let job = eventually("the job ends", PATIENCE, || {
        let job = node.look("/jobs/1");
        job["ended"].is_string().then_some(job)
    });
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(node.config(104).rootfs_mb.unwrap().get(), before + 1024);
    assert_eq!(ledger(&node), [format!("rootfs to {}.0 by \"uid:0\"", before + 1024)]);
}

#[test]
fn a_task_that_outlives_its_time_ends_its_job_when_it_ends() {
    let node = Node::start_with(BackEnd::Rest, "long_timeout_seconds = 1");
    node.proxmox.set("volume_work_milliseconds", 3000);
    let answer = node.post("/snapshot/create", r#"{"vm_id": 104, "snapshot_name": "late"}"#);
    assert_eq!(answer["code"], "pct_timed_out", "{answer}");
    let other = node.post("/scale/cores", r#"{"vm_id": 104, "cores": 3}"#);
    assert_eq!(other["code"], "change_in_progress", "{other}");
    let job = eventually("the job ends", PATIENCE, || {
        let job = node.look("/jobs/1");
        job["ended"].is_string().then_some(job)
    });
    assert_eq!((&job["state"], &job["result"]["snapshot_name"]), (&json!("done"), &json!("late")), "{job}");
}

/// A copy is stopped to be removed, Proxmox refuses to remove it, and the answer to its start is lost.
#[test]
fn the_lost_answer_to_the_last_call_of_a_sequence_is_looked_for() {
    let node = Node::start(BackEnd::Rest);
    let body = r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#;
    assert_eq!(node.post("/clone/create", body)["status"], "success");
    assert_eq!(node.post("/power/start", r#"{"vm_id": 105}"#)["status"], "success");
    let role = ROLE.replace(" VM.Allocate", "");
    node.proxmox.succeed(&format!("pveum role modify Scale --privs '{role}'"));
    node.proxmox.set("answers_to_changes", "start-lost");
    let json = r#"-H "Content-Type: application/json""#;
    let delete = format!(r#"curl -X DELETE http://proxmox:5000/clone/delete {json} -d '{{"vm_id": 105}}'"#);
    let answer = node.ask(&delete);
    assert_eq!(answer["code"], "answer_lost", "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("VM.Allocate"), "{answer}");
    let job = eventually("the job ends", PATIENCE, || {
        let job = node.look("/jobs/3");
        job["ended"].is_string().then_some(job)
    });
    assert_eq!(job["state"], "failed", "{job}");
    assert!(node.runs(105));
    node.proxmox.set("answers_to_changes", "whole");
    let resized = node.post("/scale/cores", r#"{"vm_id": 105, "cores": 3}"#);
    assert_eq!(resized["status"], "success", "{resized}");
}

/// Status 595: Proxmox's own proxy could not reach the daemon behind it, so nothing was begun and nothing is held.
#[test]
fn a_call_that_did_not_reach_proxmox_is_not_waited_for() {
    let node = Node::start(BackEnd::Rest);
    node.proxmox.set("answers_to_changes", "unreached");
    for (path, body) in [
        ("/scale/cores", r#"{"vm_id": 104, "cores": 3}"#),
        ("/snapshot/create", r#"{"vm_id": 104, "snapshot_name": "mine"}"#),
    ] {
        let answer = node.post(path, body);
        assert_eq!(answer["code"], "node_not_ready", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("595"), "{answer}");
    }
    node.proxmox.set("answers_to_changes", "whole");
    let answer = node.post("/scale/cores", r#"{"vm_id": 104, "cores": 3}"#);
    assert_eq!(answer["status"], "success", "{answer}");
}
