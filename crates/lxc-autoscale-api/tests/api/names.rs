//! `lxc_id` as an alternative to `vm_id`: every request that names a container accepts one of the two.

use axum::Router;
use lxc_autoscale_api::routes;
use serde_json::{Map, Value, json};

use crate::node::{Reply, request, send};
use crate::why::node_with;

/// A valid request for every route that names a container.
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("POST", "/scale/cores", json!({"vm_id": 104, "cores": 3})),
        ("POST", "/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 1.5})),
        ("POST", "/scale/ram", json!({"vm_id": 104, "memory": 3072})),
        ("POST", "/scale/storage/increase", json!({"vm_id": 104, "disk_size": 1})),
        ("POST", "/snapshot/create", json!({"vm_id": 104, "snapshot_name": "once"})),
        ("GET", "/snapshot/list", json!({"vm_id": 104})),
        ("POST", "/snapshot/rollback", json!({"vm_id": 104, "snapshot_name": "once"})),
        ("POST", "/snapshot/prune", json!({"vm_id": 104, "keep": 1})),
        ("DELETE", "/snapshot/delete", json!({"vm_id": 104, "snapshot_name": "once"})),
        ("POST", "/clone/create", json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"})),
        ("DELETE", "/clone/delete", json!({"vm_id": 105})),
        ("GET", "/resource/vm/status", json!({"vm_id": 104})),
        ("POST", "/power/start", json!({"vm_id": 104})),
        ("POST", "/power/reboot", json!({"vm_id": 104})),
        ("POST", "/power/shutdown", json!({"vm_id": 104, "timeout": 30})),
        ("POST", "/power/stop", json!({"vm_id": 104})),
        ("GET", "/resource/lxc/status", json!({"vm_id": 104})),
        ("GET", "/resource/lxc/config", json!({"vm_id": 104})),
        ("GET", "/resource/lxc/why", json!({"vm_id": 104})),
        ("GET", "/metrics/current", json!({"vm_id": 104})),
        ("GET", "/ledger", json!({"vm_id": 104})),
        ("POST", "/undo", json!({"vm_id": 104, "to": "original"})),
        ("POST", "/boost", json!({"vm_id": 104, "cores": 4, "minutes": 5})),
        ("GET", "/boost", json!({"vm_id": 104})),
        ("DELETE", "/boost", json!({"vm_id": 104})),
    ]
}

async fn ask(api: &Router, method: &str, path: &str, fields: &Value) -> Reply {
    if method != "GET" {
        return send(api, request(method, path, Some(fields.clone()))).await;
    }
    let pairs = fields.as_object().unwrap().iter().map(|(name, value)| format!("{name}={value}"));
    send(api, request("GET", &format!("{path}?{}", pairs.collect::<Vec<_>>().join("&")), None)).await
}

/// The same request with the second names of all fields that have one.
fn renamed(fields: &Value) -> Value {
    let later = |(name, value): (&String, &Value)| (name.replace("vm_", "lxc_"), value.clone());
    Value::Object(fields.as_object().unwrap().iter().map(later).collect::<Map<_, _>>())
}

#[tokio::test]
async fn one_of_two_names_is_given() {
    let node = node_with("echo '{}'");
    node.measured(104, 300.5, 5);
    let api = node.api();
    for (method, path, fields) in requests() {
        let reply = ask(&api, method, path, &renamed(&fields)).await;
        reply.data();
        for other in [104, 102] {
            let mut both = fields.clone();
            both["lxc_id"] = json!(other);
            let reply = ask(&api, method, path, &both).await;
            reply.assert_error(400, "invalid_parameter");
            assert!(reply.message().contains("`lxc_id` is the same field"), "{method} {path}: {reply:?}");
        }
        let mut wrong = renamed(&fields);
        wrong["lxc_id"] = json!(99);
        ask(&api, method, path, &wrong).await.assert_error(400, "invalid_parameter");
        let mut nobody = fields.clone();
        nobody.as_object_mut().unwrap().remove("vm_id");
        let reply = ask(&api, method, path, &nobody).await;
        // Both return all containers if none is named.
        if ["GET /ledger", "GET /boost", "GET /metrics/current"]
            .contains(&format!("{method} {path}").as_str())
        {
            reply.data();
        } else {
            reply.assert_error(400, "invalid_parameter");
        }
    }
}

/// Every route with a `vm_id` in the document must be in the table above, and must also have an `lxc_id`.
#[test]
fn no_route_is_forgotten() {
    let document = routes::openapi();
    let requests = requests();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let parameters =
                operation["parameters"].as_array().into_iter().flatten().map(|each| &each["schema"]);
            for schema in parameters.chain([body]) {
                let fields = &schema["properties"];
                let has = |name: &str| fields[name]["type"].is_string() || fields[name]["type"].is_array();
                assert_eq!(has("vm_id"), has("lxc_id"), "{method} {path}: {fields}");
                let is_listed =
                    requests.iter().any(|(listed, at, _)| listed.eq_ignore_ascii_case(method) && at == path);
                assert!(!has("vm_id") || is_listed, "{method} {path} has no line in this table");
            }
        }
    }
}
