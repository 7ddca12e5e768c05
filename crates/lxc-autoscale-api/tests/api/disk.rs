//! When data is on the disk, observed from outside by the system calls of the server.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lxc_autoscale_api::auth::caller::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::leaving::until;
use crate::node::Node;
use crate::server::{Server, program, read_answer};
use crate::trail::key;

/// A strace that traces a server until it is dropped.
struct Trace(Child);

impl Trace {
    /// `None` if strace is not installed.
    fn of(server: &Server, arguments: &[&str], to: &Path) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-p", &server.pid().to_string()]).args(arguments).arg("-o").arg(to);
        let mut child = strace.stderr(Stdio::piped()).spawn().ok()?;
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("attached")));
        // It prints a line for each thread; if nobody read them, it would block.
        std::thread::spawn(move || said.for_each(drop));
        Some(Self(child))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It then lets the server continue.
        let _ = kill_process(Pid::from_raw(self.0.id().try_into().unwrap()).unwrap(), Signal::INT);
        let _ = self.0.wait();
    }
}

fn set_cores(server: &Server, cores: u32) -> u16 {
    server.ask("POST", "/scale/cores", &json!({"vm_id": 104, "cores": cores})).0
}

/// Records of a change that the configuration still shows after a power cut need not be synced at once. Whether a
/// container runs shows nothing, because the power cut has stopped it.
#[test]
fn what_no_look_could_tell_is_on_the_disk_before_it_is_answered() {
    let node = Node::new();
    node.write_conf(
        103,
        "hostname: two\nmemory: 64\n\n[one]\n#made by lxc-autoscale-api\nsnaptime: 1\n\n[two]\n\
                          #made by lxc-autoscale-api\nsnaptime: 2\n",
    );
    let mut server = Server::start(&node, "");
    // The first record of a file is always synced at once.
    assert_eq!(set_cores(&server, 3), 200);
    server.wait_for("written to the audit log");
    let calls = node.root().join("calls");
    let traced = ["-e", "trace=fdatasync,write,writev,sendto"];
    let Some(_trace) = Trace::of(&server, &traced, &calls) else {
        println!("skipped: strace is not installed");
        return;
    };
    let back = json!({"vm_id": 103, "snapshot_name": "one"});
    let mut answered = 0;
    for (path, body, synced) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 4}), 0),
        ("/power/shutdown", json!({"vm_id": 104}), 2),
        ("/power/start", json!({"vm_id": 104}), 2),
        ("/power/stop", json!({"vm_id": 104}), 2),
        ("/snapshot/rollback", back, 2),
        ("/snapshot/prune", json!({"vm_id": 103, "keep": 1}), 2),
    ] {
        let before = answered;
        let (status, answer) = server.ask("POST", path, &body);
        assert_eq!(status, 200, "{path}: {answer}");
        answered += 1;
        let lines = until(|| {
            let text = fs::read_to_string(&calls).unwrap();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let is_answer = |line: &&String| line.contains("\"HTTP/1.1 200");
            (answered <= lines.iter().filter(is_answer).count()).then_some(lines)
        });
        let mut since = lines.split(|line| line.contains("\"HTTP/1.1 200")).skip(before);
        let is_sync = |line: &&String| line.contains("fdatasync(") && line.contains("audit.jsonl>");
        let found = since.next().unwrap().iter().filter(is_sync).count();
        assert_eq!(found, synced, "{path}: {lines:#?}");
        if synced == 0 {
            server.wait_for("written to the audit log");
            // Everything on the disk by now is counted for this change.
            answered += 1;
            assert_eq!(server.ask("GET", "/routes", &Value::Null).0, 200);
        }
    }
}

/// The kernel reports a failed write once, and then treats the pages as written, so syncing again is not enough.
#[test]
fn what_the_disk_has_not_taken_is_written_once_more() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    assert_eq!(set_cores(&server, 3), 200);
    server.wait_for("written to the audit log");
    let log = node.root().join("audit.jsonl");
    let path = log.display().to_string();
    let refusing = ["-P", &path, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    let Some(trace) = Trace::of(&server, &refusing, &node.root().join("refused")) else {
        println!("skipped: strace is not installed");
        return;
    };
    let held = fs::metadata(&log).unwrap().len();
    assert_eq!(set_cores(&server, 4), 200);
    let line = server.wait_for("cannot sync the audit log to the disk");
    assert!(line.contains("Input/output error"), "{line}");
    // A change whose records must be synced at once is not begun while the disk refuses writes.
    let (status, answer) = server.ask("POST", "/power/shutdown", &json!({"vm_id": 104}));
    assert_eq!((status, &answer["code"]), (503, &json!("not_audited")), "{answer}");
    assert!(node.is_running(104));
    // Everything that was promised has been tried.
    server.wait_for("cannot sync the audit log to the disk");
    drop(trace);
    let Some(trace) =
        Trace::of(&server, &["-P", &path, "-e", "trace=fdatasync,pwrite64"], &node.root().join("calls"))
    else {
        return;
    };
    assert_eq!(set_cores(&server, 5), 200);
    let line = server.wait_for("it was written again");
    let size = fs::metadata(&log).unwrap().len();
    assert!(line.contains(&format!("bytes={}", size - held)), "{line}, {held} of {size}");
    server.wait_for("written to the audit log");
    drop(trace);
    let calls = fs::read_to_string(node.root().join("calls")).unwrap();
    let order: Vec<&str> = calls
        .lines()
        .filter_map(|line| {
            line.split(['(', ' ']).find(|word| word.contains("sync") || word.contains("pwrite"))
        })
        .collect();
    assert_eq!(order, ["pwrite64", "fdatasync"], "{calls}");
    let verified = program(&node, "audit").arg("verify").output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains("the chain holds"), "{said}");
    assert_eq!(said.lines().count(), 1, "nothing stands there twice: {said}");
}

/// The cause is in the answer and in the audit log, but the administrator looks into the service log first.
#[test]
fn why_a_change_could_not_be_recorded_is_in_the_service_log() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    let database = rusqlite::Connection::open(node.root().join("state/api.sqlite")).unwrap();
    database
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .unwrap();
    let (status, answer) = server.ask("POST", "/scale/cores", &json!({"vm_id": 104, "cores": 3}));
    assert_eq!((status, &answer["code"]), (503, &json!("not_recorded")), "{answer}");
    let line = server.wait_for("not_recorded");
    assert!(line.contains("set the cores of container 104") && line.contains("disk full"), "{line}");
}

/// The keys may be where a read hangs, such as below `/etc/pve`; whoever needs no key is answered meanwhile.
#[test]
fn keys_that_cannot_be_read_hold_up_nobody_else() {
    let node = Node::new();
    let secret = key(&node, "slow", Role::Viewer, &[]);
    let server = Server::start(&node, "");
    let path = node.root().join("keys.json").display().to_string();
    let slow = ["-P", &path, "-e", "trace=openat", "-e", "inject=openat:delay_enter=5000000"];
    let calls = node.root().join("calls");
    let Some(_trace) = Trace::of(&server, &slow, &calls) else {
        println!("skipped: strace is not installed");
        return;
    };
    let waiting = server.send_as(Some(&secret), "GET", "/routes", &Value::Null);
    until(|| fs::read_to_string(&calls).ok().filter(|text| text.contains("openat(")));
    assert_eq!(server.ask("GET", "/routes", &Value::Null).0, 200);
    waiting.set_nonblocking(true).unwrap();
    let early = waiting.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "the one with the key was answered first");
    waiting.set_nonblocking(false).unwrap();
    assert_eq!(read_answer(waiting).0, 200);
}
