//! An API that does what it is asked and remembers it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// One request: route and body.
pub(crate) type Request = (&'static str, Value);

#[derive(Clone, Default)]
struct Shared {
    requests: Arc<Mutex<Vec<Request>>>,
    refusal: Arc<Mutex<Option<u16>>>,
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

    /// Listens.
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
            .with_state(self.shared.clone());
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.server = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// The base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers with this status; `None` for doing what is asked.
    pub(crate) fn refuse_with(&self, status: Option<u16>) {
        *self.shared.refusal.lock().unwrap() = status;
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
    std::future::ready(answer(&shared, "/scale/cores", "cores", &body)).await
}

async fn cpulimit(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    std::future::ready(answer(&shared, "/scale/cpulimit", "cpulimit", &body)).await
}

async fn memory(State(shared): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    std::future::ready(answer(&shared, "/scale/ram", "memory", &body)).await
}

fn answer(
    shared: &Shared,
    route: &'static str,
    field: &'static str,
    body: &Value,
) -> (StatusCode, Json<Value>) {
    shared.requests.lock().unwrap().push((route, body.clone()));
    if let Some(status) = *shared.refusal.lock().unwrap() {
        let refused =
            json!({"status": "error", "message": "not now", "data": null, "code": "container_locked"});
        return (StatusCode::from_u16(status).unwrap(), Json(refused));
    }
    let data = json!({"vm_id": body["vm_id"], "before": 1, "after": body[field], "changed": true});
    (StatusCode::OK, Json(json!({"status": "success", "message": "done", "data": data})))
}
