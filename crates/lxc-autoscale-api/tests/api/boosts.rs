//! Boosts: how they end, after restarts, with overlapping boosts, and if a guard objects.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_api::backend::pct::PctHost;
use lxc_autoscale_api::state::{AppState, Shared};
use lxc_autoscale_api::{boosts, routes};
use serde_json::json;

use crate::node::{Node, RUNNING_104, Reply, request, send};

/// The server of a node, newly started.
fn start(node: &Node) -> AppState {
    let host = Arc::new(PctHost::new(node.config.pct.clone(), node.config.paths.clone()));
    Arc::new(Shared::new(node.config.clone(), host, Some("proxmox".to_owned())))
}

/// Ends the boosts that are over after some minutes, on a newly started server.
async fn after_minutes(node: &Node, minutes: i64) {
    boosts::end_due(&start(node), Timestamp::now() + SignedDuration::from_mins(minutes)).await.unwrap();
}

fn cores(node: &Node) -> String {
    let conf = node.conf(104).unwrap();
    conf.lines().find_map(|line| line.strip_prefix("cores: ")).unwrap().to_owned()
}

#[tokio::test]
async fn a_boost_ends_by_itself_over_a_restart() {
    let node = Node::new();
    node.measured(104, 500.0, 1);
    let body = json!({"vm_id": 104, "cores": 4, "memory": 4096, "minutes": 10});
    let reply = node.post("/boost", body).await;
    assert_eq!(reply.data().as_array().unwrap().len(), 2, "{reply:?}");
    assert_eq!(cores(&node), "4");
    assert!(node.conf(104).unwrap().contains("memory: 4096\n"));
    after_minutes(&node, 9).await;
    assert_eq!(cores(&node), "4");
    after_minutes(&node, 11).await;
    assert_eq!(cores(&node), "2");
    assert!(node.conf(104).unwrap().contains("memory: 2048\n"));
    assert_eq!(node.get("/boost").await.data(), &json!([]));
    let page = node.get("/ledger?vm_id=104").await;
    let whys: Vec<&str> = page.data()["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["why"].as_str().unwrap())
        .collect();
    assert_eq!(whys, ["end of boost", "end of boost", "boost", "boost"]);
}

#[tokio::test]
async fn the_largest_of_overlapping_boosts_holds() {
    let node = Node::new();
    for (cores, minutes) in [(4, 30), (8, 10), (6, 20)] {
        node.post("/boost", json!({"vm_id": 104, "cores": cores, "minutes": minutes})).await.data();
    }
    for (minutes, expected) in [(9, "8"), (11, "6"), (21, "4"), (31, "2")] {
        after_minutes(&node, minutes).await;
        assert_eq!(cores(&node), expected, "after {minutes} minutes");
    }
}

#[tokio::test]
async fn an_end_that_would_hurt_waits() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "memory": 4096, "minutes": 10})).await.data();
    node.measured(104, 3000.0, 1);
    after_minutes(&node, 11).await;
    let waiting = node.get("/boost").await;
    assert!(waiting.data()[0]["waiting"].as_str().unwrap().contains("3000 MiB"), "{waiting:?}");
    assert!(node.conf(104).unwrap().contains("memory: 4096\n"));
    node.measured(104, 500.0, 1);
    after_minutes(&node, 11).await;
    assert!(node.conf(104).unwrap().contains("memory: 4096\n"), "not asked again at once");
    after_minutes(&node, 13).await;
    assert!(node.conf(104).unwrap().contains("memory: 2048\n"));
}

/// Dates the boosts of a node as if they had begun while the clock was ahead.
fn date_ahead(node: &Node, ahead: SignedDuration) {
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    let moved =
        "UPDATE boosts SET began_us = began_us + ?1, ends_us = ends_us + ?1, next_try_us = next_try_us + ?1";
    let microseconds = i64::try_from(ahead.as_micros()).unwrap();
    assert!(0 < database.execute(moved, [microseconds]).unwrap());
}

#[tokio::test]
async fn a_boost_lasts_no_longer_because_the_clock_was_set_back() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 30})).await.data();
    date_ahead(&node, SignedDuration::from_hours(24));
    after_minutes(&node, 0).await;
    let listed = node.get("/boost").await;
    let [began, ends] = ["began", "ends"].map(|key| {
        let time: Timestamp = listed.data()[0][key].as_str().unwrap().parse().unwrap();
        time.duration_since(Timestamp::now()).as_mins()
    });
    assert!((-2..=0).contains(&began) && (27..=30).contains(&ends), "{listed:?}");
    after_minutes(&node, 28).await;
    assert_eq!(cores(&node), "4");
    after_minutes(&node, 31).await;
    assert_eq!(cores(&node), "2");
}

/// It waits for a minute, not for as long as the clock was ahead.
#[tokio::test]
async fn an_end_that_waits_is_tried_again_after_the_clock_was_set_back() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "memory": 4096, "minutes": 10_000})).await.data();
    node.measured(104, 3000.0, 1);
    after_minutes(&node, 10_001).await;
    assert!(node.get("/boost").await.data()[0]["waiting"].is_string());
    node.measured(104, 500.0, 1);
    // Its beginning is in the past all the same.
    after_minutes(&node, 60).await;
    assert!(node.conf(104).unwrap().contains("memory: 2048\n"));
}

#[tokio::test]
async fn a_size_that_somebody_sets_meanwhile_stays() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.data();
    after_minutes(&node, 11).await;
    assert_eq!(cores(&node), "3");
    assert_eq!(node.get("/boost").await.data(), &json!([]));
}

#[tokio::test]
async fn a_boost_is_ended_by_hand_and_half_of_one_is_not_begun() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    assert_eq!(node.send("DELETE", "/boost", Some(json!({"vm_id": 104}))).await.data(), &json!([]));
    assert_eq!(cores(&node), "2");
    // More memory than the node can give with its reserve.
    let mut node = node;
    node.config.limits.node_memory_reserve_percent = 50.0;
    let body = json!({"vm_id": 104, "cores": 4, "memory": 4096, "minutes": 10});
    node.post("/boost", body).await.assert_error(409, "node_memory_short");
    assert_eq!(cores(&node), "2");
    assert_eq!(node.get("/boost").await.data(), &json!([]));
    for (body, status, code) in [
        (json!({"vm_id": 104, "cores": 2, "minutes": 1}), 409, "no_boost"),
        (json!({"vm_id": 104, "minutes": 1}), 400, "invalid_parameter"),
        (json!({"vm_id": 104, "cores": 4, "minutes": 0}), 422, "out_of_bounds"),
        (json!({"vm_id": 104, "cores": 4, "minutes": 10_081}), 422, "out_of_bounds"),
        (json!({"vm_id": 999, "cores": 4, "minutes": 1}), 404, "no_such_container"),
    ] {
        node.post("/boost", body).await.assert_error(status, code);
    }
}

/// Not even for a moment: the size that could be raised waits for the check of the other one.
#[tokio::test]
async fn half_of_a_boost_out_of_bounds_raises_nothing() {
    let node = Node::new();
    for body in [
        json!({"vm_id": 104, "cores": 4, "memory": 0, "minutes": 5}),
        json!({"vm_id": 104, "cores": 100_000, "memory": 4096, "minutes": 5}),
    ] {
        node.post("/boost", body).await.assert_error(422, "out_of_bounds");
    }
    assert_eq!(node.calls(), [""; 0]);
}

/// Makes the next snapshot of container 104 wait until `release` exists.
fn hold_snapshots(node: &Node) {
    node.hook("snapshot", "touch \"$root/held\"; until [ -e \"$root/release\" ]; do sleep 0.02; done");
}

/// Lets a snapshot hold container 104, makes `first` and then `second` wait for it, and releases it.
async fn in_turn<A, B>(
    node: &Node,
    state: &AppState,
    first: impl Future<Output = A> + Send + 'static,
    second: impl Future<Output = B> + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    hold_snapshots(node);
    let api = routes::router(AppState::clone(state));
    let waiting = async |count: u64| {
        while state.instruments().waiting() < count {
            tokio::task::yield_now().await;
        }
    };
    let body = json!({"vm_id": 104, "snapshot_name": "turn"});
    let holder =
        tokio::spawn(async move { send(&api, request("POST", "/snapshot/create", Some(body))).await });
    while !node.root().join("held").exists() {
        tokio::task::yield_now().await;
    }
    let first = tokio::spawn(first);
    waiting(1).await;
    let second = tokio::spawn(second);
    waiting(2).await;
    std::fs::write(node.root().join("release"), "").unwrap();
    holder.await.unwrap().data();
    (first.await.unwrap(), second.await.unwrap())
}

/// The look at boosts goes on while the call for one container hangs.
#[tokio::test]
async fn a_hanging_call_for_one_container_holds_up_no_other_boost() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 102, "memory": 4096, "minutes": 10})).await.data();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 20})).await.data();
    let held = "touch \"$root/held\"; until [ -e \"$root/release\" ]; do sleep 0.02; done";
    node.hook("set", &format!("if [ \"$id\" = 102 ]; then {held}; fi"));
    let (state, mut ends) = (start(&node), boosts::Ends::default());
    let after = |minutes| Timestamp::now() + SignedDuration::from_mins(minutes);
    ends.begin(&state, after(11)).await.unwrap();
    while !node.root().join("held").exists() {
        tokio::task::yield_now().await;
    }
    ends.begin(&state, after(21)).await.unwrap();
    while cores(&node) != "2" {
        tokio::task::yield_now().await;
    }
    assert!(ends.is_in_progress(102.try_into().unwrap()));
    std::fs::write(node.root().join("release"), "").unwrap();
    ends.all().await;
    assert_eq!(node.get("/boost").await.data(), &json!([]));
    // Once to raise and once to give back: the look in between did not ask again.
    assert_eq!(node.calls().iter().filter(|call| call.starts_with("set 102")).count(), 2);
}

fn set_cores(state: &AppState, cores: u32) -> impl Future<Output = Reply> + Send + 'static {
    let api = routes::router(AppState::clone(state));
    async move { send(&api, request("POST", "/scale/cores", Some(json!({"vm_id": 104, "cores": cores})))).await }
}

#[tokio::test]
async fn a_size_that_was_asked_for_before_the_end_had_its_turn_stays() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    let state = start(&node);
    let own = AppState::clone(&state);
    let end = async move { boosts::end_due(&own, Timestamp::now() + SignedDuration::from_mins(11)).await };
    let (set, ended) = in_turn(&node, &state, set_cores(&state, 3), end).await;
    set.data();
    ended.unwrap();
    assert_eq!(cores(&node), "3");
    assert_eq!(node.get("/boost").await.data(), &json!([]));
}

#[tokio::test]
async fn a_boost_gives_back_what_was_set_while_it_waited_to_begin() {
    let node = Node::new();
    let state = start(&node);
    let api = routes::router(AppState::clone(&state));
    let body = json!({"vm_id": 104, "cores": 8, "minutes": 10});
    let boost = async move { send(&api, request("POST", "/boost", Some(body))).await };
    let (set, boosted) = in_turn(&node, &state, set_cores(&state, 3), boost).await;
    set.data();
    assert_eq!(boosted.data()[0]["base"], 3.0, "{boosted:?}");
    assert_eq!(cores(&node), "8");
    after_minutes(&node, 11).await;
    assert_eq!(cores(&node), "3");
}

/// A size that somebody sets during another boost is the one to return to.
#[tokio::test]
async fn a_boost_over_a_size_set_by_hand_goes_back_to_that_size() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.data();
    node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 20})).await.data();
    for (minutes, expected) in [(11, "8"), (21, "3")] {
        after_minutes(&node, minutes).await;
        assert_eq!(cores(&node), expected, "after {minutes} minutes");
    }
}

#[tokio::test]
async fn who_ends_a_boost_is_written_down() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    node.post("/boost", json!({"vm_id": 102, "memory": 4096, "minutes": 10})).await.data();
    assert_eq!(node.send("DELETE", "/boost", Some(json!({"vm_id": 104}))).await.data(), &json!([]));
    after_minutes(&node, 11).await;
    let page = node.get("/ledger").await;
    let ends: Vec<String> = page.data()["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["why"] == "end of boost")
        .map(|entry| format!("{} {}", entry["vm_id"], entry["caller"].as_str().unwrap()))
        .collect();
    assert_eq!(ends, ["102 server", "104 uid:0"]);
}

/// `pct` fails either after it has made the change or before; what the node shows counts.
#[tokio::test]
async fn a_raise_that_failed_after_it_was_done_does_not_last() {
    for (hook, has) in [("put cores \"$2\"; fail 'ipcc_send_rec failed'", "8"), ("fail 'no'", "2")] {
        let node = Node::new();
        node.hook("set", hook);
        let reply = node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 30})).await;
        assert_eq!(reply.status, 502, "{reply:?}");
        assert_eq!(cores(&node), has);
        let boosts = node.get("/boost").await.data().as_array().unwrap().len();
        assert_eq!(boosts, usize::from(has == "8"), "{hook}");
        std::fs::remove_file(node.root().join("hook/set")).unwrap();
        // As the server does every two seconds.
        after_minutes(&node, 0).await;
        assert_eq!(cores(&node), "2");
        assert_eq!(node.get("/boost").await.data(), &json!([]));
        let whys: Vec<_> = node.get("/ledger?vm_id=104").await.data()["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["why"].as_str().unwrap().to_owned())
            .collect();
        let expected: &[&str] = if has == "8" { &["end of boost", "boost"] } else { &[] };
        assert_eq!(whys, expected, "{hook}");
    }
}

/// A boost that cannot be recorded is not begun, even if it need not raise anything.
#[tokio::test]
async fn a_boost_that_cannot_be_audited_leaves_nothing() {
    let mut node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 30})).await.data();
    let calls = node.calls().len();
    node.config.audit.file = "/proc/version/audit.jsonl".into();
    let reply = node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 60})).await;
    reply.assert_error(503, "not_audited");
    assert_eq!(node.get("/boost").await.data().as_array().unwrap().len(), 1);
    assert_eq!(node.calls().len(), calls);
}

/// By hand, the container is destroyed and another one made, which happens to have the boosted size.
#[tokio::test]
async fn the_end_of_a_boost_takes_nothing_from_another_container_with_the_id() {
    let net = |last: u8| format!("net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{last:02X},type=veth\n");
    for by_hand in [false, true] {
        let node = Node::new();
        node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
        node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
        let theirs = RUNNING_104.replace("cores: 2", "cores: 4").replace("hostname: web", "hostname: shop");
        let theirs = format!("{theirs}{}", net(2));
        node.write_conf(104, &theirs);
        if by_hand {
            let ended = node.send("DELETE", "/boost", Some(json!({"vm_id": 104}))).await;
            assert_eq!(ended.data(), &json!([]));
        } else {
            after_minutes(&node, 11).await;
        }
        assert_eq!(node.conf(104).unwrap(), theirs, "{by_hand}");
        assert_eq!(node.get("/boost").await.data(), &json!([]));
    }
}

#[tokio::test]
async fn a_boost_of_another_container_with_the_id_has_nothing_to_do_with_the_boosts_before() {
    let net = |last: u8| format!("net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{last:02X},type=veth\n");
    let node = Node::new();
    node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
    node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    let theirs = RUNNING_104.replace("cores: 2", "cores: 4").replace("hostname: web", "hostname: shop");
    node.write_conf(104, &format!("{theirs}{}", net(2)));
    let boosted = node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 20})).await;
    assert_eq!(boosted.data()[0]["base"], 4.0, "{boosted:?}");
    after_minutes(&node, 11).await;
    assert_eq!(cores(&node), "8");
    after_minutes(&node, 21).await;
    assert_eq!(cores(&node), "4");
}

/// By hand, the network device is replaced, which draws a new address; the size may be set as well.
#[tokio::test]
async fn a_boost_of_a_container_with_a_new_network_gives_back_what_it_gave() {
    let net = |last: u8| format!("net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{last:02X},type=veth\n");
    for (now, then) in [("4", "2"), ("6", "6")] {
        let node = Node::new();
        node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
        node.post("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
        let renewed = RUNNING_104.replace("cores: 2", &format!("cores: {now}"));
        node.write_conf(104, &format!("{renewed}{}", net(2)));
        after_minutes(&node, 11).await;
        assert_eq!(cores(&node), then);
        assert_eq!(node.get("/boost").await.data(), &json!([]));
        // That nobody has named the container leaves it open whether it is the same one.
        let undone = node.post("/undo", json!({"vm_id": 104, "to": "original"})).await;
        assert_eq!(undone.data()[0]["code"], "unsure_container", "{undone:?}");
    }
}

/// The configuration is that of the snapshot already, and the rollback has not ended yet.
#[tokio::test]
async fn a_boost_that_ends_during_a_rollback_to_another_network_forgets_nothing() {
    let net = |last: u8| format!("net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{last:02X},type=veth\n");
    let node = Node::new();
    let then = RUNNING_104.replace("hostname: web", "hostname: old");
    node.write_conf(104, &format!("{RUNNING_104}{}\n[before]\n{then}{}snaptime: 1\n", net(2), net(1)));
    let state = start(&node);
    let api = routes::router(AppState::clone(&state));
    let ask = |path, body| send(&api, request("POST", path, Some(body)));
    ask("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.data();
    ask("/boost", json!({"vm_id": 104, "cores": 4, "minutes": 10})).await.data();
    let as_before = "sed -i '1,/^$/{s/00:02/00:01/;s/hostname: web/hostname: old/}' \"$conf\"";
    let held = "touch \"$root/held\"; until [ -e \"$root/release\" ]; do sleep 0.02; done";
    node.hook("rollback", &format!("{as_before}; {held}"));
    let rollback = tokio::spawn({
        let api = api.clone();
        let body = json!({"vm_id": 104, "snapshot_name": "before"});
        async move { send(&api, request("POST", "/snapshot/rollback", Some(body))).await }
    });
    while !node.root().join("held").exists() {
        tokio::task::yield_now().await;
    }
    let due = Timestamp::now() + SignedDuration::from_mins(11);
    let end = tokio::spawn({
        let state = AppState::clone(&state);
        async move { boosts::end_due(&state, due).await }
    });
    while state.instruments().waiting() < 1 && !end.is_finished() {
        tokio::task::yield_now().await;
    }
    std::fs::write(node.root().join("release"), "").unwrap();
    rollback.await.unwrap().data();
    end.await.unwrap().unwrap();
    assert_eq!(cores(&node), "3");
    assert_eq!(node.get("/boost").await.data(), &json!([]));
    let undone = ask("/undo", json!({"vm_id": 104, "to": "original"})).await;
    assert_eq!((&undone.data()[0]["to"], &undone.data()[0]["changed"]), (&json!(2.0), &json!(true)));
}

/// As `lxc-autoscale-ml` asks for a size.
async fn decided(node: &Node, path: &str, body: serde_json::Value) -> Reply {
    let mut asked = request("POST", path, Some(body));
    asked.headers_mut().insert("x-purpose", "decision 7".parse().unwrap());
    send(&node.api(), asked).await
}

/// Neither while it is on nor after its time is over, as long as the size was not given back: what the daemon would
/// set would count as somebody's wish, and stay.
#[tokio::test]
async fn a_decision_of_the_daemon_takes_nothing_from_a_boost() {
    let node = Node::new();
    node.measured(104, 500.0, 1);
    node.post("/boost", json!({"vm_id": 104, "cores": 8, "memory": 4096, "minutes": 10})).await.data();
    for overdue in [false, true] {
        if overdue {
            date_ahead(&node, SignedDuration::from_mins(-11));
        }
        for (path, body) in [
            ("/scale/cores", json!({"vm_id": 104, "cores": 6, "expected": 8})),
            ("/scale/ram", json!({"vm_id": 104, "memory": 3072, "expected": 4096})),
            ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 1.5})),
        ] {
            let reply = decided(&node, path, body).await;
            reply.assert_error(409, "boosted");
            assert!(reply.message().contains("DELETE /boost"), "{reply:?}");
        }
    }
    // More than the boost is not taken from it, and a limit may rise.
    node.write_conf(104, &node.conf(104).unwrap().replace("cores: 8\n", "cores: 8\ncpulimit: 1\n"));
    decided(&node, "/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 2})).await.data();
    after_minutes(&node, 0).await;
    assert_eq!(cores(&node), "2");
    assert!(node.conf(104).unwrap().contains("memory: 2048\n"));
    // From here on the daemon goes on.
    decided(&node, "/scale/ram", json!({"vm_id": 104, "memory": 1024})).await.data();
}

#[tokio::test]
async fn a_decision_that_gives_more_than_the_boost_stays_and_a_persons_wish_too() {
    for (by_daemon, set) in [(true, 10), (false, 6)] {
        let node = Node::new();
        node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 10})).await.data();
        let body = json!({"vm_id": 104, "cores": set});
        if by_daemon {
            decided(&node, "/scale/cores", body).await.data();
        } else {
            node.post("/scale/cores", body).await.data();
        }
        after_minutes(&node, 11).await;
        assert_eq!(cores(&node), set.to_string());
    }
}

/// The daemon answers an out-of-memory event, say, which does not make the person's size the boost's again.
#[tokio::test]
async fn a_decision_upon_what_a_person_set_is_not_owed_to_the_boost() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "memory": 8192, "minutes": 10})).await.data();
    node.measured(104, 500.0, 1);
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 4096})).await.data();
    for memory in [5000, 5500] {
        decided(&node, "/scale/ram", json!({"vm_id": 104, "memory": memory})).await.data();
    }
    after_minutes(&node, 11).await;
    assert!(node.conf(104).unwrap().contains("memory: 5500\n"), "{:?}", node.conf(104));
    assert_eq!(node.get("/boost").await.data(), &json!([]));
}

/// Nothing of the size is the boost's any more, so the daemon goes on before it ends.
#[tokio::test]
async fn a_boost_that_holds_nothing_any_more_keeps_no_decision_away() {
    let node = Node::new();
    node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 10})).await.data();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 6})).await.data();
    decided(&node, "/scale/cores", json!({"vm_id": 104, "cores": 5})).await.data();
    after_minutes(&node, 11).await;
    assert_eq!(cores(&node), "5");
}

/// A change may take an hour.
#[tokio::test]
async fn an_end_does_not_queue_for_long_and_holds_up_no_other() {
    let node = Node::new();
    node.write_conf(106, RUNNING_104);
    for vmid in [104, 106] {
        node.post("/boost", json!({"vm_id": vmid, "cores": 4, "minutes": 10})).await.data();
    }
    let state = start(&node);
    hold_snapshots(&node);
    let api = routes::router(AppState::clone(&state));
    let body = json!({"vm_id": 104, "snapshot_name": "turn"});
    let holder =
        tokio::spawn(async move { send(&api, request("POST", "/snapshot/create", Some(body))).await });
    while !node.root().join("held").exists() {
        tokio::task::yield_now().await;
    }
    let (now, tried) = (Timestamp::now() + SignedDuration::from_mins(11), std::time::Instant::now());
    boosts::end_due(&state, now).await.unwrap();
    let listed = node.get("/boost").await;
    assert_eq!((listed.data().as_array().unwrap().len(), &listed.data()[0]["vm_id"]), (1, &json!(104)));
    let why = listed.data()[0]["waiting"].as_str().unwrap();
    assert!(why.contains("has been under way for longer than 5s"), "{why}");
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    let next: i64 = database.query_row("SELECT next_try_us FROM boosts", [], |row| row.get(0)).unwrap();
    let next = Timestamp::from_microsecond(next).unwrap();
    assert!(now + tried.elapsed() < next, "a minute from the end of the try, not from its begin");
    std::fs::write(node.root().join("release"), "").unwrap();
    holder.await.unwrap().data();
    after_minutes(&node, 13).await;
    assert_eq!(cores(&node), "2");
}

/// It cannot give back the size from before, which is too small by now. The daemon brings it down as far as that does
/// no harm, and the end goes on to wait for the rest.
#[tokio::test]
async fn while_an_end_waits_the_daemon_goes_on_and_what_it_sets_is_not_kept() {
    for by_daemon in [true, false] {
        let node = Node::new();
        node.post("/boost", json!({"vm_id": 104, "memory": 4096, "minutes": 10})).await.data();
        node.measured(104, 2500.0, 1);
        after_minutes(&node, 11).await;
        assert!(node.get("/boost").await.data()[0]["waiting"].is_string());
        let body = json!({"vm_id": 104, "memory": 3072});
        if by_daemon {
            decided(&node, "/scale/ram", body).await.data();
        } else {
            node.post("/scale/ram", body).await.data();
        }
        after_minutes(&node, 13).await;
        let is_listed = node.get("/boost").await.data() != &json!([]);
        assert_eq!(is_listed, by_daemon, "what a person sets ends it");
        node.measured(104, 500.0, 1);
        after_minutes(&node, 15).await;
        let has = if by_daemon { "memory: 2048\n" } else { "memory: 3072\n" };
        assert!(node.conf(104).unwrap().contains(has), "{by_daemon}: {:?}", node.conf(104));
        assert_eq!(node.get("/boost").await.data(), &json!([]));
    }
}

/// More cores than the CPU limit lets it use.
#[tokio::test]
async fn cores_that_a_cpu_limit_holds_back_are_warned_of() {
    let node = Node::new();
    node.write_conf(104, &RUNNING_104.replace("cores: 2\n", "cores: 2\ncpulimit: 1\n"));
    let boosted = node.post("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 10})).await;
    let set = node.post("/scale/cores", json!({"vm_id": 104, "cores": 6})).await;
    for (reply, does) in [(&boosted, "has a boost for 10 minutes"), (&set, "has 6 cores now")] {
        reply.data();
        let message = reply.message();
        assert!(message.contains(does) && message.contains("CPU limit of 1 core holds"), "{message}");
        assert!(message.contains("/scale/cpulimit"), "{message}");
    }
    let fewer = node.post("/scale/cores", json!({"vm_id": 104, "cores": 1})).await;
    assert!(!fewer.message().contains("limit"), "it does not hold one core back: {fewer:?}");
}
