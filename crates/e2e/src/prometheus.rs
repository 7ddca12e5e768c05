//! A real Prometheus, and `promtool`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::eventually;
use crate::http::get;

/// Longest wait for anything that Prometheus does.
const PATIENCE: Duration = Duration::from_mins(1);

/// Prometheus with a database of its own; stopped when dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    /// The address for queries.
    pub address: SocketAddr,
}

impl Prometheus {
    /// Whether Debian's package is installed.
    pub fn is_installed() -> bool {
        ["prometheus", "promtool"].into_iter().all(|program| {
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
        })
    }

    /// Starts it with `scrape_configs`, in YAML, as another user if one is given.
    pub fn start(directory: &Path, scrape_configs: &str, uid: Option<u32>) -> Self {
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n{scrape_configs}"
        );
        fs::write(&config, text).expect("the configuration can be written");
        let data = directory.join("data");
        fs::create_dir_all(&data).expect("a directory can be made");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(uid) = uid {
            std::os::unix::fs::chown(&data, Some(uid), Some(uid)).expect("root can give a directory away");
            command.uid(uid).gid(uid);
        }
        let mut process = command.spawn().expect("prometheus can be started");
        let log = BufReader::new(process.stderr.take().expect("its output is a pipe"));
        let (listening, address) = mpsc::channel();
        // The log is read to its end, because a full pipe would block Prometheus.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let bound = line.split_once("msg=\"Listening on\" address=");
                if let Some(address) = bound.and_then(|(_, address)| address.trim().parse().ok()) {
                    let _ = listening.send(address);
                }
            }
        });
        match address.recv_timeout(PATIENCE) {
            Ok(address) => Self { process, address },
            Err(error) => {
                let _ = process.kill();
                panic!("prometheus does not listen: {error}");
            }
        }
    }

    /// A job that scrapes these addresses, for [`Prometheus::start`].
    pub fn job(name: &str, targets: &[SocketAddr]) -> String {
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        format!("  - {{job_name: {name}, static_configs: [{{targets: [{}]}}]}}\n", targets.join(", "))
    }

    /// The result of a query; empty if there is none yet.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let encoded = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let answer = get(self.address, &format!("/api/v1/query?query={encoded}"), "Host: localhost\r\n");
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert!(body["status"] != "error", "{query}: {body}");
        body["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a query has a result.
    pub fn wait_for(&self, query: &str) -> Vec<Value> {
        eventually(query, PATIENCE, || Some(self.query(query)).filter(|result| !result.is_empty()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The complaints of `promtool check metrics` about an exposition; empty if there are none.
pub fn complaints(exposition: &str) -> Vec<String> {
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut input = check.stdin.take().expect("its input is a pipe");
    input.write_all(exposition.as_bytes()).expect("promtool reads");
    drop(input);
    let done = check.wait_with_output().expect("our own child can be waited for");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() || !said.trim().is_empty(), "promtool failed without a word");
    said.lines().map(str::to_owned).collect()
}

/// The queries in a document.
pub fn queries(document: &str) -> impl Iterator<Item = &str> {
    document.split("```promql\n").skip(1).filter_map(|rest| rest.split("\n```").next())
}
