//! The program itself: started on a free port, used over real connections, stopped by signals.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use crate::node::Node;

/// A user without any privileges on any system.
pub(crate) const NOBODY: u32 = 65_534;

/// The running program.
pub(crate) struct Server {
    child: Child,
    log: BufReader<ChildStdout>,
    /// Lines from before it listened.
    early: Vec<String>,
    address: SocketAddr,
}

pub(crate) fn write_config(node: &Node, server: &str, rest: &str) {
    let root = node.root().display();
    // If the tests do not run as root, their own user is trusted instead.
    let uid = geteuid().as_raw();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nsocket = \"{root}/api.sock\"\naddress_file = \"{root}/address\"\ntrusted_uids = [{uid}]\nkeys_file = \"{root}/keys.json\"\n{server}\n\
         [pct]\npath = \"{root}/pct\"\n\
         [paths]\npve = \"{root}/etc/pve\"\nproc = \"{root}/proc\"\nhosts = \"{root}/hosts\"\n\
         [metrics]\nfile = \"{root}/log/lxc_metrics.json\"\n[audit]\nfile = \"{root}/audit.jsonl\"\n\
         [state]\ndirectory = \"{root}/state\"\n\
         [logging]\nfile = \"{root}/api.log\"\n{rest}\n"
    );
    fs::write(node.root().join("api.toml"), text).unwrap();
    // The node's name has no address but where a test gives it one.
    File::options().create(true).append(true).open(node.root().join("hosts")).unwrap();
}

pub(crate) fn program(node: &Node, command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-api"));
    program.arg(command).arg("--config").arg(node.root().join("api.toml"));
    program
}

impl Server {
    pub(crate) fn start(node: &Node, server: &str) -> Self {
        write_config(node, server, "");
        Self::spawn(node, &mut program(node, "run"))
    }

    pub(crate) fn spawn(node: &Node, program: &mut Command) -> Self {
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let (address, early) = (SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new());
        let mut started = Self { child, log, early, address };
        let mut early = Vec::new();
        started.read_to("Listening on http://", |line| early.push(line));
        started.early = early;
        started.address = fs::read_to_string(node.root().join("address")).unwrap().trim().parse().unwrap();
        started
    }

    /// Reads the log up to a line with this text, and returns that line. What a task of the server wrote while it started
    /// counts, too.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        if let Some(place) = self.early.iter().position(|line| line.contains(text)) {
            return self.early.remove(place);
        }
        self.read_to(text, drop)
    }

    fn read_to(&mut self, text: &str, mut skip: impl FnMut(String)) -> String {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() != 0 {
            if line.contains(text) {
                return line;
            }
            skip(std::mem::take(&mut line));
        }
        panic!("the program ended without saying {text:?}");
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a request; the connection is still open when this returns.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> TcpStream {
        self.send_as(None, method, path, body)
    }

    /// As [`Server::send`], by the holder of a key.
    pub(crate) fn send_as(&self, key: Option<&str>, method: &str, path: &str, body: &Value) -> TcpStream {
        let key = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
        let mut stream = TcpStream::connect(self.address).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: proxmox:5000\r\nConnection: close\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// The response to a request: status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        read_answer(self.send(method, path, body))
    }

    /// The data of a GET request.
    pub(crate) fn data(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).1["data"].clone()
    }

    /// Sends `cores` for container 104; the connection is still open when this returns.
    fn ask_for_cores(&self, cores: u32) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(cores_request(cores).as_bytes()).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed must leave no server behind; that it has ended already is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn cores_request(cores: u32) -> String {
    let body = format!("{{\"vm_id\": 104, \"cores\": {cores}}}");
    let length = body.len();
    format!(
        "POST /scale/cores HTTP/1.1\r\nHost: proxmox:5000\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Status and body of a response.
pub(crate) fn read_answer(stream: TcpStream) -> (u16, Value) {
    let answer = read_all(stream);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

fn read_all(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Makes the next `pct set` wait until `release` exists; `started` shows that it is running.
fn hold_set(node: &Node) {
    node.hook("set", "touch \"$root/started\"; until [ -e \"$root/release\" ]; do sleep 0.05; done");
}

fn wait_until_held(node: &Node) {
    while !node.root().join("started").exists() {
        std::thread::yield_now();
    }
}

fn release(node: &Node) {
    fs::write(node.root().join("release"), "").unwrap();
}

/// Runs a bash script as nobody; `$1` is the port, `$2` a request.
fn as_nobody(server: &Server, script: &str) -> Output {
    assert!(geteuid().is_root(), "only root can act as another user: run this test as root");
    let nobody = NOBODY.to_string();
    let port = server.address.port().to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "bash", "-c", script, "bash"]);
    command.args([&port, &cores_request(7)]).output().unwrap()
}

#[test]
fn root_is_answered_and_the_change_is_logged() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    let answer = read_all(server.ask_for_cores(4));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
    let line = server.wait_for("set the cores of container 104 to 4: done");
    assert!(
        line.contains("[INFO]") && line.contains("caller=uid:") && line.contains("duration_ms="),
        "{line}"
    );
    // The file gets each line a moment after the output.
    let has_line = || {
        let file = fs::read_to_string(node.root().join("api.log")).unwrap();
        file.contains("set the cores of container 104 to 4: done")
    };
    while !has_line() {
        std::thread::yield_now();
    }
}

#[test]
fn another_user_is_refused() {
    if !geteuid().is_root() {
        // If we cannot act as another user, we are that user: this server trusts nobody.
        let node = Node::new();
        let mut server = Server::start(&node, "");
        let text = fs::read_to_string(node.root().join("api.toml")).unwrap();
        let own = format!("trusted_uids = [{}]", geteuid().as_raw());
        fs::write(node.root().join("api.toml"), text.replace(&own, "trusted_uids = []")).unwrap();
        server.signal(Signal::HUP);
        server.wait_for("Configuration read again");
        assert!(read_all(server.ask_for_cores(7)).starts_with("HTTP/1.1 403 "));
        return;
    }
    let node = Node::new();
    let server = Server::start(&node, "");
    let output = as_nobody(&server, "exec 3<>/dev/tcp/127.0.0.1/$1; printf %s \"$2\" >&3; cat <&3");
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"forbidden\""), "{answer}");
    assert_eq!(node.calls(), [""; 0]);
}

#[test]
fn a_user_named_in_the_configuration_is_answered_after_a_reload() {
    if !geteuid().is_root() {
        return;
    }
    let node = Node::new();
    let mut server = Server::start(&node, "");
    let text = fs::read_to_string(node.root().join("api.toml")).unwrap();
    let more = text.replace("trusted_uids = [0]", "trusted_uids = [65534]") + "[limits]\nmax_cores = 6\n";
    fs::write(node.root().join("api.toml"), more).unwrap();
    server.signal(Signal::HUP);
    server.wait_for("Configuration read again.");
    let output = as_nobody(&server, "exec 3<>/dev/tcp/127.0.0.1/$1; printf %s \"$2\" >&3; cat <&3");
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains("\"code\":\"out_of_bounds\""), "seven cores are more than six: {answer}");
    fs::write(node.root().join("api.toml"), "[limits]\nmax_core = 6\n").unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("keeping the old configuration");
    assert!(line.contains("did you mean `limits.max_cores`?"), "{line}");
}

#[test]
fn a_reload_moves_the_audit_log_and_names_the_keys_that_take_a_restart() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    read_all(server.ask_for_cores(4));
    let path = node.root().join("api.toml");
    let text = fs::read_to_string(&path).unwrap();
    let moved =
        text.replace("audit.jsonl", "elsewhere.jsonl").replace("[server]", "[server]\nmax_changes = 5");
    fs::write(&path, &moved).unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("changes of these keys need a restart");
    assert!(
        line.contains("keys=\"server.max_changes\"") || line.contains("keys=server.max_changes"),
        "{line}"
    );
    read_all(server.ask_for_cores(5));
    let actions = |name: &str| {
        let text = fs::read_to_string(node.root().join(name)).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"event\":\"done\"")).count()
    };
    assert_eq!((actions("audit.jsonl"), actions("elsewhere.jsonl")), (1, 1));
    let verified = program(&node, "audit").arg("verify").output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_stop_finishes_what_is_begun_and_answers_it() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    hold_set(&node);
    let client = server.ask_for_cores(4);
    wait_until_held(&node);
    server.signal(Signal::TERM);
    server.wait_for("waiting for changes to end");
    release(&node);
    let answer = read_all(client);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    server.wait_for("Stopped.");
    assert!(server.wait().success());
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
    assert!(!node.root().join("address").exists());
}

#[test]
fn a_client_that_leaves_does_not_stop_its_change() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    hold_set(&node);
    let client = server.ask_for_cores(4);
    wait_until_held(&node);
    drop(client);
    release(&node);
    server.wait_for("set the cores of container 104 to 4: done");
    assert!(node.conf(104).unwrap().contains("cores: 4\n"));
}

#[test]
fn a_client_that_is_too_slow_is_cut_off() {
    let node = Node::new();
    let server = Server::start(&node, "client_timeout_seconds = 1");
    let mut half_head = TcpStream::connect(server.address).unwrap();
    half_head.write_all(b"POST /scale/cores HT").unwrap();
    let mut half_body = TcpStream::connect(server.address).unwrap();
    let request = cores_request(4);
    half_body.write_all(&request.as_bytes()[..request.len() - 5]).unwrap();
    assert!(!read_all(half_head).starts_with("HTTP/1.1 200"));
    let answer = read_all(half_body);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timed_out"), "{answer}");
    assert_eq!(node.calls(), [""; 0]);
}

#[test]
fn a_body_that_is_broken_is_told_from_one_that_is_too_large() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let large = format!("20000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x20000));
    for (body, status, code) in
        [("5\r\n{\"vm_\r\nno length\r\n", 400, "invalid_body"), (&large, 413, "body_too_large")]
    {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let head = "POST /scale/cores HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        // The server may respond before everything is sent.
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code), "{answer}");
    }
    assert_eq!(node.calls(), [""; 0]);
}

#[test]
fn a_connection_that_sends_nothing_gives_way_to_the_next() {
    let node = Node::new();
    let server = Server::start(&node, "max_connections = 1");
    let first = TcpStream::connect(server.address).unwrap();
    let second = server.ask_for_cores(4);
    assert!(read_all(second).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(read_all(first), "");
}

/// Runs the program to its end; returns exit code, stdout and stderr.
pub(crate) fn run_to_end(node: &Node, command: &str) -> (Option<i32>, String, String) {
    let output = program(node, command).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_cannot_be_served_is_an_error_that_says_why() {
    let node = Node::new();
    let (code, _, stderr) = run_to_end(&node, "run");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot read the configuration `") && stderr.contains("api.toml"), "{stderr}");

    fs::write(node.root().join("api.toml"), "[server]\nlisten = \"0.0.0.0:5000\"\n").unwrap();
    let (code, _, stderr) = run_to_end(&node, "run");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("api.toml:2: `server.listen` must be a loopback address"), "{stderr}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("[server]\nlisten = \"{}\"\n[logging]\nfile = \"\"\n", taken.local_addr().unwrap());
    fs::write(node.root().join("api.toml"), text).unwrap();
    let (code, _, stderr) = run_to_end(&node, "run");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is another server using it?"), "{stderr}");
}

/// The documentation says so; every other answer has a body in the common form.
#[test]
fn what_is_no_http_is_answered_without_a_body() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let answer = read_all(stream);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(body, "", "{head}");
}

#[test]
fn check_says_what_works() {
    let node = Node::new();
    node.measured(104, 300.0, 5);
    write_config(&node, "", "");
    let (code, stdout, _) = run_to_end(&node, "check");
    let is_root = geteuid().is_root();
    assert_eq!(code, Some(i32::from(!is_root)), "{stdout}");
    for line in [
        "node           this is node proxmox",
        "backend        pct, because there is no API token",
        "configuration  2 containers in",
        "running_state  running now: 1 container",
    ] {
        assert!(stdout.contains(&format!("ok       {line}")), "{stdout}");
    }
    fs::remove_file(node.root().join("pct")).unwrap();
    let (code, stdout, _) = run_to_end(&node, "check");
    assert_eq!(code, Some(1));
    assert!(stdout.contains("FAILED   pct"), "{stdout}");
    // Whatever is wrong, the next line says what to do about it.
    let lines: Vec<&str> = stdout.lines().collect();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with("ok ")) {
        let is_hint = |line: &&str| line.trim_start().starts_with("-> ");
        assert!(is_hint(line) || lines.get(index + 1).is_some_and(is_hint), "{line}: {stdout}");
    }
}

/// A configuration whose read hangs, as can happen in `/etc/pve`, must block only the request that reads it.
#[test]
fn files_that_hang_hold_up_neither_others_nor_the_end() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let node = Node::new();
    let hung = node.root().join("etc/pve/lxc/110.conf");
    mknodat(CWD, &hung, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    write_config(&node, "", "");
    let config = node.root().join("api.toml");
    let text = fs::read_to_string(&config).unwrap().replace("[pct]", "[pct]\nquery_timeout_seconds = 1");
    fs::write(&config, text).unwrap();
    let server = Server::spawn(&node, &mut program(&node, "run"));
    let get = |path: &str| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    // More than there are threads for hanging reads.
    let hanging: Vec<TcpStream> = (0..40).map(|_| get("/resource/vm/status?vm_id=110")).collect();
    for stream in hanging {
        let answer = read_all(stream);
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("node_timed_out"), "{answer}");
    }
    assert!(read_all(get("/routes")).starts_with("HTTP/1.1 200 "));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

/// Otherwise systemd's watchdog would kill a server that waits for a long clone, and the clone with it.
#[test]
fn the_watchdog_is_told_while_the_last_changes_end() {
    let node = Node::new();
    hold_set(&node);
    write_config(&node, "", "");
    let path = node.root().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let told = |what: &str| {
        let mut message = [0; 512];
        loop {
            let length = manager.recv(&mut message).unwrap();
            if String::from_utf8_lossy(&message[..length]).contains(what) {
                return;
            }
        }
    };
    let mut program = program(&node, "run");
    let server = Server::spawn(&node, program.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000"));
    let client = server.ask_for_cores(4);
    wait_until_held(&node);
    server.signal(Signal::TERM);
    told("STOPPING=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    // The server also extends the stop timeout of the unit.
    told("EXTEND_TIMEOUT_USEC=60000000");
    release(&node);
    assert!(read_all(client).starts_with("HTTP/1.1 200 "));
    assert!(server.wait().success());
}
