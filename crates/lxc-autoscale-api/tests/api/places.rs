//! Who has access, tested with real parts: another user of this machine, another machine, a unix socket.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use rustix::process::{Signal, geteuid};

use crate::node::Node;
use crate::server::{NOBODY, Server, program, write_config};

/// Creates a key in a process other than the server's.
fn key(node: &Node, name: &str, role: Role) -> String {
    let new = NewKey { name: name.to_owned(), role, containers: None, expires: None };
    KeyFile::new(node.root().join("keys.json")).create(new, Timestamp::now()).unwrap()
}

fn revoke(node: &Node, name: &str) {
    KeyFile::new(node.root().join("keys.json")).revoke(name).unwrap();
}

/// The outcome for a client: `success`, the error code, `unreachable` if there is no connection, or `unanswered` if nothing
/// says so.
fn told(mut command: Command) -> String {
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    match done.status.code() {
        Some(7) => return "unreachable".to_owned(),
        Some(28) => return "unanswered".to_owned(),
        _ => (),
    }
    let answer: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text:?} {}", String::from_utf8_lossy(&done.stderr)));
    let word = answer.get("code").unwrap_or(&answer["status"]);
    word.as_str().unwrap().to_owned()
}

/// `curl` as a user of this machine; with `writes`, it sends a change.
fn curl(uid: u32, door: &[&str], key: Option<&str>, headers: &[&str], writes: bool) -> Command {
    let id = uid.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    command.args(["curl", "--silent", "--show-error", "--noproxy", "*"]);
    if let Some(key) = key {
        command.args(["--header", &format!("Authorization: Bearer {key}")]);
    }
    for header in headers {
        command.args(["--header", header]);
    }
    let (url, options) = door.split_last().unwrap();
    command.args(options);
    if writes {
        command.args([
            "--header",
            "Content-Type: application/json",
            "--data",
            r#"{"vm_id": 104, "cores": 2}"#,
        ]);
        command.arg(format!("{url}/scale/cores"))
    } else {
        command.arg(format!("{url}/routes"))
    };
    command
}

/// The same rules over loopback and the unix socket, with two real users.
#[test]
fn root_comes_in_and_another_user_needs_a_key() {
    assert!(geteuid().is_root(), "only root can act as another user: run this test as root");
    let node = Node::new();
    let server = Server::start(&node, "");
    // At a path that another user can reach, like /run.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(node.root(), open).unwrap();
    let tcp = format!("http://{}", server.address());
    let socket = node.root().join("api.sock").display().to_string();
    let viewer = key(&node, "viewer", Role::Viewer);
    let operator = key(&node, "operator", Role::Operator);
    for door in [vec![tcp.as_str()], vec!["--unix-socket", &socket, "http://localhost"]] {
        let guest = key(&node, "guest", Role::Viewer);
        let ask = |uid, key, headers: &[&str], writes| told(curl(uid, &door, key, headers, writes));
        let evil = ["Origin: http://evil.example"];
        for (uid, key, headers, writes, expected) in [
            (0, None, &[][..], true, "success"),
            (NOBODY, None, &[], false, "forbidden"),
            (NOBODY, None, &[], true, "forbidden"),
            (NOBODY, Some("lxak_0000"), &[], false, "invalid_key"),
            (NOBODY, Some(viewer.as_str()), &[], false, "success"),
            (NOBODY, Some(&viewer), &[], true, "wrong_role"),
            (NOBODY, Some(&operator), &[], true, "success"),
            (0, Some(&viewer), &[], true, "wrong_role"),
            (0, None, &["Host: evil.example:5000"], false, "unknown_host"),
            (0, None, &evil, false, "foreign_origin"),
            (0, None, &["Origin: null"], true, "foreign_origin"),
            (0, None, &["Sec-Fetch-Site: cross-site"], false, "foreign_origin"),
            (NOBODY, Some(&operator), &evil, true, "foreign_origin"),
            (NOBODY, Some(&guest), &[], false, "success"),
        ] {
            let said = ask(uid, key, headers, writes);
            assert_eq!(said, expected, "{door:?} uid {uid} {key:?} {headers:?} writes: {writes}");
        }
        revoke(&node, "guest");
        assert_eq!(ask(NOBODY, Some(&guest), &[], false), "invalid_key", "a revoked key is dead at once");
    }
    assert_eq!(node.calls(), [""; 0], "two cores it has already");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(!std::path::Path::new(&socket).exists(), "the socket goes with its server");
}

/// A network namespace, which is a separate machine as far as addresses are concerned.
struct OtherMachine {
    name: String,
    ours: String,
}

impl OtherMachine {
    /// Connects it to this machine by a pair of virtual network cards.
    fn connect() -> Self {
        /// Tests of one process have different ones, whether they run in one process or in several.
        static CONNECTED: AtomicU32 = AtomicU32::new(0);
        let id = 2 * std::process::id() + CONNECTED.fetch_add(1, Ordering::Relaxed);
        // Documentation addresses (RFC 5737), which nothing else on this machine can have.
        let (block, base) = (id / 64 % 2, id % 64 * 4);
        let network = ["198.51.100", "203.0.113"][usize::try_from(block).unwrap()];
        let machine = Self { name: format!("lxcas{id}"), ours: format!("{network}.{}", base + 1) };
        let (name, here, there) = (&machine.name, format!("lxa{id}"), format!("lxb{id}"));
        ip(&["netns", "add", name]);
        ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", name]);
        ip(&["address", "add", &format!("{}/30", machine.ours), "dev", &here]);
        ip(&["link", "set", &here, "up"]);
        ip(&["-n", name, "address", "add", &format!("{network}.{}/30", base + 2), "dev", &there]);
        ip(&["-n", name, "link", "set", &there, "up"]);
        machine
    }

    /// Root of that machine sends a request.
    fn asks(&self, url: &str, key: Option<&str>, headers: &[&str], writes: bool) -> String {
        let asked = curl(0, &["--connect-timeout", "3", "--max-time", "20", url], key, headers, writes);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(asked.get_program()).args(asked.get_args());
        told(command)
    }
}

impl Drop for OtherMachine {
    fn drop(&mut self) {
        // This removes its network card, and thereby the other one of the pair.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(done.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn another_machine_needs_a_key_and_reaches_no_other_door() {
    assert!(geteuid().is_root(), "only root can make a network namespace: run this test as root");
    let other = OtherMachine::connect();
    // At one of our addresses, and at all of them, with IPv4 and IPv6 on a single socket.
    for address in [other.ours.as_str(), "[::]"] {
        asked_from_another_machine(&other, address);
    }
}

fn asked_from_another_machine(other: &OtherMachine, address: &str) {
    let node = Node::new();
    let viewer = key(&node, "viewer", Role::Viewer);
    let operator = key(&node, "operator", Role::Operator);
    let guest = key(&node, "guest", Role::Admin);
    write_config(&node, "", &format!("[network]\nlisten = \"{address}:0\"\nplain_http = true\n"));
    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    let line = server.wait_for("for holders of keys");
    let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    let url = format!("http://{}:{}", other.ours, url.rsplit_once(':').unwrap().1);
    for (key, headers, writes, expected) in [
        (None, &[][..], false, "forbidden"),
        (None, &[], true, "forbidden"),
        (Some("lxak_0000"), &[], false, "invalid_key"),
        (Some(viewer.as_str()), &[], false, "success"),
        (Some(&viewer), &[], true, "wrong_role"),
        (Some(&operator), &[], true, "success"),
        (Some(&operator), &["Host: evil.example"], true, "unknown_host"),
        (Some(&operator), &["Origin: http://evil.example"], true, "foreign_origin"),
        (Some(&guest), &[], true, "success"),
    ] {
        assert_eq!(other.asks(&url, key, headers, writes), expected, "{key:?} {headers:?} writes: {writes}");
    }
    revoke(&node, "guest");
    assert_eq!(other.asks(&url, Some(&guest), &[], false), "invalid_key");
    // The listener that trusts root cannot be reached from there, whatever key is presented.
    let own_door = format!("http://{}:{}", other.ours, server.address().port());
    assert_eq!(other.asks(&own_door, Some(&operator), &[], false), "unreachable");
    // Root of this machine uses its own listener; at the other one, root is a stranger without a key.
    assert_eq!(told(curl(0, &[&format!("http://{}", server.address())], None, &[], true)), "success");
    assert_eq!(told(curl(0, &[&url], None, &[], false)), "forbidden");
    assert_eq!(node.calls(), [""; 0], "two cores it has already");
}

/// As Proxmox has it: the node's name has the address that other machines know.
#[test]
fn the_nodes_own_name_leads_this_machine_in_and_no_other_one() {
    assert!(geteuid().is_root(), "only root can make a network namespace: run this test as root");
    let other = OtherMachine::connect();
    let node = Node::new();
    let name = std::fs::read_to_string(node.root().join("proc/sys/kernel/hostname")).unwrap();
    let name = name.trim();
    let viewer = key(&node, "viewer", Role::Viewer);
    let hosts = format!("127.0.0.1 localhost\n{} {name}.example.com {name}\n", other.ours);
    std::fs::write(node.root().join("hosts"), hosts).unwrap();
    let mut server = Server::start(&node, "");
    server.wait_for("for this machine alone");
    let port = server.address().port();
    let url = format!("http://{name}:{port}");
    let leads_to = format!("{name}:{port}:{}", other.ours);
    let door = ["--resolve", &leads_to, &url];
    for (uid, key, headers, writes, expected) in [
        (0, None, &[][..], true, "success"),
        (NOBODY, None, &[], false, "forbidden"),
        (NOBODY, Some(viewer.as_str()), &[], false, "success"),
        (NOBODY, Some(&viewer), &[], true, "wrong_role"),
        (0, None, &["Host: evil.example"], false, "unknown_host"),
        (0, None, &["Origin: http://evil.example"], true, "foreign_origin"),
    ] {
        let said = told(curl(uid, &door, key, headers, writes));
        assert_eq!(said, expected, "uid {uid} {key:?} {headers:?} writes: {writes}");
    }
    // By its address, too.
    let by_address = format!("http://{}:{port}", other.ours);
    assert_eq!(told(curl(0, &[&by_address], None, &[], true)), "success");
    // Whatever key the other machine has, nothing listens there for it.
    assert_eq!(other.asks(&by_address, Some(&viewer), &[], false), "unanswered");
    assert_eq!(node.calls(), [""; 0], "two cores it has already");
    server.signal(Signal::TERM);
    assert!(server.wait().success());

    let server = Server::start(&node, "listen_at_own_name = false");
    let by_address = format!("http://{}:{}", other.ours, server.address().port());
    assert_eq!(told(curl(0, &[&by_address], None, &[], false)), "unreachable");
}
