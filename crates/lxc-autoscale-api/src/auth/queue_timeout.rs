//! How long a requested change may wait for other changes of its container.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use lxc_autoscale_core::api::QUEUE_TIMEOUT_HEADER;

use crate::error::ApiError;
use crate::openapi::Parameter;

/// The longest that can be asked for, as in `server.queue_timeout_seconds`.
const MAX_SECONDS: u64 = 3600;

/// The value of the header; `None` if there is none.
///
/// # Errors
/// 400 if it is no whole number of seconds up to an hour.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(QUEUE_TIMEOUT_HEADER) else { return Ok(None) };
    let text = value.to_str().map(str::trim).unwrap_or_default();
    // `parse` would also take a sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse::<u64>().ok().filter(|seconds| is_number && *seconds <= MAX_SECONDS);
    let Some(seconds) = seconds else {
        let message = format!(
            "the header `{QUEUE_TIMEOUT_HEADER}` takes a whole number of seconds from 0 to {MAX_SECONDS}"
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_parameter", message));
    };
    Ok(Some(Duration::from_secs(seconds)))
}

/// The OpenAPI description of the header.
pub(crate) fn parameter() -> Parameter {
    let schema = serde_json::json!({
        "type": "string",
        "pattern": "^(0*([0-9]{1,3}|[12][0-9]{3}|3[0-5][0-9]{2}|3600))$",
        "description": "For how many seconds the change may wait for other changes of the same container, if that is less than the server's limit.",
    });
    let name = QUEUE_TIMEOUT_HEADER.to_owned();
    Parameter { place: "header", name, required: false, schema, is_group: false }
}
