//! Counts every answer, including refusals.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::Answered;
use crate::error::ErrorCode;
use crate::state::AppState;

/// Stands for every path without a route, and for every method that HTTP itself does not define.
const OTHER: &str = "other";

/// Counts a request and measures the time to its answer; must be the outermost layer.
pub async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = word(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(OTHER, MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let error = response.extensions().get::<ErrorCode>().map(|code| code.0);
    let answer = Answered { method, route, status: response.status().as_u16() };
    state.instruments().answered(answer, error, begun.elapsed());
    response
}

fn word(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}
