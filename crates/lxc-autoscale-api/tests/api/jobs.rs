//! Calls that take long: jobs, cancelling them, and what a restart does with those that were running.

use axum::Router;
use serde_json::{Value, json};

use crate::node::{Node, Reply, request, send};
use crate::roles::with_key;
use crate::trail::{assert_chain_holds, lines};

const CLONE: &str = r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#;

async fn post_async(api: &Router, path: &str, body: &str) -> Reply {
    let mut request = request("POST", path, Some(serde_json::from_str(body).unwrap()));
    request.headers_mut().insert("prefer", "respond-async".parse().unwrap());
    send(api, request).await
}

async fn get(api: &Router, path: &str) -> Value {
    send(api, request("GET", path, None)).await.data().clone()
}

/// Waits until a job has ended and returns it.
pub(crate) async fn ended(api: &Router, path: &str) -> Value {
    loop {
        let job = get(api, path).await;
        if job.get("ended").is_some() {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_long_call_is_a_job_when_that_is_preferred() {
    let node = Node::new();
    let api = node.api();
    let reply = post_async(&api, "/clone/create", CLONE).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.headers["preference-applied"], "respond-async");
    let path = reply.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(format!("/jobs/{}", reply.body["data"]["id"]), path);
    let job = ended(&api, &path).await;
    assert_eq!((&job["state"], &job["kind"]), (&json!("done"), &json!("create_clone")), "{job}");
    assert_eq!(job["result"]["tag"], "lxc-autoscale-clone-105");
    assert_eq!(job["message"], "Container 105 is a copy of container 104 and is stopped.");
    let steps: Vec<&str> =
        job["steps"].as_array().unwrap().iter().map(|step| step["text"].as_str().unwrap()).collect();
    assert!(steps[0].starts_with("pct snapshot 104 lxc-autoscale-clone-105 "), "{steps:?}");
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert_eq!(get(&api, "/jobs").await[0]["id"], job["id"]);

    // Without the preference, the response is the usual one, and the job exists all the same.
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    let reply = send(&api, request("POST", "/snapshot/create", Some(body))).await;
    assert_eq!(reply.data()["snapshot_name"], "mine");
    assert_eq!(get(&api, "/jobs").await[0]["kind"], "create_snapshot");

    // A job that fails reports the same error as the call.
    let reply = post_async(&api, "/snapshot/create", r#"{"vm_id": 104, "snapshot_name": "mine"}"#).await;
    let job = ended(&api, reply.headers["location"].to_str().unwrap()).await;
    assert_eq!((&job["state"], &job["code"]), (&json!("failed"), &json!("snapshot_exists")));
    send(&api, request("GET", "/jobs/99", None)).await.assert_error(404, "no_such_job");
    let reply = send(&api, request("GET", "/jobs/x", None)).await;
    reply.assert_error(400, "invalid_parameter");
    assert_eq!(reply.message(), "`x` in the path is no valid `id`");
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_nothing() {
    let node = Node::new();
    node.hook(
        "clone",
        "trap 'rm -f \"$configs/105.conf\"; exit 255' TERM
        printf 'lock: create\\nhostname: copy\\n' >\"$configs/105.conf\"; touch \"$root/copying\"
        while :; do sleep 0.05; done",
    );
    let api = node.api();
    let reply = post_async(&api, "/clone/create", CLONE).await;
    let path = reply.headers["location"].to_str().unwrap().to_owned();
    while !node.root().join("copying").exists() {
        tokio::task::yield_now().await;
    }
    // Without a record of who did it, nothing is cancelled.
    let (audit, aside) = (node.root().join("audit.jsonl"), node.root().join("aside"));
    std::fs::rename(&audit, &aside).unwrap();
    std::fs::create_dir(&audit).unwrap();
    send(&api, request("DELETE", &path, None)).await.assert_error(503, "not_audited");
    assert!(get(&api, &path).await.get("ended").is_none());
    std::fs::remove_dir(&audit).unwrap();
    std::fs::rename(&aside, &audit).unwrap();
    send(&api, request("DELETE", &path, None)).await.data();
    let job = ended(&api, &path).await;
    let records = lines(&node);
    let events: Vec<&str> = records.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["begun", "cancel_asked", "not_done"], "{records:?}");
    assert_eq!((&records[1]["job"], &records[1]["caller"]), (&job["id"], &json!("uid:0")));
    let action = records[1]["action"].as_str().unwrap();
    assert!(action.starts_with(&format!("cancel job {}: ", job["id"])), "{action}");
    assert_chain_holds(&node);
    assert_eq!((&job["state"], &job["code"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
    assert_eq!(node.conf(105), None);
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"));
    send(&api, request("DELETE", &path, None)).await.assert_error(409, "job_ended");
}

#[tokio::test]
async fn a_rollback_is_not_given_up_half_way_but_may_be_before_it_begins() {
    let node = Node::new();
    let api = node.api();
    let named = r#"{"vm_id": 104, "snapshot_name": "mine"}"#;
    post_async(&api, "/snapshot/create", named).await;
    node.hook("rollback", "touch \"$root/rolling\"; until [ -e \"$root/go\" ]; do sleep 0.05; done");
    let first = post_async(&api, "/snapshot/rollback", named).await;
    let second = post_async(&api, "/snapshot/rollback", named).await;
    let path = |reply: &Reply| reply.headers["location"].to_str().unwrap().to_owned();
    while !node.root().join("rolling").exists() {
        tokio::task::yield_now().await;
    }
    send(&api, request("DELETE", &path(&first), None)).await.assert_error(409, "not_cancellable");
    send(&api, request("POST", &format!("{}/cancel", path(&second)), None)).await.data();
    assert_eq!(ended(&api, &path(&second)).await["state"], "cancelled");
    std::fs::write(node.root().join("go"), "").unwrap();
    assert_eq!(ended(&api, &path(&first)).await["state"], "done");
    assert_eq!(node.calls().iter().filter(|call| call.starts_with("rollback")).count(), 1);
}

#[tokio::test]
async fn jobs_are_bounded() {
    let mut node = Node::new();
    node.config.state.max_jobs = 100;
    let api = node.api();
    for _ in 0..130 {
        let body = json!({"vm_id": 999, "snapshot_name": "mine"});
        send(&api, request("POST", "/snapshot/create", Some(body)))
            .await
            .assert_error(404, "no_such_container");
    }
    let count = get(&api, "/jobs").await.as_array().unwrap().len();
    assert!((100..130).contains(&count), "{count}");
}

#[tokio::test]
async fn a_broken_file_is_put_aside() {
    let node = Node::new();
    std::fs::create_dir_all(&node.config.state.directory).unwrap();
    std::fs::write(node.config.state.directory.join("api.sqlite"), "no database at all".repeat(500)).unwrap();
    node.post("/snapshot/create", json!({"vm_id": 104, "snapshot_name": "mine"})).await.data();
    let names = std::fs::read_dir(&node.config.state.directory).unwrap();
    assert!(
        names.map(|name| name.unwrap().file_name()).any(|name| name.to_string_lossy().contains(".corrupt-"))
    );
}

/// The newest jobs are those that the key may see, however many others there are.
#[tokio::test]
async fn a_key_for_one_container_sees_its_jobs_behind_those_of_others() {
    let node = Node::new();
    for id in [102, 104] {
        node.post("/snapshot/create", json!({"vm_id": id, "snapshot_name": "one"})).await.data();
    }
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    let more = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
        INSERT INTO changes (is_job, task, summary, containers, caller, state, created_us, begun_us, ended_us)
        SELECT is_job, task, summary, containers, caller, state, created_us, begun_us, ended_us FROM changes, n
        WHERE containers = '[104]'";
    database.execute(more, []).unwrap();
    let jobs = send(&node.api(), with_key(&node, "/jobs")).await.data().clone();
    let containers: Vec<&Value> = jobs.as_array().unwrap().iter().map(|job| &job["containers"]).collect();
    assert_eq!(containers, [&json!([102])]);
    assert_eq!(node.get("/jobs").await.data().as_array().unwrap().len(), 200);
}
