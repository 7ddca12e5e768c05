//! The REST API: a single table of routes, from which the router, `GET /routes` and the OpenAPI document are
//! generated.
//!
//! A handler parses the request, calls an action, and words the answer; it decides nothing.

use std::collections::HashSet;
use std::sync::LazyLock;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use lxc_autoscale_core::api::{Envelope, RouteInfo};
use lxc_autoscale_core::count;

use crate::auth::{self, caller::Role};
use crate::error::ApiError;
use crate::exporter::requests;
use crate::extract;
use crate::openapi::faults::{
    BACKEND, BOOST, BOOSTED, CANCEL, CHANGE, CLONE, CONFIG, CONFIG_KEYS, CONFIG_WRITE, CONTAINER, CORES,
    EXPECTED, JOB, KEEP, LISTEN, LOOK, MEMORY, METRICS, NODE, POWER, RECORDED, RESTART, SCOPE, SEQUENCE,
    SIZE, SNAPSHOT, STORE, WHY,
};
use crate::openapi::{self, Schemas};
use crate::state::AppState;

mod boost;
mod clone;
mod config;
mod events;
pub(crate) mod health;
mod jobs;
mod ledger;
mod power;
mod prometheus;
mod reference;
mod resource;
mod route;
mod scale;
mod snapshot;

use route::{Route, delete, get, patch, post, put};

/// A successful answer.
type Answer<T> = Result<Json<Envelope<T>>, ApiError>;

fn success<T>(message: impl Into<String>, data: T) -> Json<Envelope<T>> {
    Json(Envelope::success(message, data))
}

/// Reads files outside the threads that serve requests.
async fn in_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(read).await.map_err(|error| {
        tracing::error!(%error, "a reader ended unexpectedly");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "reading ended unexpectedly")
    })
}

/// All routes. A GET request never changes anything.
fn table() -> Vec<Route> {
    [containers(), resources(), records(), configuration(), own_description()].into_iter().flatten().collect()
}

/// Routes that change containers, and those that belong to them.
fn containers() -> Vec<Route> {
    use Role::{Admin, Operator, Viewer};
    vec![
        post("/scale/cores", Operator, "Set the exact number of CPU cores of a container.", scale::cores)
            .fails(&[CONTAINER, CHANGE, BACKEND, SIZE, EXPECTED, CORES, BOOSTED]),
        post(
            "/scale/cpulimit",
            Operator,
            "Set the CPU limit of a container, in hundredths of a core; 0 removes it.",
            scale::cpulimit,
        )
        .fails(&[CONTAINER, CHANGE, BACKEND, SIZE, EXPECTED, BOOSTED]),
        post("/scale/ram", Operator, "Set the exact amount of memory of a container, in MiB.", scale::ram)
            .fails(&[CONTAINER, CHANGE, BACKEND, SIZE, EXPECTED, MEMORY, BOOSTED]),
        post(
            "/scale/storage/increase",
            Operator,
            "Enlarge the root filesystem of a container by a number of GiB.",
            scale::storage,
        )
        .fails(&[CONTAINER, CHANGE, BACKEND, SIZE]),
        post("/snapshot/create", Operator, "Take a snapshot of a container.", snapshot::create)
            .fails(&[CONTAINER, CHANGE, BACKEND, SEQUENCE]),
        get("/snapshot/list", Viewer, "List the snapshots of a container.", snapshot::list)
            .fails(&[CONTAINER, BACKEND, LOOK]),
        post(
            "/snapshot/rollback",
            Admin,
            "Roll a container back to a snapshot; if it was running, it is started again.",
            snapshot::rollback,
        )
        .fails(&[CONTAINER, CHANGE, BACKEND, SNAPSHOT, SIZE, RESTART, SEQUENCE]),
        delete("/snapshot/delete", Admin, "Remove a snapshot of a container.", snapshot::remove)
            .fails(&[CONTAINER, CHANGE, BACKEND, SNAPSHOT]),
        post(
            "/snapshot/prune",
            Admin,
            "Remove all but the newest of the snapshots that this server made of a container.",
            snapshot::prune,
        )
        .fails(&[CONTAINER, CHANGE, BACKEND, SNAPSHOT, KEEP]),
        post("/clone/create", Admin, "Make a full copy of a container; the copy is stopped.", clone::create)
            .fails(&[CONTAINER, CHANGE, BACKEND, SNAPSHOT, SEQUENCE]),
        delete("/clone/delete", Admin, "Remove a copy made by /clone/create.", clone::remove)
            .fails(&[CONTAINER, CHANGE, BACKEND, CLONE, RESTART, SEQUENCE]),
        post("/power/start", Operator, "Start a container.", power::start)
            .fails(&[CONTAINER, CHANGE, BACKEND]),
        post("/power/stop", Admin, "Stop a container at once: its processes are killed.", power::stop)
            .fails(&[CONTAINER, CHANGE, BACKEND]),
        post(
            "/power/shutdown",
            Operator,
            "Ask a container to shut down; killing it if it does not takes the role admin.",
            power::shutdown,
        )
        .fails(&[CONTAINER, CHANGE, BACKEND, POWER]),
        post(
            "/power/reboot",
            Operator,
            "Shut a container down and start it again; killing it if it does not shut down takes the role admin.",
            power::reboot,
        )
        .fails(&[CONTAINER, CHANGE, BACKEND, POWER, RESTART]),
    ]
}

/// State, usage and events.
fn resources() -> Vec<Route> {
    use Role::Viewer;
    vec![
        get(
            "/resource/vm/status",
            Viewer,
            "State, allocation and usage of a container.",
            resource::container,
        )
        .fails(&[CONTAINER, BACKEND]),
        get(
            "/resource/lxc/status",
            Viewer,
            "The same as /resource/vm/status, under its newer name.",
            resource::container,
        )
            .fails(&[CONTAINER, BACKEND]),
        get(
            "/resource/lxc/config",
            Viewer,
            "All settings of a container: those in force, and those pending until its next start.",
            resource::settings,
        )
        .fails(&[CONTAINER, BACKEND]),
        get(
            "/resource/lxc/why",
            Viewer,
            "Why a container has its size: the decisions, the numbers behind them, and what would change them.",
            resource::why,
        )
        .fails(&[SCOPE, WHY]),
        get(
            "/resource/cluster/status",
            Viewer,
            "The nodes of the cluster, and whether it has quorum.",
            resource::cluster,
        )
        .fails(&[BACKEND]),
        get("/resource/node/status", Viewer, "Resource usage of the node.", resource::node).fails(&[NODE]),
        get(
            "/metrics/current",
            Viewer,
            "The monitor's newest measurements of the node and its containers, with their age.",
            events::current,
        )
        .fails(&[SCOPE, METRICS]),
        get(
            "/events",
            Viewer,
            "Events about measurements, changes, jobs, boosts and alerts, as a page or as a stream.",
            events::events,
        )
        .fails(&[LISTEN]),
        get("/health/check", Viewer, "Whether containers can be changed now.", health::check),
        get("/metrics", Viewer, "The metrics of this server, for Prometheus.", prometheus::metrics),
    ]
}

/// Stored records: jobs, boosts and the ledger.
fn records() -> Vec<Route> {
    use Role::{Operator, Viewer};
    vec![
        get("/jobs", Viewer, "List the newest jobs, which are calls that take long.", jobs::list).fails(&[STORE]),
        get("/jobs/{id}", Viewer, "Show a job: its state, what it does, and its result.", jobs::show)
            .fails(&[JOB, STORE]),
        delete(
            "/jobs/{id}",
            Operator,
            "Cancel a job, if that leaves nothing half-made.",
            jobs::cancel,
        )
        .fails(&[JOB, CANCEL, STORE]),
        post("/jobs/{id}/cancel", Operator, "Cancel a job, for clients that cannot send DELETE.", jobs::cancel)
            .fails(&[JOB, CANCEL, STORE]),
        post(
            "/boost",
            Operator,
            "Give a container more cores or memory for some minutes; it ends automatically.",
            boost::start,
        )
            .fails(&[CONTAINER, CHANGE, BACKEND, SIZE, CORES, BOOST]),
        get("/boost", Viewer, "List the boosts.", boost::list).fails(&[SCOPE, STORE]),
        delete("/boost", Operator, "End the boosts of a container now.", boost::end).fails(&[SCOPE, STORE]),
        get("/ledger", Viewer, "List the changes of sizes, with author and reason.", ledger::show)
            .fails(&[SCOPE, STORE]),
        post(
            "/undo",
            Operator,
            "Return the sizes of one container, or of all, to those of an earlier time or to the original ones.",
            ledger::undo,
        )
        .fails(&[CONTAINER, BACKEND, STORE]),
    ]
}

/// The configuration.
fn configuration() -> Vec<Route> {
    use Role::{Admin, Operator, Viewer};
    vec![
        get(
            "/config",
            Viewer,
            "Show a configuration: every key, its value and where it comes from, and whether the ml daemon uses it.",
            config::show,
        )
        .fails(&[CONFIG, LOOK]),
        post(
            "/config/validate",
            Operator,
            "Validate changes of the scaling configuration, or a whole new one, without changing anything.",
            config::validate,
        )
        .fails(&[CONFIG, CONFIG_KEYS, LOOK]),
        patch(
            "/config",
            Admin,
            "Change the scaling configuration by key; comments are kept, and no restart is needed.",
            config::change,
        )
        .fails(&[CONFIG, CONFIG_KEYS, CONFIG_WRITE, RECORDED]),
        put("/config", Admin, "Replace the file of the scaling configuration.", config::put)
            .fails(&[CONFIG, CONFIG_KEYS, CONFIG_WRITE, RECORDED]),
    ]
}

/// The API's description of itself.
fn own_description() -> Vec<Route> {
    use Role::Viewer;
    vec![
        get("/routes", Viewer, "List the routes.", list),
        get("/openapi.json", Viewer, "The OpenAPI document of this server.", reference::document),
        get("/docs", Viewer, "The OpenAPI document as a page.", reference::page),
        get("/docs/page.css", Viewer, "The style sheet of that page.", reference::style),
        get("/docs/page.js", Viewer, "The script of that page.", reference::script),
    ]
}

/// The OpenAPI document of all routes.
pub fn openapi() -> serde_json::Value {
    let mut schemas = Schemas::default();
    let described: Vec<_> = table().iter().map(|route| route.describe(&mut schemas)).collect();
    openapi::document(&described, schemas)
}

/// The document in the same form as the file in the documentation.
pub fn openapi_text() -> String {
    format!("{:#}\n", openapi())
}

/// The routes that take no parameters in the query. Their handlers do not look at it.
static WITHOUT_QUERY: LazyLock<HashSet<(Method, &'static str)>> = LazyLock::new(|| {
    let routes = table().into_iter().filter(Route::takes_no_query);
    routes.map(|route| (route.method, route.path)).collect()
});

/// The whole API with its guards.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for route in table() {
        let mut handler = route.handler;
        if WITHOUT_QUERY.contains(&(route.method, route.path)) {
            handler = handler.route_layer(from_fn(extract::no_query));
        }
        // The outer one: whoever may not ask is not told what could be asked.
        let handler = handler.route_layer(from_fn_with_state(route.role, auth::require));
        router = router.route(route.path, handler);
    }
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .layer(from_fn_with_state(state.clone(), requests::observe))
        .with_state(state)
}

async fn list(State(_): State<AppState>) -> Answer<Vec<RouteInfo>> {
    let routes: Vec<RouteInfo> = table().iter().map(Route::info).collect();
    Ok(success(format!("{}.", count(routes.len(), "route")), routes))
}

async fn no_such_route(uri: Uri) -> ApiError {
    // Only as much of the path as is certainly harmless wherever the message is shown.
    let path: String = uri.path().chars().take(100).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("there is no route `{path}`; see GET /routes"),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("`{}` does not support {method}; see GET /routes", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
