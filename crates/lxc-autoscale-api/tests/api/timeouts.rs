//! Calls of `pct` that take too long.

use std::fs;

use serde_json::{Value, json};

use crate::node::{Node, request, send};

/// Waits for something that another process does; limited by the test runner's own timeout.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_overdue_call_is_asked_to_end() {
    let mut node = Node::new();
    node.config.pct.change_timeout_seconds = 1;
    // What pct does on SIGTERM: it passes it on to its worker, cleans up and fails.
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
    let mut decided = post(104);
    decided.headers_mut().insert("x-purpose", "decision 4711".parse().unwrap());
    send(&api, decided).await.assert_error(504, "pct_timed_out");
    fs::remove_file(node.root().join("hook/set")).unwrap();
    send(&api, post(104)).await.assert_error(409, "change_in_progress");
    send(&api, post(102)).await.data();
    let health = send(&api, request("GET", "/health/check", None)).await;
    assert!(health.message().contains("took too long and still running: pct set 104 -cores 4"), "{health:?}");

    fs::write(node.root().join("release"), "").unwrap();
    until(|| node.root().join("ended").exists()).await;
    // The overdue call completed in the end; the container is free as soon as its end is noticed.
    loop {
        let reply = send(&api, post(104)).await;
        if reply.status.is_success() {
            break;
        }
        reply.assert_error(409, "change_in_progress");
        tokio::task::yield_now().await;
    }
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
    // The change counts as the server's own, as if it had been in time, and says whose decision it was.
    let page = send(&api, request("GET", "/ledger?vm_id=104", None)).await;
    let rows: Vec<String> = page.data()["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {} {} {}", entry["before"], entry["after"], entry["caller"], entry["why"]))
        .collect();
    assert_eq!(rows, [r#"2.0 4.0 "uid:0" "request: decision 4711""#]);
    let text = fs::read_to_string(&node.config.audit.file).unwrap();
    let of_104 = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_104: Vec<Value> = of_104.filter(|line| line["change"] == 1).collect();
    let told: Vec<(&str, &str)> = of_104
        .iter()
        .map(|line| (line["event"].as_str().unwrap(), line["code"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(told, [("begun", ""), ("not_done", "pct_timed_out"), ("done", "")]);
}

/// Its response said that it may still be running. It was, and its outcome is in the job.
#[tokio::test]
async fn a_job_that_outlives_its_time_ends_when_its_call_does() {
    for (rest, state, code) in [("", "done", Value::Null), ("exit 255", "failed", json!("interrupted"))] {
        let mut node = Node::new();
        node.config.pct.long_timeout_seconds = 1;
        node.config.pct.terminate_grace_seconds = 1;
        let held = "trap '' TERM; until [ -e \"$root/release\" ]; do sleep 0.05; done";
        node.hook("snapshot", &format!("{held}; {rest}"));
        let api = node.api();
        let body = json!({"vm_id": 104, "snapshot_name": "late"});
        let reply = send(&api, request("POST", "/snapshot/create", Some(body))).await;
        reply.assert_error(504, "pct_timed_out");
        let job = send(&api, request("GET", "/jobs/1", None)).await.data().clone();
        assert_eq!(
            (&job["state"], &job["code"], &job["cancellable"]),
            (&json!("running"), &json!("pct_timed_out"), &json!(false)),
            "{job}"
        );
        send(&api, request("DELETE", "/jobs/1", None)).await.assert_error(409, "not_cancellable");
        fs::write(node.root().join("release"), "").unwrap();
        let job = crate::jobs::ended(&api, "/jobs/1").await;
        assert_eq!((&job["state"], job.get("code").unwrap_or(&Value::Null)), (&json!(state), &code), "{job}");
        assert_eq!(node.conf(104).unwrap().contains("[late]"), state == "done");
    }
}

/// A copy that is completed after the time limit still gets its mark, and the snapshot it was made from is removed.
#[tokio::test]
async fn a_copy_that_outlives_its_time_is_marked_in_the_end() {
    let mut node = Node::new();
    node.config.pct.long_timeout_seconds = 1;
    node.config.pct.terminate_grace_seconds = 1;
    node.hook("clone", "trap '' TERM; until [ -e \"$root/release\" ]; do sleep 0.05; done");
    let api = node.api();
    let body = json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "late"});
    let reply = send(&api, request("POST", "/clone/create", Some(body))).await;
    reply.assert_error(502, "left_behind");
    let reset = json!({"vm_id": 105, "cores": 2});
    send(&api, request("POST", "/scale/cores", Some(reset))).await.assert_error(409, "change_in_progress");
    assert!(node.conf(104).unwrap().contains("[lxc-autoscale-clone-105]"), "it is being made of it");
    fs::write(node.root().join("release"), "").unwrap();
    let job = crate::jobs::ended(&api, "/jobs/1").await;
    assert_eq!((&job["state"], &job["result"]["new_vm_id"]), (&json!("done"), &json!(105)), "{job}");
    assert!(node.conf(105).unwrap().contains("lxc-autoscale-clone-105"));
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"));
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
        environment.contains("LC_ALL=C.UTF-8\n") && environment.contains("PATH=/usr/local/sbin:"),
        "{environment}"
    );
    assert!(!environment.contains("CARGO"), "{environment}");

    let mut node = Node::new();
    node.config.pct.keep_environment = vec!["CARGO_MANIFEST_DIR".to_owned(), "NOT_SET_ANYWHERE".to_owned()];
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    let environment = fs::read_to_string(node.root().join("environment")).unwrap();
    assert!(environment.contains("CARGO_MANIFEST_DIR="), "{environment}");
}
