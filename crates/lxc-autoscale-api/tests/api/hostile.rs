//! Ten thousand hostile strings in every field that takes one: `pct` is not called once.

use axum::body::Body;
use axum::http::{Request, Uri};
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::params::{Hostname, SnapshotName};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::node::{Node, request, send};

/// What has been tried against programs like this one, and whatever else comes to mind.
fn hostile() -> impl Strategy<Value = String> {
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
        "1e9",
        "0x68",
        "99999999999999999999",
        "",
        " ",
        "\u{202e}abc",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        tricks.clone(),
        (tricks, "\\PC{0,20}").prop_map(|(trick, rest)| format!("{trick}{rest}")),
        "\\PC{0,60}"
    ]
}

/// All requests into which a hostile string can go.
fn requests(text: &str) -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("POST", "/scale/cores", json!({"vm_id": 104, "cores": text})),
        ("POST", "/scale/cores", json!({"vm_id": text, "cores": 4})),
        ("POST", "/scale/ram", json!({"vm_id": 104, "memory": text})),
        ("POST", "/scale/storage/increase", json!({"vm_id": 104, "disk_size": text})),
        ("POST", "/snapshot/create", json!({"vm_id": 104, "snapshot_name": text})),
        ("POST", "/snapshot/rollback", json!({"vm_id": 104, "snapshot_name": text})),
        ("POST", "/clone/create", json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": text})),
        ("POST", "/clone/create", json!({"vm_id": 104, "new_vm_id": text, "new_vm_name": "copy"})),
        ("DELETE", "/clone/delete", json!({"vm_id": text})),
        ("DELETE", "/snapshot/delete", json!({"vm_id": 104, "snapshot_name": text})),
        ("POST", "/power/shutdown", json!({"vm_id": 104, "timeout": text})),
        ("POST", "/scale/cores", json!({"vm_id": 104, "cores": 4, text: 1})),
    ]
}

#[test]
fn ten_thousand_hostile_strings_cause_no_call() {
    let node = Node::new();
    let api = node.api();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 10_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&hostile(), |text| {
        // The few that are names by chance are none of this test's business.
        prop_assume!(SnapshotName::new(&text).is_err() && Hostname::from_requested(&text).is_err());
        runtime.block_on(async {
            for (method, path, body) in requests(&text) {
                let reply = send(&api, request(method, path, Some(body))).await;
                prop_assert_eq!(reply.status.as_u16(), 400, "{:?}: {:?}", text, reply);
            }
            Ok(())
        })?;
        prop_assert!(node.calls().is_empty());
        Ok(())
    });
    result.unwrap();
}

/// The same strings raw, as path, query and body.
#[test]
fn hostile_bytes_anywhere_get_an_answer_and_cause_no_call() {
    let node = Node::new();
    let api = node.api();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&hostile(), |text| {
        let escaped: String =
            text.bytes().flat_map(|byte| format!("%{byte:02x}").into_bytes()).map(char::from).collect();
        for uri in [
            format!("/snapshot/list?vm_id={escaped}"),
            format!("/resource/vm/status?vm_id=104&x{escaped}=1"),
            format!("/resource/node/status?node_name={escaped}"),
            format!("/scale/cores/{escaped}"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"] {
                let request = Request::builder().method(method).uri(&uri).header("host", "localhost");
                let request =
                    request.header("content-type", "application/json").extension(Peer { uid: Some(0) });
                let request = request.body(Body::from(text.clone())).unwrap();
                let reply = runtime.block_on(send(&api, request));
                prop_assert!(reply.status.is_client_error(), "{:?}: {:?}", uri, reply);
            }
        }
        Ok(())
    });
    result.unwrap();
    assert!(node.calls().is_empty());
}
