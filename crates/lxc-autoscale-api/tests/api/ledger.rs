//! The ledger of sizes, and undoing changes.

use axum::Router;
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::leaving::until;
use crate::node::{Node, RUNNING_104, request, send};
use crate::roles::with_key;
use crate::server::Server;

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

/// A network device as Proxmox writes it; the address is random for each container.
fn net(last: u8) -> String {
    format!("net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{last:02X},ip=dhcp,type=veth\n")
}

/// By hand, a container is destroyed and another one made, with the same name and the same volume.
#[tokio::test]
async fn what_is_known_of_a_container_does_not_pass_to_another_one_with_its_id() {
    let node = Node::new();
    let api = node.api();
    node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    post(&api, "/scale/ram", json!({"vm_id": 104, "memory": 4096})).await;
    let theirs = format!("{}{}", RUNNING_104.replace("cores: 2", "cores: 6").replace("2048", "8192"), net(2));
    node.write_conf(104, &theirs);
    let calls = node.calls().len();

    let undone = post(&api, "/undo", json!({"all": true, "to": "original"})).await;
    assert_eq!(undone.as_array().unwrap().len(), 1, "{undone}");
    assert_eq!(
        (&undone[0]["vm_id"], &undone[0]["code"]),
        (&json!(104), &json!("other_container")),
        "{undone}"
    );
    assert!(undone[0]["reason"].as_str().unwrap().contains("another container"), "{undone}");
    assert_eq!((node.conf(104).unwrap(), node.calls().len()), (theirs, calls));
    let page = send(&api, request("GET", "/ledger?vm_id=104", None)).await.data().clone();
    assert_eq!(page, json!({"entries": [], "originals": []}));

    // From here on it has a ledger of its own.
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 3})).await;
    let undone = post(&api, "/undo", json!({"all": true, "to": "original"})).await;
    assert_eq!((&undone[0]["to"], &undone[0]["changed"]), (&json!(6.0), &json!(true)), "{undone}");
}

#[tokio::test]
async fn a_change_of_another_container_with_the_id_begins_its_ledger_anew() {
    let node = Node::new();
    let api = node.api();
    node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    node.write_conf(104, &format!("{}{}", RUNNING_104.replace("cores: 2", "cores: 6"), net(2)));
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 3})).await;
    let page = send(&api, request("GET", "/ledger?vm_id=104", None)).await.data().clone();
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(
        (&page["entries"][0]["before"], &page["originals"][0]["size"]),
        (&json!(6.0), &json!(6.0)),
        "{page}"
    );
}

/// What an owner may do to a container leaves it the same one.
#[tokio::test]
async fn a_container_that_its_owner_changes_keeps_its_ledger() {
    let with_net = format!("{RUNNING_104}{}", net(1));
    let renamed = |text: &str| text.replace("hostname: web", "hostname: shop");
    let moved = |text: &str| text.replace("local-lvm:vm-104-disk-0", "ceph:vm-104-disk-1");
    for (before, after) in [
        (with_net.clone(), moved(&renamed(&with_net))),
        (with_net.clone(), with_net.replace("BC:24:11:00:00:01", "bc:24:11:00:00:01")),
        (with_net.clone(), format!("{with_net}{}", net(2).replace("net0", "net1"))),
        // Without a network before or after, the name and the volume are all there is to go by.
        (RUNNING_104.to_owned(), renamed(RUNNING_104)),
        (RUNNING_104.to_owned(), moved(RUNNING_104)),
        (RUNNING_104.to_owned(), with_net.clone()),
        (with_net.clone(), RUNNING_104.to_owned()),
    ] {
        let node = Node::new();
        let api = node.api();
        node.write_conf(104, &before);
        post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
        node.write_conf(104, &after.replace("cores: 2", "cores: 4"));
        let undone = post(&api, "/undo", json!({"vm_id": 104, "to": "original"})).await;
        assert_eq!(
            (&undone[0]["to"], &undone[0]["changed"]),
            (&json!(2.0), &json!(true)),
            "{after}: {undone}"
        );
    }
}

/// The network that the snapshot has was replaced before anything was known of the container.
#[tokio::test]
async fn a_container_that_a_rollback_gives_a_former_network_keeps_its_ledger() {
    let node = Node::new();
    let api = node.api();
    node.write_conf(104, &format!("{RUNNING_104}{}\n[before]\n{RUNNING_104}{}snaptime: 1\n", net(2), net(1)));
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    node.hook("rollback", "sed -i '0,/00:02/s/00:02/00:01/' \"$conf\"");
    post(&api, "/snapshot/rollback", json!({"vm_id": 104, "snapshot_name": "before"})).await;
    assert!(!node.conf(104).unwrap().contains("00:02"));
    let undone = post(&api, "/undo", json!({"vm_id": 104, "to": "original"})).await;
    assert_eq!((&undone[0]["to"], &undone[0]["changed"]), (&json!(2.0), &json!(true)), "{undone}");
}

/// Rows from before this version say nothing about the container they were written for.
#[tokio::test]
async fn rows_of_an_earlier_version_are_undone_as_before() {
    let node = Node::new();
    let api = node.api();
    node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
    post(&api, "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    database.execute("DELETE FROM identities", []).unwrap();
    let undone = post(&api, "/undo", json!({"vm_id": 104, "to": "original"})).await;
    assert_eq!((&undone[0]["to"], &undone[0]["changed"]), (&json!(2.0), &json!(true)), "{undone}");
}

/// From the first start on, another container is noticed behind such rows, too.
#[test]
fn a_start_learns_which_containers_the_rows_of_an_earlier_version_are_about() {
    let node = Node::new();
    node.write_conf(104, &format!("{RUNNING_104}{}", net(1)));
    let server = Server::start(&node, "");
    assert_eq!(server.ask("POST", "/scale/cores", &json!({"vm_id": 104, "cores": 4})).0, 200);
    server.signal(Signal::TERM);
    server.wait();
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    database.execute("DELETE FROM identities", []).unwrap();

    let server = Server::start(&node, "");
    until(|| database.query_row("SELECT vmid FROM identities", [], |row| row.get::<_, u32>(0)).ok());
    let theirs = format!("{}{}", RUNNING_104.replace("cores: 2", "cores: 6"), net(2));
    node.write_conf(104, &theirs);
    let (_, answer) = server.ask("POST", "/undo", &json!({"vm_id": 104, "to": "original"}));
    assert_eq!(answer["data"][0]["code"], "other_container", "{answer}");
    assert_eq!(node.conf(104).unwrap(), theirs);
}

/// The newest entries are those that the key may see, however many others there are.
#[tokio::test]
async fn a_key_for_one_container_sees_its_entries_behind_those_of_others() {
    let node = Node::new();
    post(&node.api(), "/scale/cores", json!({"vm_id": 102, "cores": 2})).await;
    post(&node.api(), "/scale/cores", json!({"vm_id": 104, "cores": 4})).await;
    let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
    let more = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
        INSERT INTO ledger (at_us, vmid, resource, before, after, caller, why, change)
        SELECT at_us, vmid, resource, before, after, caller, why, change FROM ledger, n WHERE vmid = 104";
    database.execute(more, []).unwrap();
    let page = send(&node.api(), with_key(&node, "/ledger")).await.data().clone();
    let ids = |list: &str| -> Vec<Value> {
        page[list].as_array().unwrap().iter().map(|entry| entry["vm_id"].clone()).collect()
    };
    assert_eq!((ids("entries"), ids("originals")), (vec![json!(102)], vec![json!(102)]));
}
