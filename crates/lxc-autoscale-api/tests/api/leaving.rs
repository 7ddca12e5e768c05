//! Clients of the real server that disconnect before they have their response.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::node::Node;
use crate::server::Server;

/// Waits for something that the server does; limited by the test runner's own timeout.
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Closes a connection, and waits until the server has noticed, which closes its end.
fn leave(server: &Server, client: TcpStream) {
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    let (own, its) = (port(client.local_addr().unwrap()), port(server.address()));
    drop(client);
    until(|| {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let is_there = table.lines().any(|line| {
            let mut ends = line.split_whitespace().skip(1);
            let (local, remote) = (ends.next().unwrap_or(""), ends.next().unwrap_or(""));
            local.ends_with(&its) && remote.ends_with(&own)
        });
        (!is_there).then_some(())
    });
}

/// Makes a call of `command` wait until `release` exists; `held` shows that it is running.
pub(crate) fn hold(node: &Node, command: &str) {
    node.hook(
        command,
        "touch \"$root/held\"; until [ -e \"$root/release\" ] || [ ! -d \"$root\" ]; do sleep 0.02; done",
    );
}

pub(crate) fn until_held(node: &Node) {
    until(|| node.root().join("held").exists().then_some(()));
}

pub(crate) fn release(node: &Node) {
    fs::write(node.root().join("release"), "").unwrap();
}

/// Another process has locked the database when the job is recorded, and the client does not wait.
#[test]
fn a_job_whose_client_left_while_it_was_written_down_ends() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let other = Connection::open(node.root().join("state/api.sqlite")).unwrap();
    let body = json!({"vm_id": 104, "snapshot_name": "first"});
    // A client that leaves before the server has even read the request leaves no job; then another one is sent.
    while server.data("/jobs") == json!([]) {
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let client = server.send("POST", "/snapshot/create", &body);
        let mut answer = String::new();
        server.send("GET", "/routes", &Value::Null).read_to_string(&mut answer).unwrap();
        leave(&server, client);
        other.execute_batch("COMMIT").unwrap();
    }
    let job = until(|| {
        let jobs = server.data("/jobs");
        jobs.get(0).filter(|job| job.get("ended").is_some()).cloned()
    });
    assert_eq!((&job["state"], &job["code"]), (&json!("cancelled"), &json!("abandoned")), "{job}");
    assert_eq!(node.calls(), [""; 0]);
    let trail = fs::read_to_string(node.root().join("audit.jsonl")).unwrap();
    assert!(trail.contains("\"abandoned\""), "{trail}");
}

#[test]
fn a_boost_whose_client_leaves_between_its_sizes_is_begun_whole() {
    let node = Node::new();
    let server = Server::start(&node, "");
    hold(&node, "set");
    let body = json!({"vm_id": 104, "cores": 4, "memory": 4096, "minutes": 10});
    let client = server.send("POST", "/boost", &body);
    until_held(&node);
    leave(&server, client);
    release(&node);
    let boosts = until(|| {
        let conf = node.conf(104).unwrap();
        let is_raised = conf.contains("cores: 4\n") && conf.contains("memory: 4096\n");
        is_raised.then(|| server.data("/boost"))
    });
    assert_eq!(boosts.as_array().unwrap().len(), 2, "{boosts}");
}

#[test]
fn an_undo_whose_client_leaves_between_two_sizes_takes_all_of_them_back() {
    let node = Node::new();
    node.measured(104, 300.0, 1);
    let server = Server::start(&node, "");
    for (path, body) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 4})),
        ("/scale/ram", json!({"vm_id": 104, "memory": 4096})),
        ("/scale/cores", json!({"vm_id": 102, "cores": 3})),
    ] {
        server.send("POST", path, &body).read_to_string(&mut String::new()).unwrap();
    }
    hold(&node, "set");
    let client = server.send("POST", "/undo", &json!({"all": true, "to": "original"}));
    until_held(&node);
    leave(&server, client);
    release(&node);
    until(|| {
        let (conf, other) = (node.conf(104).unwrap(), node.conf(102).unwrap());
        let is_back = conf.contains("cores: 2\n") && conf.contains("memory: 2048\n");
        (is_back && !other.contains("cores:")).then_some(())
    });
}

/// As with any change, a client that leaves before its turn gets none of it.
#[test]
fn a_boost_whose_client_left_before_its_turn_is_not_begun() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    hold(&node, "snapshot");
    let snapshot = server.send("POST", "/snapshot/create", &json!({"vm_id": 104, "snapshot_name": "first"}));
    until_held(&node);
    let body = json!({"vm_id": 104, "cores": 4, "memory": 4096, "minutes": 10});
    let client = server.send("POST", "/boost", &body);
    until(|| {
        let mut answer = String::new();
        server.send("GET", "/metrics", &Value::Null).read_to_string(&mut answer).unwrap();
        answer.contains("lxc_api_changes_in_progress{state=\"waiting\"} 1").then_some(())
    });
    leave(&server, client);
    release(&node);
    let mut answer = String::new();
    let mut snapshot = snapshot;
    snapshot.read_to_string(&mut answer).unwrap();
    server.wait_for("the client left before the change began");
    assert_eq!(server.data("/boost"), json!([]));
    assert!(!node.calls().iter().any(|call| call.starts_with("set")), "{:?}", node.calls());
}
