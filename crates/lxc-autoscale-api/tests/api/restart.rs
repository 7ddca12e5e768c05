//! A server that is killed in the middle of a call, and how the next one settles it.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::leaving::{hold, release, until, until_held};
use crate::node::{Node, RUNNING_104};
use crate::server::{Server, program, read_answer, write_config};

/// How long a test waits for what should take a moment, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// Kills the server while a `pct` call of `command` is running, starts a new one, and lets the call end with `rest`
/// of its script. Returns how the change ended according to the audit log, and the new server.
pub(crate) fn killed_while(
    node: &Node,
    command: &str,
    rest: &str,
    (method, path): (&str, &str),
    body: &Value,
) -> (Value, Server) {
    let held = "touch \"$root/held\"; until [ -e \"$root/release\" ]; do sleep 0.05; done";
    node.hook(command, &format!("{held}\n{rest}\n"));
    write_config(node, "", "");
    let server = Server::spawn(node, &mut program(node, "run"));
    let _client = server.send(method, path, body);
    soon("the call to be made", || node.root().join("held").exists().then_some(()));
    server.signal(Signal::KILL);
    server.wait();

    let mut server = Server::spawn(node, &mut program(node, "run"));
    // The old call is still running: nothing is recorded about it yet, and nothing is done.
    let calls = node.calls();
    assert!(last_line(node)["event"] == "begun", "{}", last_line(node));
    assert_eq!(node.calls(), calls);
    // The running call continues with the script it began with; later calls that clean up do not use it.
    fs::remove_file(node.root().join("hook").join(command)).unwrap();
    fs::write(node.root().join("release"), "").unwrap();
    server.wait_for("settled");
    // The record in the audit log is written after the line in the service log.
    // There may be none at all yet: the server was killed before it had written that the change began.
    let line = soon("the record of the end", || newest_line(node).filter(|line| line["event"] != "begun"));
    (line, server)
}

/// Waits for something that the server does, which takes a moment.
#[track_caller]
fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn last_line(node: &Node) -> Value {
    newest_line(node).unwrap()
}

/// The last line of the audit log, if it has one yet.
pub(crate) fn newest_line(node: &Node) -> Option<Value> {
    let text = fs::read_to_string(node.root().join("audit.jsonl")).ok()?;
    Some(serde_json::from_str(text.lines().last()?).unwrap())
}

pub(crate) fn clone_104() -> Value {
    json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"})
}

#[test]
fn a_whole_copy_without_a_mark_gets_it() {
    let node = Node::new();
    let (line, _server) = killed_while(&node, "set", "exit 255", ("POST", "/clone/create"), &clone_104());
    assert_eq!((&line["event"], &line["result"]["new_vm_id"]), (&json!("done"), &json!(105)), "{line}");
    assert!(node.conf(105).unwrap().contains("lxc-autoscale-clone-105"), "{:?}", node.conf(105));
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"), "the temporary snapshot is gone");
    assert_eq!(node.calls().iter().filter(|call| call.starts_with("clone")).count(), 1, "it is not repeated");
}

#[test]
fn half_a_copy_is_removed() {
    let node = Node::new();
    let half = "printf 'lock: create\\nhostname: copy\\n' >\"$configs/105.conf\"; exit 255";
    let (line, server) = killed_while(&node, "clone", half, ("POST", "/clone/create"), &clone_104());
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("interrupted")), "{line}");
    assert_eq!(node.conf(105), None);
    assert!(!node.conf(104).unwrap().contains("[lxc-autoscale"));
    let job = soon("the end of the job", || {
        let job = server.data("/jobs")[0].clone();
        (job["state"] != "running").then_some(job)
    });
    assert_eq!((&job["state"], &job["code"]), (&json!("failed"), &json!("interrupted")), "{job}");
}

#[test]
fn what_has_the_id_before_the_copy_was_ordered_is_somebody_elses() {
    let node = Node::new();
    let theirs = "printf 'hostname: copy\\n' >\"$configs/105.conf\"; exit 255";
    let (line, _server) = killed_while(&node, "snapshot", theirs, ("POST", "/clone/create"), &clone_104());
    assert_eq!(line["event"], "not_done", "{line}");
    assert_eq!(node.conf(105).unwrap(), "hostname: copy\n");
}

/// Nobody reads its output then, which must not end it.
#[test]
fn a_call_that_tells_its_progress_goes_on_when_the_server_is_gone() {
    let node = Node::new();
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    let tells = "for percent in 10 20 30; do echo \"$percent %\"; echo \"$percent %\" >&2; done";
    let (line, _server) = killed_while(&node, "snapshot", tells, ("POST", "/snapshot/create"), &body);
    assert_eq!(line["event"], "done", "{line}");
    assert!(node.conf(104).unwrap().contains("[mine]"));
}

#[test]
fn a_snapshot_is_there_or_it_is_not() {
    for (rest, event) in [("", "done"), ("exit 255", "not_done")] {
        let node = Node::new();
        let body = json!({"vm_id": 104, "snapshot_name": "mine"});
        let (line, _server) = killed_while(&node, "snapshot", rest, ("POST", "/snapshot/create"), &body);
        assert_eq!(line["event"], event, "{line}");
        assert_eq!(node.conf(104).unwrap().contains("[mine]"), event == "done");
    }
}

/// An incomplete snapshot is not one that can be rolled back to, so it is no success; nor is its removal done.
#[test]
fn an_incomplete_snapshot_is_not_there_and_not_gone() {
    let begun = "printf '\\n[%s]\\n#%s\\nsnapstate: prepare\\n' \"$1\" \"$3\" >>\"$conf\"; exit 255";
    let node = Node::new();
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    let (line, _server) = killed_while(&node, "snapshot", begun, ("POST", "/snapshot/create"), &body);
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("interrupted")), "{line}");
    let told = line["message"].as_str().unwrap();
    assert!(told.contains("snapshot `mine` of container 104 is incomplete"), "{line}");
    assert!(told.contains("DELETE /snapshot/delete"), "{line}");

    let node = Node::new();
    node.write_conf(104, &format!("{RUNNING_104}\n[mine]\nsnaptime: 1\n"));
    let half = "echo 'snapstate: delete' >>\"$conf\"; exit 255";
    let (line, _server) = killed_while(&node, "delsnapshot", half, ("DELETE", "/snapshot/delete"), &body);
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("interrupted")), "{line}");
    assert!(line["message"].as_str().unwrap().contains("is incomplete"), "{line}");
}

#[test]
fn a_size_was_reached_or_it_was_not_and_the_ledger_knows() {
    for (rest, event, cores) in [("", "done", "cores: 4\n"), ("exit 255", "not_done", "cores: 2\n")] {
        let node = Node::new();
        let (line, server) =
            killed_while(&node, "set", rest, ("POST", "/scale/cores"), &json!({"vm_id": 104, "cores": 4}));
        assert_eq!(line["event"], event, "{line}");
        assert!(node.conf(104).unwrap().contains(cores));
        // The next change of the container gets its turn only when all of that is recorded.
        let mut answer = String::new();
        let next = json!({"vm_id": 104, "cores": 3});
        server.send("POST", "/scale/cores", &next).read_to_string(&mut answer).unwrap();
        let ledger = server.data("/ledger?vm_id=104");
        let rows: Vec<(f64, f64)> = ledger["entries"]
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|entry| (entry["before"].as_f64().unwrap(), entry["after"].as_f64().unwrap()))
            .collect();
        let expected = if event == "done" { vec![(2.0, 4.0), (4.0, 3.0)] } else { vec![(2.0, 3.0)] };
        assert_eq!(rows, expected, "{answer}");
    }
}

#[test]
fn a_snapshot_was_removed_or_it_was_not() {
    let node = Node::new();
    let with_two = format!("{}\n[one]\n#made by lxc-autoscale-api\n\n[two]\n", node.conf(104).unwrap());
    for (rest, path, event, found) in
        [("", "/snapshot/delete", "done", "one"), ("exit 255", "/snapshot/delete", "not_done", "as before")]
    {
        let node = Node::new();
        node.write_conf(104, &with_two);
        let body = json!({"vm_id": 104, "snapshot_name": "one"});
        let (line, _server) = killed_while(&node, "delsnapshot", rest, ("DELETE", path), &body);
        assert_eq!(line["event"], event, "{line}");
        assert!(line.to_string().contains(found), "{line}");
        assert_eq!(node.conf(104).unwrap().contains("[one]"), event != "done");
    }
    node.write_conf(104, &with_two);
    let body = json!({"vm_id": 104, "keep": 1, "any_snapshot": true});
    let (line, _server) = killed_while(&node, "delsnapshot", "", ("POST", "/snapshot/prune"), &body);
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("interrupted")), "{line}");
    assert!(line["message"].as_str().unwrap().contains("are now: two"), "{line}");
}

/// Calls and jobs that start and stop: the outcome if the server was killed meanwhile, and whether container 104 is
/// running then.
#[test]
fn a_container_was_stopped_or_it_was_not_and_one_that_was_to_run_again_does() {
    for (command, rest, path, body, event, runs) in [
        ("stop", "", "/power/stop", json!({"vm_id": 104}), "done", false),
        ("stop", "exit 255", "/power/stop", json!({"vm_id": 104}), "not_done", true),
        ("shutdown", "", "/power/shutdown", json!({"vm_id": 104}), "done", false),
        ("shutdown", "", "/power/reboot", json!({"vm_id": 104}), "done", true),
        ("shutdown", "exit 255", "/power/reboot", json!({"vm_id": 104}), "not_done", true),
        ("start", "", "/power/reboot", json!({"vm_id": 104}), "done", true),
        ("reboot", "", "/power/reboot", json!({"vm_id": 104, "force": true}), "not_done", true),
    ] {
        let node = Node::new();
        let (line, _server) = killed_while(&node, command, rest, ("POST", path), &body);
        let case = format!("{path} while pct {command} {rest}: {line}");
        assert_eq!(line["event"], event, "{case}");
        assert_eq!(node.is_running(104), runs, "{case}");
        assert_eq!(node.calls().iter().filter(|call| call.starts_with(command)).count(), 1, "{case}");
    }
}

#[test]
fn a_container_that_ran_before_a_rollback_runs_again() {
    let node = Node::new();
    let with_snapshot = format!("{}\n[mine]\ncores: 1\nsnaptime: 1\n", node.conf(104).unwrap());
    node.write_conf(104, &with_snapshot);
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    let (line, _server) =
        killed_while(&node, "rollback", "stop_now; exit 255", ("POST", "/snapshot/rollback"), &body);
    assert_eq!((&line["event"], &line["code"]), (&json!("not_done"), &json!("interrupted")), "{line}");
    assert!(node.is_running(104));
}

/// What a power cut took from one file may still be in the other one.
#[test]
fn a_number_that_the_audit_log_has_is_not_given_again() {
    let node = Node::new();
    let number_of_change_to = |cores: u32| {
        let server = Server::start(&node, "");
        let body = json!({"vm_id": 104, "cores": cores});
        server.send("POST", "/scale/cores", &body).read_to_string(&mut String::new()).unwrap();
        server.signal(Signal::TERM);
        server.wait();
        last_line(&node)["change"].clone()
    };
    assert_eq!(number_of_change_to(3), 1);
    fs::remove_dir_all(node.root().join("state")).unwrap();
    assert_eq!(number_of_change_to(4), 2);
}

/// The database file, and its write-ahead log.
const STORE: &str = "api.sqlite";
/// Saves, once, what is on the disk when a call is made.
const KEEP: &str = "mkdir \"$root/disk\" 2>/dev/null && cp \"$root/audit.jsonl\" \"$root/state\"/api.sqlite* \"$root/disk\"\n";

/// Restores these files to what [`KEEP`] saved.
fn put_back(node: &Node, names: &[&str]) {
    let (disk, state) = (node.root().join("disk"), node.root().join("state"));
    for file in fs::read_dir(&state).unwrap().map(Result::unwrap) {
        if names.contains(&STORE) && file.file_name().to_str().unwrap().starts_with(STORE) {
            fs::remove_file(file.path()).unwrap();
        }
    }
    for file in fs::read_dir(disk).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        if names.iter().any(|wanted| name.starts_with(wanted)) {
            let place = if name == "audit.jsonl" { node.root() } else { &*state };
            fs::copy(file.path(), place.join(name)).unwrap();
        }
    }
}

/// If the power fails right after the response, only what was on the disk when the call was made is left of a change.
/// Even its start may be missing from the audit log.
#[test]
fn how_an_answered_change_ended_is_found_again_after_a_power_cut() {
    for lost in [0, 1] {
        let node = Node::new();
        let server = Server::start(&node, "");
        let ask = |cores: u32| {
            let mut answer = String::new();
            let body = json!({"vm_id": 104, "cores": cores});
            server.send("POST", "/scale/cores", &body).read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        ask(3);
        node.hook("set", KEEP);
        ask(4);
        server.signal(Signal::KILL);
        server.wait();
        assert_eq!(last_line(&node)["event"], "done", "the process alone takes nothing with it");

        put_back(&node, &["audit.jsonl", STORE]);
        lose_records(&node, lost);
        let newest = last_line(&node);
        let want = if lost == 0 { (&json!("begun"), &json!(2)) } else { (&json!("done"), &json!(1)) };
        assert_eq!((&newest["event"], &newest["change"]), want, "its end was not waited for");
        fs::remove_file(node.root().join("hook/set")).unwrap();
        let mut server = Server::start(&node, "");
        server.wait_for("settled");
        server.wait_for("written to the audit log");
        let records: Vec<_> =
            records(&node).into_iter().map(|line| (line["event"].clone(), line["change"].clone())).collect();
        let want = [("begun", 1), ("done", 1), ("begun", 2), ("done", 2)];
        assert_eq!(records, want.map(|(event, change)| (json!(event), json!(change))));
        let entry = server.data("/ledger?vm_id=104")["entries"][0].clone();
        assert_eq!((&entry["before"], &entry["after"]), (&json!(3.0), &json!(4.0)), "{entry}");
        let sets = node.calls().iter().filter(|call| call.starts_with("set")).count();
        assert_eq!(sets, 2, "it is not repeated");
        assert_chain(&node, "records 1 to 4: the chain holds");
    }
}

/// The end of a change was synced in the audit log but lost from the store. There must be one end only, and it is the
/// one that was answered, whatever is running when the node is back.
#[test]
fn an_end_that_the_audit_log_alone_has_is_taken_over() {
    for (command, path, body, event) in [
        ("shutdown", "/power/shutdown", json!({"vm_id": 104}), "done"),
        ("set", "/scale/cores", json!({"vm_id": 104, "cores": 4}), "done"),
        ("snapshot", "/snapshot/create", json!({"vm_id": 104, "snapshot_name": "mine"}), "not_done"),
    ] {
        let node = Node::new();
        let server = Server::start(&node, "");
        let fails = if event == "done" { "" } else { "fail 'snapshot feature is not available'\n" };
        node.hook(command, &format!("{KEEP}{fails}"));
        let (status, answer) = server.ask("POST", path, &body);
        assert_eq!(status == 200, event == "done", "{path}: {answer}");
        server.signal(Signal::KILL);
        server.wait();
        put_back(&node, &[STORE]);
        fs::remove_file(node.root().join("hook").join(command)).unwrap();
        // The node starts it at boot.
        if !node.is_running(104) {
            node.run(104);
        }
        let told = records(&node);
        // The server listens only after it has checked what was left.
        let server = Server::start(&node, "");
        let said = fs::read_to_string(node.root().join("api.log")).unwrap();
        assert!(said.contains("only the audit log has how this ended"), "{said}");
        let job = until(|| {
            let jobs = server.data("/jobs");
            (path == "/scale/cores" || jobs[0]["ended"].is_string()).then_some(jobs[0].clone())
        });
        assert_eq!(records(&node), told, "{path}: nothing is added to {told:?}");
        let last = told.last().unwrap();
        assert_eq!(last["event"], event, "{last}");
        if path == "/scale/cores" {
            let entry = until(|| server.data("/ledger?vm_id=104")["entries"].get(0).cloned());
            assert_eq!((&entry["before"], &entry["after"]), (&json!(2.0), &json!(4.0)), "{entry}");
        } else if event == "done" {
            assert_eq!((&job["state"], &job["result"]), (&json!("done"), &last["result"]), "{job}");
        } else {
            assert_eq!((&job["state"], &job["message"]), (&json!("failed"), &last["message"]), "{job}");
        }
        assert_chain(&node, &format!("records 1 to {}: the chain holds", told.len()));
    }
}

/// The answer to a change whose call was still running is not its end.
#[test]
fn an_answer_that_the_audit_log_alone_has_is_not_taken_for_the_end() {
    let node = Node::new();
    write_config(&node, "", "");
    let config = node.root().join("api.toml");
    let text = fs::read_to_string(&config).unwrap();
    let short = "[pct]\nchange_timeout_seconds = 1\nterminate_grace_seconds = 1\n";
    fs::write(&config, text.replace("[pct]\n", short)).unwrap();
    let server = Server::spawn(&node, &mut program(&node, "run"));
    node.hook("set", &format!("{KEEP}trap '' TERM; until [ -e \"$root/release\" ]; do sleep 0.02; done\n"));
    let (status, answer) = server.ask("POST", "/scale/cores", &json!({"vm_id": 104, "cores": 4}));
    assert_eq!((status, &answer["code"]), (504, &json!("pct_timed_out")), "{answer}");
    assert_eq!(last_line(&node)["open"], true);
    server.signal(Signal::KILL);
    server.wait();
    put_back(&node, &[STORE]);
    let mut server = Server::start(&node, "");
    let said = fs::read_to_string(node.root().join("api.log")).unwrap();
    assert!(said.contains("the server ended in the middle of this"), "{said}");
    fs::write(node.root().join("release"), "").unwrap();
    server.wait_for("settled");
    let ends = until(|| {
        let ends: Vec<Value> = records(&node).iter().skip(1).map(|line| line["event"].clone()).collect();
        (1 < ends.len()).then_some(ends)
    });
    assert_eq!(ends, [json!("not_done"), json!("done")]);
}

/// A change may have begun in the file before the rotation, and its lost end was in the file after it.
#[test]
fn an_end_that_was_lost_after_a_rotation_is_added() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    hold(&node, "set");
    let change = server.send("POST", "/scale/cores", &json!({"vm_id": 104, "cores": 4}));
    until_held(&node);
    let log = node.root().join("audit.jsonl");
    fs::rename(&log, node.root().join("audit.jsonl.1")).unwrap();
    let snapshot = json!({"vm_id": 102, "snapshot_name": "mine"});
    assert_eq!(server.ask("POST", "/snapshot/create", &snapshot).0, 200);
    release(&node);
    assert_eq!(read_answer(change).0, 200);
    server.wait_for("written to the audit log");
    server.signal(Signal::TERM);
    server.wait();
    let whole = records(&node);
    assert_eq!(whole.last().unwrap()["containers"], json!([104]));
    lose_records(&node, 1);
    let _server = Server::start(&node, "");
    let completed = records(&node);
    let told = |lines: &[Value]| {
        lines.iter().map(|line| (line["event"].clone(), line["change"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&completed), told(&whole));
    assert_chain(&node, "records 1 to 4: the chain holds");
}

/// When the power failed, the store may have been synced with the last changes, but not the audit log.
#[test]
fn what_the_store_alone_has_of_changes_is_added_to_the_audit_log() {
    for lost in 1.. {
        let node = Node::new();
        let server = Server::start(&node, "");
        let ask = |body: &Value| {
            server.send("POST", "/scale/cores", body).read_to_string(&mut String::new()).unwrap();
        };
        ask(&json!({"vm_id": 104, "cores": 4}));
        ask(&json!({"vm_id": 104, "cores": 9000}));
        ask(&json!({"vm_id": 999, "cores": 4}));
        // Whoever reads the store waits until it has what was answered.
        server.data("/jobs");
        server.signal(Signal::KILL);
        server.wait();
        let whole = records(&node);
        // The first record of a file is synced before any call is made.
        if lost == whole.len() {
            return;
        }
        lose_records(&node, lost);
        // The server listens only when that is done.
        let _server = Server::start(&node, "");
        let completed = records(&node);
        assert_eq!(completed.len(), whole.len(), "{lost} lost: {completed:?}");
        for line in &whole {
            let told = |other: &&Value| {
                ["event", "change", "code", "message", "result", "caller", "action", "containers", "why"]
                    .iter()
                    .all(|field| line[field] == other[field])
            };
            assert_eq!(completed.iter().filter(told).count(), 1, "{lost} lost, {line} in {completed:?}");
        }
        let later = &completed[whole.len() - lost..];
        assert!(later.iter().all(|line| line["happened"].is_string()), "{later:?}");
        assert_chain(&node, &format!("records 1 to {}: the chain holds", whole.len()));
    }
}

/// The records in the audit log of a node.
pub(crate) fn records(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(node.root().join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Removes the last records.
fn lose_records(node: &Node, lost: usize) {
    let log = node.root().join("audit.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&log, lines[..lines.len() - lost].concat()).unwrap();
}

fn assert_chain(node: &Node, says: &str) {
    let verified = program(node, "audit").arg("verify").output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains(says), "{said}");
}

/// What a call that outlives its server may still give a container is not given to another one.
#[test]
fn memory_that_is_being_given_is_promised_over_a_restart() {
    let node = Node::new();
    node.write_conf(106, RUNNING_104);
    node.run(106);
    node.hook(
        "set",
        // It ends with the test: other servers of this machine would take it for a call of theirs.
        "[ $id = 106 ] || touch \"$root/held\"
         while [ $id = 104 ] && [ -d \"$root\" ] && ! [ -e \"$root/release\" ]; do sleep 0.05; done",
    );
    let server = Server::start(&node, "");
    let grow = |id: u32| json!({"vm_id": id, "memory": 20_000});
    let _client = server.send("POST", "/scale/ram", &grow(104));
    while !node.root().join("held").exists() {
        std::thread::yield_now();
    }
    server.signal(Signal::KILL);
    server.wait();
    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    let refused = |server: &Server| {
        let (status, answer) = server.ask("POST", "/scale/ram", &grow(106));
        assert_eq!((status, &answer["code"]), (409, &json!("node_memory_short")), "{answer}");
    };
    refused(&server);
    fs::write(node.root().join("release"), "").unwrap();
    server.wait_for("settled");
    // It was given, and the ledger has it.
    refused(&server);
}

/// What a rollback gives stands in the snapshot. As long as that cannot be read, it may be anything.
#[test]
fn nobody_gets_more_memory_while_it_is_unknown_what_an_interrupted_rollback_gives() {
    let node = Node::new();
    node.write_conf(106, RUNNING_104);
    node.run(106);
    let snapshot = RUNNING_104.replace("memory: 2048", "memory: 20000");
    let conf = format!("{RUNNING_104}\n[before]\n{snapshot}snaptime: 1\n");
    node.write_conf(104, &conf);
    hold(&node, "rollback");
    let server = Server::start(&node, "");
    let body = json!({"vm_id": 104, "snapshot_name": "before"});
    let _client = server.send("POST", "/snapshot/rollback", &body);
    until_held(&node);
    server.signal(Signal::KILL);
    server.wait();
    let path = node.root().join("etc/pve/lxc/104.conf");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    let grow = |server: &Server, memory: u32| {
        server.ask("POST", "/scale/ram", &json!({"vm_id": 106, "memory": memory}))
    };
    let (status, answer) = grow(&server, 2049);
    assert_eq!((status, &answer["code"]), (409, &json!("node_memory_unknown")), "{answer}");
    assert!(
        answer["message"].as_str().unwrap().contains("gives container 104 cannot be read yet"),
        "{answer}"
    );
    // Less is no matter of the node's memory, and neither are cores.
    assert_eq!(server.ask("POST", "/scale/cores", &json!({"vm_id": 106, "cores": 4})).0, 200);
    fs::remove_dir(&path).unwrap();
    node.write_conf(104, &conf);
    // It is known while the rollback still runs.
    while grow(&server, 2050).0 != 200 {
        // Its log must be read, or it could not write any more of it.
        server.wait_for("refused");
    }
    let (status, answer) = grow(&server, 20_000);
    assert_eq!((status, &answer["code"]), (409, &json!("node_memory_short")), "{answer}");
    node.hook("rollback", "");
    release(&node);
    server.wait_for("settled");
}

/// Such a call may take an hour, so that waiting for it would only end with the time limit of the queue.
#[test]
fn a_container_whose_call_outlived_the_server_is_refused_at_once() {
    let node = Node::new();
    hold(&node, "snapshot");
    let server = Server::start(&node, "");
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    let _client = server.send("POST", "/snapshot/create", &body);
    until_held(&node);
    server.signal(Signal::KILL);
    server.wait();
    write_config(&node, "queue_timeout_seconds = 1", "");
    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    let ask = |server: &Server| server.ask("POST", "/scale/cores", &json!({"vm_id": 104, "cores": 4}));
    loop {
        let (status, answer) = ask(&server);
        assert_eq!((status, &answer["code"]), (409, &json!("change_in_progress")), "{answer}");
        if answer["message"].as_str().unwrap().contains("`pct snapshot 104 mine") {
            break;
        }
    }
    node.hook("snapshot", "");
    release(&node);
    server.wait_for("settled");
    while ask(&server).0 != 200 {
        server.wait_for("refused");
    }
}
