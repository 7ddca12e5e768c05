//! Assembles the OpenAPI document.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::endpoint::{Schemas, Shape, error_envelope};
use super::faults::{self, Faults};
use crate::auth::caller::Role;
use crate::auth::purpose::Purpose;
use crate::auth::queue_timeout;

/// A row of the table of routes.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: &'static str,
    /// One sentence about it.
    pub description: &'static str,
    /// The lowest role that may use it.
    pub role: Role,
    /// The input and output of its handler.
    pub shape: Shape,
    /// The errors it can answer with, in addition to those of its parameters.
    pub faults: Vec<Faults>,
}

/// The introduction of the document.
const INTRODUCTION: &str = "Resizes, snapshots and copies the LXC containers of a Proxmox VE node, and shows their \
    state. Root on the node needs no key; everyone else sends a key as `Authorization: Bearer KEY` (see \
    `lxc-autoscale-api key create`). Every JSON answer is an object of `status`, `message` and `data`; an error has a \
    stable `code`, too.";

/// The name of the schema of an error.
const ERROR: &str = "Error";

/// The OpenAPI 3.1 document of these routes.
pub fn document(routes: &[Described], schemas: Schemas) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut tags: Vec<&str> = Vec::new();
    for route in routes {
        let tag = tag(route.path);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let operations = paths.entry(route.path).or_default();
        operations.insert(route.method.as_str().to_ascii_lowercase(), operation(route));
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "LXC AutoScale ML",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": tags.into_iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": components(schemas),
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key created by `lxc-autoscale-api key create`.",
            }},
        },
    });
    in_plain_words(&mut document);
    document
}

/// The schemas that others refer to, and the one of an error.
fn components(schemas: Schemas) -> Map<String, Value> {
    let mut components = schemas.into_components();
    let mut error = error_envelope(&json!({"type": "null"}), &[]);
    error["properties"]["code"] = json!({"type": "string", "description": "Stable, for programs."});
    components.insert(ERROR.to_owned(), error);
    components
}

/// The first word of a path, by which routes are grouped.
fn tag(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn operation(route: &Described) -> Value {
    let name = format!("{}{}", route.method.as_str().to_ascii_lowercase(), route.path);
    let shape = &route.shape;
    let mut operation = json!({
        "operationId": name.replace(['/', '.'], "_").replace(['{', '}'], ""),
        "summary": route.description,
        "tags": [tag(route.path)],
        "x-role": route.role.name(),
        "responses": responses(route),
    });
    let of_changes = is_change(route).then(|| [Purpose::parameter(), queue_timeout::parameter()]);
    let parameters: Vec<Value> = shape
        .parameters
        .iter()
        .chain(of_changes.iter().flatten())
        .map(|parameter| {
            let mut schema = parameter.schema.clone();
            let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
            let mut described = json!({
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.required,
                "description": description.unwrap_or_default(),
                "schema": schema,
            });
            if parameter.is_group {
                described["style"] = "form".into();
                described["explode"] = true.into();
            }
            described
        })
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = &shape.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": body}}});
    }
    operation
}

/// Whether it accepts the headers of changes.
fn is_change(route: &Described) -> bool {
    !route.method.is_safe()
}

fn responses(route: &Described) -> Value {
    let mut responses = Map::new();
    for answer in &route.shape.answers {
        let status = answer.status.as_str().to_owned();
        let description = reason(answer.status.as_u16());
        let response =
            responses.entry(status).or_insert_with(|| json!({"description": description, "content": {}}));
        response["content"][answer.media_type] = json!({"schema": answer.schema});
    }
    let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let purpose: &[Faults] = if is_change(route) { &[faults::PARAMETERS] } else { &[] };
    let groups = [&[faults::ANY], purpose, route.faults.as_slice(), route.shape.faults.as_slice()];
    for (status, code) in groups.into_iter().flatten().copied().flatten().copied() {
        let codes = codes.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    for (status, mut codes) in codes {
        // The answer of a failed health check is listed among the successful ones.
        if !responses.contains_key(&status.to_string()) {
            codes.sort_unstable();
            responses.insert(status.to_string(), failure(status, &codes));
        }
    }
    responses.into()
}

/// An error response.
fn failure(status: u16, codes: &[&str]) -> Value {
    let codes = json!({"properties": {"code": {"enum": codes}}});
    let schema = json!({"allOf": [{"$ref": format!("#/components/schemas/{ERROR}")}, codes]});
    let mut response =
        json!({"description": reason(status), "content": {"application/json": {"schema": schema}}});
    if status == 429 {
        let seconds = json!({"type": "integer", "minimum": 1});
        response["headers"] = json!({"Retry-After": {
            "description": "Seconds to wait before trying again.", "required": true, "schema": seconds,
        }});
    }
    response
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Answer")
}

/// Removes markup from the descriptions that only rustdoc understands.
fn in_plain_words(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => {
                        *text = text.replace("[`", "`").replace("`]", "`").replace("crate::snapshot::", "");
                    }
                    field => in_plain_words(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(in_plain_words),
        _ => {}
    }
}
