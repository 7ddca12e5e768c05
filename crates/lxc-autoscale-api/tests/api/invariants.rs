//! The invariants that no request may violate: each key of `[limits]` about them has an effect.

use serde_json::json;

use crate::node::{Node, RUNNING_104, STOPPED_102, request, send};
use crate::server::{Server, program, write_config};

#[tokio::test]
async fn a_step_is_bounded() {
    let mut node = Node::new();
    node.config.limits.max_step_factor = 2.0;
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 5})).await.assert_error(409, "step_too_large");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    node.post("/scale/ram", json!({"vm_id": 102, "memory": 500})).await.assert_error(409, "step_too_large");
    assert_eq!(node.calls(), ["set 104 -cores 4"]);
}

/// Setting a limit where there was none gives a container nothing, however low the limit is.
#[test]
fn a_cpu_limit_that_was_removed_can_be_given_back() {
    let node = Node::new();
    node.write_conf(104, &format!("{RUNNING_104}cpulimit: 1\n").replace("cores: 2", "cores: 4"));
    write_config(&node, "", "[limits]\nmax_step_factor = 1.5");
    let server = Server::spawn(&node, &mut program(&node, "run"));
    let limit = |cores: f64| server.ask("POST", "/scale/cpulimit", &json!({"vm_id": 104, "cpulimit": cores}));
    assert_eq!(limit(0.0).0, 200);
    let (status, undone) = server.ask("POST", "/undo", &json!({"vm_id": 104, "to": "original"}));
    assert_eq!((status, &undone["data"][0]["changed"]), (200, &json!(true)), "{undone}");
    assert!(node.conf(104).unwrap().contains("cpulimit: 1\n"));
    // Changing a limit is a step, and errors state it in cores, like the request.
    for (cores, status, code, says) in [
        (1.6, 409, "step_too_large", "from 1 to 1.6 is more than 1.5 times at once"),
        (0.02, 422, "out_of_bounds", "`cpulimit` (in cores, 0 for none) must be from 0.05 to 8192 "),
        (8193.0, 422, "out_of_bounds", "`cpulimit` (in cores, 0 for none) must be from 0.05 to 8192 "),
    ] {
        let (answered, answer) = limit(cores);
        assert_eq!((answered, &answer["code"]), (status, &json!(code)), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
    }
    node.write_conf(102, &format!("{STOPPED_102}cores: 64\n"));
    assert_eq!(server.ask("POST", "/scale/cpulimit", &json!({"vm_id": 102, "cpulimit": 2})).0, 200);
}

#[tokio::test]
async fn changes_of_a_container_are_bounded_over_a_restart_too() {
    let mut node = Node::new();
    node.config.limits.max_changes_per_hour = 2;
    for cores in [3, 4] {
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    // Each call of `post` uses a new server.
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 4096}))
        .await
        .assert_error(409, "changed_too_often");
    node.post("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 1}))
        .await
        .assert_error(409, "changed_too_often");
    let undone = node.post("/undo", json!({"vm_id": 104, "to": "original"})).await;
    assert_eq!(undone.data()[0]["code"], "changed_too_often", "{undone:?}");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    node.post("/scale/cores", json!({"vm_id": 102, "cores": 2})).await.data();
    node.post("/scale/storage/increase", json!({"vm_id": 102, "disk_size": 1})).await.data();
    let undone = node.post("/undo", json!({"vm_id": 102, "to": "original"})).await;
    assert_eq!(
        undone.data()[0]["code"],
        "changed_too_often",
        "to have no cores set is a change, too: {undone:?}"
    );
    node.config.limits.max_changes_per_hour = 0;
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 4096})).await.data();
}

/// A change dated further ahead than the hour that counts was made while the clock was wrong.
#[tokio::test]
async fn a_clock_that_was_set_back_locks_no_container() {
    let mut node = Node::new();
    node.config.limits.max_changes_per_hour = 2;
    for cores in [3, 4] {
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    let set_back = |seconds: i64| {
        let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
        let moved = "UPDATE ledger SET at_us = at_us + ?1";
        assert!(0 < database.execute(moved, [seconds * 1_000_000]).unwrap());
    };
    // By a little: these changes may well have been made within the hour.
    set_back(600);
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 5})).await.assert_error(409, "changed_too_often");
    set_back(24 * 3600);
    for cores in [5, 6] {
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    // What is made from now on counts as ever.
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 7})).await.assert_error(409, "changed_too_often");
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
}

/// Without a number of cores, a container has all cores of the node, which is a number, too.
#[tokio::test]
async fn no_undo_gives_more_cores_than_may_be_set() {
    let mut node = Node::new();
    node.post("/scale/cores", json!({"vm_id": 102, "cores": 2})).await.data();
    let undo = json!({"vm_id": 102, "to": "original"});
    let conf = node.conf(102).unwrap();
    let stat = node.root().join("proc/stat");
    let have_cpus = |count: usize| {
        let each: Vec<String> = (0..count).map(|cpu| format!("cpu{cpu} 1 0 1 1 0 0 0 0 0 0\n")).collect();
        std::fs::write(&stat, format!("cpu  1 0 1 1 0 0 0 0 0 0\n{}", each.concat())).unwrap();
    };
    have_cpus(8);
    node.config.limits.max_cores = 4;
    let undone = node.post("/undo", undo.clone()).await;
    assert_eq!(undone.data()[0]["code"], "out_of_bounds", "{undone:?}");
    assert_eq!(node.conf(102).unwrap(), conf);
    node.write_conf(102, &format!("{conf}lxc.cgroup2.cpuset.cpus: 0-3\n"));
    let undone = node.post("/undo", undo.clone()).await;
    assert_eq!(undone.data()[0]["code"], "pinned_cpuset", "{undone:?}");
    for (conf, count, max_cores) in [
        // A CPU limit within the bounds suffices.
        (format!("{conf}cpulimit: 3.5\n"), 8, 4),
        (conf.clone(), 4, 4),
        (conf.clone(), 8, 8),
    ] {
        node.write_conf(102, &conf);
        have_cpus(count);
        node.config.limits.max_cores = max_cores;
        let undone = node.post("/undo", undo.clone()).await;
        assert_eq!(undone.data()[0]["changed"], true, "{count} {max_cores}: {undone:?}");
        assert!(!node.conf(102).unwrap().contains("cores:"));
    }
    // A container without a number of cores is bounded by its CPU limit.
    node.config.limits.max_cores = 4;
    node.write_conf(102, "hostname: db\nmemory: 1024\ncpulimit: 2\n");
    node.post("/scale/cpulimit", json!({"vm_id": 102, "cpulimit": 0}))
        .await
        .assert_error(422, "out_of_bounds");
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
