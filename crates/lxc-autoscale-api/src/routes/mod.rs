//! The REST API: one table of routes, from which the router and `GET /routes` are made.
//!
//! A handler parses, hands over to an action, and words the answer; it decides nothing.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use lxc_autoscale_core::api::{Envelope, RouteInfo};

use crate::auth::{self, caller::Role};
use crate::error::ApiError;
use crate::state::AppState;

mod boost;
mod clone;
pub(crate) mod health;
mod jobs;
mod ledger;
mod resource;
mod scale;
mod snapshot;

/// A successful answer.
type Answer<T> = Result<Json<Envelope<T>>, ApiError>;

fn success<T>(message: impl Into<String>, data: T) -> Json<Envelope<T>> {
    Json(Envelope::success(message, data))
}

/// One route.
struct Route {
    method: Method,
    path: &'static str,
    description: &'static str,
    role: Role,
    handler: MethodRouter<AppState>,
}

impl Route {
    /// Looks only.
    fn get(path: &'static str, description: &'static str, handler: MethodRouter<AppState>) -> Self {
        Self { method: Method::GET, path, description, role: Role::Viewer, handler }
    }

    fn post(
        path: &'static str,
        role: Role,
        description: &'static str,
        handler: MethodRouter<AppState>,
    ) -> Self {
        Self { method: Method::POST, path, description, role, handler }
    }

    fn cancel(path: &'static str, description: &'static str, handler: MethodRouter<AppState>) -> Self {
        Self { role: Role::Operator, ..Self::delete(path, description, handler) }
    }

    fn delete(path: &'static str, description: &'static str, handler: MethodRouter<AppState>) -> Self {
        Self { method: Method::DELETE, path, description, role: Role::Admin, handler }
    }
}

/// All routes. Nothing that is reached by GET changes anything.
fn table() -> Vec<Route> {
    vec![
        Route::post(
            "/scale/cores",
            Role::Operator,
            "Set the exact number of CPU cores of a container.",
            post(scale::cores),
        ),
        Route::post(
            "/scale/cpulimit",
            Role::Operator,
            "Set the CPU limit of a container, in hundredths of a core; 0 removes it.",
            post(scale::cpulimit),
        ),
        Route::post(
            "/scale/ram",
            Role::Operator,
            "Set the exact amount of memory of a container, in MiB.",
            post(scale::ram),
        ),
        Route::post(
            "/scale/storage/increase",
            Role::Operator,
            "Add GiB to the root filesystem of a container.",
            post(scale::storage),
        ),
        Route::post(
            "/snapshot/create",
            Role::Operator,
            "Take a snapshot of a container.",
            post(snapshot::create),
        ),
        Route::get("/snapshot/list", "List the snapshots of a container.", get(snapshot::list)),
        Route::post(
            "/snapshot/rollback",
            Role::Admin,
            "Take a container back to a snapshot; if it runs, it runs again afterwards.",
            post(snapshot::rollback),
        ),
        Route::post(
            "/clone/create",
            Role::Admin,
            "Copy a container in full; the copy is stopped.",
            post(clone::create),
        ),
        Route::delete("/clone/delete", "Remove a copy made by /clone/create.", delete(clone::remove)),
        Route::get(
            "/resource/vm/status",
            "State, allocation and usage of a container.",
            get(resource::container),
        ),
        Route::get("/resource/node/status", "Resource usage of the node.", get(resource::node)),
        Route::get("/health/check", "Whether containers can be changed now.", get(health::check)),
        Route::get("/jobs", "List the newest jobs: calls that take long.", get(jobs::list)),
        Route::get("/jobs/{id}", "How a job stands, what it did, what it gave.", get(jobs::show)),
        Route::cancel(
            "/jobs/{id}",
            "Ask a job to give up, where that leaves nothing half-made.",
            delete(jobs::cancel),
        ),
        Route::post(
            "/jobs/{id}/cancel",
            Role::Operator,
            "The same, for clients that cannot send DELETE.",
            post(jobs::cancel),
        ),
        Route::post(
            "/boost",
            Role::Operator,
            "Give a container more for some minutes; it ends by itself.",
            post(boost::start),
        ),
        Route::get("/boost", "List the boosts.", get(boost::list)),
        Route::cancel("/boost", "End the boosts of a container now.", delete(boost::end)),
        Route::get("/ledger", "Which sizes were changed, by whom and why.", get(ledger::show)),
        Route::post(
            "/undo",
            Role::Operator,
            "Take the sizes of a container, or of all, back to a time or to the original ones.",
            post(ledger::undo),
        ),
        Route::get("/routes", "List the routes.", get(list)),
    ]
}

/// The whole API, guarded.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for route in table() {
        let handler = route.handler.layer(from_fn_with_state(route.role, auth::require));
        router = router.route(route.path, handler);
    }
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .with_state(state)
}

async fn list(State(_): State<AppState>) -> Answer<Vec<RouteInfo>> {
    let info = |route: Route| RouteInfo {
        method: route.method.to_string(),
        path: route.path.to_owned(),
        role: route.role.name().to_owned(),
        description: route.description.to_owned(),
    };
    let routes: Vec<_> = table().into_iter().map(info).collect();
    Ok(success(format!("{} routes.", routes.len()), routes))
}

async fn no_such_route(uri: Uri) -> ApiError {
    // Only as much of what was asked as is sure to be harmless wherever the message is shown.
    let path: String = uri.path().chars().take(100).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("there is no route `{path}`; see GET /routes"),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("`{}` is not reached by {method}; see GET /routes", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
