//! Removals of containers through the real server: what is checked when it is their turn, what a confirmation is
//! valid for, and what is recorded of refused ones.

use std::fs;

use lxc_autoscale_api::auth::caller::Role;
use serde_json::{Value, json};

use crate::leaving::{hold, release, until, until_held};
use crate::node::{Node, STOPPED_102};
use crate::server::{Server, program, read_answer, write_config};
use crate::trail::{key, lines};

/// A server that may remove any container.
fn start(node: &Node) -> Server {
    write_config(node, "", "[limits]\ndestroy_any_container = true");
    Server::spawn(node, &mut program(node, "run"))
}

fn removal(vm_id: u32, confirmation: &Value) -> Value {
    json!({"vm_id": vm_id, "any_container": true, "confirmation": confirmation})
}

fn remove(server: &Server, vm_id: u32, confirmation: &Value) -> (u16, Value) {
    server.ask("DELETE", "/clone/delete", &removal(vm_id, confirmation))
}

/// The data of a response that asks for a confirmation.
#[track_caller]
fn shown((status, answer): (u16, Value)) -> Value {
    assert_eq!((status, &answer["code"]), (428, &json!("confirmation_needed")), "{answer}");
    answer["data"].clone()
}

/// While a snapshot of a container is under way, sends a request to remove the container, runs an action once that
/// waits, and lets the snapshot end. Returns the response to the removal.
fn remove_behind_a_snapshot(
    (node, server): (&Node, &Server),
    vm_id: u32,
    confirmation: &Value,
    meanwhile: impl FnOnce(),
) -> (u16, Value) {
    hold(node, "snapshot");
    let snapshot =
        server.send("POST", "/snapshot/create", &json!({"vm_id": vm_id, "snapshot_name": "first"}));
    until_held(node);
    let removal = server.send("DELETE", "/clone/delete", &removal(vm_id, confirmation));
    until(|| {
        let jobs = server.data("/jobs");
        (jobs[0]["kind"] == "delete_clone" && jobs[0]["state"] == "queued").then_some(())
    });
    meanwhile();
    release(node);
    assert_eq!(read_answer(snapshot).0, 200);
    read_answer(removal)
}

/// A copy needs no confirmation. When it is the removal's turn, its id may belong to another container.
#[test]
fn a_copy_that_is_another_container_when_its_turn_has_come_stays() {
    let other = "hostname: production\nmemory: 4096\ntags: important-production\n";
    for becomes in [None, Some(other)] {
        let node = Node::new();
        let server = start(&node);
        let copy = json!({"vm_id": 102, "new_vm_id": 105, "new_vm_name": "copy"});
        assert_eq!(server.ask("POST", "/clone/create", &copy).0, 200);
        let meanwhile = || becomes.into_iter().for_each(|text| node.write_conf(105, text));
        let (status, answer) = remove_behind_a_snapshot((&node, &server), 105, &Value::Null, meanwhile);
        let Some(text) = becomes else {
            assert_eq!((status, node.conf(105)), (200, None), "{answer}");
            continue;
        };
        assert_eq!((status, &answer["code"]), (409, &json!("not_as_shown")), "{answer}");
        assert!(node.conf(105).unwrap().starts_with(text));
        assert!(!node.calls().iter().any(|call| call.starts_with("destroy")), "{:?}", node.calls());
        // A new request shows the present state.
        let now = shown(remove(&server, 105, &Value::Null));
        assert_eq!((&now["name"], &now["snapshots"]), (&json!("production"), &json!(["first"])));
    }
}

/// What was confirmed had no snapshot yet.
#[test]
fn a_container_that_is_not_any_more_as_it_was_confirmed_when_its_turn_has_come_stays() {
    let node = Node::new();
    let server = start(&node);
    let first = shown(remove(&server, 102, &Value::Null));
    let (status, answer) = remove_behind_a_snapshot((&node, &server), 102, &first["confirmation"], || {});
    assert_eq!((status, &answer["code"]), (409, &json!("not_as_shown")), "{answer}");
    assert!(node.conf(102).unwrap().contains("[first]"));
    let line = lines(&node).pop().unwrap();
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("not_as_shown")), "{line}");
    let again = shown(remove(&server, 102, &first["confirmation"]));
    assert_eq!(again["snapshots"], json!(["first"]));
    assert_eq!(remove(&server, 102, &again["confirmation"]).0, 200);
    assert_eq!(node.conf(102), None);
}

/// Additional lines in the configuration when the second request comes.
#[test]
fn a_confirmation_holds_for_all_of_the_configuration() {
    for more in [
        "mp0: local-lvm:vm-102-disk-1,mp=/srv/customers,size=2T\n",
        "unused0: local-lvm:vm-102-disk-2\n",
        "net0: name=eth0,bridge=vmbr0\n",
        "#a note: do not remove\n",
    ] {
        let node = Node::new();
        let server = start(&node);
        let first = shown(remove(&server, 102, &Value::Null));
        let root = json!({"name": "rootfs", "volume": "local-lvm:vm-102-disk-0", "size_mb": 4096});
        assert_eq!(first["volumes"], json!([root]));
        node.write_conf(102, &format!("{STOPPED_102}{more}"));
        let again = shown(remove(&server, 102, &first["confirmation"]));
        assert_ne!(again["confirmation"], first["confirmation"], "{more}");
        // The same size on another volume.
        let moved = STOPPED_102.replace("vm-102-disk-0", "vm-900-disk-7");
        node.write_conf(102, &moved);
        let third = shown(remove(&server, 102, &again["confirmation"]));
        assert_eq!(third["volumes"][0]["volume"], "local-lvm:vm-900-disk-7");
        assert_eq!(node.calls(), [""; 0]);
        assert_eq!(remove(&server, 102, &third["confirmation"]).0, 200);
    }
}

#[test]
fn the_disks_that_would_be_lost_are_shown() {
    let node = Node::new();
    node.write_conf(102, &format!("{STOPPED_102}mp0: local-lvm:vm-102-disk-1,mp=/srv/data,size=2T\n"));
    let server = start(&node);
    let (_, answer) = remove(&server, 102, &Value::Null);
    let disk = json!({"name": "mp0", "volume": "local-lvm:vm-102-disk-1", "path": "/srv/data", "size_mb": 2_097_152});
    assert_eq!(answer["data"]["volumes"][1], disk, "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("disks: rootfs 4096 MiB, mp0 at /srv/data 2097152 MiB, snapshots: 0"),
        "{message}"
    );
}

/// A confirmation for root is not valid for anyone else, in whatever role.
#[test]
fn a_confirmation_of_another_caller_removes_nothing() {
    let node = Node::new();
    let server = start(&node);
    let admin = key(&node, "backup", Role::Admin, &[]);
    let first = shown(remove(&server, 102, &Value::Null));
    let body = removal(102, &first["confirmation"]);
    let of_another = read_answer(server.send_as(Some(&admin), "DELETE", "/clone/delete", &body));
    let own = shown(of_another);
    assert!(node.conf(102).is_some() && node.calls().is_empty());
    let body = removal(102, &own["confirmation"]);
    assert_eq!(read_answer(server.send_as(Some(&admin), "DELETE", "/clone/delete", &body)).0, 200);
    assert_eq!(node.conf(102), None);
}

/// The request, its response, and the events of it in the audit log.
#[test]
fn a_removal_that_is_refused_or_waits_for_a_confirmation_is_written_down() {
    let mut node = Node::new();
    node.config.limits.destroy_any_container = true;
    node.write_conf(110, &format!("{STOPPED_102}lock: backup\n"));
    let mut server = start(&node);
    let anything = |id: u32| json!({"vm_id": id, "any_container": true});
    for (body, status, code, events, says) in [
        (
            anything(999),
            404,
            "no_such_container",
            vec!["begun", "not_done"],
            "container 999, copy or not: refused",
        ),
        (anything(104), 409, "running", vec!["begun", "not_done"], "container 104, copy or not: refused"),
        (anything(110), 409, "locked", vec!["begun", "not_done"], "container 110, copy or not: refused"),
        (
            json!({"vm_id": 102}),
            403,
            "not_a_clone",
            vec!["begun", "not_done"],
            "remove container 102: refused",
        ),
        (anything(102), 428, "confirmation_needed", vec!["refused"], "container 102, copy or not: needs a"),
    ] {
        let before = lines(&node).len();
        let (answered, answer) = server.ask("DELETE", "/clone/delete", &body);
        assert_eq!((answered, &answer["code"]), (status, &json!(code)), "{answer}");
        let written = lines(&node).split_off(before);
        let found: Vec<_> = written.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(found, events, "{body}");
        let last = written.last().unwrap();
        assert_eq!((&last["code"], &last["message"]), (&json!(code), &answer["message"]));
        assert!(server.wait_for(says).contains(&format!("code=\"{code}\"")));
        let counted = format!("lxc_api_changes_total{{kind=\"delete_clone\",result=\"{code}\"}} 1\n");
        let mut metrics = String::new();
        std::io::Read::read_to_string(&mut server.send("GET", "/metrics", &Value::Null), &mut metrics)
            .unwrap();
        assert!(metrics.contains(&counted), "{counted} in {metrics}");
    }
    assert_eq!(node.calls(), [""; 0]);
    let log = fs::read_to_string(node.root().join("audit.jsonl")).unwrap();
    assert!(!log.contains("\"confirmation\""), "{log}");
}
