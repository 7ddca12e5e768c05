//! `/health/check`: what works at the moment.
//!
//! The status is 200 while containers can be changed, even if something is missing (`degraded`), and 503 if they
//! cannot be changed, so that a probe that looks only at the status is not misled.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lxc_autoscale_core::api::{Envelope, Health, HealthCheck, HealthState, Status};
use lxc_autoscale_core::count;

use crate::auth::caller::{Caller, Role};
use crate::config::MetricsConfig;
use crate::metrics;
use crate::openapi::{Output, Schemas, Shape};
use crate::state::AppState;

/// Status 200, or 503 with the same data.
pub(super) struct HealthAnswer(Response);

impl IntoResponse for HealthAnswer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Output for HealthAnswer {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.answer::<Health>(StatusCode::OK, schemas);
        shape.answer_with_failure::<Health>(StatusCode::SERVICE_UNAVAILABLE, UNHEALTHY, schemas);
    }
}

/// The code of a failed check.
const UNHEALTHY: &str = "unhealthy";

pub(super) async fn check(State(state): State<AppState>, caller: Caller) -> HealthAnswer {
    let mut checks = state.host().probe().await;
    let config = state.config();
    checks.push(metrics_check(config.metrics.clone()).await);
    if caller.role < Role::Admin {
        for check in &mut checks {
            check.detail = without_directories(&check.detail);
        }
    }
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(HealthState::Unhealthy);
    let health = Health {
        state: worst,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        changes_in_progress: state.changes().in_progress(),
        checks,
    };
    HealthAnswer(answer(health))
}

/// The text with only the names of its files; their directories concern only those who run the node.
fn without_directories(text: &str) -> String {
    let file_name = |path: &str| path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("/").to_owned();
    let quoted = text.split('`').enumerate().map(|(index, part)| {
        let is_path = index % 2 == 1 && part.starts_with('/');
        if is_path { file_name(part) } else { part.to_owned() }
    });
    quoted.collect::<Vec<_>>().join("`")
}

fn answer(health: Health) -> Response {
    let message = match health.state {
        HealthState::Healthy => "Healthy.".to_owned(),
        HealthState::Degraded => format!("Containers can be changed, but: {}.", details(&health)),
        HealthState::Unhealthy => format!("Containers cannot be changed: {}.", details(&health)),
    };
    if health.state < HealthState::Unhealthy {
        return Json(Envelope::success(message, health)).into_response();
    }
    let code = Some(UNHEALTHY.to_owned());
    let envelope = Envelope { status: Status::Error, message, data: Some(health), code };
    (StatusCode::SERVICE_UNAVAILABLE, Json(envelope)).into_response()
}

fn details(health: &Health) -> String {
    let worse = health.checks.iter().filter(|check| check.state != HealthState::Healthy);
    worse.map(|check| check.detail.as_str()).collect::<Vec<_>>().join("; ")
}

/// Without current metrics, containers can grow but not safely shrink.
pub(crate) async fn metrics_check(config: MetricsConfig) -> HealthCheck {
    let newest = tokio::task::spawn_blocking(move || metrics::newest(&config, Timestamp::now())).await;
    let (state, detail) = match newest {
        Ok(Ok(snapshot)) => {
            let time = snapshot.summary.collection_end_time;
            (
                HealthState::Healthy,
                format!("newest record of {} at {time}", count(snapshot.containers.len(), "container")),
            )
        }
        Ok(Err(reason)) => (HealthState::Degraded, reason),
        Err(error) => (HealthState::Degraded, format!("reading the metrics failed: {error}")),
    };
    HealthCheck { name: "metrics".to_owned(), state, detail }
}
