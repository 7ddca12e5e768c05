//! A real Prometheus scrapes the running monitor and answers the queries of the documentation.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use super::http::get;
use super::{node, wait_until};

const DOCUMENT: &str = include_str!("../../../../../docs/prometheus.md");

/// What prometheus-pve-exporter serves about container 104, labels and all.
const PVE_EXPOSITION: &str = "# HELP pve_guest_info VM/CT info\n# TYPE pve_guest_info gauge\n\
    pve_guest_info{id=\"lxc/104\",name=\"web-1\",node=\"proxmox\",tags=\"prod;web\",template=\"0\",type=\"lxc\"} 1.0\n";

/// A host name that no reader may take for anything else.
const HOSTILE: &str = "ct\"} 1 \\ \u{1}\u{0} ünïcode";

/// Prometheus with a database of its own; ended when dropped.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(directory: &Path, targets: &[SocketAddr]) -> Self {
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs: [{{job_name: lxc, static_configs: [{{targets: [{}]}}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(directory.join("prometheus.yml"), config).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (listening, address) = mpsc::channel();
        // The log is read to its end, or Prometheus would be held up by it.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let bound = line.split_once("msg=\"Listening on\" address=");
                if let Some(address) = bound.and_then(|(_, address)| address.trim().parse().ok()) {
                    let _ = listening.send(address);
                }
            }
        });
        let address = address.recv_timeout(super::PATIENCE);
        match address {
            Ok(address) => Self { process, address },
            Err(error) => {
                let _ = process.kill();
                panic!("prometheus does not listen: {error}");
            }
        }
    }

    /// The result of a query; empty while there is none.
    fn query(&self, query: &str) -> Vec<Value> {
        let encoded = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let answer = get(self.address, &format!("/api/v1/query?query={encoded}"), "Host: localhost\r\n");
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert!(body["status"] != "error", "{query}: {body}");
        body["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a query has a result.
    #[track_caller]
    fn wait_for(&self, query: &str) -> Vec<Value> {
        let mut result = Vec::new();
        wait_until(query, || {
            result = self.query(query);
            !result.is_empty()
        });
        result
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves one text to everybody, until the test's process ends.
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

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_real_prometheus_reads_it_and_joins_it() {
    if !is_installed("prometheus") || !is_installed("promtool") {
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

    check_with_promtool(&get(monitor, "/metrics", "").body);
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(directory.path(), &[monitor, serve(PVE_EXPOSITION)]);
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

    let mut queries = 0;
    for query in DOCUMENT.split("```promql\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
        let result = prometheus.wait_for(query);
        assert_eq!(result[0]["metric"]["id"], "lxc/104", "{query}");
        queries += 1;
    }
    assert_eq!(queries, 3);
    let working_set = "lxc_container_memory_working_set_bytes / lxc_container_memory_limit_bytes";
    assert_eq!(prometheus.query(working_set)[0]["value"][1], "0.21484375", "(200 - 50 - 40) MiB of 512 MiB");

    // The metadata of both kinds of names, which OpenMetrics carries.
    let metadata = get(prometheus.address, "/api/v1/metadata?metric=lxc_container_cpu_usage_seconds", "");
    assert!(metadata.body.contains("\"unit\":\"seconds\""), "{}", metadata.body);
}

#[track_caller]
fn check_with_promtool(exposition: &str) {
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let done = check.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// All there is, promtool reads, too: the golden file has every family.
#[test]
fn promtool_finds_nothing_wrong_with_any_metric() {
    if !is_installed("promtool") {
        println!("skipped: promtool is not installed");
        return;
    }
    check_with_promtool(include_str!("../../../src/exporter/testdata/full.prom"));
}
