//! The listener for other machines: TLS, access by key only, and a renewed certificate.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output};

use jiff::Timestamp;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use rustix::process::Signal;

use crate::node::Node;
use crate::server::{Server, program, run_to_end, write_config};

/// Creates a self-signed certificate for localhost.
fn make_certificate(directory: &Path) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args(["-subj", "/CN=proxmox", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.arg("-keyout").arg(directory.join("tls.key")).arg("-out").arg(directory.join("tls.pem"));
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn key(node: &Node, name: &str, role: Role) -> String {
    let new = NewKey { name: name.to_owned(), role, containers: None, expires: None };
    KeyFile::new(node.root().join("keys.json")).create(new, Timestamp::now()).unwrap()
}

fn configure(node: &Node, more: &str) {
    let root = node.root().display();
    let network = format!(
        "[network]\nlisten = \"127.0.0.1:0\"\ncertificate_file = \"{root}/tls.pem\"\nkey_file = \"{root}/tls.key\"\n{more}"
    );
    write_config(node, "", &network);
}

/// Starts the server; returns it with the port of this listener.
fn start(node: &Node) -> (Server, String) {
    let mut server = Server::spawn(node, &mut program(node, "run"));
    let line = server.wait_for("for holders of keys");
    let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap().to_owned();
    (server, url)
}

fn curl(node: &Node, key: Option<&str>, url: &str) -> (Output, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(node.root().join("tls.pem"));
    if let Some(key) = key {
        command.arg("--header").arg(format!("Authorization: Bearer {key}"));
    }
    let done = command.arg(url).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    (done, text)
}

#[test]
fn other_machines_need_a_key_and_a_certificate_is_served() {
    let node = Node::new();
    make_certificate(node.root());
    let viewer = key(&node, "viewer", Role::Viewer);
    configure(&node, "");
    let (_server, url) = start(&node);
    let (_, answer) = curl(&node, Some(&viewer), &format!("{url}/routes"));
    assert!(answer.contains("\"status\":\"success\""), "{answer}");
    // The user who runs this test is trusted on the other listener, but a stranger here.
    let (_, answer) = curl(&node, None, &format!("{url}/routes"));
    assert!(answer.contains("\"code\":\"forbidden\""), "{answer}");
    let (_, answer) = curl(&node, Some("lxak_0"), &format!("{url}/routes"));
    assert!(answer.contains("\"code\":\"invalid_key\""), "{answer}");
    let (done, answer) = curl(&node, Some(&viewer), &format!("{}/routes", url.replace("https", "http")));
    assert!(!done.status.success() && answer.is_empty(), "without TLS there is no answer: {answer}");
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let node = Node::new();
    make_certificate(node.root());
    let viewer = key(&node, "viewer", Role::Viewer);
    configure(&node, "");
    let (mut server, url) = start(&node);
    let url = format!("{url}/routes");
    std::fs::rename(node.root().join("tls.pem"), node.root().join("old.pem")).unwrap();
    make_certificate(node.root());
    server.wait_for("The certificate was read again.");
    // curl trusts only the new one.
    let (done, _) = curl(&node, Some(&viewer), &url);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let good = std::fs::read(node.root().join("tls.pem")).unwrap();
    std::fs::write(node.root().join("good.pem"), &good).unwrap();
    std::fs::write(node.root().join("tls.pem"), "no certificate").unwrap();
    server.wait_for("keeping the old certificate");
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--cacert"]).arg(node.root().join("good.pem"));
    command.arg("--header").arg(format!("Authorization: Bearer {viewer}"));
    let done = command.arg(&url).output().unwrap();
    assert!(done.status.success(), "the last good one goes on");
}

/// In the cluster file system times are whole seconds, and a file that is overwritten keeps its number: nothing but what
/// is in it tells such a certificate from the one before.
#[test]
fn a_certificate_whose_writing_was_interrupted_is_served_once_it_is_whole() {
    let node = Node::new();
    make_certificate(node.root());
    let viewer = key(&node, "viewer", Role::Viewer);
    configure(&node, "");
    let (mut server, url) = start(&node);
    let url = format!("{url}/routes");
    let new = node.root().join("new");
    std::fs::create_dir(&new).unwrap();
    make_certificate(&new);
    let (pem, tls_key) =
        (std::fs::read(new.join("tls.pem")).unwrap(), std::fs::read(new.join("tls.key")).unwrap());
    // A time in the past, which the files keep while they change.
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let write = |name: &str, bytes: &[u8]| {
        let mut file = std::fs::File::options().write(true).open(node.root().join(name)).unwrap();
        file.write_all(bytes).unwrap();
        file.set_len(pem.len() as u64).unwrap();
        file.set_modified(then).unwrap();
    };
    write("tls.pem", &pem[..pem.len() / 2]);
    std::fs::write(node.root().join("tls.key"), &tls_key).unwrap();
    std::fs::File::options()
        .write(true)
        .open(node.root().join("tls.key"))
        .unwrap()
        .set_modified(then)
        .unwrap();
    server.wait_for("keeping the old certificate");
    write("tls.pem", &pem);
    server.wait_for("The certificate was read again.");
    let (done, _) = curl(&node, Some(&viewer), &url);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// It is said once, and the last good one goes on.
#[test]
fn a_certificate_that_is_gone_is_missed() {
    let node = Node::new();
    make_certificate(node.root());
    key(&node, "viewer", Role::Viewer);
    configure(&node, "");
    let (mut server, _) = start(&node);
    let (place, aside) = (node.root().join("tls.pem"), node.root().join("aside.pem"));
    std::fs::rename(&place, &aside).unwrap();
    let said = server.wait_for("keeping the old certificate");
    assert!(said.contains("tls.pem") && said.contains("No such file"), "{said}");
    std::fs::rename(&aside, &place).unwrap();
    server.wait_for("The certificate can be read again.");
}

/// The cluster file system may hang for minutes; clients that connect meanwhile get the certificate that was read
/// before.
#[test]
fn a_certificate_that_cannot_be_read_again_holds_nobody_up() {
    let node = Node::new();
    make_certificate(node.root());
    let viewer = key(&node, "viewer", Role::Viewer);
    configure(&node, "");
    let (mut server, url) = start(&node);
    std::fs::rename(node.root().join("tls.pem"), node.root().join("good.pem")).unwrap();
    // Opening this blocks until somebody writes to it.
    let hung = node.root().join("tls.pem");
    rustix::fs::mknodat(rustix::fs::CWD, &hung, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // It can be opened once somebody reads from it, who then waits for data that never comes.
    let write = || {
        let not_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        std::fs::File::options().write(true).custom_flags(not_waiting).open(&hung)
    };
    let _writer = loop {
        match write() {
            Ok(writer) => break writer,
            Err(_) => std::thread::yield_now(),
        }
    };
    // More than there are threads.
    for _ in 0..4 {
        let mut command = Command::new("curl");
        command.args(["--silent", "--noproxy", "*", "--max-time", "20", "--cacert"]);
        command.arg(node.root().join("good.pem"));
        command.arg("--header").arg(format!("Authorization: Bearer {viewer}")).arg(format!("{url}/routes"));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    // A listener that needs the certificate is not opened, and the existing one stays.
    let text = std::fs::read_to_string(node.root().join("api.toml")).unwrap();
    std::fs::copy(node.root().join("tls.key"), node.root().join("copy.key")).unwrap();
    let moved = text.replace("/tls.key\"", "/copy.key\"");
    std::fs::write(node.root().join("api.toml"), moved).unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("the listener for other machines stays as it was");
    assert!(line.contains("took longer than 5 s"), "{line}");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

/// What the listener does after a reload, for each setting that can change.
#[test]
fn a_reload_opens_moves_and_closes_the_door() {
    let node = Node::new();
    make_certificate(node.root());
    let viewer = key(&node, "viewer", Role::Viewer);
    write_config(&node, "", "");
    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    let reload = |server: &mut Server, until: &str| {
        server.signal(Signal::HUP);
        let line = server.wait_for(until);
        line.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_default().to_owned()
    };
    // We choose the port, because the same one is needed again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let write = |certificate: &str| {
        configure(&node, "");
        let path = node.root().join("api.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("listen = \"127.0.0.1:0\"\ncert", &format!("listen = \"{free}\"\ncert"));
        std::fs::write(path, text.replace("/tls.pem", certificate)).unwrap();
    };
    write("/tls.pem");
    let opened = reload(&mut server, "for holders of keys");
    let answers = |url: &str| curl(&node, Some(&viewer), &format!("{url}/routes")).0.status.success();
    assert!(answers(&opened));
    // The same address with a certificate file that does not exist: the listener stays as it was.
    write("/missing.pem");
    reload(&mut server, "the listener for other machines stays as it was");
    assert!(answers(&opened));
    std::fs::copy(node.root().join("tls.pem"), node.root().join("copy.pem")).unwrap();
    write("/copy.pem");
    assert_eq!(reload(&mut server, "for holders of keys"), opened);
    assert!(answers(&opened));
    write_config(&node, "", "");
    reload(&mut server, "The listener for other machines is closed.");
    assert!(!answers(&opened));
}

#[test]
fn a_door_that_nobody_could_use_safely_is_not_opened() {
    let node = Node::new();
    make_certificate(node.root());
    configure(&node, "");
    let (code, _, said) = run_to_end(&node, "run");
    assert_eq!(code, Some(1));
    assert!(said.contains("there are no keys: `lxc-autoscale-api key create`"), "{said}");

    key(&node, "viewer", Role::Viewer);
    std::fs::remove_file(node.root().join("tls.key")).unwrap();
    let (code, _, said) = run_to_end(&node, "run");
    assert_eq!(code, Some(1));
    assert!(said.contains("tls.key"), "{said}");
}

#[test]
fn without_tls_it_serves_when_told_so_and_warns() {
    let node = Node::new();
    let viewer = key(&node, "viewer", Role::Viewer);
    configure(&node, "plain_http = true\n");
    let (_server, url) = start(&node);
    assert!(url.starts_with("http://"), "{url}");
    let (_, answer) = {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--noproxy", "*", "--header"])
            .arg(format!("Authorization: Bearer {viewer}"));
        let done = command.arg(format!("{url}/routes")).output().unwrap();
        (done.status, String::from_utf8_lossy(&done.stdout).into_owned())
    };
    assert!(answer.contains("\"status\":\"success\""), "{answer}");
}
