//! Copies that were interrupted: what is ours and what is not, what is removed, and what is named.

use std::fs;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::leaving::{hold, release, until, until_held};
use crate::node::{Node, request, send};
use crate::restart::{clone_104, killed_while, last_line, newest_line, records};
use crate::server::{Server, program, write_config};

const CREATE: (&str, &str) = ("POST", "/clone/create");
/// The temporary snapshot, as the configuration of container 104 has it.
const SECTION: &str = "[lxc-autoscale-clone-105]";
/// Its description.
const OURS: &str = "#temporary: lxc-autoscale-api copies the container from it";
/// A call that fails as long as something else holds the container, and tells how often it was tried.
const LOCKED: &str = "echo tried >>\"$root/tried\"; [ -e \"$root/free\" ] || fail 'CT is locked (backup)'\n";

/// How often a call of [`LOCKED`] was tried.
fn tried(node: &Node) -> usize {
    fs::read_to_string(node.root().join("tried")).unwrap_or_default().lines().count()
}

fn calls(node: &Node, command: &str) -> usize {
    node.calls().iter().filter(|call| call.starts_with(command)).count()
}

/// Proxmox gives a copy its name at once, so without its lock half a copy looks like a whole one.
#[test]
fn half_a_copy_that_was_being_removed_is_not_taken_for_a_whole_one() {
    let node = Node::new();
    let half = "printf 'lock: create\\nhostname: copy\\n' >\"$configs/105.conf\"; fail 'no space left'";
    node.hook("clone", half);
    let (line, _server) = killed_while(&node, "destroy", "exit 255", CREATE, &clone_104());
    assert_eq!(line["event"], "not_done", "{line}");
    assert_eq!(node.conf(105), None, "{:?}", node.calls());
    assert!(!node.conf(104).unwrap().contains(SECTION));
}

/// The last call before the kill is that which drops the snapshot, whatever became of the copy.
#[test]
fn what_has_the_id_of_a_copy_that_was_refused_is_left_alone_after_a_kill() {
    for theirs in ["hostname: copy\n", "lock: create\n", "lock: create\nhostname: copy\n"] {
        let appears = format!("printf '{}' >\"$configs/105.conf\"", theirs.replace('\n', "\\n"));
        for (command, fails) in [
            ("clone", "fail \"CT 105 already exists on node 'proxmox'\" 2"),
            (
                "snapshot",
                "printf '\\n[%s]\\n#%s\\nsnaptime: 1\\n' \"$1\" \"$3\" >>\"$conf\"; fail 'it failed afterwards'",
            ),
        ] {
            let node = Node::new();
            node.hook(command, &format!("{appears}; {fails}"));
            let (line, _server) = killed_while(&node, "delsnapshot", "", CREATE, &clone_104());
            assert_eq!(line["event"], "not_done", "{command}, {theirs}: {line}");
            assert_eq!(node.conf(105).as_deref(), Some(theirs), "{command}: {:?}", node.calls());
        }
    }
}

/// Its id is free again as soon as the copy is removed.
#[test]
fn what_has_the_id_of_a_copy_that_was_removed_is_left_alone_after_a_kill() {
    let node = Node::new();
    node.hook("clone", "printf 'hostname: copy\\n' >\"$configs/105.conf\"; fail 'no space left'");
    let theirs = "printf 'hostname: copy\\n' >\"$configs/105.conf\"";
    let (line, _server) = killed_while(&node, "delsnapshot", theirs, CREATE, &clone_104());
    assert_eq!(line["event"], "not_done", "{line}");
    assert_eq!(node.conf(105).as_deref(), Some("hostname: copy\n"), "{:?}", node.calls());
}

/// Of another container than the other tests copy: processes are looked for on the whole machine.
fn clone_102() -> Value {
    json!({"vm_id": 102, "new_vm_id": 106, "new_vm_name": "copy"})
}

/// Lets `pct clone` begin a worker that completes the copy when `release` exists. Proxmox does the work in such a
/// process of its own, which only its title tells from others.
fn with_worker(node: &Node, then: &str) {
    let title = "task UPID:proxmox:0000079D:00020F88:6B048BB9:vzclone:102:root@pam:";
    let script = "until [ -e \"$1/release\" ] || [ ! -d \"$1\" ]; do sleep 0.02; done\n\
                  printf 'hostname: copy\\n' >\"$1/etc/pve/lxc/106.conf\"\n";
    fs::write(node.root().join("worker"), script).unwrap();
    let begins = format!(
        "printf 'lock: create\\nhostname: copy\\n' >\"$configs/106.conf\"\n\
         bash -c 'exec -a \"{title}\" bash \"$0/worker\" \"$0\"' \"$root\" &\n\
         until grep -q '^task' \"/proc/$!/cmdline\"; do sleep 0.02; done\n{then}\n"
    );
    node.hook("clone", &begins);
}

#[test]
fn a_worker_that_outlives_the_server_and_pct_is_waited_for() {
    let node = Node::new();
    with_worker(&node, "echo $$ >\"$root/pid\"; touch \"$root/held\"; wait; exit");
    let server = Server::start(&node, "");
    let _client = server.send(CREATE.0, CREATE.1, &clone_102());
    until_held(&node);
    server.signal(Signal::KILL);
    server.wait();
    let pct: i32 = fs::read_to_string(node.root().join("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pct).unwrap(), Signal::KILL).unwrap();

    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    release(&node);
    server.wait_for("settled");
    let line = until(|| newest_line(&node).filter(|line| line["event"] != "begun"));
    assert_eq!(line["event"], "done", "{line} {:?}", node.calls());
    assert_eq!(calls(&node, "destroy") + calls(&node, "unlock"), 0);
}

#[tokio::test]
async fn a_worker_that_outlives_pct_is_waited_for() {
    let node = Node::new();
    with_worker(&node, "kill -9 $$");
    let api = node.api();
    send(&api, request(CREATE.0, CREATE.1, Some(clone_102()))).await.assert_error(502, "left_behind");
    release(&node);
    let job = crate::jobs::ended(&api, "/jobs/1").await;
    assert_eq!((&job["state"], &job["result"]["new_vm_id"]), (&json!("done"), &json!(106)), "{job}");
    assert_eq!(calls(&node, "destroy") + calls(&node, "unlock"), 0);
}

/// The next start waits for the calls of the one before, also for those that settled something.
#[test]
fn a_call_that_settles_is_waited_for_after_another_kill() {
    let node = Node::new();
    write_config(&node, "", "");
    hold(&node, "clone");
    let server = Server::spawn(&node, &mut program(&node, "run"));
    let _client = server.send(CREATE.0, CREATE.1, &clone_104());
    until_held(&node);
    server.signal(Signal::KILL);
    server.wait();

    let held =
        "touch \"$root/settles\"; until [ -e \"$root/settled\" ] || [ ! -d \"$root\" ]; do sleep 0.02; done";
    node.hook("delsnapshot", held);
    release(&node);
    let server = Server::spawn(&node, &mut program(&node, "run"));
    until(|| node.root().join("settles").exists().then_some(()));
    server.signal(Signal::KILL);
    server.wait();

    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    // A request that is answered: by then the new server has looked at what it found.
    assert!(server.data("/jobs")[0]["ended"].is_null());
    fs::write(node.root().join("settled"), "").unwrap();
    server.wait_for("settled");
    let line = until(|| newest_line(&node).filter(|line| line["event"] != "begun"));
    assert_eq!(line["event"], "done", "{line}");
    assert_eq!(calls(&node, "delsnapshot"), 1, "{:?}", node.calls());
    assert!(node.conf(105).unwrap().contains("lxc-autoscale-clone-105"));
}

/// Two rows of one container may be open if the end of the first could not be stored.
#[test]
fn two_open_changes_of_one_container_are_settled_one_after_the_other() {
    let node = Node::new();
    hold(&node, "clone");
    let server = Server::start(&node, "");
    let _client = server.send(CREATE.0, CREATE.1, &clone_104());
    until_held(&node);
    server.signal(Signal::KILL);
    server.wait();
    let columns =
        "is_job, task, summary, containers, caller, state, created_us, begun_us, before, call, steps";
    let store = Connection::open(node.root().join("state/api.sqlite")).unwrap();
    store.execute_batch(&format!("INSERT INTO changes ({columns}) SELECT {columns} FROM changes")).unwrap();
    drop(store);
    // It takes a moment, in which the other one would do the same.
    node.hook("delsnapshot", "sleep 0.5");
    release(&node);
    let server = Server::start(&node, "");
    until(|| {
        let jobs = server.data("/jobs");
        jobs.as_array().unwrap().iter().all(|job| job["ended"].is_string()).then_some(())
    });
    assert_eq!(calls(&node, "delsnapshot"), 1, "{:?}", node.calls());
}

/// A snapshot that is still being dropped is not one that remains.
#[tokio::test]
async fn a_copy_whose_snapshot_is_still_being_dropped_has_not_ended() {
    let mut node = Node::new();
    node.config.pct.long_timeout_seconds = 1;
    node.config.pct.terminate_grace_seconds = 1;
    node.hook(
        "delsnapshot",
        "trap '' TERM; until [ -e \"$root/release\" ] || [ ! -d \"$root\" ]; do sleep 0.05; done",
    );
    let api = node.api();
    let reply = send(&api, request(CREATE.0, CREATE.1, Some(clone_104()))).await;
    reply.assert_error(504, "pct_timed_out");
    assert!(reply.message().contains("105"), "{reply:?}");
    let next = request("POST", "/scale/cores", Some(json!({"vm_id": 104, "cores": 4})));
    send(&api, next).await.assert_error(409, "change_in_progress");
    release(&node);
    let job = crate::jobs::ended(&api, "/jobs/1").await;
    assert_eq!((&job["state"], &job["result"]["new_vm_id"]), (&json!("done"), &json!(105)), "{job}");
    assert_eq!(job["result"].get("left_behind"), None, "{job}");
    assert!(!node.conf(104).unwrap().contains(SECTION));
}

/// A backup holds the container for a while.
#[test]
fn a_snapshot_of_a_locked_container_is_dropped_when_the_lock_is_gone() {
    let node = Node::new();
    node.hook("delsnapshot", LOCKED);
    let begun = std::thread::scope(|scope| {
        let freed = scope.spawn(|| {
            until(|| (2 < tried(&node) || has_ended(&node)).then_some(()));
            fs::write(node.root().join("free"), "").unwrap();
        });
        let settled = killed_while(&node, "clone", "", CREATE, &clone_104());
        freed.join().unwrap();
        settled
    });
    let (line, _server) = begun;
    assert_eq!((&line["event"], line["result"].get("left_behind")), (&json!("done"), None), "{line}");
    assert!(!node.conf(104).unwrap().contains(SECTION));
}

fn has_ended(node: &Node) -> bool {
    newest_line(node).is_some_and(|line| line["event"] != "begun")
}

/// A copy that cannot be marked yet does not keep the snapshot.
#[test]
fn a_snapshot_is_dropped_though_the_copy_cannot_be_marked_yet() {
    let node = Node::new();
    node.hook("set", LOCKED);
    let settled = std::thread::scope(|scope| {
        let freed = scope.spawn(|| {
            until(|| (1 < tried(&node)).then_some(()));
            let is_dropped = !node.conf(104).unwrap().contains(SECTION);
            fs::write(node.root().join("free"), "").unwrap();
            is_dropped
        });
        let (line, _server) = killed_while(&node, "clone", "", CREATE, &clone_104());
        (line, freed.join().unwrap())
    });
    let (line, is_dropped) = settled;
    assert!(is_dropped, "{:?}", node.calls());
    assert_eq!(line["event"], "done", "{line}");
    assert!(node.conf(105).unwrap().contains("lxc-autoscale-clone-105"));
}

/// What remains is told in the audit log as in the job.
#[test]
fn what_an_interrupted_copy_left_is_named_with_its_code() {
    let node = Node::new();
    node.hook("delsnapshot", "fail 'snapshot feature is not available'");
    let (line, _server) = killed_while(&node, "clone", "exit 255", CREATE, &clone_104());
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("left_behind")), "{line}");
    assert!(line["message"].as_str().unwrap().contains("snapshot `lxc-autoscale-clone-105`"), "{line}");
}

/// What is in the way is often a lock that is held for a moment.
#[tokio::test]
async fn a_snapshot_is_dropped_once_a_short_lock_is_gone() {
    let node = Node::new();
    node.hook("delsnapshot", &LOCKED.replace("-e \"$root/free\"", "2 -lt $(wc -l <\"$root/tried\")"));
    let reply = node.post(CREATE.1, clone_104()).await;
    assert_eq!(reply.data().get("left_behind"), None, "{reply:?}");
    assert!(!node.conf(104).unwrap().contains(SECTION));
}

#[test]
fn a_snapshot_that_was_named_is_dropped_at_the_next_start_if_it_is_ours() {
    for is_ours in [true, false] {
        let node = Node::new();
        node.hook("delsnapshot", "fail 'snapshot feature is not available'");
        let server = Server::start(&node, "");
        let (status, answer) = server.ask(CREATE.0, CREATE.1, &clone_104());
        assert_eq!(status, 200, "{answer}");
        assert!(answer["data"]["left_behind"].is_string(), "{answer}");
        server.signal(Signal::TERM);
        server.wait();
        fs::remove_file(node.root().join("hook/delsnapshot")).unwrap();
        let conf = node.conf(104).unwrap();
        if !is_ours {
            node.write_conf(
                104,
                &conf.replace("#temporary: lxc-autoscale-api", "#mine, not lxc-autoscale-api"),
            );
        }
        let mut server = Server::start(&node, "");
        server.wait_for(if is_ours { "remove snapshot `lxc-autoscale-clone-105`" } else { "is left alone" });
        assert_eq!(node.conf(104).unwrap().contains(SECTION), !is_ours);
        let audited: Vec<Value> =
            records(&node).into_iter().filter(|line| line["caller"] == "server").collect();
        assert_eq!(audited.len(), if is_ours { 2 } else { 0 }, "{audited:?}");
    }
}

/// The server was killed before it had taken its own snapshot, and somebody takes one of that name meanwhile.
#[test]
fn a_foreign_snapshot_survives_the_settling_of_an_interrupted_copy() {
    let node = Node::new();
    let theirs = format!("printf '\\n{SECTION}\\n#keep this\\nsnaptime: 1\\n' >>\"$conf\"; exit 255");
    let (line, _server) = killed_while(&node, "snapshot", &theirs, CREATE, &clone_104());
    assert_eq!(line["event"], "not_done", "{line}");
    assert!(node.conf(104).unwrap().contains("#keep this"), "{:?}", node.calls());
}

/// What the container had is known before the first call.
#[test]
fn a_kill_while_an_old_snapshot_is_dropped_leaves_nothing_unknown() {
    let node = Node::new();
    let conf = node.conf(104).unwrap();
    node.write_conf(104, &format!("{conf}\n{SECTION}\n{OURS}\nsnaptime: 1\n"));
    let (line, _server) = killed_while(&node, "delsnapshot", "", CREATE, &clone_104());
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("interrupted")), "{line}");
    assert_eq!(node.conf(105), None);
}

/// Texts in the audit log are bounded; the names of what remains must not be what is cut off.
#[tokio::test]
async fn a_long_reason_does_not_hide_what_remains() {
    let node = Node::new();
    let long = "it fails for a long reason ".repeat(40);
    node.hook("clone", &format!("printf 'hostname: copy\\n' >\"$configs/105.conf\"; fail '{long}'"));
    node.hook("destroy", &format!("fail '{long}'"));
    node.hook("delsnapshot", "fail 'snapshot feature is not available'");
    node.post(CREATE.1, clone_104()).await.assert_error(502, "left_behind");
    let line = last_line(&node);
    let message = line["message"].as_str().unwrap();
    for left in ["container 105", "snapshot `lxc-autoscale-clone-105` of container 104"] {
        assert!(message.contains(left), "{message}");
    }
}
