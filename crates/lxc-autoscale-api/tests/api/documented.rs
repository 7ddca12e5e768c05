//! The requests of the product's first description, with the bodies shown there, and their effect on the node.

use lxc_autoscale_api::auth::caller::Role;
use serde_json::json;

use crate::node::Node;
use crate::server::{Server, read_answer};
use crate::trail::key;

#[tokio::test]
async fn scale_cores() {
    let node = Node::new();
    let reply = node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    assert_eq!(reply.data(), &json!({"vm_id": 104, "before": 2.0, "after": 4.0, "changed": true}));
    assert_eq!(reply.message(), "Container 104 has 4 cores now.");
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
    assert_eq!(node.calls(), ["set 104 -cores 4"]);
}

#[tokio::test]
async fn scale_ram() {
    let node = Node::new();
    let reply = node.post("/scale/ram", json!({"vm_id": 104, "memory": 4096})).await;
    assert_eq!(reply.data(), &json!({"vm_id": 104, "before": 2048, "after": 4096, "changed": true}));
    assert!(node.conf(104).unwrap().contains("memory: 4096\n"));
    assert_eq!(node.calls(), ["set 104 -memory 4096"]);
}

#[tokio::test]
async fn scale_storage_increase() {
    let node = Node::new();
    let reply = node.post("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 2})).await;
    assert_eq!(
        reply.data(),
        &json!({"vm_id": 104, "before": 8192, "after": 10240, "changed": true, "filesystem_grown": true})
    );
    assert!(node.conf(104).unwrap().contains("size=10G\n"));
    assert_eq!(node.calls(), ["resize 104 rootfs +2G"]);
}

/// To pct this is a success.
#[test]
fn a_volume_that_has_grown_without_its_file_system_is_told() {
    let node = Node::new();
    node.hook(
        "resize",
        "echo \"Failed to update the container's filesystem: command 'resize2fs' failed: exit code 1\"",
    );
    let server = Server::start(&node, "");
    let (status, answer) =
        server.ask("POST", "/scale/storage/increase", &json!({"vm_id": 104, "disk_size": 2}));
    let want =
        json!({"vm_id": 104, "before": 8192, "after": 10240, "changed": true, "filesystem_grown": false});
    assert_eq!((status, &answer["data"]), (200, &want), "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("has 10240 MiB now, but the file system on it has NOT grown"), "{message}");
    assert_eq!(server.data("/jobs")[0]["result"]["filesystem_grown"], false);
}

#[tokio::test]
async fn snapshot_create_list_and_rollback() {
    let node = Node::new();
    let body = json!({"vm_id": 104, "snapshot_name": "my_snapshot"});
    let reply = node.post("/snapshot/create", body.clone()).await;
    assert_eq!(reply.data(), &json!({"vm_id": 104, "snapshot_name": "my_snapshot"}));
    assert!(node.conf(104).unwrap().contains("[my_snapshot]\n"));

    let list = node.get("/snapshot/list?vm_id=104").await;
    let snapshots = list.data()["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["name"], "my_snapshot");
    assert_eq!(snapshots[0]["current"], true);
    assert!(snapshots[0]["created"].as_str().unwrap().starts_with("2026-11-23T18:42:35"), "{list:?}");

    let reply = node.post("/snapshot/rollback", body).await;
    let want = json!({"vm_id": 104, "snapshot_name": "my_snapshot", "was_running": true, "running": true});
    assert_eq!(reply.data(), &want);
    assert!(node.is_running(104), "a container that ran runs again");
    assert_eq!(
        node.calls(),
        [
            "snapshot 104 my_snapshot --description made by lxc-autoscale-api",
            "listsnapshot 104",
            "rollback 104 my_snapshot",
            "start 104"
        ]
    );
}

#[tokio::test]
async fn clone_create_and_delete() {
    let node = Node::new();
    let body = json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "cloned_container"});
    let reply = node.post("/clone/create", body).await;
    let data = reply.data();
    assert_eq!((&data["new_vm_id"], &data["hostname"]), (&json!(105), &json!("cloned-container")));
    assert_eq!(data["requested_name"], "cloned_container");
    assert!(reply.message().contains("`cloned-container`, not `cloned_container`"), "{}", reply.message());
    let conf = node.conf(105).unwrap();
    assert!(conf.contains("hostname: cloned-container\n"), "{conf}");
    assert!(conf.contains("tags: blue;lxc-autoscale-clone-105\n"), "{conf}");
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"), "the temporary snapshot is gone");
    assert_eq!(
        node.calls(),
        [
            "snapshot 104 lxc-autoscale-clone-105 --description temporary: lxc-autoscale-api copies the container \
             from it",
            "clone 104 105 --snapname lxc-autoscale-clone-105 --hostname cloned-container --full 1",
            "set 105 -tags blue;lxc-autoscale-clone-105",
            "listsnapshot 104",
            "delsnapshot 104 lxc-autoscale-clone-105",
        ]
    );

    let reply = node.send("DELETE", "/clone/delete", Some(json!({"vm_id": 105}))).await;
    assert_eq!(reply.data(), &json!({"vm_id": 105, "was_running": false}));
    assert_eq!(node.conf(105), None);
    assert_eq!(node.calls().last().unwrap(), "destroy 105 --purge 1");
}

#[tokio::test]
async fn resource_vm_status() {
    let node = Node::new();
    node.measured(104, 300.5, 5);
    let reply = node.get("/resource/vm/status?vm_id=104").await;
    let data = reply.data();
    assert_eq!((&data["vm_id"], &data["state"]), (&json!(104), &json!("running")));
    assert_eq!((&data["allocation"]["cores"], &data["allocation"]["memory_mb"]), (&json!(2), &json!(2048)));
    assert_eq!(
        (&data["usage"]["memory_usage_mb"], &data["usage"]["cpu_cores_used"]),
        (&json!(300.5), &json!(0.5))
    );
    assert_eq!(node.calls(), [""; 0], "looking starts no program");

    node.measured(104, 300.5, 600);
    let reply = node.get("/resource/vm/status?vm_id=104").await;
    assert!(reply.data().get("usage").is_none());
    assert!(reply.data()["usage_missing"].as_str().unwrap().contains("is 600 s old"), "{reply:?}");

    let reply = node.get("/resource/vm/status?vm_id=102").await;
    assert_eq!(reply.data()["state"], "stopped");
    assert_eq!(reply.data()["usage_missing"], "the container does not run");
}

#[tokio::test]
async fn resource_node_status() {
    let node = Node::new();
    std::fs::remove_file(node.root().join("proc/meminfo")).unwrap();
    let reply = node.get("/resource/node/status?node_name=proxmox").await;
    let data = reply.data();
    assert_eq!((&data["node_name"], &data["uptime_seconds"]), (&json!("proxmox"), &json!(3600.25)));
    assert_eq!((&data["containers"], &data["containers_running"]), (&json!(2), &json!(1)));
    assert!(data.get("memory_total_mb").is_none(), "what cannot be read is absent: {data}");
    assert!(data["missing"]["memory_total_mb"].as_str().unwrap().contains("meminfo"), "{data}");
    node.get("/resource/node/status?node_name=elsewhere").await.assert_error(404, "unknown_node");
}

#[tokio::test]
async fn resource_lxc_status_and_config() {
    let node = Node::new();
    let [old, new] = ["/resource/vm/status?vm_id=104", "/resource/lxc/status?lxc_id=104"];
    assert_eq!(node.get(old).await.body, node.get(new).await.body);
    let text = "#notes\ncores: 2\nmemory: 2048\nlxc.apparmor.profile: unconfined\n\n[pve:pending]\nmp0: x:y,size=1G\n\
                delete: nameserver\n\n[mine]\ncores: 1\n";
    node.write_conf(104, text);
    let reply = node.get("/resource/lxc/config?lxc_id=104").await;
    let data = reply.data();
    assert_eq!(data["allocation"]["cores"], 2);
    assert_eq!(data["settings"], json!({"cores": "2", "memory": "2048"}));
    assert_eq!(data["raw"], json!([{"name": "lxc.apparmor.profile", "value": "unconfined"}]));
    assert_eq!(data["pending"], json!({"mp0": {"set": "x:y,size=1G"}, "nameserver": "removed"}));
    let summed = std::process::Command::new("sha1sum").arg(node.root().join("etc/pve/lxc/104.conf")).output();
    let summed = String::from_utf8(summed.unwrap().stdout).unwrap();
    assert_eq!(data["digest"].as_str(), summed.split(' ').next());
    assert_eq!(reply.message(), "Container 104 has 2 settings; 2 changes wait for its next start.");
    node.get("/resource/lxc/config?lxc_id=999").await.assert_error(404, "no_such_container");
    assert_eq!(node.calls(), [""; 0]);
}

#[tokio::test]
async fn resource_cluster_status() {
    let node = Node::new();
    node.get("/resource/cluster/status").await.assert_error(502, "node_unreadable");
    let members = node.root().join("etc/pve/.members");
    std::fs::write(&members, "{\n\"nodename\": \"proxmox\",\n\"version\": 0\n}\n").unwrap();
    let reply = node.get("/resource/cluster/status").await;
    assert_eq!(reply.data(), &json!({"nodes": [{"name": "proxmox", "online": true, "local": true}]}));
    assert_eq!(reply.message(), "This node is not in a cluster.");
    let two = r#"{"nodename": "proxmox", "cluster": {"name": "home", "version": 2, "nodes": 2, "quorate": 0},
        "nodelist": {"proxmox": {"id": 1, "online": 1, "ip": "10.0.0.1"}, "other": {"id": 2, "online": 0}}}"#;
    std::fs::write(&members, two).unwrap();
    let reply = node.get("/resource/cluster/status").await;
    assert_eq!(reply.data()["cluster"], json!({"name": "home", "quorate": false}));
    assert_eq!(reply.data()["nodes"][0], json!({"name": "other", "online": false, "local": false}));
    assert_eq!(reply.message(), "Cluster home has NO quorum; online: 1 of 2 nodes.");
    std::fs::write(&members, "{").unwrap();
    node.get("/resource/cluster/status").await.assert_error(502, "pct_unreadable");
}

#[tokio::test]
async fn metrics_current() {
    let node = Node::new();
    let reply = node.get("/metrics/current").await;
    reply.assert_error(404, "no_metrics");
    assert!(reply.message().contains("lxc_metrics.json"), "{reply:?}");
    node.measured(104, 300.5, 5);
    let reply = node.get("/metrics/current").await;
    let data = reply.data();
    assert_eq!(
        (&data["fresh"], &data["containers"]["104"]["memory_usage_mb"]),
        (&json!(true), &json!(300.5))
    );
    assert!((5.0..60.0).contains(&data["age_seconds"].as_f64().unwrap()), "{data}");
    let measured = data["containers"]["104"].as_object().unwrap();
    assert!(
        !measured.contains_key("swap_usage_mb") && data.get("node").is_none(),
        "what is unknown is absent"
    );
    assert_eq!(node.get("/metrics/current?lxc_id=102").await.data()["containers"], json!({}));
    node.measured(104, 300.5, 600);
    let data = node.get("/metrics/current").await.data().clone();
    assert_eq!(data["fresh"], false, "it is shown all the same, with its age: {data}");
}

#[tokio::test]
async fn health_check() {
    let mut node = Node::new();
    let reply = node.get("/health/check").await;
    assert_eq!(reply.data()["state"], "degraded", "no metrics: {reply:?}");
    node.measured(104, 300.5, 5);
    let reply = node.get("/health/check").await;
    assert_eq!(reply.data()["state"], "healthy", "{reply:?}");
    assert_eq!(node.calls(), [""; 0]);

    node.config.pct.path = "/nonexistent/pct".into();
    let reply = node.get("/health/check").await;
    assert_eq!((reply.status.as_u16(), &reply.body["code"]), (503, &json!("unhealthy")));
    assert_eq!(reply.body["status"], "error");
    assert_eq!(reply.body["data"]["checks"][0]["name"], "pct");
    assert!(reply.message().contains("/nonexistent/pct"), "{}", reply.message());
}

/// Admins see the paths of files on the node; callers who may only read see just their names.
#[test]
fn health_names_files_and_to_an_admin_their_places() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let place = node.root().display().to_string();
    for (role, tells) in [(Role::Viewer, false), (Role::Operator, false), (Role::Admin, true)] {
        let key = key(&node, role.name(), role, &[]);
        let health = |server: &Server| {
            read_answer(server.send_as(Some(&key), "GET", "/health/check", &json!(null))).1.to_string()
        };
        let text = health(&server);
        assert!(text.contains("`pct` is executable") != tells && text.contains("lxc_metrics.json"), "{text}");
        assert_eq!(text.contains(&place), tells, "{text}");
    }
    // The same holds for the message of a failed check.
    std::fs::remove_file(node.root().join("pct")).unwrap();
    let key = key(&node, "other", Role::Viewer, &[]);
    let (status, answer) = read_answer(server.send_as(Some(&key), "GET", "/health/check", &json!(null)));
    assert_eq!(status, 503);
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("`pct`: No such file") && !message.contains(&place), "{message}");
}

#[tokio::test]
async fn routes_are_listed_as_documented() {
    let reply = Node::new().get("/routes").await;
    let routes = reply.data().as_array().unwrap();
    let mut listed: Vec<String> = routes
        .iter()
        .map(|route| format!("{} {}", route["method"].as_str().unwrap(), route["path"].as_str().unwrap()))
        .collect();
    listed.sort();
    assert_eq!(
        listed,
        [
            "DELETE /boost",
            "DELETE /clone/delete",
            "DELETE /jobs/{id}",
            "DELETE /snapshot/delete",
            "GET /boost",
            "GET /config",
            "GET /docs",
            "GET /docs/page.css",
            "GET /docs/page.js",
            "GET /events",
            "GET /health/check",
            "GET /jobs",
            "GET /jobs/{id}",
            "GET /ledger",
            "GET /metrics",
            "GET /metrics/current",
            "GET /openapi.json",
            "GET /resource/cluster/status",
            "GET /resource/lxc/config",
            "GET /resource/lxc/status",
            "GET /resource/lxc/why",
            "GET /resource/node/status",
            "GET /resource/vm/status",
            "GET /routes",
            "GET /snapshot/list",
            "PATCH /config",
            "POST /boost",
            "POST /clone/create",
            "POST /config/validate",
            "POST /jobs/{id}/cancel",
            "POST /power/reboot",
            "POST /power/shutdown",
            "POST /power/start",
            "POST /power/stop",
            "POST /scale/cores",
            "POST /scale/cpulimit",
            "POST /scale/ram",
            "POST /scale/storage/increase",
            "POST /snapshot/create",
            "POST /snapshot/prune",
            "POST /snapshot/rollback",
            "POST /undo",
            "PUT /config",
        ]
    );
    assert!(routes.iter().all(|route| route["description"].as_str().is_some_and(|text| !text.is_empty())));
}

#[tokio::test]
async fn scale_cpulimit() {
    let mut node = Node::new();
    node.config.limits.min_cpulimit = 0.01;
    let post =
        async |cpulimit: f64| node.post("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": cpulimit})).await;
    let reply = post(1.5).await;
    assert_eq!(reply.data(), &json!({"vm_id": 104, "before": null, "after": 1.5, "changed": true}));
    assert_eq!(reply.message(), "Container 104 has a CPU limit of 1.5 cores now.");
    assert!(node.conf(104).unwrap().contains("cpulimit: 1.5\n"));
    assert_eq!(post(1.5).await.data()["changed"], false);
    // It is no finer than a hundredth, and never so small that it would mean no limit.
    assert_eq!(post(0.333).await.data()["after"], 0.34);
    assert_eq!(post(0.0001).await.data()["after"], 0.01);
    let reply = post(0.0).await;
    assert_eq!(reply.data(), &json!({"vm_id": 104, "before": 0.01, "after": null, "changed": true}));
    assert!(!node.conf(104).unwrap().contains("cpulimit"));
    assert_eq!(
        node.calls(),
        [
            "set 104 -cpulimit 1.5",
            "set 104 -cpulimit 0.34",
            "set 104 -cpulimit 0.01",
            // `-cpulimit 0` fails on a running container.
            "set 104 -delete cpulimit",
        ]
    );
}

#[tokio::test]
async fn what_a_container_has_already_is_not_written() {
    let node = Node::new();
    let cores = node.post("/scale/cores", json!({"vm_id": 104, "cores": 2})).await;
    assert_eq!(cores.data(), &json!({"vm_id": 104, "before": 2.0, "after": 2.0, "changed": false}));
    let memory = node.post("/scale/ram", json!({"vm_id": 104, "memory": 2048})).await;
    assert_eq!(memory.data()["changed"], false);
    assert!(memory.message().ends_with("already; nothing was changed."), "{}", memory.message());
    assert_eq!(node.calls(), [""; 0]);
}
