//! What no request breaks, whoever asks: each key of `[limits]` that is about it has an effect.

use serde_json::json;

use crate::node::{Node, request, send};

#[tokio::test]
async fn a_step_is_bounded() {
    let mut node = Node::new();
    node.config.limits.max_step_factor = 2.0;
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 5})).await.assert_error(409, "step_too_large");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    node.post("/scale/ram", json!({"vm_id": 102, "memory": 500})).await.assert_error(409, "step_too_large");
    assert_eq!(node.calls(), ["set 104 -cores 4"]);
}

#[tokio::test]
async fn changes_of_a_container_are_bounded_over_a_restart_too() {
    let mut node = Node::new();
    node.config.limits.max_changes_per_hour = 2;
    for cores in [3, 4] {
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    // Each call of `post` is a server of its own.
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 4096}))
        .await
        .assert_error(409, "changed_too_often");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    node.post("/scale/cores", json!({"vm_id": 102, "cores": 2})).await.data();
    node.config.limits.max_changes_per_hour = 0;
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 4096})).await.data();
}

#[tokio::test]
async fn more_memory_must_be_there() {
    let mut node = Node::new();
    // 32 GiB are available, and half of 64 are kept back.
    node.config.limits.node_memory_reserve_percent = 50.0;
    let more = json!({"vm_id": 104, "memory": 2049});
    node.post("/scale/ram", more.clone()).await.assert_error(409, "node_memory_short");
    node.post("/scale/ram", json!({"vm_id": 102, "memory": 4096})).await.data();
    node.config.limits.node_memory_reserve_percent = 49.0;
    node.post("/scale/ram", more).await.data();
    std::fs::remove_file(node.root().join("proc/meminfo")).unwrap();
    let more = json!({"vm_id": 104, "memory": 2050});
    node.post("/scale/ram", more.clone()).await.assert_error(409, "node_memory_unknown");
    // Of another node of the cluster this server sees no memory, and leaves it to Proxmox.
    node.config.rest.node = "elsewhere".to_owned();
    node.post("/scale/ram", more).await.data();
}

#[tokio::test]
async fn a_protected_container_is_changed_by_nobody() {
    let mut node = Node::new();
    node.config.limits.protected_containers = vec![104.try_into().unwrap()];
    let api = node.api();
    for (path, body) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 4})),
        ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 1.5})),
        ("/scale/ram", json!({"vm_id": 104, "memory": 4096})),
        ("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 1})),
        ("/snapshot/create", json!({"vm_id": 104, "snapshot_name": "mine"})),
        ("/clone/create", json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"})),
        ("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 1})),
    ] {
        let reply = send(&api, request("POST", path, Some(body))).await;
        reply.assert_error(403, "protected_container");
    }
    assert_eq!(node.calls(), [""; 0]);
    node.post("/scale/cores", json!({"vm_id": 102, "cores": 4})).await.data();
}
