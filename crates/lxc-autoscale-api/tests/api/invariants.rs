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

/// The kernel shows only later what was given, so it must not be given twice meanwhile: neither to changes that are
/// checked at the same time, nor after a restart.
#[tokio::test]
async fn no_memory_is_promised_twice() {
    let mut node = Node::new();
    node.config.limits.allow_blind_memory_shrink = true;
    let ids = [104, 106, 107, 108];
    for id in ids.into_iter().skip(1) {
        node.write_conf(id, RUNNING_104);
        node.run(id);
    }
    // 31 of 64 GiB can be given, which is enough for two.
    let grow = |id: u32| request("POST", "/scale/ram", Some(json!({"vm_id": id, "memory": 14_000})));
    node.hook("set", "while [ -d \"$root\" ] && ! [ -e \"$root/release\" ]; do sleep 0.05; done");
    let api = node.api();
    let asked = ids.map(|id| {
        let (api, request) = (api.clone(), grow(id));
        tokio::spawn(async move { (id, send(&api, request).await) })
    });
    while node.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    std::fs::write(node.root().join("release"), "").unwrap();
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    for asked in asked {
        match asked.await.unwrap() {
            (id, reply) if reply.status.is_success() => granted.push(id),
            (id, reply) => {
                reply.assert_error(409, "node_memory_short");
                assert!(reply.message().contains(" 23904 MiB of it were promised "), "{reply:?}");
                refused.push(id);
            }
        }
    }
    assert_eq!((granted.len(), refused.len()), (2, 2));
    // A server that was started since knows it from the ledger.
    let one = grow(refused[0]);
    send(&node.api(), one).await.assert_error(409, "node_memory_short");
    // What was taken back can be given again.
    let undone = node.post("/undo", json!({"vm_id": granted[0], "to": "original"})).await;
    assert_eq!(undone.data()[0]["changed"], true, "{undone:?}");
    send(&node.api(), grow(refused[0])).await.data();
    send(&node.api(), grow(refused[1])).await.assert_error(409, "node_memory_short");
    // A container that was stopped since takes nothing.
    node.post("/power/stop", json!({"vm_id": granted[1]})).await.data();
    send(&node.api(), grow(refused[1])).await.data();
}

/// The node's available memory tells of what a container has taken, so that it does not count again as promised to it.
#[tokio::test]
async fn what_a_container_has_taken_of_its_own_growth_counts_once() {
    let node = Node::new();
    let grow = |memory: u32| json!({"vm_id": 104, "memory": memory});
    node.post("/scale/ram", grow(20_000)).await.data();
    // 31 of 64 GiB can be given, and nothing tells what it has taken.
    node.post("/scale/ram", grow(40_000)).await.assert_error(409, "node_memory_short");
    for (taken, is_granted) in [(5000.0, false), (19_000.0, true)] {
        node.measured_taken(&[(104, taken)], 32_768.0, 0);
        let reply = node.post("/scale/ram", grow(40_000)).await;
        assert_eq!(reply.status.is_success(), is_granted, "{taken}: {reply:?}");
    }
}

/// The same holds for what another container was given, as long as it is certain that it has not given it back.
#[tokio::test]
async fn what_another_container_has_taken_of_its_growth_counts_once() {
    let node = Node::new();
    node.write_conf(106, RUNNING_104);
    node.run(106);
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 20_000})).await.data();
    // It has taken 17,000 MiB of that by now; 1,311 are the reserve. Counted twice, nothing would be left of the rest.
    node.available(32_768 - 17_000);
    let all = 32_768 - 17_000 - 1_000 - 1_311;
    let more = |mib: u32| json!({"vm_id": 106, "memory": 2048 + mib});
    let refused = async |why: &str| {
        let reply = node.post("/scale/ram", more(13_000)).await;
        assert_eq!(reply.body["code"], "node_memory_short", "{why}: {reply:?}");
    };
    refused("nothing is known").await;
    node.measured_taken(&[(104, 19_000.0)], 15_768.0, 181);
    refused("what is known is old").await;
    node.measured(104, 19_000.0, 0);
    refused("its parts are not known, nor what the node had then").await;
    node.measured_taken(&[(106, 500.0)], 15_768.0, 0);
    refused("it was not measured").await;
    node.measured_taken(&[(104, 17_000.0)], 15_768.0, 0);
    refused("it has not taken so much").await;
    node.measured_taken(&[(104, 19_000.0)], 15_768.0, 0);
    node.post("/scale/ram", more(all + 1)).await.assert_error(409, "node_memory_short");
    // More is available than when it was measured, so that it may have given something back, and may take it again.
    node.available(32_768);
    node.post("/scale/ram", more(14_000)).await.assert_error(409, "node_memory_short");
    node.available(32_768 - 17_000);
    node.post("/scale/ram", more(all)).await.data();
}

/// Sets the times of the newest entries of the ledger to the beginning of 1970.
fn date_back(node: &Node, entries: u32) {
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    let newest = "number IN (SELECT number FROM ledger ORDER BY number DESC LIMIT ?1)";
    let moved = database.execute(&format!("UPDATE ledger SET at_us = 1000000 WHERE {newest}"), [entries]);
    assert_eq!(moved.unwrap(), usize::try_from(entries).unwrap());
}

/// After a boot the clock may be far in the past until it is set, so that older entries lie between younger ones.
#[tokio::test]
async fn a_clock_that_was_behind_for_a_while_hides_nothing() {
    let mut node = Node::new();
    node.write_conf(106, RUNNING_104);
    node.run(106);
    node.config.limits.max_changes_per_hour = 4;
    for cores in [3, 4] {
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 20_000})).await.data();
    for cores in [5, 6, 7] {
        node.config.limits.max_changes_per_hour += 1;
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    date_back(&node, 3);
    node.config.limits.max_changes_per_hour = 4;
    node.post("/scale/ram", json!({"vm_id": 106, "memory": 20_000}))
        .await
        .assert_error(409, "node_memory_short");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 8})).await.data();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 9})).await.assert_error(409, "changed_too_often");
}

/// A rollback is held to what a request for the same sizes is held to, and says what to do.
#[tokio::test]
async fn what_a_snapshot_brings_back_is_a_change_of_sizes() {
    let rollback = || json!({"vm_id": 104, "snapshot_name": "before"});
    let rest = "rootfs: local-lvm:vm-104-disk-0,size=8G\n";
    let snapshot = |node: &Node, now: &str, then: &str| {
        node.write_conf(104, &format!("{now}\n{rest}\n[before]\n#mine\n{then}\n{rest}snaptime: 1\n"));
    };
    let small = "cores: 2\nmemory: 4096";
    for (then, is_running, code, says) in [
        ("cores: 33\nmemory: 4096", true, "step_too_large", "`cores` 33 instead of 2"),
        ("cores: 33\nmemory: 4096", false, "step_too_large", "resize the container first, then roll back"),
        ("cores: 2\nmemory: 128", true, "step_too_large", "`memory` 128 MiB instead of 4096 MiB"),
        ("cores: 3\nmemory: 36000", true, "node_memory_short", "`cores` 3 instead of 2, `memory` 36000 MiB"),
        ("cores: 2\nmemory: 36000", false, "", ""),
        ("cores: 32\nmemory: 4097", true, "", ""),
        ("cores: 2\ncpulimit: 64\nmemory: 4096", true, "", ""),
    ] {
        let mut node = Node::new();
        node.config.limits.max_step_factor = 16.0;
        snapshot(&node, small, then);
        if !is_running {
            std::fs::write(node.root().join("proc/net/unix"), "").unwrap();
        }
        let reply = node.post("/snapshot/rollback", rollback()).await;
        if code.is_empty() {
            reply.data();
            continue;
        }
        reply.assert_error(409, code);
        assert!(reply.message().contains("`before`") && reply.message().contains(says), "{reply:?}");
        assert_eq!((node.calls(), node.is_running(104)), (Vec::<String>::new(), is_running));
    }

    let node = Node::new();
    snapshot(&node, small, "cores: 2\nmemory: 8192");
    std::fs::remove_file(node.root().join("proc/meminfo")).unwrap();
    node.post("/snapshot/rollback", rollback()).await.assert_error(409, "node_memory_unknown");
    // Less is no matter of the node's, and a container that is started anew holds nothing yet.
    snapshot(&node, small, "cores: 2\nmemory: 2048");
    node.post("/snapshot/rollback", rollback()).await.data();
}

#[tokio::test]
async fn a_rollback_counts_as_a_change_if_it_changes_sizes() {
    let mut node = Node::new();
    node.config.limits.max_changes_per_hour = 2;
    node.write_conf(
        104,
        &format!("{RUNNING_104}\n[before]\n{}snaptime: 1\n", RUNNING_104.replace("2048", "4096")),
    );
    node.hook("rollback", "sed -i '1,/^$/{s/memory: .*/memory: 4096/}' \"$conf\"");
    let rollback = || json!({"vm_id": 104, "snapshot_name": "before"});
    node.post("/snapshot/rollback", rollback()).await.data();
    // It brings back what the container has.
    for _ in 0..3 {
        node.post("/snapshot/rollback", rollback()).await.data();
    }
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 5000})).await.data();
    node.post("/snapshot/rollback", rollback()).await.assert_error(409, "changed_too_often");
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.assert_error(409, "changed_too_often");
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
