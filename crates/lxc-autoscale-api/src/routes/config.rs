//! `/config`.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use lxc_autoscale_core::api::{
    ConfigCandidate, ConfigChanged, ConfigInfo, ConfigPatch, ConfigRequest, ConfigText, ConfigVerdict,
    Envelope,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Answer, success};
use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::configuration;
use crate::error::ApiError;
use crate::extract::{ApiJson, ApiQuery};
use crate::openapi::{Input, Output, Parameter, Schemas, Shape};
use crate::state::AppState;

/// A response about a file, with its digest as `ETag`.
pub(super) struct Tagged<T> {
    digest: String,
    body: Json<Envelope<T>>,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        ([(ETAG, format!("\"{}\"", self.digest))], self.body).into_response()
    }
}

impl<T: JsonSchema> Output for Tagged<T> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.answer::<T>(StatusCode::OK, schemas);
    }
}

/// The header `If-Match`, if present.
pub(super) struct IfMatch(Option<String>);

/// The header `If-Match`, which is required to replace a file.
pub(super) struct MustMatch(String);

const DESCRIPTION: &str =
    "The `ETag` of the file that the change is meant for; if the file has changed since, it is left alone.";

fn describe_header(shape: &mut Shape, required: bool) {
    let schema = json!({"type": "string", "description": DESCRIPTION});
    shape.parameters.push(Parameter {
        place: "header",
        name: "If-Match".to_owned(),
        required,
        is_group: false,
        schema,
    });
}

impl FromRequestParts<AppState> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let tags: Vec<&str> =
            parts.headers.get_all(IF_MATCH).iter().map(|tag| tag.to_str().unwrap_or_default()).collect();
        Ok(Self((!tags.is_empty()).then(|| tags.join(","))))
    }
}

impl FromRequestParts<AppState> for MustMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let IfMatch(seen) = IfMatch::from_request_parts(parts, state).await?;
        seen.map(Self).ok_or_else(|| {
            let message = "replacing the whole file needs `If-Match` with the `ETag` from GET /config";
            ApiError::new(StatusCode::PRECONDITION_REQUIRED, "if_match_required", message)
        })
    }
}

impl Input for IfMatch {
    fn describe(shape: &mut Shape, _: &mut Schemas) {
        describe_header(shape, false);
    }
}

impl Input for MustMatch {
    fn describe(shape: &mut Shape, _: &mut Schemas) {
        describe_header(shape, true);
        shape.faults.push(&[(428, "if_match_required")]);
    }
}

pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(ConfigRequest { file }): ApiQuery<ConfigRequest>,
) -> Result<Tagged<ConfigInfo>, ApiError> {
    configuration::is_for(&caller)?;
    let _turn = state.looks().turn().await?;
    let info = configuration::show(&state, file).await.map_err(ActionError::from)?;
    let mut message = match &info.problem {
        None => format!("`{}` is valid.", info.path),
        Some(problem) => format!("`{}` is wrong, line {}: {}", info.path, problem.line, problem.message),
    };
    if info.in_force.as_ref().is_some_and(|in_force| !in_force.is_file) {
        message += " The daemon is still running with another configuration.";
    }
    Ok(Tagged { digest: info.digest.clone(), body: success(message, info) })
}

pub(super) async fn validate(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(candidate): ApiJson<ConfigCandidate>,
) -> Answer<ConfigVerdict> {
    configuration::is_for(&caller)?;
    if candidate.text.is_some() && !(candidate.set.is_empty() && candidate.remove.is_empty()) {
        return Err(ApiError::invalid_parameter("either `text` or changes must be given"));
    }
    let _turn = state.looks().turn().await?;
    let verdict = configuration::validate(&state, candidate).await.map_err(ActionError::from)?;
    let message = match &verdict.problem {
        None => format!("It would be accepted (values changed: {}).", verdict.changes.len()),
        Some(problem) => format!("It would be refused, line {}: {}", problem.line, problem.message),
    };
    Ok(success(message, verdict))
}

pub(super) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    IfMatch(seen): IfMatch,
    ApiJson(patch): ApiJson<ConfigPatch>,
) -> Result<Tagged<ConfigChanged>, ApiError> {
    Ok(changed(configuration::change(&state, caller, patch, seen).await?))
}

pub(super) async fn put(
    State(state): State<AppState>,
    caller: Caller,
    MustMatch(seen): MustMatch,
    ApiJson(text): ApiJson<ConfigText>,
) -> Result<Tagged<ConfigChanged>, ApiError> {
    Ok(changed(configuration::put(&state, caller, text, Some(seen)).await?))
}

fn changed(changed: ConfigChanged) -> Tagged<ConfigChanged> {
    let message = if changed.changed {
        let values = changed.changes.len() + changed.more_changes;
        format!(
            "The configuration was written (values changed: {values}); lxc-autoscale-ml uses it from its next cycle on."
        )
    } else {
        "The configuration already is like that; nothing was written.".to_owned()
    };
    Tagged { digest: changed.digest.clone(), body: success(message, changed) }
}
