//! Extracts bodies and queries of requests: strict, limited in size and time, and with our own errors.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lxc_autoscale_core::api::TWO_NAMES;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::state::AppState;

/// The JSON body of a request.
#[derive(Clone, Copy, Debug)]
pub struct ApiJson<T>(pub T);

/// The query of a request.
#[derive(Clone, Copy, Debug)]
pub struct ApiQuery<T>(pub T);

/// The parameters in the path of a request, as an object with their names.
#[derive(Clone, Copy, Debug)]
pub struct ApiPath<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be sent with `Content-Type: application/json`",
            ));
        }
        let config = state.config();
        let limit = config.server.max_body_kib << 10;
        let patience = Duration::from_secs(config.server.client_timeout_seconds);
        let bytes = timeout(patience, read(request, limit)).await.map_err(|_| {
            let message = format!("the body did not arrive within {} s", patience.as_secs());
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timed_out", message)
        })??;
        parse(&bytes).map(Self)
    }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let announced =
        request.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let too_large = || {
        let message = format!("the body may have at most {limit} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    if announced.is_some_and(|length: u64| u64::try_from(limit).is_ok_and(|limit| limit < length)) {
        return Err(too_large());
    }
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        // The chunks are malformed, or the connection broke and nobody will see this error.
        Err(error) => {
            let message = format!("the body did not arrive as announced: {error}");
            Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", message))
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let not_json = |error: &serde_json::Error| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
    };
    let mut body = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut body).map_err(|error| {
        let (field, error) = (error.path().to_string(), error.into_inner());
        if error.is_data() { refused(&field, &error.to_string()) } else { not_json(&error) }
    })?;
    body.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// The error about one field; if `field` is no name, about all of them or one that the text names.
fn refused(field: &str, text: &str) -> ApiError {
    let is_name = field.starts_with(|first: char| first.is_ascii_alphabetic());
    let text = naming_both(text.to_owned());
    ApiError::invalid_parameter(if is_name { format!("`{field}`: {text}") } else { text })
}

/// If a field is given under both of its names, serde mentions only the first one.
fn naming_both(mut text: String) -> String {
    for (name, later) in TWO_NAMES {
        if text.contains(&format!("duplicate field `{name}`")) {
            text = format!("{text} (`{later}` is the same field)");
        }
    }
    text
}

/// Whether the content type is `application/json`, with or without parameters such as the charset.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

impl<T: DeserializeOwned> FromRequestParts<AppState> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                // `Failed to deserialize query string: vm_id: invalid digit found in string`
                let said = rejection.body_text();
                let text = said.strip_prefix(QUERY_REFUSED).unwrap_or(&said);
                let is_name = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                let named = text.split_once(": ").filter(|(field, _)| is_name(field));
                let (field, text) = named.unwrap_or(("", text));
                Err(refused(field, &format!("in the query: {text}")))
            }
        }
    }
}

/// Refuses what is in the query of a route that takes nothing there: it would be ignored, and might be meant for the body.
pub(crate) async fn no_query(request: Request, next: Next) -> Result<Response, ApiError> {
    let query = first_field(request.uri().query().unwrap_or_default());
    match query {
        None => Ok(next.run(request).await),
        Some(name) => {
            let text = format!("in the query: unknown field `{name}`; this route takes none there");
            Err(ApiError::invalid_parameter(text))
        }
    }
}

/// The name of the first field in a query; `None` if there is none.
fn first_field(query: &str) -> Option<String> {
    let first = query.split('&').find(|field| !field.is_empty())?;
    let name = first.split('=').next().unwrap_or_default();
    Some(name.chars().take(MAX_NAME_CHARS).collect())
}

/// The longest part of an unknown name that is repeated.
const MAX_NAME_CHARS: usize = 100;

/// How axum begins its error message about a query.
const QUERY_REFUSED: &str = "Failed to deserialize query string: ";

/// What is wrong with the path, without what axum knows of Rust's types.
fn in_path(rejection: &PathRejection) -> String {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return rejection.body_text();
    };
    match failed.kind() {
        ErrorKind::ParseErrorAtKey { key, value, .. } => {
            format!("`{value}` in the path is no valid `{key}`")
        }
        ErrorKind::InvalidUtf8InPathParam { key } => format!("`{key}` in the path is not valid UTF-8"),
        _ => "the path cannot be read".to_owned(),
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::invalid_parameter(in_path(&rejection))),
        }
    }
}
