//! The OpenAPI document: it equals the copy in the documentation, describes every response that a test gets, and is
//! shown as a page.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use axum::body::to_bytes;
use axum::http::{Method, StatusCode};
use lxc_autoscale_api::routes;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::node::{Node, request};

static DOCUMENT: LazyLock<Value> = LazyLock::new(routes::openapi);

/// The operation that handles a request; `None` if there is no such route.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == segments.len()
            && template.iter().zip(&segments).all(|(ours, theirs)| ours.starts_with('{') || ours == theirs)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let (_, operations) = paths.iter().find(|(template, _)| fits(template))?;
    operations.get(method.as_str().to_ascii_lowercase())
}

/// Asserts that the document describes this response.
#[track_caller]
pub(crate) fn assert_documented(method: &Method, path: &str, status: StatusCode, code: Option<&str>) {
    let Some(operation) = operation(method, path) else { return };
    let response = &operation["responses"][status.as_str()];
    assert!(
        response.is_object(),
        "{method} {path} answers {status} ({code:?}), which the document does not know"
    );
    let schema = &response["content"]["application/json"]["schema"];
    // A response with data states its code itself; the others share a schema and add their codes.
    let ways = [&schema["properties"], &schema["allOf"][1]["properties"]];
    let codes = ways.map(|fields| &fields["code"]["enum"]).into_iter().find(|codes| codes.is_array());
    let codes = codes.unwrap_or(&Value::Null);
    match code {
        None => assert!(codes.is_null(), "{method} {path} {status} has a code in the document: {codes}"),
        Some(code) => assert!(
            codes.as_array().is_some_and(|codes| codes.iter().any(|known| known == code)),
            "{method} {path} {status} answers `{code}`, and the document knows {codes}"
        ),
    }
}

/// Update the copy with `lxc-autoscale-api openapi > docs/openapi.json`.
#[test]
fn the_document_in_the_documentation_is_the_one_that_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == routes::openapi_text(),
        "docs/openapi.json is not what the server says; write it anew with \
         `cargo run -p lxc-autoscale-api -- openapi > docs/openapi.json` and look at what changed"
    );
}

#[tokio::test]
async fn it_is_served() {
    let node = Node::new();
    let response = node.api().oneshot(request("GET", "/openapi.json", None)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(bytes, routes::openapi_text().as_bytes());
}

/// Every field of a request has a description, because clients could not use it otherwise.
#[test]
fn every_field_of_a_request_is_described() {
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert_ne!(parameter["description"], "", "{method} {path} {parameter}");
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            for (name, field) in body["properties"].as_object().into_iter().flatten() {
                assert!(field["description"].is_string(), "{method} {path} {name}");
            }
            if body.is_object() {
                assert_eq!(
                    body["additionalProperties"],
                    json!(false),
                    "{method} {path} refuses what it does not know"
                );
            }
        }
    }
}

/// People who may change containers open the page, so it loads nothing from elsewhere and cannot be framed.
#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let node = Node::new();
    for (path, media) in
        [("/docs", "text/html"), ("/docs/page.css", "text/css"), ("/docs/page.js", "text/javascript")]
    {
        let response = node.api().oneshot(request("GET", path, None)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(media), "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        let text =
            String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("innerHTML"), "{path}");
        assert!(!text.contains(" style=") && !text.contains("onclick"), "{path}: the policy forbids it");
    }
}
