//! Changes that wait for their container: what is allowed is decided when they begin, not when they were asked for.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use jiff::Timestamp;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use lxc_autoscale_api::backend::pct::PctHost;
use lxc_autoscale_api::config::{Config, ConfirmDestroy};
use lxc_autoscale_api::routes;
use lxc_autoscale_api::state::{AppState, Shared};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::node::{Node, Reply, request, send};

fn key(node: &Node, role: Role, containers: Option<BTreeSet<lxc_autoscale_core::Vmid>>) -> String {
    let new = NewKey { name: "guest".to_owned(), role, containers, expires: None };
    KeyFile::new(node.config.server.keys_file.clone()).create(new, Timestamp::now()).unwrap()
}

/// Changes the rights of the key, as an editor would.
fn change_key(node: &Node, role: &str, containers: &Value) {
    let file = &node.config.server.keys_file;
    let mut keys: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    keys[0]["role"] = role.into();
    keys[0]["containers"] = containers.clone();
    std::fs::write(file, keys.to_string()).unwrap();
}

fn revoke(node: &Node) {
    KeyFile::new(node.config.server.keys_file.clone()).revoke("guest").unwrap();
}

/// A snapshot holds a container while the holder of a new key asks for a change of it, and `meanwhile` happens before
/// it is released; returns the answer to the change.
async fn asked_while_held(
    node: &Node,
    (path, body): (&'static str, Value),
    meanwhile: impl FnOnce(&AppState),
) -> Reply {
    let key = key(node, Role::Operator, None);
    asked_with(node, by(&key, Request::post(path)), body, meanwhile).await
}

/// A request by the holder of a key.
fn by(key: &str, request: Builder) -> Builder {
    request.header("authorization", format!("Bearer {key}")).extension(Peer { uid: None })
}

/// A running change of a container, which ends when it is released.
struct Holder {
    state: AppState,
    api: Router,
    change: JoinHandle<Reply>,
}

impl Holder {
    /// Begins a snapshot of the container.
    async fn of(node: &Node, vm_id: &Value) -> Self {
        node.hook("snapshot", "touch \"$root/held\"; until [ -e \"$root/release\" ]; do sleep 0.02; done");
        let host = Arc::new(PctHost::new(node.config.pct.clone(), node.config.paths.clone()));
        let state = Arc::new(Shared::new(node.config.clone(), host, Some("proxmox".to_owned())));
        let api = routes::router(AppState::clone(&state));
        let change = tokio::spawn({
            let api = api.clone();
            let snapshot = json!({"vm_id": vm_id, "snapshot_name": "turn"});
            async move { send(&api, request("POST", "/snapshot/create", Some(snapshot))).await }
        });
        while !node.root().join("held").exists() {
            tokio::task::yield_now().await;
        }
        Self { state, api, change }
    }

    async fn release(self, node: &Node) {
        std::fs::write(node.root().join("release"), "").unwrap();
        self.change.await.unwrap().data();
    }
}

async fn asked_with(node: &Node, asked: Builder, body: Value, meanwhile: impl FnOnce(&AppState)) -> Reply {
    let holder = Holder::of(node, &body["vm_id"]).await;
    let asked = asked
        .header("host", "proxmox:5000")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let api = holder.api.clone();
    let waiting = tokio::spawn(async move { send(&api, asked).await });
    while holder.state.instruments().waiting() < 1 {
        tokio::task::yield_now().await;
    }
    meanwhile(&holder.state);
    holder.release(node).await;
    waiting.await.unwrap()
}

fn changed(state: &AppState, change: impl FnOnce(&mut Config)) {
    let mut config = (*state.config()).clone();
    change(&mut config);
    state.reload(&config);
}

fn four_cores() -> (&'static str, Value) {
    ("/scale/cores", json!({"vm_id": 104, "cores": 4}))
}

#[track_caller]
fn assert_untouched(node: &Node) {
    assert!(node.conf(104).unwrap().contains("cores: 2\n"), "{:?}", node.conf(104));
    assert!(!node.calls().iter().any(|call| call.starts_with("set ")), "{:?}", node.calls());
}

#[tokio::test]
async fn nothing_in_between_leaves_a_waiting_change_alone() {
    let node = Node::new();
    asked_while_held(&node, four_cores(), |_| {}).await.data();
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
}

/// Who asks may wait for less time than the server allows, and not for more.
#[tokio::test]
async fn a_change_waits_for_as_long_as_its_caller_wants_and_the_server_allows() {
    let mut node = Node::new();
    node.config.server.queue_timeout_seconds = 1;
    let holder = Holder::of(&node, &json!(104)).await;
    let api = holder.api.clone();
    let ask = async |(path, body): (&str, Value), seconds: &str| {
        let mut asked = request("POST", path, Some(body));
        asked.headers_mut().insert("x-queue-timeout", seconds.parse().unwrap());
        send(&api, asked).await
    };
    for (seconds, waited) in [("0", "104 is under way"), (" 0 ", "104 is under way"), ("3600", "1s")] {
        let reply = ask(four_cores(), seconds).await;
        reply.assert_error(409, "change_in_progress");
        assert!(reply.message().ends_with(waited), "{seconds}: {reply:?}");
    }
    for bad in ["", "-1", "1.5", "3601", "soon", "99999999999999999999"] {
        ask(four_cores(), bad).await.assert_error(400, "invalid_parameter");
    }
    assert_untouched(&node);
    // A container that nobody changes is changed at once.
    ask(("/scale/cores", json!({"vm_id": 102, "cores": 4})), "0").await.data();
    holder.release(&node).await;
    ask(four_cores(), "0").await.data();
}

#[tokio::test]
async fn a_key_that_was_revoked_meanwhile_changes_nothing() {
    for what in [four_cores(), ("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 5}))] {
        let node = Node::new();
        let reply = asked_while_held(&node, what, |_| revoke(&node)).await;
        reply.assert_error(403, "forbidden");
        assert!(reply.message().contains("key:guest"), "{reply:?}");
        assert_untouched(&node);
        assert_eq!(node.get("/boost").await.data(), &json!([]));
    }
}

/// As the answer to a request with that key would be, not that its rights have ended.
#[tokio::test]
async fn keys_that_cannot_be_read_when_a_change_has_its_turn_are_named_as_the_cause() {
    let node = Node::new();
    let readable = |_: &AppState| {
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&node.config.server.keys_file, open).unwrap();
    };
    let reply = asked_while_held(&node, four_cores(), readable).await;
    reply.assert_error(500, "internal");
    assert!(reply.message().contains("keys cannot be checked"), "{reply:?}");
    assert_untouched(&node);
}

#[tokio::test]
async fn a_key_whose_role_or_scope_was_narrowed_meanwhile_changes_nothing() {
    for (role, containers, status, code) in
        [("viewer", Value::Null, 403, "forbidden"), ("operator", json!([102]), 403, "out_of_scope")]
    {
        let node = Node::new();
        let narrowed = |_: &AppState| change_key(&node, role, &containers);
        asked_while_held(&node, four_cores(), narrowed).await.assert_error(status, code);
        assert_untouched(&node);
    }
    // A key with more rights than before has enough of them.
    let node = Node::new();
    let widened = |_: &AppState| change_key(&node, "admin", &Value::Null);
    asked_while_held(&node, four_cores(), widened).await.data();
}

/// A key is revoked because its secret is no secret any more. What was asked for with that secret is not done with the
/// rights of the key that has its name now.
#[tokio::test]
async fn a_key_that_was_revoked_and_made_again_changes_nothing() {
    let node = Node::new();
    let made_again = |_: &AppState| {
        revoke(&node);
        key(&node, Role::Admin, None);
    };
    asked_while_held(&node, four_cores(), made_again).await.assert_error(403, "forbidden");
    assert_untouched(&node);
}

#[tokio::test]
async fn a_user_who_is_no_longer_trusted_changes_nothing() {
    for (uids, is_allowed) in [(vec![990], true), (vec![], false)] {
        let mut node = Node::new();
        node.config.server.trusted_uids = vec![990];
        let (path, body) = four_cores();
        let asked = Request::post(path).extension(Peer { uid: Some(990) });
        let retrust = |state: &AppState| changed(state, |config| config.server.trusted_uids = uids);
        let reply = asked_with(&node, asked, body, retrust).await;
        if is_allowed {
            reply.data();
        } else {
            reply.assert_error(403, "forbidden");
            assert_untouched(&node);
        }
    }
}

#[tokio::test]
async fn a_container_that_was_protected_meanwhile_is_not_changed() {
    let node = Node::new();
    let protect = |state: &AppState| {
        changed(state, |config| config.limits.protected_containers = vec![104.try_into().unwrap()]);
    };
    asked_while_held(&node, four_cores(), protect).await.assert_error(403, "protected_container");
    assert_untouched(&node);
}

#[tokio::test]
async fn limits_that_were_lowered_meanwhile_hold_for_what_waited() {
    for (what, code) in [
        (four_cores(), "out_of_bounds"),
        (("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 4})), "out_of_bounds"),
        (("/scale/ram", json!({"vm_id": 104, "memory": 4096})), "out_of_bounds"),
        (("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 9})), "out_of_bounds"),
        (("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 5})), "out_of_bounds"),
    ] {
        let node = Node::new();
        let lower = |state: &AppState| {
            changed(state, |config| {
                let limits = &mut config.limits;
                (limits.max_cores, limits.max_memory_mib, limits.max_disk_increase_gib) = (3, 3000, 8);
            });
        };
        let (path, body) = what;
        asked_while_held(&node, (path, body), lower).await.assert_error(422, code);
        assert_untouched(&node);
    }
}

#[tokio::test]
async fn a_removal_that_was_forbidden_meanwhile_does_not_begin() {
    let mut node = Node::new();
    node.config.limits.destroy_any_container = true;
    node.config.limits.confirm_destroy = ConfirmDestroy::Never;
    let key = key(&node, Role::Admin, None);
    let asked = by(&key, Request::delete("/clone/delete"));
    let forbid = |state: &AppState| changed(state, |config| config.limits.destroy_any_container = false);
    let body = json!({"vm_id": 102, "any_container": true});
    asked_with(&node, asked, body, forbid).await.assert_error(403, "not_a_clone");
    assert!(node.conf(102).is_some());
}

/// So is whether a removal needs a confirmation.
#[tokio::test]
async fn a_removal_that_takes_a_confirmation_meanwhile_does_not_begin() {
    let mut node = Node::new();
    node.config.limits.destroy_any_container = true;
    node.config.limits.confirm_destroy = ConfirmDestroy::Never;
    let key = key(&node, Role::Admin, None);
    let asked = by(&key, Request::delete("/clone/delete"));
    let confirm = |state: &AppState| {
        changed(state, |config| config.limits.confirm_destroy = ConfirmDestroy::Always);
    };
    let body = json!({"vm_id": 102, "any_container": true});
    asked_with(&node, asked, body, confirm).await.assert_error(409, "not_as_shown");
    assert!(node.conf(102).is_some());
}
