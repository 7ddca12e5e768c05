//! Removing snapshots by name, and all except the newest.

use serde_json::json;

use crate::node::{Node, RUNNING_104, request, send};

/// Container 104 with these snapshots, each descending from the one before it: `name` or `name mark`.
fn node_with(snapshots: &[(&str, &str)]) -> Node {
    let node = Node::new();
    let sections = snapshots
        .iter()
        .map(|(name, about)| format!("\n[{name}]\n{about}\ncores: 1\nsnaptime: 1795459355\n"));
    node.write_conf(104, &format!("{RUNNING_104}{}", sections.collect::<String>()));
    node
}

const OURS: &str = "#made by lxc-autoscale-api";

#[tokio::test]
async fn a_snapshot_is_removed_by_its_name() {
    let node = node_with(&[("mine", ""), ("other", OURS)]);
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    let reply = node.send("DELETE", "/snapshot/delete", Some(body.clone())).await;
    assert_eq!(reply.data(), &json!({"vm_id": 104, "snapshot_name": "mine"}));
    assert!(!node.conf(104).unwrap().contains("[mine]"));
    assert!(node.conf(104).unwrap().contains("[other]"));
    node.send("DELETE", "/snapshot/delete", Some(body)).await.assert_error(404, "no_such_snapshot");
    assert_eq!(node.calls(), ["delsnapshot 104 mine"]);
    node.hook("delsnapshot", "exit 0");
    let body = json!({"vm_id": 104, "snapshot_name": "other"});
    node.send("DELETE", "/snapshot/delete", Some(body)).await.assert_error(502, "not_applied");
}

#[tokio::test]
async fn the_newest_of_ours_stay() {
    let node = node_with(&[("theirs", "#before the upgrade")]);
    for name in ["one", "two", "three"] {
        node.post("/snapshot/create", json!({"vm_id": 104, "snapshot_name": name})).await.data();
    }
    let reply = node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1})).await;
    let left = json!([{"name": "theirs", "reason": "it was not made by this server"}]);
    let data = json!({"vm_id": 104, "removed": ["one", "two"], "kept": ["three"], "left": left});
    assert_eq!(reply.data(), &data);
    let conf = node.conf(104).unwrap();
    assert!(conf.contains("[three]") && conf.contains("[theirs]") && !conf.contains("[two]"), "{conf}");
    // There is nothing left to do; snapshots of others are removed only on request.
    let calls = node.calls().len();
    let reply = node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1})).await;
    assert_eq!((&reply.data()["removed"], node.calls().len() - calls), (&json!([]), 1), "it looked only");
    let reply = node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1, "any_snapshot": true})).await;
    assert_eq!(reply.data()["removed"], json!(["theirs"]));
    for keep in [0, 1001] {
        let body = json!({"vm_id": 104, "keep": keep});
        node.post("/snapshot/prune", body).await.assert_error(422, "out_of_bounds");
    }
}

/// The first was left by an interrupted copy; a backup is using the second.
#[tokio::test]
async fn what_belongs_to_a_copy_or_a_backup_is_never_pruned() {
    let node = node_with(&[("lxc-autoscale-clone-105", OURS), ("vzdump", ""), ("one", OURS), ("two", OURS)]);
    let reply = node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1, "any_snapshot": true})).await;
    assert_eq!(reply.data()["removed"], json!(["one"]));
    assert_eq!(reply.data()["left"].as_array().unwrap().len(), 2, "{reply:?}");
    node.write_conf(104, &format!("lock: backup\n{}", node.conf(104).unwrap()));
    node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1})).await.assert_error(409, "locked");
}

#[tokio::test]
async fn what_was_removed_before_it_failed_is_told() {
    let node = node_with(&[("one", OURS), ("two", OURS), ("three", OURS)]);
    node.hook("delsnapshot", "[ \"$1\" = two ] && fail 'CT is locked (backup)'");
    let reply = node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1})).await;
    reply.assert_error(409, "locked");
    assert!(reply.message().contains("these snapshots were removed: one"), "{reply:?}");
}

#[tokio::test]
async fn it_can_be_given_up_between_two() {
    let node = node_with(&[("one", OURS), ("two", OURS), ("three", OURS)]);
    node.hook("delsnapshot", "touch \"$root/held\"; until [ -e \"$root/go\" ]; do sleep 0.05; done");
    let api = node.api();
    let mut begin = request("POST", "/snapshot/prune", Some(json!({"vm_id": 104, "keep": 1})));
    begin.headers_mut().insert("prefer", "respond-async".parse().unwrap());
    let path = send(&api, begin).await.headers["location"].to_str().unwrap().to_owned();
    while !node.root().join("held").exists() {
        tokio::task::yield_now().await;
    }
    send(&api, request("DELETE", &path, None)).await.data();
    std::fs::write(node.root().join("go"), "").unwrap();
    let job = crate::jobs::ended(&api, &path).await;
    assert_eq!((&job["state"], &job["code"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
    assert!(job["message"].as_str().unwrap().contains("removed: one"), "{job}");
    let conf = node.conf(104).unwrap();
    assert!(conf.contains("[two]") && conf.contains("[three]") && !conf.contains("[one]"), "{conf}");
}

/// What Proxmox leaves of a snapshot if it is interrupted, once the container is unlocked: it is the newest.
fn with_half(snapstate: &str) -> Node {
    let node = node_with(&[("good", OURS), ("half", OURS)]);
    let conf = node.conf(104).unwrap();
    node.write_conf(104, &format!("{conf}snapstate: {snapstate}\n"));
    node
}

#[tokio::test]
async fn an_incomplete_snapshot_is_never_kept_in_place_of_a_good_one() {
    for (snapstate, lacks) in [("prepare", "taking"), ("delete", "removing")] {
        let node = with_half(snapstate);
        let reply = node.post("/snapshot/prune", json!({"vm_id": 104, "keep": 1})).await;
        let reason = format!("it is incomplete (Proxmox has not finished {lacks} it): remove it by its name");
        let left = json!([{"name": "half", "reason": reason}]);
        assert_eq!(reply.data(), &json!({"vm_id": 104, "removed": [], "kept": ["good"], "left": left}));
        // By its name it can be removed.
        let body = json!({"vm_id": 104, "snapshot_name": "half"});
        node.send("DELETE", "/snapshot/delete", Some(body)).await.data();
        assert!(!node.conf(104).unwrap().contains("[half]"));
    }
}

#[tokio::test]
async fn an_incomplete_snapshot_is_shown_and_not_rolled_back_to() {
    for (snapstate, state, lacks) in
        [("prepare", "half_made", "taking"), ("delete", "half_removed", "removing")]
    {
        let node = with_half(snapstate);
        let reply = node.get("/snapshot/list?vm_id=104").await;
        let states: Vec<_> =
            reply.data()["snapshots"].as_array().unwrap().iter().map(|row| &row["state"]).collect();
        assert_eq!(states, [&json!("complete"), &json!(state)]);
        let hint = "`half` is incomplete and cannot be rolled back to: unless Proxmox is still at it, remove it with \
                    DELETE /snapshot/delete";
        assert!(reply.message().contains(hint), "{reply:?}");
        let before = node.calls().len();
        let reply = node.post("/snapshot/rollback", json!({"vm_id": 104, "snapshot_name": "half"})).await;
        reply.assert_error(409, "incomplete_snapshot");
        let why = format!("snapshot `half` is incomplete: Proxmox has not finished {lacks} it");
        assert!(reply.message().contains(&why), "{reply:?}");
        assert!(node.is_running(104) && node.calls().len() == before, "{:?}", node.calls());
    }
}

/// `pct` reports success, but the node shows an incomplete snapshot: it is removed, or named.
#[tokio::test]
async fn an_incomplete_snapshot_is_no_success() {
    for (hook, code) in [("", "not_applied"), ("fail 'cannot remove it'", "left_behind")] {
        let node = Node::new();
        node.hook(
            "snapshot",
            "printf '\\n[%s]\\n#%s\\nsnapstate: prepare\\n' \"$1\" \"$3\" >>\"$conf\"; exit 0",
        );
        node.hook("delsnapshot", hook);
        let reply = node.post("/snapshot/create", json!({"vm_id": 104, "snapshot_name": "half"})).await;
        reply.assert_error(502, code);
        assert!(reply.message().contains("Proxmox has not finished taking it"), "{reply:?}");
        assert_eq!(node.conf(104).unwrap().contains("[half]"), code == "left_behind");
    }
}
