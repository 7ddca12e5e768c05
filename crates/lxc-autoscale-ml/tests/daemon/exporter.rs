//! The ml daemon's Prometheus metrics, over HTTP.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use lxc_autoscale_core::config;
use lxc_autoscale_core::exposition::Kind;
use lxc_autoscale_e2e::http::get;
use lxc_autoscale_e2e::prometheus::{Prometheus, complaints, queries};
use lxc_autoscale_e2e::{Process, eventually};
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::daemon::Daemon;
use lxc_autoscale_ml::exporter::{Exporter, Instruments, families};
use rustix::process::Signal;

use crate::api::RecordingApi;
use crate::node::{IDLE, Node, STARVED};

const PATIENCE: Duration = Duration::from_mins(1);

/// The address, with the file that defines it.
fn exporter_text(file: &Path) -> String {
    format!("[exporter]\nlisten = \"127.0.0.1:0\"\naddress_file = \"{}\"\n", file.display())
}

fn address(file: &Path) -> SocketAddr {
    eventually("it listens", PATIENCE, || std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

fn document() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/prometheus.md");
    let document = std::fs::read_to_string(path).unwrap();
    document.split_once("\n## The ml daemon\n").unwrap().1.to_owned()
}

#[track_caller]
fn check(body: &str, lines: &[&str]) {
    for line in lines {
        assert!(body.lines().any(|served| served == *line), "{line} in {body}");
    }
}

#[tokio::test]
async fn cycles_decisions_and_failures_are_counted() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(8, &[(100, IDLE), (101, STARVED)]);
    let file = node.path("exporter.address");
    let config: Config = config::parse(&node.config_text(&api.url(), &exporter_text(&file))).unwrap();
    let instruments: Arc<Instruments> = Arc::default();
    let exporter = Exporter::start(&config.exporter, Arc::clone(&instruments));
    let mut daemon = Daemon::start_counting(config, instruments).unwrap();
    let address = address(&file);
    let health = get(address, "/health", "");
    assert_eq!((health.status, health.body.as_str()), (503, "no cycle has ended yet\n"));
    let before = get(address, "/metrics", "").body;
    assert!(!before.contains("lxc_ml_containers") && before.contains("lxc_ml_build_info"), "{before}");

    node.cycle(&mut daemon).await;
    let first = get(address, "/metrics", "").body;
    check(
        &first,
        &[
            "lxc_ml_cycle_duration_seconds_count 1",
            "lxc_ml_interval_seconds 60",
            "lxc_ml_containers 2",
            "lxc_ml_leaking_containers 0",
            "lxc_ml_decisions_total{resource=\"cpu\",action=\"grow\",outcome=\"done\"} 1",
            "lxc_ml_decisions_total{resource=\"memory\",action=\"shrink\",outcome=\"done\"} 1",
            "lxc_ml_last_snapshot_timestamp_seconds 1800028800",
            "lxc_ml_trouble{with=\"metrics_file\"} 0",
            "lxc_ml_trouble{with=\"api\"} 0",
        ],
    );
    assert_eq!(get(address, "/health", "").body, "ok\n");

    api.refuse_with(Some(503));
    node.record(SignedDuration::from_mins(20));
    std::fs::remove_file(node.metrics_file()).unwrap();
    node.cycle(&mut daemon).await;
    let second = get(address, "/metrics", "").body;
    check(&second, &["lxc_ml_cycle_duration_seconds_count 2", "lxc_ml_trouble{with=\"metrics_file\"} 1"]);
    if Prometheus::is_installed() {
        assert_eq!(complaints(&second), [""; 0]);
    }
    drop(exporter);
    assert!(!file.exists() && TcpStream::connect(address).is_err(), "it ends with the daemon");
}

/// The program itself is scraped while it runs, and a reload moves it without losing counts.
#[test]
fn a_running_daemon_is_scraped_and_moves_with_its_configuration() {
    let node = Node::with_past(1, &[(100, IDLE)]);
    let file = node.path("exporter.address");
    let config = node.path("ml.toml");
    let text = |more: &str| node.config_text("http://127.0.0.1:1", more);
    std::fs::write(&config, text(&format!("interval_seconds = 1\n{}", exporter_text(&file)))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
    let log = node.path("ml.log");
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(&config), &log);
    let first = address(&file);
    eventually("a cycle has ended", PATIENCE, || (get(first, "/health", "").status == 200).then_some(()));
    let moved = exporter_text(&file).replace("127.0.0.1:0", "127.0.0.2:0");
    std::fs::write(&config, text(&format!("interval_seconds = 2\n{moved}"))).unwrap();
    daemon.signal(Signal::HUP);
    let second =
        eventually("it has moved", PATIENCE, || Some(address(&file)).filter(|now| now.ip() != first.ip()));
    let body = get(second, "/metrics", "").body;
    let cycles = body.lines().find_map(|line| line.strip_prefix("lxc_ml_cycle_duration_seconds_count "));
    assert!(cycles.is_some_and(|count| count != "0"), "{body}");
    std::fs::write(&config, text("interval_seconds = 2\n[exporter]\nenabled = false\n")).unwrap();
    daemon.signal(Signal::HUP);
    eventually("it is off", PATIENCE, || TcpStream::connect(second).err());
    assert!(daemon.stop().success());
}

#[test]
fn the_documentation_lists_every_metric_and_their_names_keep_the_rules() {
    let document = document();
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let want: Vec<_> = families::ALL
        .iter()
        .map(|family| {
            let description = &family.description;
            format!("| `{}{}` | {} |", description.name, description.suffix(), description.help)
        })
        .collect();
    assert!(rows == want, "the table must read:\n{}", want.join("\n"));
    for family in families::ALL {
        let description = &family.description;
        let is_ours = description.name.starts_with("lxc_ml_") || description.name.starts_with("process_");
        assert!(
            is_ours && (description.kind != Kind::Info || description.unit().is_none()),
            "{description:?}"
        );
    }
    for query in queries(&document) {
        let names = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| name.starts_with("lxc_ml_")) {
            let is_served = |family: &families::Family| name.starts_with(family.description.name);
            assert!(families::ALL.iter().any(is_served), "{name} in {query}");
        }
    }
}
