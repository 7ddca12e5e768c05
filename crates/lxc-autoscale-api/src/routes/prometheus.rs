//! `/metrics`: the metrics of this server, for Prometheus.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lxc_autoscale_core::exposition::{Format, negotiate};
use serde_json::json;

use crate::auth::caller::Caller;
use crate::exporter::scrape::Scrape;
use crate::openapi::{Content, Output, Schemas, Shape};
use crate::state::AppState;

/// An exposition in the format that the client asked for.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()))], self.text).into_response()
    }
}

impl Output for Exposition {
    fn describe(shape: &mut Shape, _: &mut Schemas) {
        for media_type in ["text/plain", "application/openmetrics-text"] {
            let schema = json!({"type": "string"});
            shape.answers.push(Content { status: StatusCode::OK, media_type, schema });
        }
    }
}

pub(super) async fn metrics(State(state): State<AppState>, caller: Caller, headers: HeaderMap) -> Exposition {
    let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = negotiate(&accepted.join(","));
    Exposition { format, text: Scrape::take(&state, caller).await.write(format) }
}
