//! Sequences that fail half way, and the state of the node afterwards.

use serde_json::{Value, json};

use crate::node::{Node, RUNNING_104, Reply, STOPPED_102, request, send};

/// The call that takes the snapshot from which a running container is copied.
const TEMPORARY_SNAPSHOT: &str = "snapshot 104 lxc-autoscale-clone-105 --description temporary: lxc-autoscale-api copies \
                                  the container from it";

async fn clone_104(node: &Node) -> Reply {
    node.post("/clone/create", json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"})).await
}

/// Asserts that neither copy nor snapshot exists.
#[track_caller]
fn assert_untouched(node: &Node) {
    assert_eq!(node.conf(105), None);
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"), "{:?}", node.conf(104));
}

/// The lines of the audit log.
fn trail(node: &Node) -> Vec<Value> {
    let text = std::fs::read_to_string(&node.config.audit.file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_change_leaves_a_trail() {
    let node = Node::new();
    let api = node.api();
    for cores in [4, 99_999] {
        let body = json!({"vm_id": 104, "cores": cores});
        send(&api, request("POST", "/scale/cores", Some(body))).await;
    }
    let trail = trail(&node);
    let events: Vec<&str> = trail.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["begun", "done", "begun", "not_done"]);
    assert_eq!(trail[1]["caller"], "uid:0");
    assert_eq!((&trail[1]["result"]["before"], &trail[1]["result"]["after"]), (&json!(2.0), &json!(4.0)));
    assert_eq!(trail[3]["code"], "out_of_bounds");
    let verdict = lxc_autoscale_api::audit::verify(&node.config.audit.file, 9).unwrap();
    assert_eq!((verdict.records, verdict.findings), (4, vec![]));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_begun() {
    let mut node = Node::new();
    node.config.audit.file = node.root().join("missing/audit.jsonl");
    let reply = node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    reply.assert_error(503, "not_audited");
    assert_eq!(node.calls(), [""; 0]);
}

#[tokio::test]
async fn a_storage_without_snapshots_leaves_nothing() {
    let node = Node::new();
    node.hook("snapshot", "fail 'snapshot feature is not available'");
    clone_104(&node).await.assert_error(409, "not_supported");
    assert_untouched(&node);
    assert_eq!(node.calls(), [TEMPORARY_SNAPSHOT]);
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    node.post("/snapshot/create", body).await.assert_error(409, "not_supported");
}

#[tokio::test]
async fn a_failed_clone_leaves_neither_snapshot_nor_container() {
    let node = Node::new();
    node.hook("clone", "fail 'clone failed: no space left on device'");
    let reply = clone_104(&node).await;
    reply.assert_error(502, "pct_failed");
    assert!(reply.message().contains("no space left"), "{}", reply.message());
    assert_untouched(&node);

    // Proxmox itself was interrupted and left a locked placeholder.
    node.hook("clone", "printf 'lock: create\\n' >\"$configs/105.conf\"; fail 'clone failed: interrupted'");
    clone_104(&node).await.assert_error(502, "pct_failed");
    assert_untouched(&node);
}

#[tokio::test]
async fn a_clone_that_cannot_be_marked_is_removed() {
    let node = Node::new();
    node.hook("set", "fail \"can't lock file '/run/lock/lxc/pve-config-105.lock' - got timeout\"");
    clone_104(&node).await.assert_error(409, "busy");
    assert_untouched(&node);
    assert!(node.calls().contains(&"destroy 105 --purge 1".to_owned()));
}

/// The copy of a protected container is protected as well, and nobody could remove it: it is ours, but has no mark.
#[tokio::test]
async fn a_clone_of_a_protected_container_that_cannot_be_marked_is_removed() {
    let guarded =
        "grep -q '^protection: 1' \"$conf\" && fail \"can't remove CT $id - protection mode enabled\"";
    for source in [RUNNING_104, "hostname: web\nmemory: 2048\n"] {
        let node = Node::new();
        node.write_conf(104, &format!("{source}protection: 1\n"));
        node.hook("set", "[ \"$1\" = -tags ] && fail 'something new'");
        node.hook("destroy", guarded);
        clone_104(&node).await.assert_error(502, "pct_failed");
        assert_untouched(&node);
        assert!(node.conf(104).unwrap().contains("protection: 1"));
    }
    // One that somebody has protected since is left alone, and named.
    let node = Node::new();
    node.hook("set", "echo 'protection: 1' >>\"$conf\"; fail 'something new'");
    node.hook("destroy", guarded);
    let reply = clone_104(&node).await;
    reply.assert_error(502, "left_behind");
    assert!(node.conf(105).unwrap().contains("protection: 1"), "{reply:?}");
}

/// On Proxmox VE 6, `pct` exits with 255 if its task has ended with warnings, which is a success.
#[tokio::test]
async fn a_call_that_ended_with_warnings_is_done() {
    let node = Node::new();
    for command in ["snapshot", "clone", "start", "delsnapshot"] {
        let warns = "trap 'echo \"Task finished with 1 warning(s)!\" >&2; exit 255' EXIT";
        node.hook(command, warns);
    }
    clone_104(&node).await.data();
    assert!(!node.calls().iter().any(|call| call.starts_with("destroy")), "{:?}", node.calls());
    node.post("/power/start", json!({"vm_id": 105})).await.data();
    node.post("/snapshot/create", json!({"vm_id": 104, "snapshot_name": "good"})).await.data();
    // An error is one, whatever else is printed, and so is any other exit code.
    for script in [
        "echo 'Task finished with 1 warning(s)!' >&2; fail 'startup for container failed'",
        "fail 'Task finished with 1 warning(s)!' 2",
        "fail 'not: Task finished with 1 warning(s)!'",
    ] {
        node.hook("start", script);
        node.post("/power/start", json!({"vm_id": 102})).await.assert_error(502, "pct_failed");
    }
}

/// Whatever a failed call leaves of a snapshot is removed, or named.
#[tokio::test]
async fn what_a_failed_snapshot_leaves_is_removed_or_named() {
    let begun = "printf '\\n[%s]\\n#%s\\nsnapstate: prepare\\n' \"$1\" \"$3\" >>\"$conf\"";
    let body = || json!({"vm_id": 104, "snapshot_name": "mine"});
    let node = Node::new();
    node.hook("snapshot", &format!("{begun}; fail 'no space left on device'"));
    node.post("/snapshot/create", body()).await.assert_error(502, "pct_failed");
    assert!(!node.conf(104).unwrap().contains("[mine]"), "{:?}", node.calls());
    node.hook("delsnapshot", "fail 'lvremove failed'");
    let reply = node.post("/snapshot/create", body()).await;
    reply.assert_error(502, "left_behind");
    let message = reply.message();
    for part in ["snapshot `mine` of container 104", "lvremove failed", "no space left"] {
        assert!(message.contains(part), "{message}");
    }
    // One that somebody else has taken at that moment is not ours to remove.
    let node = Node::new();
    node.hook("snapshot", "printf '\\n[mine]\\n#theirs\\n' >>\"$conf\"; fail 'something new'");
    node.post("/snapshot/create", body()).await.assert_error(502, "pct_failed");
    assert!(node.conf(104).unwrap().contains("#theirs"), "{:?}", node.calls());
}

/// Before Proxmox VE 8.3, a change that a running container refuses is kept, to come into force at the next start.
#[tokio::test]
async fn a_refused_size_does_not_wait_for_the_next_start() {
    let waits = "[ \"$1\" = -memory ] && { printf '\\n[pve:pending]\\nmemory: %s\\n' \"$2\" >>\"$conf\"; \
                 fail 'memory: unable to hotplug memory: closing file failed - Device or resource busy'; }\n\
                 [ \"$1\" = --revert ] && { sed -i '/^\\[pve:pending/,$d' \"$conf\"; exit 0; }";
    let node = Node::new();
    node.hook("set", waits);
    let body = json!({"vm_id": 104, "memory": 4096});
    node.post("/scale/ram", body.clone()).await.assert_error(409, "not_applicable");
    assert!(!node.conf(104).unwrap().contains("pending"), "{:?}", node.calls());
    node.hook("set", &waits.replace("exit 0", "fail 'CT is locked (backup)'"));
    let reply = node.post("/scale/ram", body).await;
    reply.assert_error(409, "not_applicable");
    assert!(reply.message().contains("it waits for the next start"), "{reply:?}");
}

#[tokio::test]
async fn a_container_that_somebody_else_made_meanwhile_is_not_destroyed() {
    let node = Node::new();
    node.hook("clone", "echo 'hostname: theirs' >\"$configs/105.conf\"");
    clone_104(&node).await.assert_error(409, "container_exists");
    assert_eq!(node.conf(105).unwrap(), "hostname: theirs\n");
    // Nor if the copy fails for another reason, and the container with that id is not the one we ordered.
    std::fs::remove_file(node.root().join("etc/pve/lxc/105.conf")).unwrap();
    node.hook("clone", "echo 'hostname: theirs' >\"$configs/105.conf\"; fail 'clone failed: oops'");
    let reply = clone_104(&node).await;
    reply.assert_error(502, "left_behind");
    assert!(!node.calls().iter().any(|call| call.starts_with("destroy")));
    // Nor if somebody is just creating it.
    for theirs in ["lock: create\\nhostname: theirs", "lock: create"] {
        std::fs::remove_file(node.root().join("etc/pve/lxc/105.conf")).unwrap();
        let busy = "can't lock file '/run/lock/lxc/pve-config-105.lock' - got timeout";
        node.hook("clone", &format!("printf '{theirs}\\n' >\"$configs/105.conf\"; fail \"{busy}\""));
        clone_104(&node).await.assert_error(409, "busy");
        assert!(node.conf(105).unwrap().starts_with("lock: create\n"));
    }
    std::fs::remove_file(node.root().join("etc/pve/lxc/105.conf")).unwrap();
    node.hook("clone", "echo 'hostname: theirs' >\"$configs/105.conf\"; fail 'clone failed: oops'");
    let reply = clone_104(&node).await;
    assert!(
        reply.message().contains("oops") && reply.message().contains("container 105"),
        "{}",
        reply.message()
    );
    assert_eq!(node.conf(105).unwrap(), "hostname: theirs\n");
    assert!(!node.calls().iter().any(|call| call.starts_with("destroy")));
}

/// What cannot be removed is named with the reason, down to what the system says.
#[tokio::test]
async fn why_a_copy_cannot_be_removed_is_told_to_the_end() {
    let node = Node::new();
    node.hook("clone", "mkdir \"$configs/105.conf\"; fail 'clone failed: oops'");
    let reply = clone_104(&node).await;
    reply.assert_error(502, "left_behind");
    let message = reply.message();
    for (part, why) in
        [("container 105 (", "what remains"), ("directory", "why it does"), ("oops", "the failure")]
    {
        assert!(message.contains(part), "{why}: {message}");
    }
}

/// While the snapshot was taken, something locked the source or prevented the copy. No copy was begun, so a container
/// with that id, whatever it looks like, is not ours to destroy.
#[tokio::test]
async fn what_has_the_id_of_a_copy_that_was_refused_is_not_destroyed() {
    for (says, status, code) in [
        ("CT is locked (backup)", 409, "locked"),
        ("unable to clone mountpoint 'mp0' (type bind)", 409, "not_supported"),
        ("Configuration file 'nodes/proxmox/lxc/104.conf' does not exist", 404, "no_such_container"),
        ("detected modified configuration - file changed by other user? Try again.", 409, "modified"),
        ("snapshot 'lxc-autoscale-clone-105' does not exist", 404, "no_such_snapshot"),
    ] {
        for theirs in ["lock: create", "lock: create\\nhostname: copy", "hostname: copy"] {
            let node = Node::new();
            node.hook("clone", &format!("printf '{theirs}\\n' >\"$configs/105.conf\"; fail \"{says}\""));
            clone_104(&node).await.assert_error(status, code);
            assert!(node.conf(105).is_some(), "{says}, {theirs}: {:?}", node.calls());
            assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"), "{says}");
        }
    }
    let node = Node::new();
    node.hook("snapshot", "printf 'lock: create\\n' >\"$configs/105.conf\"; rm \"$root/pct\"");
    clone_104(&node).await.assert_error(502, "left_behind");
    assert!(node.conf(105).is_some(), "pct cannot be run: {:?}", node.calls());
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_dropped_is_named() {
    let node = Node::new();
    node.hook("delsnapshot", "fail 'CT is locked (backup)'");
    let reply = clone_104(&node).await;
    let left = "snapshot `lxc-autoscale-clone-105` of container 104";
    assert_eq!(reply.data()["left_behind"], left);
    assert!(reply.message().contains(left), "{}", reply.message());
    node.hook("clone", "fail 'clone failed: oops'");
    std::fs::remove_file(node.root().join("etc/pve/lxc/105.conf")).unwrap();
    // The leftover blocks the next attempt, which reports it instead of creating more snapshots.
    clone_104(&node).await.assert_error(409, "locked");
    std::fs::remove_file(node.root().join("hook/delsnapshot")).unwrap();
    std::fs::remove_file(node.root().join("hook/clone")).unwrap();
    clone_104(&node).await.data();
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"));
}

/// Anybody can give a snapshot the name that a copy would use; only the description shows whose it is.
#[tokio::test]
async fn a_snapshot_with_a_name_of_ours_that_somebody_else_took_is_never_dropped() {
    let section = "\n[lxc-autoscale-clone-105]\n#keep this\ncores: 1\nsnaptime: 1\n";
    let node = Node::new();
    node.write_conf(104, &format!("{RUNNING_104}{section}"));
    let reply = clone_104(&node).await;
    reply.assert_error(409, "snapshot_exists");
    assert!(reply.message().contains("`lxc-autoscale-clone-105`"), "{reply:?}");
    assert!(node.calls().iter().all(|call| call.starts_with("listsnapshot")), "{:?}", node.calls());
    // A stopped container needs no snapshot, so nothing is in the way.
    node.write_conf(102, &format!("{STOPPED_102}{section}"));
    let body = json!({"vm_id": 102, "new_vm_id": 105, "new_vm_name": "copy"});
    node.post("/clone/create", body).await.data();
    assert!(node.conf(102).unwrap().contains("#keep this"));

    // Somebody takes it at the moment when the copy would take its own.
    let node = Node::new();
    let theirs = section.replace('\n', "\\n");
    node.hook("snapshot", &format!("printf '{theirs}' >>\"$conf\""));
    clone_104(&node).await.assert_error(409, "snapshot_exists");
    assert!(node.conf(104).unwrap().contains("#keep this"), "{:?}", node.calls());
    assert_eq!(node.conf(105), None);
}

#[tokio::test]
async fn the_names_of_temporary_snapshots_are_not_given_to_others() {
    let node = Node::new();
    let body = json!({"vm_id": 104, "snapshot_name": "lxc-autoscale-clone-105"});
    let reply = node.post("/snapshot/create", body).await;
    reply.assert_error(400, "invalid_parameter");
    assert!(reply.message().contains("lxc-autoscale-clone-"), "{reply:?}");
    assert_eq!(node.calls(), [""; 0]);
}

#[tokio::test]
async fn a_stopped_container_is_cloned_without_snapshot() {
    let node = Node::new();
    let body = json!({"vm_id": 102, "new_vm_id": 105, "new_vm_name": "copy"});
    node.post("/clone/create", body).await.data();
    assert_eq!(
        node.calls(),
        ["clone 102 105 --hostname copy --full 1", "set 105 -tags lxc-autoscale-clone-105"]
    );
}

#[tokio::test]
async fn a_copy_of_our_copy_carries_its_own_mark_only() {
    let node = Node::new();
    node.write_conf(102, "hostname: db\nmemory: 512\ntags: lxc-autoscale-clone-102;red\n");
    let body = json!({"vm_id": 102, "new_vm_id": 105, "new_vm_name": "copy"});
    node.post("/clone/create", body).await.data();
    assert!(node.conf(105).unwrap().contains("tags: red;lxc-autoscale-clone-105\n"));
}

#[tokio::test]
async fn a_running_clone_is_stopped_first_and_runs_again_if_it_stays() {
    let node = Node::new();
    clone_104(&node).await.data();
    node.run(105);
    let body = || Some(json!({"vm_id": 105}));
    node.hook("destroy", "fail 'base volume is still in use by linked clones'");
    node.send("DELETE", "/clone/delete", body()).await.assert_error(502, "pct_failed");
    assert!(node.is_running(105));
    std::fs::remove_file(node.root().join("hook/destroy")).unwrap();
    let reply = node.send("DELETE", "/clone/delete", body()).await;
    assert_eq!(reply.data(), &json!({"vm_id": 105, "was_running": true}));
    assert_eq!(node.conf(105), None);
}

/// A container with the id of a removed copy is not our copy, whatever mark it carries; nor is a copy whose mark
/// somebody has removed.
#[tokio::test]
async fn the_mark_and_the_record_make_a_copy_ours() {
    let node = Node::new();
    let delete = async || node.send("DELETE", "/clone/delete", Some(json!({"vm_id": 105}))).await;
    clone_104(&node).await.data();
    let copy = node.conf(105).unwrap();
    node.write_conf(105, &copy.replace("lxc-autoscale-clone-105", "other"));
    let reply = delete().await;
    reply.assert_error(403, "not_a_clone");
    assert!(reply.message().contains("no tag `lxc-autoscale-clone-105`"), "{reply:?}");
    node.write_conf(105, &copy);
    delete().await.data();
    node.write_conf(105, &copy);
    let reply = delete().await;
    reply.assert_error(403, "not_a_clone");
    assert!(reply.message().contains("own records"), "{reply:?}");
    assert!(node.conf(105).is_some());
    // A copy that failed was never ours.
    std::fs::remove_file(node.root().join("etc/pve/lxc/105.conf")).unwrap();
    node.hook("clone", "fail 'no space left'");
    clone_104(&node).await.assert_error(502, "pct_failed");
    node.write_conf(105, &copy);
    delete().await.assert_error(403, "not_a_clone");
}

fn with_snapshot(node: &Node) -> Value {
    node.write_conf(104, "hostname: web\nmemory: 2048\n\n[good]\nmemory: 2048\n");
    json!({"vm_id": 104, "snapshot_name": "good"})
}

#[tokio::test]
async fn a_rollback_that_fails_after_the_stop_starts_the_container_again() {
    let node = Node::new();
    let body = with_snapshot(&node);
    node.hook("rollback", "stop_now; fail \"can't rollback, 'good' is not most recent snapshot on 'z:v'\"");
    node.post("/snapshot/rollback", body).await.assert_error(409, "not_newest_snapshot");
    assert!(node.is_running(104));
}

#[tokio::test]
async fn a_container_that_does_not_start_after_a_rollback_is_told() {
    let node = Node::new();
    let body = with_snapshot(&node);
    node.hook("start", "fail \"startup for container '104' failed\"");
    let reply = node.post("/snapshot/rollback", body).await;
    reply.assert_error(502, "not_restarted");
    assert!(reply.message().contains("is back at snapshot `good`"), "{}", reply.message());
    assert!(reply.message().contains("startup for container"), "{}", reply.message());
}

#[tokio::test]
async fn a_stopped_container_stays_stopped_after_a_rollback() {
    let node = Node::new();
    node.write_conf(102, "memory: 512\n\n[good]\nmemory: 512\n");
    let reply = node.post("/snapshot/rollback", json!({"vm_id": 102, "snapshot_name": "good"})).await;
    assert_eq!((&reply.data()["was_running"], &reply.data()["running"]), (&json!(false), &json!(false)));
    assert_eq!(node.calls(), ["rollback 102 good"]);
}

/// `pct resize` exits with 0 even if its task failed, and any call may do so; what the node shows counts.
#[tokio::test]
async fn what_is_not_read_back_is_no_success() {
    let node = Node::new();
    for (command, path, body) in [
        ("resize", "/scale/storage/increase", json!({"vm_id": 104, "disk_size": 2})),
        ("set", "/scale/cores", json!({"vm_id": 104, "cores": 4})),
        ("set", "/scale/ram", json!({"vm_id": 104, "memory": 4096})),
        ("snapshot", "/snapshot/create", json!({"vm_id": 104, "snapshot_name": "good"})),
    ] {
        node.hook(command, "exit 0");
        node.post(path, body).await.assert_error(502, "not_applied");
    }
    node.hook("resize", "echo 'unable to shrink disk size' >&2; exit 0");
    node.post("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 2}))
        .await
        .assert_error(409, "disk_size");
}

#[tokio::test]
async fn a_back_end_that_cannot_act_is_told_from_a_bad_request() {
    let mut node = Node::new();
    let cores = json!({"vm_id": 104, "cores": 4});
    for (says, status, code) in [
        ("ipcc_send_rec[1] failed: Connection refused", 502, "node_not_ready"),
        ("CT is locked (backup)", 409, "locked"),
        ("something new", 502, "pct_failed"),
        ("detected modified configuration - file changed by other user? Try again.", 409, "modified"),
    ] {
        node.hook("set", &format!("fail '{says}'"));
        node.post("/scale/cores", cores.clone()).await.assert_error(status, code);
    }
    node.config.pct.path = "/nonexistent/pct".into();
    node.post("/scale/cores", cores.clone()).await.assert_error(502, "pct_unavailable");
    node.config.paths.pve = "/proc/version".into();
    node.post("/scale/cores", cores).await.assert_error(502, "node_unreadable");
}

/// Twenty changes of one container at once: each finds it as the one before left it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_of_one_container_take_turns() {
    let node = Node::new();
    // Without turns, two calls would meet here and one of them would fail.
    node.hook("resize", "mkdir \"$root/turn\" || fail 'two at once'; trap 'rmdir \"$root/turn\"' EXIT");
    let api = node.api();
    let body = json!({"vm_id": 104, "disk_size": 1});
    let all: Vec<_> = (0..20)
        .map(|_| {
            let (api, body) = (api.clone(), body.clone());
            tokio::spawn(
                async move { send(&api, request("POST", "/scale/storage/increase", Some(body))).await },
            )
        })
        .collect();
    let mut sizes = Vec::new();
    for reply in all {
        sizes.push(reply.await.unwrap().data()["after"].as_u64().unwrap());
    }
    sizes.sort_unstable();
    assert_eq!(sizes, (9..=28).map(|gib| gib * 1024).collect::<Vec<u64>>());
}

/// Without its cluster file system, a node seems to have no containers; that must be reported neither as "no such
/// container" nor as "removed".
#[tokio::test]
async fn a_node_without_its_cluster_file_system_has_not_lost_its_containers() {
    let node = Node::new();
    let unmount = "mv \"$root/etc/pve/lxc\" \"$root/away\"";
    node.post("/clone/create", json!({"vm_id": 102, "new_vm_id": 105, "new_vm_name": "copy"})).await.data();
    let before = node.calls().len();
    node.hook("destroy", &format!("{unmount}; fail 'ipcc_send_rec[1] failed: Connection refused'"));
    node.send("DELETE", "/clone/delete", Some(json!({"vm_id": 105})))
        .await
        .assert_error(502, "node_not_ready");
    let reply = node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    reply.assert_error(502, "node_not_ready");
    assert!(reply.message().contains("pve-cluster"), "{}", reply.message());
    assert_eq!(node.calls()[before..], ["destroy 105 --purge 1"]);

    // `pct` reported success, but nobody can check it.
    std::fs::rename(node.root().join("away"), node.root().join("etc/pve/lxc")).unwrap();
    node.hook("destroy", &format!("{unmount}; exit 0"));
    node.send("DELETE", "/clone/delete", Some(json!({"vm_id": 105})))
        .await
        .assert_error(502, "node_not_ready");
}
