//! The versions of Proxmox differ in exit codes, types and texts; what our server answers does not, through either back
//! end. One release of each generation, and of version 8 one from before the change of `set` in 8.3.

use std::fs;

use lxc_autoscale_e2e::{eventually, kernel_number};
use serde_json::{Value, json};

use crate::node::{BackEnd, Node, PATIENCE, Proxmox};

const VERSIONS: [&str; 4] = ["6.4-15", "7.4-17", "8.2.7", "9.1.4"];
const BOTH: [BackEnd; 2] = [BackEnd::Pct, BackEnd::Rest];

fn conf(node: &Node, id: u32) -> String {
    fs::read_to_string(node.config_path(id)).unwrap_or_default()
}

#[track_caller]
fn done(node: &Node, what: &str, path: &str, body: &Value) -> Value {
    let answer = node.post(path, &body.to_string());
    assert_eq!(answer["status"], "success", "{what}: {path} {body}: {answer}");
    answer["data"].clone()
}

#[track_caller]
fn delete(node: &Node, what: &str, path: &str, body: &Value) {
    let json = r#"-H "Content-Type: application/json""#;
    let answer = node.ask(&format!("curl -X DELETE http://proxmox:5000{path} {json} -d '{body}'"));
    assert_eq!(answer["status"], "success", "{what}: {path} {body}: {answer}");
}

/// A task that ended with warnings has succeeded: `pct` exits with 255 then on version 6, with 0 since 7.
fn everything_works_on(back_end: BackEnd) {
    let node = Node::start(back_end);
    node.proxmox.set("tasks_warn", true);
    for version in VERSIONS {
        node.proxmox.set("pve_version", version);
        let what = format!("{back_end:?} {version}");
        for name in ["old", "new"] {
            done(&node, &what, "/snapshot/create", &json!({"vm_id": 104, "snapshot_name": name}));
        }
        let list = node.look("/snapshot/list?vm_id=104");
        let rows: Vec<_> = list["snapshots"].as_array().unwrap().iter().collect();
        assert_eq!((&rows[1]["name"], &rows[1]["parent"]), (&json!("new"), &json!("old")), "{what}: {list}");
        assert!(rows[1]["created"].is_string(), "{what}: {list}");
        let back = done(&node, &what, "/snapshot/rollback", &json!({"vm_id": 104, "snapshot_name": "new"}));
        assert_eq!(back["running"], true, "{what}");
        let pruned = done(&node, &what, "/snapshot/prune", &json!({"vm_id": 104, "keep": 1}));
        assert_eq!(pruned["removed"], json!(["old"]), "{what}");
        delete(&node, &what, "/snapshot/delete", &json!({"vm_id": 104, "snapshot_name": "new"}));
        done(&node, &what, "/clone/create", &json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}));
        assert!(node.config_path(105).exists(), "{what}");
        done(&node, &what, "/power/start", &json!({"vm_id": 105}));
        delete(&node, &what, "/clone/delete", &json!({"vm_id": 105}));
        assert!(!node.config_path(105).exists(), "{what}");
        let list = node.look("/resource/vm/status?vm_id=104");
        assert!(!list.is_null(), "{what}");
    }
}

#[test]
fn everything_works_on_every_version_through_pct() {
    everything_works_on(BackEnd::Pct);
}

#[test]
fn everything_works_on_every_version_through_rest() {
    everything_works_on(BackEnd::Rest);
}

/// Before 8.3, Proxmox keeps what the kernel refused as a pending change, which the next start would bring into force.
#[test]
fn a_size_that_was_refused_does_not_wait_for_the_next_start() {
    for back_end in BOTH {
        let proxmox = Proxmox::start_with_cgroup(back_end, "v1");
        if back_end == BackEnd::Rest {
            proxmox.make_token();
            proxmox.grant_all();
        }
        let more = "[limits]\nallow_blind_memory_shrink = true\nmax_step_factor = 1000.0";
        let config = proxmox.configure(back_end, more);
        let node = Node::serve(proxmox, &config);
        // On cgroup v1, the kernel refuses a limit below what is in use and does not fit into the swap.
        let used = node.proxmox.at("node/sys/fs/cgroup/memory/lxc/102/memory.usage_in_bytes");
        eventually("container 102 holds more than its swap", PATIENCE, || {
            kernel_number(&used).filter(|bytes| *bytes > 700 << 20)
        });
        let before = conf(&node, 102);
        for version in ["6.4-15", "8.2.7", "9.1.4"] {
            node.proxmox.set("pve_version", version);
            let refused = node.post("/scale/ram", r#"{"vm_id": 102, "memory": 64}"#);
            assert_eq!(refused["code"], "not_applicable", "{back_end:?} {version}: {refused}");
            assert_eq!(conf(&node, 102), before, "{back_end:?} {version}");
        }
    }
}

/// ZFS can roll back to the newest snapshot only; the container is not stopped for what cannot be done.
#[test]
fn zfs_rolls_back_to_the_newest_snapshot_only() {
    for back_end in BOTH {
        let node = Node::start(back_end);
        let storages = json!([{"id": "local", "kind": "zfs-pool", "size": 102_400},
                              {"id": "local-lvm", "kind": "zfs-pool", "size": 204_800}]);
        node.proxmox.set("storages", storages);
        for name in ["old", "new"] {
            done(&node, "zfs", "/snapshot/create", &json!({"vm_id": 104, "snapshot_name": name}));
        }
        let refused = node.post("/snapshot/rollback", r#"{"vm_id": 104, "snapshot_name": "old"}"#);
        assert_eq!(refused["code"], "not_newest_snapshot", "{back_end:?}: {refused}");
        assert!(node.runs(104), "{back_end:?}");
        done(&node, "zfs", "/snapshot/rollback", &json!({"vm_id": 104, "snapshot_name": "new"}));
    }
}

/// What Proxmox leaves of a snapshot when it crashes, once the container is unlocked.
#[test]
fn an_incomplete_snapshot_is_neither_kept_nor_rolled_back_to() {
    for back_end in BOTH {
        let node = Node::start(back_end);
        for name in ["good", "half"] {
            done(&node, "half", "/snapshot/create", &json!({"vm_id": 104, "snapshot_name": name}));
        }
        let text = conf(&node, 104);
        let (now, half) = text.split_once("[half]").unwrap();
        fs::write(
            node.config_path(104),
            format!("{now}[half]{}snapstate: prepare\n", half.trim_end().to_owned() + "\n"),
        )
        .unwrap();
        let list = node.look("/snapshot/list?vm_id=104");
        let states: Vec<_> = list["snapshots"].as_array().unwrap().iter().map(|row| &row["state"]).collect();
        assert_eq!(states, [&json!("complete"), &json!("half_made")], "{back_end:?}: {list}");
        let pruned = done(&node, "half", "/snapshot/prune", &json!({"vm_id": 104, "keep": 1}));
        assert_eq!((&pruned["removed"], &pruned["kept"]), (&json!([]), &json!(["good"])), "{back_end:?}");
        let refused = node.post("/snapshot/rollback", r#"{"vm_id": 104, "snapshot_name": "half"}"#);
        assert_eq!(refused["code"], "incomplete_snapshot", "{back_end:?}: {refused}");
        delete(&node, "half", "/snapshot/delete", &json!({"vm_id": 104, "snapshot_name": "half"}));
        assert!(!conf(&node, 104).contains("[half]"), "{back_end:?}");
    }
}

/// The description of a container copied from a snapshot is that of the snapshot, unless something is done about it.
#[test]
fn a_copy_of_a_running_container_has_the_notes_of_its_source() {
    for back_end in BOTH {
        let node = Node::start(back_end);
        let settings = conf(&node, 104);
        let settings: String = settings.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
        for notes in ["", "#web tier%3A blue, 100%25\n#-second line %C3%A9\n"] {
            fs::write(node.config_path(104), format!("{notes}{settings}")).unwrap();
            assert!(node.runs(104));
            done(
                &node,
                "notes",
                "/clone/create",
                &json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}),
            );
            let copied = conf(&node, 105);
            let found: String = copied.split_inclusive('\n').filter(|line| line.starts_with('#')).collect();
            assert_eq!(found, notes, "{back_end:?}");
            delete(&node, "notes", "/clone/delete", &json!({"vm_id": 105}));
        }
    }
}
