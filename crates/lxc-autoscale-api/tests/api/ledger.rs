//! The ledger of sizes, and undoing changes.

use axum::Router;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::node::{Node, request, send};

async fn post(api: &Router, path: &str, body: Value) -> Value {
    send(api, request("POST", path, Some(body))).await.data().clone()
}

#[tokio::test]
async fn every_change_of_a_size_is_kept_and_the_first_size_for_ever() {
    let node = Node::new();
    let api = node.api();
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    post(&api, "/scale/ram", json!({"vm_id": 104, "memory": 4096})).await;
    post(&api, "/scale/storage/increase", json!({"vm_id": 104, "disk_size": 2})).await;
    // Somebody else sets it by hand.
    node.write_conf(104, &node.conf(104).unwrap().replace("cores: 4", "cores: 6"));
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 3})).await;
    let page = send(&api, request("GET", "/ledger?vm_id=104", None)).await.data().clone();
    let rows: Vec<String> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| {
            let word = |name: &str| entry[name].as_str().unwrap();
            format!(
                "{} {} {} {} {}",
                word("resource"),
                entry["before"],
                entry["after"],
                word("caller"),
                word("why")
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            "cores 2.0 4.0 uid:0 request",
            "memory 2048.0 4096.0 uid:0 request",
            "rootfs 8192.0 10240.0 uid:0 request",
            "cores 4.0 6.0 outside noticed",
            "cores 6.0 3.0 uid:0 request",
        ]
    );
    let originals: Vec<(&str, f64)> = page["originals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["resource"].as_str().unwrap(), row["size"].as_f64().unwrap()))
        .collect();
    assert_eq!(originals, [("cores", 2.0), ("memory", 2048.0), ("rootfs", 8192.0)]);
    let other = send(&api, request("GET", "/ledger?vm_id=102", None)).await;
    assert_eq!(other.data()["entries"], json!([]));
}

#[tokio::test]
async fn sizes_go_back_to_any_time_through_the_guards() {
    let node = Node::new();
    let api = node.api();
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    post(&api, "/scale/ram", json!({"vm_id": 104, "memory": 4096})).await;
    post(&api, "/scale/cores", json!({"vm_id": 102, "cores": 2})).await;
    let then = Timestamp::now().to_string();
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 8})).await;

    let undone = post(&api, "/undo", json!({"vm_id": 104, "to": then})).await;
    assert_eq!(undone[0]["changed"], true, "{undone}");
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));

    // Less memory than it holds is refused, not forced; everything else is undone.
    node.measured(104, 3000.0, 10);
    let undone = post(&api, "/undo", json!({"all": true, "to": "original"})).await;
    let rows: Vec<String> = undone
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!("{} {} {} {} {}", row["vm_id"], row["resource"], row["to"], row["changed"], row["code"])
        })
        .collect();
    assert_eq!(
        rows,
        [
            "102 \"cores\" null true null",
            "104 \"cores\" 2.0 true null",
            "104 \"memory\" 2048.0 false \"shrink_below_working_set\"",
        ]
    );
    assert!(node.conf(104).unwrap().contains("memory: 4096\n"));
    assert!(node.calls().contains(&"set 102 -delete cores".to_owned()), "it had no number of cores");
    node.measured(104, 500.0, 10);
    post(&api, "/undo", json!({"vm_id": 104, "to": "original"})).await;
    assert!(node.conf(104).unwrap().contains("memory: 2048\n"));
}

#[tokio::test]
async fn an_undo_says_what_it_is_to_be_taken_back_to() {
    let node = Node::new();
    for body in [
        json!({"to": "original"}),
        json!({"vm_id": 104, "all": true, "to": "original"}),
        json!({"vm_id": 104, "to": "yesterday"}),
        json!({"vm_id": 104}),
    ] {
        node.post("/undo", body).await.assert_error(400, "invalid_parameter");
    }
    assert_eq!(node.post("/undo", json!({"vm_id": 104, "to": "original"})).await.data(), &json!([]));
}

#[tokio::test]
async fn the_ledger_is_bounded_and_says_how_far_it_goes_back() {
    let mut node = Node::new();
    node.config.state.max_ledger_entries = 100;
    node.config.limits.max_changes_per_hour = 0;
    let api = node.api();
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 3})).await;
    let then = Timestamp::now().to_string();
    for turn in 0..140 {
        post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4 + turn % 2})).await;
    }
    let page = send(&api, request("GET", "/ledger", None)).await.data().clone();
    let count = page["entries"].as_array().unwrap().len();
    assert!((90..141).contains(&count), "{count}");
    let undone = post(&api, "/undo", json!({"vm_id": 104, "to": then})).await;
    assert_eq!(undone[0]["code"], "before_ledger", "{undone}");
    let undone = post(&api, "/undo", json!({"vm_id": 104, "to": "original"})).await;
    assert_eq!((&undone[0]["to"], &undone[0]["changed"]), (&json!(2.0), &json!(true)));
}
