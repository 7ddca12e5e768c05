//! Ten thousand hostile values in every field of every route must not cause a single call of `pct`.
//!
//! The fields are taken from the OpenAPI document, and the rest of each request is the valid one of [`crate::roles`],
//! so a new route or field is tested automatically. `HOSTILE_VALUES` sets the number of values per field. All ten
//! thousand take minutes, so the default is a twentieth of them, always the same ones.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use jiff::Timestamp;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::params::{Hostname, SnapshotName};
use lxc_autoscale_api::routes;
use lxc_autoscale_core::api::{PURPOSE_HEADER, QUEUE_TIMEOUT_HEADER};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::node::{Node, Reply, request, send};
use crate::roles::Row;

/// A container that does not exist, for fields that cannot make a request invalid by themselves.
const MISSING: &str = "999";

/// Known attacks on similar programs, and random texts.
fn texts() -> impl Strategy<Value = String> {
    let tricks = prop::sample::select(vec![
        "4 -mp0 /root,mp=/mnt/host",
        "--force",
        "-delete memory",
        "; id",
        "$(id)",
        "`id`",
        "&& reboot",
        "| sh",
        "../../etc/passwd",
        "\0",
        "\n--purge 1",
        "x --description owned",
        "%00",
        "current",
        "vzdump",
        "a b",
        "é",
        "104;touch /tmp/x",
        "' OR 1=1",
        "{}",
        "-1",
        "-0",
        "1e9",
        "1e999",
        "0x68",
        "NaN",
        "Infinity",
        "-inf",
        "null",
        "99999999999999999999",
        "340282366920938463463374607431768211456",
        "",
        " ",
        "\u{202e}abc",
        "\u{feff}104",
        "１０４",
        "104\u{200b}",
        "\u{1f4a5}\u{301}",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        4 => tricks.clone(),
        4 => (tricks.clone(), "\\PC{0,20}").prop_map(|(trick, rest)| format!("{trick}{rest}")),
        4 => "\\PC{0,60}",
        1 => (tricks, 50_usize..2000).prop_map(|(trick, times)| trick.repeat(times.min(20_000 / trick.len().max(1)))),
    ]
}

/// A hostile value in JSON: a string, or something that is not a string.
fn values() -> impl Strategy<Value = String> {
    let quoted = texts().prop_map(|text| Value::String(text).to_string());
    let bare = prop::sample::select(vec![
        "-1",
        "-0.5",
        "-9223372036854775809",
        "18446744073709551616",
        "1e30",
        "1e999",
        "-1e999",
        "1e-9",
        "4.5",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x10",
        "04",
        "+4",
        "[]",
        "[4]",
        "{}",
        "{\"$gt\": 0}",
        "[[[[[[[[[[]]]]]]]]]]",
        "'4'",
        "4 -force",
        "4, \"cores\": 8",
        "undefined",
        "",
    ])
    .prop_map(str::to_owned);
    let number = any::<f64>().prop_map(|number| format!("{number:?}"));
    prop_oneof![6 => quoted, 2 => bare, 1 => number]
}

/// A value that a request can contain.
#[derive(Debug)]
struct Field {
    row: Row,
    /// `body`, `query`, `path` or `header`.
    place: String,
    name: String,
    schema: Value,
}

impl Field {
    /// Every field of every route.
    fn all() -> Vec<Self> {
        let document = routes::openapi();
        let mut fields = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let route = json!({"path": path, "method": method.to_ascii_uppercase()});
                let row = Row::all().into_iter().find(|row| row.is_for(&route)).unwrap();
                let mut add = |place: &Value, name: &str, schema: &Value| {
                    let place = place.as_str().unwrap().to_owned();
                    fields.push(Self { row, place, name: name.to_owned(), schema: schema.clone() });
                };
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let (place, schema) = (&parameter["in"], &parameter["schema"]);
                    match schema["properties"].as_object() {
                        // A query whose parameters depend on each other is described as one object.
                        Some(properties) => {
                            properties.iter().for_each(|(name, schema)| add(place, name, schema));
                        }
                        None => add(place, parameter["name"].as_str().unwrap(), schema),
                    }
                }
                let body = &operation["requestBody"]["content"]["application/json"]["schema"];
                for (name, schema) in body["properties"].as_object().into_iter().flatten() {
                    add(&json!("body"), name, schema);
                }
            }
        }
        fields
    }

    /// The valid request with this value in its place; `None` if no client could send it.
    fn request(&self, value: &str) -> Option<Request<Body>> {
        let escaped = || escaped(value.as_bytes());
        match self.place.as_str() {
            "body" => Some(self.build(self.row.uri, &self.body(value))),
            "query" => {
                let path = self.row.path();
                Some(self.build(&format!("{path}?{}={}", self.name, escaped()), self.row.body))
            }
            // With an empty value, it is the path of another route.
            "path" if value.is_empty() => None,
            "path" => {
                let (before, after) = self.row.uri.split_once('7').unwrap();
                Some(self.build(&format!("{before}{}{after}", escaped()), self.row.body))
            }
            "header" => {
                let mut request =
                    self.build(self.row.uri, &self.row.body.replace("104", MISSING).replace("105", MISSING));
                let name: axum::http::HeaderName = self.name.parse().unwrap();
                request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
                Some(request)
            }
            place => panic!("a field stands in the {place}: this test must learn to put a value there"),
        }
    }

    /// The valid body with this value.
    fn body(&self, value: &str) -> String {
        let mut body: Value = serde_json::from_str(self.row.body).unwrap();
        // Only one of the two names may be used.
        if let (Some(fields), "lxc_id" | "vm_id") = (body.as_object_mut(), self.name.as_str()) {
            fields.retain(|name, _| name != "lxc_id" && name != "vm_id");
        }
        body[&self.name] = json!("HERE");
        body.to_string().replace("\"HERE\"", value)
    }

    fn build(&self, uri: &str, body: &str) -> Request<Body> {
        let mut request = request(self.row.method, uri, None);
        if self.row.method == "PUT" {
            // Without it, a file is not replaced, whatever else is in the request.
            request.headers_mut().insert("if-match", HeaderValue::from_static("\"another\""));
        }
        if !body.is_empty() {
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            *request.body_mut() = Body::from(body.to_owned());
        }
        request
    }

    /// Whether the document allows the value; valid values are not part of this test.
    fn is_allowed(&self, value: &str) -> bool {
        if self.name == PURPOSE_HEADER {
            let value = value.trim();
            let is_visible = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            return is_visible && (1..=100).contains(&value.len());
        }
        if self.name == QUEUE_TIMEOUT_HEADER {
            let value = value.trim();
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            return is_number && value.parse().is_ok_and(|seconds: u64| seconds <= 3600);
        }
        if self.place != "body" {
            return self.place == "query" && self.schema["type"] == "string" && value == "proxmox";
        }
        let Ok(value) = serde_json::from_str::<Value>(value) else { return false };
        let types = self.schema["type"].as_array().cloned().unwrap_or(vec![self.schema["type"].clone()]);
        let may_be = |name: &str| types.iter().any(|each| each == name);
        match &value {
            Value::Null => may_be("null"),
            Value::Bool(_) => may_be("boolean"),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                let within = self.schema["minimum"].as_f64().is_none_or(|least| least <= number)
                    && self.schema["maximum"].as_f64().is_none_or(|most| number <= most);
                within && (may_be("number") || (may_be("integer") && number.fract() == 0.0))
            }
            Value::String(text) => match self.name.as_str() {
                "snapshot_name" => SnapshotName::new(text).is_ok(),
                "new_vm_name" => Hostname::from_requested(text).is_ok(),
                "to" => text == "original" || text.parse::<Timestamp>().is_ok(),
                // A file may contain any text (whether it is a valid configuration, the daemon's program decides),
                // and a prefix is only compared.
                "text" | "name_prefix" => true,
                _ => false,
            },
            Value::Array(items) => self.name == "remove" && items.is_empty(),
            Value::Object(_) => false,
        }
    }

    #[track_caller]
    fn assert_refused(&self, value: &str, reply: &Reply) {
        let Row { method, uri, .. } = self.row;
        let looks_only = method == "GET" && reply.status.is_success();
        assert!(
            reply.status.is_client_error() || looks_only,
            "{method} {uri} with {} = {value:?}: {reply:?}",
            self.name
        );
    }
}

/// Percent-encoded, whatever it is.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).map(char::from).collect()
}

fn how_many() -> usize {
    std::env::var("HOSTILE_VALUES").ok().map_or(500, |text| text.parse().unwrap())
}

/// Generates the same values every time.
fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn draw<T>(strategy: &impl Strategy<Value = T>, runner: &mut TestRunner) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// The log of calls works: it has the valid request of every route that sets a size.
async fn assert_good_requests_are_logged(node: &Node, api: &Router) {
    assert_eq!(node.calls(), [""; 0]);
    for (row, call) in [
        ("/scale/cores", "set 104 -cores 3"),
        ("/scale/ram", "set 104 -memory 2049"),
        ("/scale/cpulimit", "set 104 -cpulimit 1.5"),
    ] {
        let row = Row::all().into_iter().find(|each| each.uri == row).unwrap();
        let body = row.body.replace("\"cores\": 2", "\"cores\": 3").replace("2048", "2049");
        send(api, request(row.method, row.uri, serde_json::from_str(&body).ok())).await.data();
        assert_eq!(node.calls().last().unwrap(), call);
    }
}

/// Tests every `n`th field, so that parallel tests share the fields.
async fn hostile_values_in(share: usize, of: usize) {
    let node = Node::new();
    let api = node.api();
    let mut runner = runner();
    let mut tried = 0;
    for field in Field::all().into_iter().skip(share).step_by(of) {
        // A header never makes a request invalid, so each of these requests gets as far as reading the container.
        let times = if field.place == "header" { how_many() / 20 } else { how_many() };
        for _ in 0..times {
            let value = if field.place == "body" {
                draw(&values(), &mut runner)
            } else {
                draw(&texts(), &mut runner)
            };
            if field.is_allowed(&value) {
                continue;
            }
            let Some(request) = field.request(&value) else { continue };
            field.assert_refused(&value, &send(&api, request).await);
            tried += 1;
        }
        let huge = json!("9".repeat(100_000)).to_string();
        if field.place == "body" {
            send(&api, field.request(&huge).unwrap()).await.assert_error(413, "body_too_large");
        }
        assert_eq!(node.calls(), [""; 0], "{field:?}");
    }
    assert!(how_many() < tried, "{tried} values");
    assert_good_requests_are_logged(&node, &api).await;
}

#[tokio::test]
async fn hostile_values_cause_no_call_in_a_third_of_the_fields() {
    hostile_values_in(0, 3).await;
}

#[tokio::test]
async fn hostile_values_cause_no_call_in_another_third() {
    hostile_values_in(1, 3).await;
}

#[tokio::test]
async fn hostile_values_cause_no_call_in_the_last_third() {
    hostile_values_in(2, 3).await;
}

/// An unknown field is refused, whatever its name, even if everything else is valid.
#[tokio::test]
async fn hostile_names_cause_no_call() {
    let node = Node::new();
    let api = node.api();
    let mut runner = runner();
    for row in Row::all().into_iter().filter(|row| !row.body.is_empty()) {
        for _ in 0..how_many() / 10 {
            let name = draw(&texts(), &mut runner);
            let mut body: Value = serde_json::from_str(row.body).unwrap();
            body[&name] = json!(1);
            let reply = send(&api, request(row.method, row.uri, Some(body))).await;
            assert!(reply.status.is_client_error(), "{name:?}: {reply:?}");
        }
    }
    assert_good_requests_are_logged(&node, &api).await;
}

/// The same texts raw, as path, query and body.
#[tokio::test]
async fn hostile_bytes_anywhere_get_an_answer_and_cause_no_call() {
    let node = Node::new();
    let api = node.api();
    let mut runner = runner();
    for _ in 0..how_many() / 2 {
        let text = draw(&texts(), &mut runner);
        let escaped = escaped(&text.as_bytes()[..text.len().min(10_000)]);
        for uri in [
            format!("/snapshot/list?vm_id={escaped}"),
            format!("/resource/vm/status?vm_id=104&x{escaped}=1"),
            format!("/resource/node/status?node_name={escaped}"),
            format!("/scale/cores/{escaped}"),
        ] {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"] {
                let request = Request::builder().method(method).uri(&uri).header("host", "localhost");
                let request =
                    request.header("content-type", "application/json").extension(Peer { uid: Some(0) });
                let request = request.body(Body::from(text.clone())).unwrap();
                let reply = send(&api, request).await;
                assert!(reply.status.is_client_error(), "{uri:?}: {reply:?}");
            }
        }
    }
    assert_eq!(node.calls(), [""; 0]);
}
