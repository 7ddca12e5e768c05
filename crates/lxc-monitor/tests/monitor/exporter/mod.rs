//! The exporter of the running program, with HTTP clients that behave well or badly.

mod prometheus;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lxc_autoscale_e2e::http::{Answer, get, request};

use crate::fixture::Node;
use crate::program::Daemon;

/// Time limit for anything the program does.
const PATIENCE: Duration = Duration::from_mins(1);
const LISTENS: &str = "metrics for Prometheus are at http://";

/// A node with one running container that sometimes waits for memory.
fn node() -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpu memory\n");
    node.start(104, 7104);
    let pressure = "some avg10=1.50 avg60=0.50 avg300=0.10 total=2000000\n\
                    full avg10=0.50 avg60=0.10 avg300=0.00 total=1000000\n";
    for (file, text) in [
        ("cgroup.procs", "7104\n"),
        ("cpu.stat", "usage_usec 5000000\nuser_usec 4000000\nsystem_usec 1000000\n"),
        ("memory.current", "209715200\n"),
        ("memory.max", "536870912\n"),
        ("memory.stat", MEMORY_STAT),
        ("memory.pressure", pressure),
    ] {
        node.write(&format!("cgroup/lxc/104/{file}"), text);
    }
    node
}

const MEMORY_STAT: &str = "anon 104857600\nfile 94371840\nshmem 0\nfile_dirty 0\ninactive_anon 0\nactive_anon 0\n\
                           inactive_file 52428800\nactive_file 41943040\n";

/// Starts the monitor of a node; waits until it has measured once and listens.
fn start(node: &Node) -> (Daemon, SocketAddr) {
    let mut daemon = Daemon::start(&node.config_file());
    daemon.wait_for(LISTENS);
    daemon.wait_for("measured 1 running container in ");
    (daemon, address(node))
}

pub(crate) fn address(node: &Node) -> SocketAddr {
    std::fs::read_to_string(node.path("exporter.address")).unwrap().trim().parse().unwrap()
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Changes the configuration file and reloads it.
fn reload(node: &Node, daemon: &Daemon, from: &str, to: &str) {
    let path = node.path("lxc_monitor.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
}

fn cycles(address: SocketAddr) -> u64 {
    let body = get(address, "/metrics", "").body;
    let line = body.lines().find_map(|line| line.strip_prefix("lxc_monitor_cycles_total "));
    line.unwrap_or_else(|| panic!("{body}")).parse().unwrap()
}

#[test]
fn what_was_measured_is_served_in_either_format() {
    let node = node();
    let (_daemon, address) = start(&node);
    let plain = get(address, "/metrics", "");
    assert_eq!(
        (plain.status, plain.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    for line in [
        "lxc_container_up{id=\"lxc/104\"} 1",
        "lxc_container_info{id=\"lxc/104\",name=\"ct104\",node=\"proxmox\"} 1",
        "lxc_container_cpu_usage_seconds_total{id=\"lxc/104\"} 5",
        "lxc_container_memory_limit_bytes{id=\"lxc/104\"} 536870912",
        "lxc_container_pressure_stalled_seconds_total{id=\"lxc/104\",resource=\"memory\"} 1",
    ] {
        assert!(plain.body.lines().any(|served| served == line), "{line} in {}", plain.body);
    }
    assert!(!plain.body.contains("lxc_container_swap_events_total"), "not to be read here: {}", plain.body);

    let open = get(address, "/metrics?x=y", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);

    assert_eq!(get(address, "/health", "").body, "ok\n");
    assert_eq!(get(address, "/", "").status, 404);
    let refused = request(address, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    let head = request(address, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

/// `lxc_container_up` is 0 of it, and a join by name must find it.
#[test]
fn a_stopped_container_has_its_name_node_and_tags() {
    let node = node();
    node.write("pve/lxc/105.conf", "hostname: db\nmemory: 512\ntags: prod;sql\n");
    node.write("pve/lxc/99999.conf", "memory: 512\n");
    let (_daemon, address) = start(&node);
    let served = get(address, "/metrics", "").body;
    for line in [
        "lxc_container_up{id=\"lxc/105\"} 0",
        "lxc_container_info{id=\"lxc/104\",name=\"ct104\",node=\"proxmox\"} 1",
        "lxc_container_info{id=\"lxc/105\",name=\"db\",node=\"proxmox\",tags=\"prod;sql\"} 1",
        "lxc_container_info{id=\"lxc/99999\",node=\"proxmox\"} 1",
    ] {
        assert_eq!(served.lines().filter(|served| *served == line).count(), 1, "{line} in {served}");
    }
    assert!(!served.contains("lxc_container_configured_memory_bytes{id=\"lxc/105\"}"), "{served}");
}

#[test]
fn a_node_that_cannot_be_measured_is_not_healthy_and_not_empty() {
    let node = node();
    let (mut daemon, address) = start(&node);
    daemon.wait_for("measured 1 running container in ");
    std::fs::rename(node.path("cgroup"), node.path("elsewhere")).unwrap();
    daemon.wait_for("measured nothing in ");
    daemon.wait_for("measured nothing in ");
    let health = get(address, "/health", "");
    assert_eq!(health.status, 503);
    assert!(health.body.contains("no container could be looked at: "), "{}", health.body);
    let served = get(address, "/metrics", "").body;
    assert!(!served.contains("lxc_monitor_containers{"), "{served}");
    std::fs::rename(node.path("elsewhere"), node.path("cgroup")).unwrap();
    wait_until("health", || get(address, "/health", "").status == 200);
}

/// Running containers are found by their control groups while Proxmox's configuration is away; stopped ones are not.
#[test]
fn without_proxmox_the_number_of_stopped_containers_is_unknown() {
    let node = node();
    std::fs::rename(node.path("pve/lxc"), node.path("elsewhere")).unwrap();
    let (mut daemon, address) = start(&node);
    daemon.wait_for("unknown which are stopped");
    daemon.wait_for("unknown which are stopped");
    let served = get(address, "/metrics", "").body;
    assert!(served.contains("lxc_monitor_containers{state=\"measured\"} 1"), "{served}");
    assert!(!served.contains("state=\"stopped\""), "{served}");
    assert_eq!(get(address, "/health", "").status, 200);
}

/// None of them delays a cycle or an honest scrape, and most are rejected at once.
#[test]
fn clients_that_say_nothing_or_nonsense_hold_up_nothing() {
    let node = node();
    let (_daemon, address) = start(&node);
    let mut silent: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let garbled = ["\0\x01\x02 nonsense\r\n\r\n", "GET\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n"];
    for text in garbled {
        let Answer { status, .. } = request(address, text);
        assert!([0, 400, 505].contains(&status), "{text:?}: {status}");
    }
    let endless = format!("GET /metrics HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_ne!(request(address, &endless).status, 200);
    let unread: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // The connection may be closed in favour of the next one.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            stream
        })
        .collect();
    let before = cycles(address);
    wait_until("two more cycles", || before + 2 <= cycles(address));
    drop(unread);
    let first = silent.first_mut().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = first.read(&mut [0; 1]);
    assert!(
        matches!(ended, Ok(0)) || ended.is_err_and(|error| error.raw_os_error() == Some(104)),
        "still open"
    );
}

#[test]
fn a_reload_moves_it_and_switches_it_off() {
    let node = node();
    let (mut daemon, first) = start(&node);
    reload(&node, &daemon, "127.0.0.1:0", "127.0.0.2:0");
    daemon.wait_for("metrics for Prometheus are at http://127.0.0.2:");
    TcpStream::connect(first).unwrap_err();
    let second = address(&node);
    wait_until("a scrape of the second address", || get(second, "/metrics", "").status == 200);

    reload(&node, &daemon, "[exporter]\n", "[exporter]\nenabled = false\n");
    wait_until("the end of listening", || TcpStream::connect(second).is_err());
    wait_until("the removal of the address file", || !node.path("exporter.address").exists());

    reload(&node, &daemon, "enabled = false", "enabled = true");
    daemon.wait_for(LISTENS);
    wait_until("health", || get(address(&node), "/health", "").status == 200);

    reload(&node, &daemon, "127.0.0.2:0", "0.0.0.0:0");
    daemon.wait_for("`exporter.listen` must be a loopback address");
    assert_eq!(get(address(&node), "/health", "").status, 200, "what was there stays");
    reload(&node, &daemon, "[exporter]\n", "[exporter]\nallow_network = true\n");
    daemon.wait_for("metrics for Prometheus are at http://0.0.0.0:");
}

#[test]
fn a_port_in_use_is_said_waited_for_and_does_not_keep_it_from_measuring() {
    let node = node();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = node.config_file();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("127.0.0.1:0", &address.to_string())).unwrap();
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("(`exporter.listen`); does another program use it?");
    daemon.wait_for("measured 1 running container in ");
    drop(taken);
    daemon.wait_for("the exporter can listen again");
    assert_eq!(get(address, "/health", "").status, 200);
}
