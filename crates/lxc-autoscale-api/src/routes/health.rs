//! `/health/check`: what works at the moment.
//!
//! The status is 200 while containers can be changed, even if something is missing (`degraded`), and 503 if they
//! cannot be changed, so that a probe that looks only at the status is not misled.

use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lxc_autoscale_core::api::{Envelope, Health, HealthCheck, HealthState, Status};
use lxc_autoscale_core::{ErrorChain, count};

use crate::audit::{self, AuditError};
use crate::auth::caller::{Caller, Role};
use crate::auth::keys::KeysError;
use crate::blocking::OneAtATime;
use crate::config::{AuditConfig, MetricsConfig};
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

/// The check of the audit log.
pub(crate) const AUDIT: &str = "audit";
/// The check of the keys.
pub(crate) const KEYS: &str = "keys";
/// How long a look at the audit log may take.
const LOOK: Duration = Duration::from_secs(5);
/// The code of a failed check.
const UNHEALTHY: &str = "unhealthy";

pub(super) async fn check(State(state): State<AppState>, caller: Caller) -> HealthAnswer {
    let mut checks = state.host().probe().await;
    let config = state.config();
    checks.extend(audit_check(&config.audit, state.audit_looks(), audit::probe).await);
    checks.push(keys_check(state.keys().apart(|keys| Ok(keys.keys()?.len())).await));
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
        HealthState::Unhealthy if only_keys(&health) => {
            format!("Nobody is let in with a key: {}.", details(&health))
        }
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

/// Whether nothing but the keys keeps containers from being changed.
fn only_keys(health: &Health) -> bool {
    let mut unhealthy = health.checks.iter().filter(|check| check.state == HealthState::Unhealthy);
    unhealthy.all(|check| check.name == KEYS)
}

/// A change that cannot be written to the audit log is not begun. `None` if none is kept.
///
/// One `look` at a time, in the turn of `looks`: one on a mount that hangs keeps its thread.
pub(crate) async fn audit_check(
    config: &AuditConfig,
    looks: &OneAtATime,
    look: impl FnOnce(&Path) -> Result<(), AuditError> + Send + 'static,
) -> Option<HealthCheck> {
    let file = config.file.clone();
    if file.as_os_str().is_empty() {
        return None;
    }
    let shown = file.display().to_string();
    let (state, detail) = match looks.within(LOOK, move || look(&file)).await {
        Ok(Ok(Ok(()))) => (HealthState::Healthy, format!("`{shown}` can be written")),
        Ok(Ok(Err(error))) => {
            let error = ErrorChain(&error);
            let remedy =
                "no change is begun until it can be written: make room or permit it, or set `audit.file`";
            (HealthState::Unhealthy, format!("{error}; {remedy}"))
        }
        Ok(Err(error)) => (HealthState::Degraded, format!("looking at the audit log failed: {error}")),
        Err(_) => (
            HealthState::Unhealthy,
            format!("a look at `{shown}` took longer than {LOOK:?}; its disk may hang"),
        ),
    };
    Some(HealthCheck { name: AUDIT.to_owned(), state, detail })
}

/// Without its file no key is accepted.
pub(crate) fn keys_check(found: Result<usize, KeysError>) -> HealthCheck {
    let (state, detail) = match found {
        Ok(keys) => (HealthState::Healthy, count(keys, "key")),
        Err(error) => {
            let remedy = match &error {
                KeysError::Form { .. } => {
                    "; put it back, or remove it and make new ones: `lxc-autoscale-api key create`"
                }
                _ => "",
            };
            (HealthState::Unhealthy, format!("{}{remedy}", ErrorChain(&error)))
        }
    };
    HealthCheck { name: KEYS.to_owned(), state, detail }
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
