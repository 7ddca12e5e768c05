//! Malformed requests, and clients that send none: garbled bytes and slow clients, at every listener. Other clients
//! are served meanwhile.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::node::Node;
use crate::server::{Server, cores_request, program, write_config};

/// Far longer than a response takes, and far shorter than the time limit for slow clients.
const PATIENCE: Duration = Duration::from_secs(20);
const PROMPT: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 64;
const SLOW_CLIENTS: usize = 200;
/// Indexes of the listeners in [`Place::doors`].
const LOOPBACK: usize = 0;
const SOCKET: usize = 1;
const NETWORK: usize = 2;

/// A connection that can be written to and read from.
trait Stream: Read + Write {
    fn end_of_request(&self);
}

impl Stream for TcpStream {
    fn end_of_request(&self) {
        // It may be closed already.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for UnixStream {
    fn end_of_request(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

#[derive(Clone, Debug)]
enum Door {
    Tcp(SocketAddr),
    Socket(PathBuf),
}

impl Door {
    fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
        }
    }

    /// The response to a valid request that asks for the connection to be closed.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The response to `bytes`, with nothing after them, following a valid request if the connection is kept; a
    /// trusted caller is still known when it closes. Empty if the connection is closed.
    fn garble(&self, first: Option<&str>, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        if let Some(first) = first {
            stream.write_all(first.as_bytes()).unwrap();
            let answer = one_answer(&mut *stream);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        // The server may close it before everything is written.
        let _ = stream.write_all(bytes);
        stream.end_of_request();
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            let shown = String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error} after {shown:?}");
        }
        answer
    }
}

/// Reads one response from a connection that is kept.
fn one_answer(stream: &mut dyn Stream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head
}

/// A server with three listeners and a key.
struct Place {
    node: Node,
    server: Server,
    key: String,
    doors: [Door; 3],
}

impl Place {
    fn new() -> Self {
        let node = Node::new();
        let new = NewKey { name: "ci".to_owned(), role: Role::Operator, containers: None, expires: None };
        let key = KeyFile::new(node.root().join("keys.json")).create(new, Timestamp::now()).unwrap();
        // Slow clients must not be dropped by a timeout in this test.
        let own = format!(
            "max_connections = {CONNECTIONS}\nclient_timeout_seconds = 600\nrefusals_per_minute = 1000000\n\
             requests_per_minute = 1000000"
        );
        write_config(&node, &own, "[network]\nlisten = \"127.0.0.1:0\"\nplain_http = true\n");
        let mut server = Server::spawn(&node, &mut program(&node, "run"));
        let line = server.wait_for("for holders of keys");
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap();
        let network = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let doors =
            [Door::Tcp(server.address()), Door::Socket(node.root().join("api.sock")), Door::Tcp(network)];
        Self { node, server, key, doors }
    }

    /// A valid request for every listener.
    fn good(&self) -> String {
        let key = &self.key;
        format!(
            "GET /routes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
        )
    }

    /// Every listener responds each time, and promptly at least once in ten times, because the machine may be busy.
    fn assert_alive(&self) {
        for door in &self.doors {
            let is_prompt = (0..10).any(|_| {
                let begun = Instant::now();
                let answer = door.ask(&self.good());
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{door:?}: {answer:?}");
                begun.elapsed() < PROMPT
            });
            assert!(is_prompt, "{door:?} takes longer than {PROMPT:?} to answer");
        }
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.server.pid().to_string())
    }

    fn open_sockets(&self) -> usize {
        let files = std::fs::read_dir(self.proc().join("fd")).unwrap();
        let is_socket = |path: PathBuf| {
            std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        files.flatten().filter(|file| is_socket(file.path())).count()
    }

    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A request that is cut, changed, extended, or invalid from the beginning.
fn garbled(good: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let request = prop::sample::select(good);
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let words = prop::sample::select(vec![
        &b"\r\n"[..],
        b"\r\n\r\n",
        b"\n",
        b"\0",
        b"Content-Length: 18446744073709551616\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Host: localhost\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
        b"ffffffffffffffff\r\n",
        b" HTTP/9.9\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]);
    let piece = prop_oneof![
        bytes(),
        words.prop_map(<[u8]>::to_vec),
        (1_usize..40_000).prop_map(|length| vec![b'a'; length])
    ];
    let edited = (request.clone(), any::<prop::sample::Index>(), 0_usize..6, piece).prop_map(
        |(mut request, at, removed, piece)| {
            let at = at.index(request.len());
            let end = (at + removed).min(request.len());
            request.splice(at..end, piece);
            request
        },
    );
    let cut = (request, any::<prop::sample::Index>()).prop_map(|(mut request, at)| {
        request.truncate(at.index(request.len()));
        request
    });
    prop_oneof![4 => edited, 2 => cut, 1 => prop::collection::vec(any::<u8>(), 0..3000)]
}

/// A thousand requests at one listener, always the same ones.
fn garbled_at(number: usize) {
    let place = Place::new();
    let door = &place.doors[number];
    // The third listener does not keep connections of unknown callers.
    let kept = place.good().replace("Connection: close\r\n", "");
    let first = (number != NETWORK).then_some(kept.as_str());
    let with_key =
        cores_request(4).replace("\r\n\r\n", &format!("\r\nAuthorization: Bearer {}\r\n\r\n", place.key));
    let good = vec![place.good().into_bytes(), cores_request(4).into_bytes(), with_key.into_bytes()];
    let config = Config { cases: 1000, failure_persistence: None, ..Config::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let sent = Cell::new(0);
    let result = runner.run(&garbled(good), |request| {
        sent.set(sent.get() + 1);
        // Other clients are served meanwhile, not only afterwards.
        if sent.get() % 100 == 0 {
            place.assert_alive();
        }
        let answer = door.garble(first, &request);
        let is_http =
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 ") || answer.starts_with(b"HTTP/1.0 ");
        prop_assert!(is_http, "{:?}", String::from_utf8_lossy(&answer));
        prop_assert!(!answer.starts_with(b"HTTP/1.1 500"), "{:?}", String::from_utf8_lossy(&answer));
        Ok(())
    });
    result.unwrap();
    place.assert_alive();
    // A valid change that survived the garbling may be made, but nothing else.
    for call in place.node.calls() {
        let cores = call.strip_prefix("set 104 -cores ").unwrap_or_else(|| panic!("{call}"));
        assert!(cores.parse::<u32>().is_ok(), "{call}");
    }
    let memory = place.memory_kib();
    assert!(memory < 256 << 10, "{memory} KiB");
}

#[test]
fn what_is_no_request_harms_nobody_over_loopback() {
    garbled_at(LOOPBACK);
}

#[test]
fn what_is_no_request_harms_nobody_at_the_socket() {
    garbled_at(SOCKET);
}

#[test]
fn what_is_no_request_harms_nobody_from_the_network() {
    garbled_at(NETWORK);
}

/// Two hundred clients at each listener, more than there are seats, of three kinds: they send half a head, or half a
/// body, or send requests without reading a response.
#[test]
fn slow_clients_hold_up_nobody() {
    let place = Place::new();
    let mut held = Vec::new();
    for door in &place.doors {
        for number in 0..SLOW_CLIENTS {
            let mut stream = door.connect();
            let request = match number % 3 {
                0 => place.good()[..30].to_owned(),
                1 => {
                    let request = cores_request(4);
                    request[..request.len() - 5].to_owned()
                }
                _ => place.good().replace("Connection: close\r\n", "").repeat(20),
            };
            // A connection that gives way is closed, which is what this test is about.
            let _ = stream.write_all(request.as_bytes());
            held.push(stream);
        }
    }
    place.assert_alive();
    let sockets = place.open_sockets();
    // The listeners, the runtime's own, and one connection at each listener that is waiting for a seat.
    assert!(sockets <= place.doors.len() * CONNECTIONS + 24, "{sockets} sockets");
    let memory = place.memory_kib();
    assert!(memory < 256 << 10, "{memory} KiB");
    assert_eq!(place.node.calls(), [""; 0]);
    drop(held);
    place.assert_alive();
}
