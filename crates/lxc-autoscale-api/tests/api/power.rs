//! Starting, stopping and restarting: which calls are made, what is refused, and who may kill.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use jiff::Timestamp;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use serde_json::{Value, json};

use crate::node::{Node, RUNNING_104, STOPPED_102, send};

/// The request, its response, and the calls made for it.
const CASES: &[(&str, &str, &str, &[&str])] = &[
    (
        "start",
        r#"{"vm_id": 102}"#,
        r#"{"vm_id": 102, "was_running": false, "running": true, "changed": true}"#,
        &["start 102"],
    ),
    (
        "start",
        r#"{"vm_id": 104}"#,
        r#"{"vm_id": 104, "was_running": true, "running": true, "changed": false}"#,
        &[],
    ),
    (
        "stop",
        r#"{"vm_id": 104}"#,
        r#"{"vm_id": 104, "was_running": true, "running": false, "changed": true}"#,
        &["stop 104"],
    ),
    (
        "stop",
        r#"{"vm_id": 102}"#,
        r#"{"vm_id": 102, "was_running": false, "running": false, "changed": false}"#,
        &[],
    ),
    (
        "shutdown",
        r#"{"vm_id": 104}"#,
        r#"{"vm_id": 104, "was_running": true, "running": false, "changed": true}"#,
        &["shutdown 104 --timeout 60"],
    ),
    (
        "shutdown",
        r#"{"vm_id": 104, "timeout": 5, "force": true}"#,
        r#"{"vm_id": 104, "was_running": true, "running": false, "changed": true}"#,
        &["shutdown 104 --timeout 5 --forceStop 1"],
    ),
    (
        "shutdown",
        r#"{"vm_id": 102, "force": true}"#,
        r#"{"vm_id": 102, "was_running": false, "running": false, "changed": false}"#,
        &[],
    ),
    (
        // Proxmox's own restart kills a container that does not stop in time.
        "reboot",
        r#"{"vm_id": 104, "timeout": 7}"#,
        r#"{"vm_id": 104, "was_running": true, "running": true, "changed": true}"#,
        &["shutdown 104 --timeout 7", "start 104"],
    ),
    (
        "reboot",
        r#"{"vm_id": 104, "timeout": 7, "force": true}"#,
        r#"{"vm_id": 104, "was_running": true, "running": true, "changed": true}"#,
        &["reboot 104 --timeout 7"],
    ),
];

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_container_is_started_stopped_and_restarted() {
    for (verb, body, answer, calls) in CASES {
        let node = Node::new();
        let reply = node.post(&format!("/power/{verb}"), parsed(body)).await;
        assert_eq!(reply.data(), &parsed(answer), "{verb} {body}");
        assert_eq!(node.calls(), *calls, "{verb} {body}");
        let id = u32::try_from(reply.data()["vm_id"].as_u64().unwrap()).unwrap();
        assert_eq!(reply.data()["running"], node.is_running(id), "{verb} {body}: what is said is so");
    }
}

#[tokio::test]
async fn what_cannot_be_started_or_stopped_is_not_tried() {
    let mut node = Node::new();
    node.config.limits.protected_containers = vec![106.try_into().unwrap()];
    for (id, first_line) in [(105, "lock: backup"), (106, "cores: 1"), (107, "template: 1")] {
        node.write_conf(id, &format!("{first_line}\n{STOPPED_102}"));
    }
    for (id, status, code) in [
        (105, 409, "locked"),
        (106, 403, "protected_container"),
        (107, 409, "is_template"),
        (999, 404, "no_such_container"),
    ] {
        for verb in ["start", "stop", "shutdown", "reboot"] {
            node.post(&format!("/power/{verb}"), json!({"vm_id": id})).await.assert_error(status, code);
        }
    }
    node.post("/power/reboot", json!({"vm_id": 102})).await.assert_error(409, "stopped");
    for timeout in [0, 3601] {
        let body = json!({"vm_id": 104, "timeout": timeout});
        node.post("/power/shutdown", body).await.assert_error(422, "out_of_bounds");
    }
    assert_eq!(node.calls(), [""; 0]);
    // Protection only prevents removal, and a root filesystem mounted on the node is no obstacle.
    node.write_conf(104, &format!("protection: 1\nlock: mounted\n{RUNNING_104}"));
    node.hook("shutdown", "stop_now; exit 0");
    assert_eq!(node.post("/power/shutdown", json!({"vm_id": 104})).await.data()["changed"], true);
}

#[tokio::test]
async fn what_does_not_stop_in_time_runs_on() {
    let node = Node::new();
    node.hook("shutdown", "fail 'container did not stop'");
    for verb in ["shutdown", "reboot"] {
        let reply = node.post(&format!("/power/{verb}"), json!({"vm_id": 104, "timeout": 1})).await;
        reply.assert_error(409, "did_not_stop");
        assert!(node.is_running(104));
    }
    assert!(!node.calls().iter().any(|call| call.starts_with("start")));
    node.hook("shutdown", "exit 0");
    node.post("/power/shutdown", json!({"vm_id": 104})).await.assert_error(502, "not_applied");
}

#[tokio::test]
async fn a_restart_that_stops_half_way_says_so() {
    let node = Node::new();
    node.hook("start", "fail \"startup for container '104' failed\"");
    let reply = node.post("/power/reboot", json!({"vm_id": 104})).await;
    reply.assert_error(502, "not_restarted");
    assert!(reply.message().contains("was shut down") && reply.message().contains("startup"), "{reply:?}");
}

/// Proxmox reports only that it has sent the request; the manager acts later.
#[tokio::test]
async fn what_the_high_availability_manager_is_asked_for_is_waited_for() {
    let node = Node::new();
    let later = "echo 'Requesting HA start for CT 102'
        (sleep 0.3; echo \"0: 00000002 00000000 00010000 0001 01 1 @/var/lib/lxc/102/command\" >>\"$sockets\") \
        >/dev/null 2>&1 &
        exit 0";
    node.hook("start", later);
    let reply = node.post("/power/start", json!({"vm_id": 102})).await;
    assert_eq!(reply.data()["running"], true);
    assert!(node.is_running(102));
}

#[tokio::test]
async fn to_kill_takes_an_admin() {
    let node = Node::new();
    let api = node.api();
    let file = KeyFile::new(node.config.server.keys_file.clone());
    let key = |name: &str, role| {
        let containers = Some(BTreeSet::from([104.try_into().unwrap()]));
        file.create(NewKey { name: name.to_owned(), role, containers, expires: None }, Timestamp::now())
    };
    let (operator, admin) = (key("operator", Role::Operator).unwrap(), key("admin", Role::Admin).unwrap());
    let ask = async |key: &str, verb: &str, body: Value| {
        let request = Request::post(format!("/power/{verb}")).header("host", "proxmox:5000");
        let request = request.header("authorization", format!("Bearer {key}"));
        let request = request.header("content-type", "application/json").extension(Peer { uid: None });
        send(&api, request.body(Body::from(body.to_string())).unwrap()).await
    };
    let force = json!({"vm_id": 104, "force": true});
    for (verb, body) in
        [("stop", json!({"vm_id": 104})), ("shutdown", force.clone()), ("reboot", force.clone())]
    {
        ask(&operator, verb, body).await.assert_error(403, "wrong_role");
    }
    assert_eq!(node.calls(), [""; 0]);
    ask(&operator, "reboot", json!({"vm_id": 104})).await.data();
    ask(&admin, "reboot", force).await.data();
    ask(&admin, "start", json!({"vm_id": 102})).await.assert_error(403, "out_of_scope");
    assert_eq!(node.calls(), ["shutdown 104 --timeout 60", "start 104", "reboot 104 --timeout 60"]);
}
