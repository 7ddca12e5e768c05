//! A real Prometheus, running as an ordinary user with a key, scrapes the server and the monitor of one node.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_e2e::http::get;
use lxc_autoscale_e2e::prometheus::{Prometheus, complaints, queries};
use lxc_autoscale_e2e::{Process, binary, eventually, output};

use crate::node::{BackEnd, Node};

const DOCUMENT: &str = include_str!("../../../../docs/prometheus.md");
/// A user without any privileges on any system.
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts the monitor on the node, with its metrics file where the server expects it.
fn monitor(node: &Node) -> (Process, SocketAddr) {
    let at = |path: &str| node.proxmox.at(path).display().to_string();
    let config = format!(
        "interval_seconds = 0.5\n[paths]\ncgroup = '{node}/sys/fs/cgroup'\nproc = '{node}/proc'\nsys = '{node}/sys'\n\
         pve = '{node}/etc/pve'\n[output]\nfile = '{}'\n[alerts]\nenabled = false\n[anomaly]\nenabled = false\n\
         [history]\nenabled = false\n[notifications]\ndirectory = '{}'\n\
         [exporter]\nlisten = '127.0.0.1:0'\naddress_file = '{}'\n[logging]\nfile = ''\n",
        at("lxc_metrics.json"),
        at("notifications"),
        at("monitor-address"),
        node = at("node"),
    );
    let path = node.proxmox.at("monitor.toml");
    fs::write(&path, config).unwrap();
    let mut run = Command::new(binary("lxc-monitor"));
    let monitor = Process::start(run.arg("run").arg("--config").arg(path), &node.proxmox.at("monitor.log"));
    let address = eventually("the monitor tells its address", PATIENCE, || {
        fs::read_to_string(node.proxmox.at("monitor-address")).ok()?.trim().parse().ok()
    });
    (monitor, address)
}

/// A viewer's key in a file that only that user can read.
fn key(node: &Node, directory: &Path) -> String {
    let mut create = Command::new(binary("lxc-autoscale-api"));
    create.args(["key", "create", "prometheus", "--role", "viewer", "--config"]);
    let made = output(create.arg(node.proxmox.at("api.toml")));
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    let key = text.split_whitespace().find(|word| word.starts_with("lxak_")).unwrap().to_owned();
    let file = directory.join("key");
    fs::write(&file, &key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    key
}

#[test]
fn a_real_prometheus_reads_the_server_and_joins_it_with_the_monitor() {
    if !Prometheus::is_installed() || !rustix::process::geteuid().is_root() {
        println!("skipped: it takes root, and prometheus installed");
        return;
    }
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let keys = format!("keys_file = \"{}\"\n", directory.path().join("keys.json").display());
    let node = Node::start_with_server(BackEnd::Pct, &keys);
    let (_monitor, monitor_address) = monitor(&node);
    let key = key(&node, directory.path());
    let post = "curl -X POST http://proxmox:5000/scale/cores -H \"Content-Type: application/json\"";
    node.run(&format!("{post} -d '{{\"vm_id\": 104, \"cores\": 3}}'"));
    assert_eq!(node.ask(&format!("{post} -d '{{\"vm_id\": 104, \"cores\": 0}}'"))["code"], "out_of_bounds");

    let address: SocketAddr = node.address().parse().unwrap();
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {key}\r\n");
    let exposition = get(address, "/metrics", &headers).body;
    assert_eq!(
        complaints(&exposition),
        ["lxc_autoscale_container_memory_mb metric names should not contain abbreviated units"],
        "the name is the original's; nothing else is amiss in {exposition}"
    );

    let configs = format!(
        "  - job_name: known\n    authorization: {{credentials_file: {}}}\n    static_configs: [{{targets: [\"{address}\"]}}]\n{}{}",
        directory.path().join("key").display(),
        Prometheus::job("unknown", &[address]),
        Prometheus::job("monitor", &[monitor_address]),
    );
    let prometheus = Prometheus::start(directory.path(), &configs, Some(NOBODY));
    prometheus.wait_for("up{job=\"known\"} == 1");
    prometheus.wait_for("up{job=\"unknown\"} == 0");
    let joined = prometheus.wait_for(
        "lxc_api_resizes_total{id=\"lxc/104\", result=\"done\"} * on(id) group_left(name) lxc_container_info",
    );
    assert_eq!(joined[0]["value"][1], "1");
    let name = node.config(104).name;
    assert_eq!(joined[0]["metric"]["name"].as_str(), name.as_deref());
    assert_eq!(joined[0]["metric"]["resource"], "cores");
    let allocated = prometheus.wait_for("lxc_autoscale_container_cpu_cores{container_id=\"104\"}");
    assert_eq!(allocated[0]["value"][1], "3");

    let (_, own) = DOCUMENT.split_once("\n## The API server\n").unwrap();
    let (own, _) = own.split_once("\n## The ml daemon\n").unwrap();
    assert_eq!(queries(own).count(), 4);
    for query in queries(own) {
        prometheus.wait_for(query);
    }
}
