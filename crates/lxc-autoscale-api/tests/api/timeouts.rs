//! Calls of `pct` that take too long.

use std::fs;

use serde_json::json;

use crate::node::{Node, request, send};

/// Waits for something that another process does; bounded by the test runner's own timeout.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_overdue_call_is_asked_to_end() {
    let mut node = Node::new();
    node.config.pct.change_timeout_seconds = 1;
    // What pct does on SIGTERM: it hands it on to its worker, cleans up and fails.
    node.hook("set", "trap 'touch \"$root/asked\"; exit 255' TERM; while :; do sleep 0.1; done");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.assert_error(504, "pct_timed_out");
    assert!(node.root().join("asked").exists());
    fs::remove_file(node.root().join("hook/set")).unwrap();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
}

#[tokio::test]
async fn a_call_that_goes_on_is_not_killed_and_blocks_its_container() {
    let mut node = Node::new();
    node.config.pct.change_timeout_seconds = 1;
    node.config.pct.terminate_grace_seconds = 1;
    node.hook(
        "set",
        "trap '' TERM; until [ -e \"$root/release\" ]; do sleep 0.1; done; touch \"$root/ended\"",
    );
    let api = node.api();
    let post = |vm_id: u32| request("POST", "/scale/cores", Some(json!({"vm_id": vm_id, "cores": 4})));
    send(&api, post(104)).await.assert_error(504, "pct_timed_out");
    fs::remove_file(node.root().join("hook/set")).unwrap();
    send(&api, post(104)).await.assert_error(409, "change_in_progress");
    send(&api, post(102)).await.data();
    let health = send(&api, request("GET", "/health/check", None)).await;
    assert!(health.message().contains("took too long and still runs: pct set 104 -cores 4"), "{health:?}");

    fs::write(node.root().join("release"), "").unwrap();
    until(|| node.root().join("ended").exists()).await;
    // The overdue call did its work in the end; the container is free again as soon as its end is seen.
    loop {
        let reply = send(&api, post(104)).await;
        if reply.status.is_success() {
            break;
        }
        reply.assert_error(409, "change_in_progress");
        tokio::task::yield_now().await;
    }
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
}

#[tokio::test]
async fn endless_output_is_bounded_and_does_not_block() {
    let mut node = Node::new();
    node.config.pct.max_output_kib = 1;
    node.hook("set", "head -c 300000 /dev/zero | tr '\\0' x >&2; fail ''");
    let reply = node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    reply.assert_error(502, "pct_failed");
    assert!(reply.message().len() < 1000);
}

#[tokio::test]
async fn a_process_that_keeps_the_pipe_open_does_not_hold_the_answer() {
    let node = Node::new();
    node.hook("set", "(while [ -d \"$root\" ]; do sleep 0.1; done) &");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
}

#[tokio::test]
async fn the_environment_is_ours_not_the_callers() {
    let node = Node::new();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    let environment = fs::read_to_string(node.root().join("environment")).unwrap();
    assert!(
        environment.contains("LC_ALL=C\n") && environment.contains("PATH=/usr/local/sbin:"),
        "{environment}"
    );
    assert!(!environment.contains("CARGO"), "{environment}");

    let mut node = Node::new();
    node.config.pct.keep_environment = vec!["CARGO_MANIFEST_DIR".to_owned(), "NOT_SET_ANYWHERE".to_owned()];
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    let environment = fs::read_to_string(node.root().join("environment")).unwrap();
    assert!(environment.contains("CARGO_MANIFEST_DIR="), "{environment}");
}
