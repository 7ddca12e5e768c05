//! Who may what: every route with every role, with and without a key, within and outside a scope.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use serde_json::{Value, json};

use crate::node::{Node, Reply, send};

const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

/// Every route with a good request, and the least role that may.
fn routes() -> Vec<(&'static str, &'static str, Value, Role)> {
    let snapshot = || json!({"vm_id": 104, "snapshot_name": "before"});
    vec![
        ("POST", "/scale/cores", json!({"vm_id": 104, "cores": 2}), Role::Operator),
        ("POST", "/scale/ram", json!({"vm_id": 104, "memory": 2048}), Role::Operator),
        ("POST", "/scale/storage/increase", json!({"vm_id": 104, "disk_size": 1}), Role::Operator),
        ("POST", "/snapshot/create", snapshot(), Role::Operator),
        ("GET", "/snapshot/list?vm_id=104", Value::Null, Role::Viewer),
        ("POST", "/snapshot/rollback", snapshot(), Role::Admin),
        (
            "POST",
            "/clone/create",
            json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}),
            Role::Admin,
        ),
        ("DELETE", "/clone/delete", json!({"vm_id": 105}), Role::Admin),
        ("GET", "/resource/vm/status?vm_id=104", Value::Null, Role::Viewer),
        ("GET", "/resource/node/status?node_name=proxmox", Value::Null, Role::Viewer),
        ("GET", "/health/check", Value::Null, Role::Viewer),
        ("GET", "/routes", Value::Null, Role::Viewer),
    ]
}

fn create(node: &Node, name: &str, role: Role, containers: Option<&[u32]>) -> String {
    let containers =
        containers.map(|ids| ids.iter().map(|id| (*id).try_into().unwrap()).collect::<BTreeSet<_>>());
    let new = NewKey { name: name.to_owned(), role, containers, expires: None };
    KeyFile::new(node.config.server.keys_file.clone()).create(new, Timestamp::now()).unwrap()
}

/// Sends a request over a connection of an ordinary user.
async fn ask(node: &Node, key: Option<&str>, method: &str, path: &str, body: &Value) -> Reply {
    let request = Request::builder().method(method).uri(path).header("host", "proxmox:5000");
    let request = request.extension(Peer { uid: Some(1000) });
    let request = match key {
        Some(key) => request.header("authorization", format!("Bearer {key}")),
        None => request,
    };
    let request = if body.is_null() {
        request.body(Body::empty())
    } else {
        request.header("content-type", "application/json").body(Body::from(body.to_string()))
    };
    send(&node.api(), request.unwrap()).await
}

#[tokio::test]
async fn every_route_takes_its_role() {
    let node = Node::new();
    let keys: Vec<(Role, String)> =
        ROLES.into_iter().map(|role| (role, create(&node, role.name(), role, None))).collect();
    for (method, path, body, least) in routes() {
        ask(&node, None, method, path, &body).await.assert_error(403, "forbidden");
        ask(&node, Some("lxak_0000"), method, path, &body).await.assert_error(401, "invalid_key");
        for (role, key) in &keys {
            let reply = ask(&node, Some(key), method, path, &body).await;
            if *role < least {
                reply.assert_error(403, "wrong_role");
            } else {
                // Whether it can be done depends on what was done before.
                let status = reply.status.as_u16();
                assert!(![401, 403].contains(&status), "{method} {path} as {role}: {reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_route_is_missing_from_the_table() {
    let reply = Node::new().get("/routes").await;
    let served: BTreeSet<String> = reply
        .data()
        .as_array()
        .unwrap()
        .iter()
        .map(|route| {
            let word = |name: &str| route[name].as_str().unwrap().to_owned();
            format!("{} {} {}", word("method"), word("path"), word("role"))
        })
        .collect();
    let known: BTreeSet<String> = routes()
        .into_iter()
        .map(|(method, path, _, role)| format!("{method} {} {role}", path.split('?').next().unwrap()))
        .collect();
    assert_eq!(served, known);
}

#[tokio::test]
async fn a_key_touches_only_the_containers_it_is_for() {
    let node = Node::new();
    let scoped = create(&node, "one", Role::Admin, Some(&[102, 105]));
    for (method, path, body, _) in routes() {
        let touches = path.contains("vm_id") || !body.is_null();
        let reply = ask(&node, Some(&scoped), method, path, &body).await;
        if path == "/clone/delete" {
            reply.assert_error(404, "no_such_container");
        } else if touches {
            reply.assert_error(403, "out_of_scope");
        } else {
            reply.data();
        }
    }
    assert_eq!(node.calls(), [""; 0], "nothing was done");
    ask(&node, Some(&scoped), "POST", "/scale/cores", &json!({"vm_id": 102, "cores": 2})).await.data();
}

#[tokio::test]
async fn a_revoked_key_is_dead_at_once_and_an_expired_one_too() {
    let node = Node::new();
    let file = KeyFile::new(node.config.server.keys_file.clone());
    let api = node.api();
    let look = async |key: &str| {
        let request = Request::get("/routes").header("host", "proxmox:5000").extension(Peer { uid: None });
        send(&api, request.header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap())
            .await
    };
    let key = create(&node, "guest", Role::Viewer, None);
    look(&key).await.data();
    file.revoke("guest").unwrap();
    look(&key).await.assert_error(401, "invalid_key");

    let ended = Timestamp::now() - SignedDuration::from_secs(1);
    let new = NewKey { name: "old".to_owned(), role: Role::Viewer, containers: None, expires: Some(ended) };
    let old = file.create(new, ended).unwrap();
    look(&old).await.assert_error(401, "invalid_key");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    let mut node = Node::new();
    node.config.server.requests_per_minute = 2.try_into().unwrap();
    let (one, other) = (create(&node, "one", Role::Viewer, None), create(&node, "other", Role::Viewer, None));
    let api = node.api();
    let look = async |key: &str| {
        let request = Request::get("/routes").header("host", "proxmox:5000").extension(Peer { uid: None });
        send(&api, request.header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap())
            .await
    };
    look(&one).await.data();
    look(&one).await.data();
    let reply = look(&one).await;
    reply.assert_error(429, "too_many_requests");
    let seconds: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    look(&other).await.data();
    // Root is not limited.
    for _ in 0..10 {
        send(&api, crate::node::request("GET", "/routes", None)).await.data();
    }
}

#[tokio::test]
async fn a_key_goes_before_the_user_and_nothing_but_the_header_carries_it() {
    let node = Node::new();
    let viewer = create(&node, "viewer", Role::Viewer, None);
    let api = node.api();
    // Root that presents a key has that key's role: what is tried out with it is what it may.
    let request = Request::post("/scale/cores")
        .header("host", "proxmox:5000")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {viewer}"))
        .extension(Peer { uid: Some(0) })
        .body(Body::from(r#"{"vm_id": 104, "cores": 2}"#));
    send(&api, request.unwrap()).await.assert_error(403, "wrong_role");
    let path = format!("/routes?api_key={viewer}");
    ask(&node, None, "GET", &path, &Value::Null).await.assert_error(403, "forbidden");
    for header in [viewer.as_str(), "Basic x", "", "Bearer"] {
        let request = Request::get("/routes").header("host", "proxmox:5000").header("authorization", header);
        let request = request.extension(Peer { uid: Some(1000) }).body(Body::empty()).unwrap();
        send(&api, request).await.assert_error(401, "invalid_key");
    }
}
