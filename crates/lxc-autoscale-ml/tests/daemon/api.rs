//! An API that does what it is asked and records it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use lxc_autoscale_core::Mebibytes;
use lxc_autoscale_core::container_config::ContainerConfig;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// One request: route and body.
pub(crate) type Request = (&'static str, Value);

#[derive(Clone, Default)]
struct Shared {
    requests: Arc<Mutex<Vec<Request>>>,
    refusal: Arc<Mutex<Option<(&'static str, u16)>>>,
    hangs: Arc<Mutex<Option<&'static str>>>,
    /// Containers about which requests are never answered.
    stuck: Arc<Mutex<BTreeSet<u64>>>,
    /// Containers with a change in progress.
    busy: Arc<Mutex<BTreeSet<u64>>>,
    configurations: Arc<Mutex<BTreeMap<u64, ContainerConfig>>>,
    ledger: Arc<Mutex<Vec<Value>>>,
}

/// A recording API on a port of its own.
pub(crate) struct RecordingApi {
    shared: Shared,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl RecordingApi {
    /// An address where nobody listens yet.
    pub(crate) fn down() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { shared: Shared::default(), address: listener.local_addr().unwrap(), server: None }
    }

    /// Creates and starts it.
    pub(crate) async fn up() -> Self {
        let mut api = Self::down();
        api.start().await;
        api
    }

    /// Begins to listen.
    pub(crate) async fn start(&mut self) {
        let router = Router::new()
            .route("/scale/cores", post(cores))
            .route("/scale/cpulimit", post(cpulimit))
            .route("/scale/ram", post(memory))
            .route("/resource/vm/status", get(status))
            .route("/ledger", get(ledger))
            .route("/boost", get(boosts))
            .with_state(self.shared.clone());
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.server = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// The base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers with this status; `None` to do what is asked.
    pub(crate) fn refuse_with(&self, status: Option<u16>) {
        *self.shared.refusal.lock().unwrap() = status.map(|status| ("/", status));
    }

    /// From now on answers requests to one route with this status.
    pub(crate) fn refuse_only(&self, route: &'static str, status: u16) {
        *self.shared.refusal.lock().unwrap() = Some((route, status));
    }

    /// From now on never answers requests to one route; `None` to answer all.
    pub(crate) fn hang_at(&self, route: Option<&'static str>) {
        *self.shared.hangs.lock().unwrap() = route;
    }

    /// From now on never answers requests about a container, if `is_stuck`.
    pub(crate) fn stick_at(&self, id: u64, is_stuck: bool) {
        let mut stuck = self.shared.stuck.lock().unwrap();
        if is_stuck {
            stuck.insert(id)
        } else {
            stuck.remove(&id)
        };
    }

    /// From now on, another change of the container is in progress.
    pub(crate) fn is_busy_with(&self, id: u64) {
        self.shared.busy.lock().unwrap().insert(id);
    }

    /// From now on, a container's size in Proxmox's configuration.
    pub(crate) fn has(&self, id: u64, cores: u32, memory_mib: u64) {
        self.configure(id, |config| {
            (config.cores, config.memory_mb) = (Some(cores), Mebibytes::new(memory_mib));
        });
    }

    /// From now on its ledger has this entry as the newest one.
    pub(crate) fn tells(&self, entry: Value) {
        self.shared.ledger.lock().unwrap().insert(0, entry);
    }

    /// Edits the configuration of a container.
    pub(crate) fn configure(&self, id: u64, edit: impl FnOnce(&mut ContainerConfig)) {
        let mut configurations = self.shared.configurations.lock().unwrap();
        edit(configurations.entry(id).or_insert_with(|| ContainerConfig::parse("hostname: web\n").0));
    }

    /// The requests recorded so far, which are kept.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }
}

impl Drop for RecordingApi {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn cores(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    answer(&shared, "/scale/cores", "cores", &body).await
}

async fn cpulimit(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    answer(&shared, "/scale/cpulimit", "cpulimit", &body).await
}

async fn memory(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    answer(&shared, "/scale/ram", "memory", &body).await
}

async fn boosts(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    if *shared.hangs.lock().unwrap() == Some("/") {
        std::future::pending::<()>().await;
    }
    (StatusCode::OK, Json(json!({"status": "success", "message": "0 boosts.", "data": []})))
}

async fn answer(
    shared: &Shared,
    route: &'static str,
    field: &'static str,
    body: &Value,
) -> (StatusCode, Json<Value>) {
    shared.requests.lock().unwrap().push((route, body.clone()));
    let id = body["vm_id"].as_u64().unwrap_or_default();
    let is_stuck = shared.stuck.lock().unwrap().contains(&id);
    if is_stuck || shared.hangs.lock().unwrap().is_some_and(|hangs| route.starts_with(hangs)) {
        std::future::pending::<()>().await;
    }
    if shared.busy.lock().unwrap().contains(&id) {
        let code = "change_in_progress";
        let refused = json!({"status": "error", "message": "busy", "data": null, "code": code});
        return (StatusCode::CONFLICT, Json(refused));
    }
    let refused = shared.refusal.lock().unwrap().filter(|(refused, _)| route.starts_with(refused));
    if let Some((_, status)) = refused {
        let refused =
            json!({"status": "error", "message": "not now", "data": null, "code": "container_locked"});
        return (StatusCode::from_u16(status).unwrap(), Json(refused));
    }
    let mut configurations = shared.configurations.lock().unwrap();
    if let Some(config) = configurations.get_mut(&id) {
        match (field, body[field].as_u64()) {
            ("cores", Some(cores)) => config.cores = u32::try_from(cores).ok(),
            ("memory", Some(mib)) => config.memory_mb = Mebibytes::new(mib),
            _ => {}
        }
    }
    let data = json!({"vm_id": body["vm_id"], "before": 1, "after": body[field], "changed": true});
    (StatusCode::OK, Json(json!({"status": "success", "message": "done", "data": data})))
}

async fn status(State(shared): State<Shared>, RawQuery(query): RawQuery) -> (StatusCode, Json<Value>) {
    let query = std::future::ready(query).await.unwrap_or_default();
    let id: u64 = query.strip_prefix("vm_id=").unwrap().parse().unwrap();
    let Some(config) = shared.configurations.lock().unwrap().get(&id).cloned() else {
        let unknown =
            json!({"status": "error", "message": "none", "data": null, "code": "no_such_container"});
        return (StatusCode::NOT_FOUND, Json(unknown));
    };
    let data = json!({"vm_id": id, "state": "running", "allocation": config});
    (StatusCode::OK, Json(json!({"status": "success", "message": "runs", "data": data})))
}

async fn ledger(State(shared): State<Shared>) -> Json<Value> {
    let entries = shared.ledger.lock().unwrap().clone();
    let entries = std::future::ready(entries).await;
    let data = json!({"entries": entries, "originals": []});
    Json(json!({"status": "success", "message": "told", "data": data}))
}
