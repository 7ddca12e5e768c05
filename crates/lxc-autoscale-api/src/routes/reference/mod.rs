//! The document that describes this API, and a page that shows it.
//!
//! The page consists of three files inside the program. It needs nothing else, and its policy lets it load nothing
//! else, because people who may change containers open it.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::openapi::{Content, Output, Schemas, Shape};

/// Generated once, because it never changes while the program runs.
static DOCUMENT: LazyLock<String> = LazyLock::new(super::openapi_text);

/// What the page may load: its own files and the document.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The OpenAPI document.
pub(super) struct Document;

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        let kind = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        ([kind], DOCUMENT.as_str()).into_response()
    }
}

impl Output for Document {
    fn describe(shape: &mut Shape, _: &mut Schemas) {
        let schema = json!({"type": "object", "required": ["openapi", "info", "paths"]});
        shape.answers.push(Content { status: StatusCode::OK, media_type: "application/json", schema });
    }
}

pub(super) async fn document() -> Document {
    Document
}

macro_rules! asset {
    ($(#[$doc:meta])* $name:ident, $handler:ident, $file:literal, $media:ident) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponse for $name {
            fn into_response(self) -> Response {
                let headers = [
                    (CONTENT_TYPE, HeaderValue::from_static($media)),
                    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
                    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
                    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
                ];
                (headers, include_str!($file)).into_response()
            }
        }

        impl Output for $name {
            fn describe(shape: &mut Shape, _: &mut Schemas) {
                let schema = json!({"type": "string"});
                shape.answers.push(Content { status: StatusCode::OK, media_type: $media, schema });
            }
        }

        pub(super) async fn $handler() -> $name {
            $name
        }
    };
}

asset!(
    /// The page.
    Page, page, "page.html", HTML);
asset!(
    /// The style sheet of the page.
    Style, style, "page.css", CSS);
asset!(
    /// The script of the page.
    Script, script, "page.js", JAVASCRIPT);
