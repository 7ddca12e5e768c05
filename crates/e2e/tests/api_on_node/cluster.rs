//! A cluster of two nodes: containers are served on whichever node they are.

use std::fs;
use std::path::PathBuf;

use crate::node::{BackEnd, Node, Proxmox};
use crate::schema;

const OTHER: &str = "second";

/// Two nodes, and our server, which is configured with the first one.
fn start(limits: &str) -> Node {
    let proxmox = Proxmox::start_cluster(BackEnd::Rest, &[OTHER]);
    proxmox.make_token();
    proxmox.grant_all();
    let config = proxmox.configure(BackEnd::Rest, &format!("[limits]\n{limits}"));
    Node::serve(proxmox, &config)
}

fn config_on_other(node: &Node, id: u32) -> PathBuf {
    node.proxmox.at(&format!("{OTHER}/etc/pve/lxc/{id}.conf"))
}

#[track_caller]
fn succeed(node: &Node, path: &str, body: &str) -> serde_json::Value {
    let answer = node.post(path, body);
    assert_eq!(answer["status"], "success", "{path} {body}: {answer}");
    answer["data"].clone()
}

#[test]
fn a_container_that_moved_to_another_node_is_served_there() {
    let node = start("");
    succeed(&node, "/power/stop", r#"{"vm_id": 104}"#);
    succeed(&node, "/scale/cores", r#"{"vm_id": 104, "cores": 3}"#);
    fs::rename(node.config_path(104), config_on_other(&node, 104)).unwrap();

    let text = || fs::read_to_string(config_on_other(&node, 104)).unwrap();
    succeed(&node, "/scale/cores", r#"{"vm_id": 104, "cores": 4}"#);
    assert!(text().contains("cores: 4\n"), "{}", text());
    assert_eq!(node.look("/resource/vm/status?vm_id=104")["allocation"]["cores"], 4);
    assert_eq!(node.look("/resource/lxc/config?lxc_id=104")["settings"]["cores"], "4");
    succeed(&node, "/snapshot/create", r#"{"vm_id": 104, "snapshot_name": "there"}"#);
    assert!(text().contains("[there]"), "{}", text());
    let steps = node.look("/jobs")[0]["steps"].to_string();
    assert!(steps.contains(&format!("POST /nodes/{OTHER}/lxc/104/snapshot")), "{steps}");
    // A copy is created on the node of its source, and its id must be free in the whole cluster.
    let taken = node.post("/clone/create", r#"{"vm_id": 100, "new_vm_id": 104, "new_vm_name": "x"}"#);
    assert_eq!(taken["code"], "container_exists", "{taken}");
    succeed(&node, "/clone/create", r#"{"vm_id": 104, "new_vm_id": 150, "new_vm_name": "copy"}"#);
    assert!(fs::read_to_string(config_on_other(&node, 150)).unwrap().contains("lxc-autoscale-clone-150"));

    // The container comes back, and everything known about it is still known.
    fs::rename(config_on_other(&node, 104), node.config_path(104)).unwrap();
    succeed(&node, "/undo", r#"{"vm_id": 104, "to": "original"}"#);
    assert_eq!(node.config(104).cores, Some(1));
    fs::remove_file(node.config_path(104)).unwrap();
    let gone = node.post("/scale/cores", r#"{"vm_id": 104, "cores": 4}"#);
    assert_eq!(gone["code"], "no_such_container", "{gone}");
    let seen = schema::check_calls(&node.calls());
    assert!(seen.contains("GET /cluster/resources"), "{seen:?}");
}

/// A container on another node must not be checked against this node's memory.
#[test]
fn a_container_on_another_node_is_not_held_to_the_memory_of_this_one() {
    let node = start("node_memory_reserve_percent = 90");
    let more = |id: u32| format!(r#"{{"vm_id": {id}, "memory": 8192}}"#);
    let here = node.post("/scale/ram", &more(104));
    assert_eq!(here["code"], "node_memory_short", "{here}");
    succeed(&node, "/power/stop", r#"{"vm_id": 104}"#);
    fs::rename(node.config_path(104), config_on_other(&node, 104)).unwrap();
    succeed(&node, "/power/start", r#"{"vm_id": 104}"#);
    succeed(&node, "/scale/ram", &more(104));
}
