//! The owner of a loopback connection, with real connections of real users, some of which are reset before they are
//! accepted.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use rustix::process::{Gid, Signal, Uid, geteuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::node::Node;
use crate::server::{NOBODY, Server, cores_request, program, write_config};

/// A connection by this user from a chosen address; port 0 stands for any port.
fn connected(uid: u32, from: SocketAddr, to: SocketAddr) -> TcpStream {
    // Each thread has its own user id.
    let as_user = std::thread::spawn(move || {
        if uid != 0 {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
        }
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &from).unwrap();
        connect(&socket, &to).unwrap();
        TcpStream::from(socket)
    });
    as_user.join().unwrap()
}

/// Closes a connection so that both ends are gone at once.
fn reset(connection: TcpStream) {
    sockopt::set_socket_linger(&connection, Some(Duration::ZERO)).unwrap();
    drop(connection);
}

/// Stops the server, so that connections wait to be accepted.
fn hold(server: &Server) {
    server.signal(Signal::STOP);
    let is_held = || {
        let status = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        status.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
    };
    while !is_held() {
        std::thread::yield_now();
    }
}

fn answer(mut connection: TcpStream, request: &str) -> String {
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A user sends a request and resets the connection before it is accepted, and root then connects from the freed
/// port. The request must not be attributed to root.
#[test]
fn what_a_reset_connection_sent_is_not_done_for_whoever_has_its_port_next() {
    assert!(geteuid().is_root(), "only root can act as another user: run this test as root");
    let node = Node::new();
    let mut server = Server::start(&node, "");
    hold(&server);
    let mut strangers = connected(NOBODY, anywhere(), server.address());
    let port = strangers.local_addr().unwrap();
    // More than the request, so that something is left to read after it.
    strangers.write_all(format!("{}GET ", cores_request(7)).as_bytes()).unwrap();
    reset(strangers);
    let roots = connected(0, port, server.address());
    server.signal(Signal::CONT);
    assert!(answer(roots, &cores_request(4)).starts_with("HTTP/1.1 200 OK\r\n"));
    server.signal(Signal::TERM);
    server.wait_for("Stopped.");
    assert_eq!(node.calls(), ["set 104 -cores 4"]);
    let trail = fs::read_to_string(node.root().join("audit.jsonl")).unwrap();
    assert!(!trail.contains("to 7"), "{trail}");
}

/// Connections that are reset at once must not cause a search of the kernel's tables, which takes as long as a
/// hundred responses.
#[test]
fn connections_that_are_reset_at_once_are_nobodys() {
    let node = Node::new();
    write_config(&node, "", "level = \"debug\"\n");
    let mut server = Server::spawn(&node, &mut program(&node, "run"));
    hold(&server);
    for _ in 0..50 {
        reset(connected(0, anywhere(), server.address()));
    }
    server.signal(Signal::CONT);
    let asked = TcpStream::connect(server.address()).unwrap();
    assert!(answer(asked, &cores_request(4)).starts_with("HTTP/1.1 200 OK\r\n"));
    server.signal(Signal::TERM);
    server.wait_for("Stopped.");
    let log = fs::read_to_string(node.root().join("api.log")).unwrap();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines("was reset before it was let in"), lines("tables")), (50, 0), "{log}");
}
