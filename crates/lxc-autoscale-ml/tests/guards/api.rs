//! The API of a simulated node, over real HTTP: requests change the node.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::config;
use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};
use lxc_autoscale_core::service::StopAsked;
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::daemon::{CycleReport, Daemon};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::host::{Guest, Host};

type Calls = Arc<Mutex<Vec<(Timestamp, u32, &'static str, u64)>>>;

#[derive(Clone)]
struct Shared {
    host: Arc<Mutex<Host>>,
    calls: Calls,
}

/// A simulated node with its API, its metrics file and its daemon's configuration.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    shared: Shared,
    address: SocketAddr,
    server: JoinHandle<()>,
    writer: MetricsWriter,
}

impl Stage {
    pub(crate) async fn up(guests: impl IntoIterator<Item = (u32, Guest)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { max_bytes: 64 << 20, max_age: std::time::Duration::from_hours(2400) };
        let writer = MetricsWriter::open(directory.path().join("metrics.json"), bounds).unwrap().0;
        let shared = Shared { host: Arc::new(Mutex::new(Host::new(guests))), calls: Calls::default() };
        let router = Router::new()
            .route("/scale/cores", post(cores))
            .route("/scale/ram", post(memory))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { directory, shared, address, server, writer }
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        self.shared.host.lock().unwrap()
    }

    /// Starts the daemon on it, as after a restart.
    pub(crate) fn daemon(&self, more: &str) -> Daemon {
        let text = format!(
            "{more}\n[metrics]\nfile = \"{0}/metrics.json\"\n[api]\nurl = \"http://{1}\"\nretries = 0\n\
             [state]\ndirectory = \"{0}/state\"\n[notifications]\ndirectory = \"{0}/notifications\"\n\
             [logging]\nfile = \"\"\n",
            self.directory.path().display(),
            self.address
        );
        Daemon::start(config::parse::<Config>(&text).unwrap()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Records so many steps without a cycle.
    pub(crate) fn pass(&mut self, steps: u32, step: SignedDuration) {
        for _ in 0..steps {
            let snapshot = self.host().step(step);
            self.writer.append(&snapshot).unwrap();
        }
    }

    /// Lets a minute pass, records it, and runs a cycle.
    pub(crate) async fn minute(&mut self, daemon: &mut Daemon) -> CycleReport {
        self.pass(1, SignedDuration::from_mins(1));
        self.cycle(daemon).await
    }

    /// Runs a cycle on the records.
    pub(crate) async fn cycle(&self, daemon: &mut Daemon) -> CycleReport {
        let now = self.host().now + SignedDuration::from_secs(1);
        daemon.cycle(now, &StopAsked::default()).await
    }

    /// The calls since the last time: when, container, setting, value.
    pub(crate) fn calls(&self) -> Vec<(Timestamp, u32, &'static str, u64)> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn cores(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    std::future::ready(set(&shared, "cores", &body)).await
}

async fn memory(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    std::future::ready(set(&shared, "memory", &body)).await
}

fn set(shared: &Shared, what: &'static str, body: &Value) -> (StatusCode, Json<Value>) {
    let id = u32::try_from(body["vm_id"].as_u64().unwrap()).unwrap();
    let value = body[what].as_u64().unwrap();
    let mut host = shared.host.lock().unwrap();
    let guest = &host.guests[&id];
    let before = if what == "cores" { u64::from(guest.cores) } else { guest.memory_mib };
    if body["expected"].as_u64().is_some_and(|expected| expected != before) && value != before {
        let message = format!("the {what} is {before}, and the request expects {}", body["expected"]);
        let refused = json!({"status": "error", "message": message, "data": null, "code": "size_changed"});
        return (StatusCode::CONFLICT, Json(refused));
    }
    match what {
        "cores" => host.set(id, Some(u32::try_from(value).unwrap()), None),
        _ => host.set(id, None, Some(value)),
    }
    shared.calls.lock().unwrap().push((host.now, id, what, value));
    let data = json!({"vm_id": id, "before": before, "after": value, "changed": value != before});
    (StatusCode::OK, Json(json!({"status": "success", "message": "done", "data": data})))
}
