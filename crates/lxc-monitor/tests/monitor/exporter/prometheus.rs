//! A real Prometheus scrapes the running monitor and answers the queries of the documentation.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use lxc_autoscale_e2e::http::get;
use lxc_autoscale_e2e::prometheus::{Prometheus, complaints, queries};

use super::node;

const DOCUMENT: &str = include_str!("../../../../../docs/prometheus.md");

/// The output of prometheus-pve-exporter about container 104, with its labels.
const PVE_EXPOSITION: &str = "# HELP pve_guest_info VM/CT info\n# TYPE pve_guest_info gauge\n\
    pve_guest_info{id=\"lxc/104\",name=\"web-1\",node=\"proxmox\",tags=\"prod;web\",template=\"0\",type=\"lxc\"} 1.0\n";

/// A host name that no parser may mistake for anything else.
const HOSTILE: &str = "ct\"} 1 \\ \u{1}\u{0} ünïcode";

/// Serves one text to everybody, until the end of the test's process.
fn serve(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n";
            let _ = stream.write_all(format!("{head}{text}").as_bytes());
        }
    });
    address
}

#[test]
fn a_real_prometheus_reads_it_and_joins_it() {
    if !Prometheus::is_installed() {
        println!("skipped: prometheus is not installed");
        return;
    }
    let node = node();
    node.start(105, 7105);
    node.write("pve/lxc/105.conf", &format!("hostname: {HOSTILE}\nmemory: 512\n"));
    node.write("cgroup/lxc/105/cgroup.procs", "7105\n");
    let mut daemon = crate::program::Daemon::start(&node.config_file());
    daemon.wait_for("measured 2 running containers in ");
    let monitor = super::address(&node);

    assert_eq!(complaints(&get(monitor, "/metrics", "").body), [""; 0]);
    let directory = tempfile::tempdir().unwrap();
    let prometheus =
        Prometheus::start(directory.path(), &Prometheus::job("lxc", &[monitor, serve(PVE_EXPOSITION)]), None);
    prometheus.wait_for(&format!("up{{instance=\"{monitor}\"}} == 1"));

    let up =
        prometheus.wait_for("lxc_container_up{id=\"lxc/104\"} * on(id) group_left(name) lxc_container_info");
    assert_eq!(up[0]["metric"]["name"], "ct104");
    assert_eq!(up[0]["value"][1], "1");
    let with_tags = prometheus.wait_for("lxc_container_up * on(id) group_left(name, tags) pve_guest_info");
    assert_eq!(with_tags[0]["metric"]["name"], "web-1");
    assert_eq!(with_tags[0]["metric"]["tags"], "prod;web");
    let hostile = prometheus.wait_for("lxc_container_info{id=\"lxc/105\"}");
    assert_eq!(hostile[0]["metric"]["name"], HOSTILE.replace(['\u{0}', '\u{1}'], "\u{fffd}"));

    let (own, _) = DOCUMENT.split_once("\n## The API server\n").unwrap();
    assert_eq!(queries(own).count(), 3);
    for query in queries(own) {
        let result = prometheus.wait_for(query);
        assert_eq!(result[0]["metric"]["id"], "lxc/104", "{query}");
    }
    let working_set = "lxc_container_memory_working_set_bytes / lxc_container_memory_limit_bytes";
    assert_eq!(prometheus.query(working_set)[0]["value"][1], "0.21484375", "(200 - 50 - 40) MiB of 512 MiB");

    // The metadata of both kinds of names, which OpenMetrics carries.
    let metadata = get(prometheus.address, "/api/v1/metadata?metric=lxc_container_cpu_usage_seconds", "");
    assert!(metadata.body.contains("\"unit\":\"seconds\""), "{}", metadata.body);
}

/// promtool also reads everything: the golden file has every family.
#[test]
fn promtool_finds_nothing_wrong_with_any_metric() {
    if !Prometheus::is_installed() {
        println!("skipped: prometheus is not installed");
        return;
    }
    assert_eq!(complaints(include_str!("../../../src/exporter/testdata/full.prom")), [""; 0]);
}
