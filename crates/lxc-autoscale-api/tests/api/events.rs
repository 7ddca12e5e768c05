//! `GET /events` as a stream, over real connections to the running program.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::node::Node;
use crate::server::Server;

/// A client that listens for events.
struct Stream(BufReader<TcpStream>);

/// An event as received.
#[derive(Debug)]
struct Told {
    name: String,
    id: String,
    data: Value,
}

impl Stream {
    /// Connects; returns after the head of the response and the first comment.
    fn open(server: &Server, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // Nothing here takes that long unless it fails.
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let head = format!(
            "GET /events HTTP/1.1\r\nHost: proxmox:5000\r\nAccept: text/event-stream\r\nConnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut opened = Self(BufReader::new(stream));
        let head = opened.until(|line| line.starts_with(": events follow"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        opened
    }

    /// Reads up to a matching line, and returns everything read.
    fn until(&mut self, is_last: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ends: {text}");
            text += &line;
            if is_last(&line) {
                return text;
            }
        }
    }

    /// The next event with this name.
    fn next(&mut self, name: &str) -> Told {
        loop {
            // A chunk is preceded by its length; each field of an event is on a line of its own.
            let text = self.until(|line| line.starts_with("data:"));
            let rest = self.until(|line| line.trim().is_empty());
            let text = text + &rest;
            let field = |field: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                line.unwrap_or_default().trim().to_owned()
            };
            let data = serde_json::from_str(&field("data")).unwrap();
            let told = Told { name: field("event"), id: field("id"), data };
            if told.name == name {
                return told;
            }
        }
    }

    /// Reads to the end of the stream.
    fn rest(mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }
}

fn post(server: &Server, path: &str, body: &Value) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: proxmox:5000\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

fn cores(server: &Server, vm_id: u32, cores: u32) {
    post(server, "/scale/cores", &json!({"vm_id": vm_id, "cores": cores}));
}

fn key(node: &Node, name: &str, containers: Option<u32>) -> String {
    let containers = containers.map(|id| BTreeSet::from([id.try_into().unwrap()]));
    let new = NewKey { name: name.to_owned(), role: Role::Viewer, containers, expires: None };
    KeyFile::new(node.root().join("keys.json")).create(new, Timestamp::now()).unwrap()
}

#[test]
fn changes_jobs_boosts_and_measurements_are_told() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let mut stream = Stream::open(&server, "");
    cores(&server, 104, 4);
    let told = stream.next("change");
    let entry = &told.data["data"];
    assert_eq!((&told.data["kind"], &told.data["id"]), (&json!("change"), &json!(told.id)));
    assert_eq!(
        (&entry["vm_id"], &entry["resource"], &entry["after"]),
        (&json!(104), &json!("cores"), &json!(4.0))
    );

    post(&server, "/snapshot/create", &json!({"vm_id": 104, "snapshot_name": "mine"}));
    let states: Vec<Value> = (0..3).map(|_| stream.next("job").data["data"]["state"].clone()).collect();
    assert_eq!(states, ["queued", "running", "done"]);

    post(&server, "/boost", &json!({"vm_id": 104, "cores": 6, "minutes": 5}));
    let boost = stream.next("boost").data["data"].clone();
    assert_eq!((&boost["state"], &boost["boost"]["size"]), (&json!("began"), &json!(6.0)));

    node.measured(104, 300.5, 5);
    let measured = stream.next("snapshot").data["data"].clone();
    assert_eq!(measured["containers"]["104"], json!({"cpu_cores_used": 0.5, "memory_usage_mb": 300.5}));
}

#[test]
fn who_comes_back_misses_nothing_or_is_told_so() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let mut stream = Stream::open(&server, "");
    cores(&server, 104, 4);
    let first = stream.next("change");
    drop(stream);
    cores(&server, 104, 3);
    cores(&server, 104, 2);
    let mut stream = Stream::open(&server, &format!("Last-Event-ID: {}\r\n", first.id));
    for after in [3.0, 2.0] {
        assert_eq!(stream.next("change").data["data"]["after"], after);
    }
    let mut stream = Stream::open(&server, "Last-Event-ID: 0-1\r\n");
    stream.next("missed");
    assert_eq!(stream.next("change").data["id"], first.id, "what is kept follows");
}

#[test]
fn a_key_is_told_of_its_own_containers_alone_and_no_more_when_it_is_revoked() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let secret = key(&node, "guest", Some(102));
    let mut stream = Stream::open(&server, &format!("Authorization: Bearer {secret}\r\n"));
    let mut other = Stream::open(&server, "");
    cores(&server, 104, 4);
    cores(&server, 102, 3);
    assert_eq!(stream.next("change").data["data"]["vm_id"], 102);
    node.measured(104, 300.5, 5);
    assert_eq!(stream.next("snapshot").data["data"]["containers"], json!({}));
    assert!(other.next("snapshot").data["data"]["containers"]["104"].is_object());
    KeyFile::new(node.root().join("keys.json")).revoke("guest").unwrap();
    // Under the same name and with the same rights, but with another secret.
    key(&node, "guest", Some(102));
    cores(&server, 102, 4);
    assert!(!stream.rest().contains("event:"), "its stream has ended without that change");
    other.next("change");
}

#[test]
fn streams_end_with_the_server_after_the_last_change() {
    let node = Node::new();
    node.hook("set", "touch \"$root/held\"; until [ -e \"$root/go\" ]; do sleep 0.05; done");
    let mut server = Server::start(&node, "");
    let stream = Stream::open(&server, "");
    let address = server.address();
    let client = std::thread::spawn(move || {
        let body = r#"{"vm_id": 104, "cores": 4}"#;
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /scale/cores HTTP/1.1\r\nHost: proxmox:5000\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    while !node.root().join("held").exists() {
        std::thread::yield_now();
    }
    server.signal(Signal::TERM);
    server.wait_for("waiting for changes to end");
    std::fs::write(node.root().join("go"), "").unwrap();
    let rest = stream.rest();
    assert!(rest.contains("event: change"), "{rest}");
    assert!(client.join().unwrap().starts_with("HTTP/1.1 200 "));
    assert!(server.wait().success());
}

/// A client that does not ask for a stream gets a page, and continues from there.
#[tokio::test]
async fn a_page_of_events() {
    let node = Node::new();
    let api = node.api();
    let ask = async |last: Option<&str>| {
        let mut request = crate::node::request("GET", "/events", None);
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.parse().unwrap());
        }
        crate::node::send(&api, request).await.data().clone()
    };
    assert_eq!(ask(None).await, json!({"events": [], "missed": false}));
    let body = json!({"vm_id": 104, "snapshot_name": "mine"});
    crate::node::send(&api, crate::node::request("POST", "/snapshot/create", Some(body))).await.data();
    let page = loop {
        let page = ask(None).await;
        // The end of a job is published after its response.
        if page["events"].as_array().unwrap().len() == 3 {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(page["events"][2]["data"]["state"], "done", "{page}");
    assert_eq!(page["last"], page["events"][2]["id"]);
    let second = page["events"][1]["id"].as_str().unwrap();
    assert_eq!(ask(Some(second)).await["events"], json!([page["events"][2]]));
    assert_eq!(ask(Some("0-7")).await["missed"], true);
}
