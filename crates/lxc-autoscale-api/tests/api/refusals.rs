//! Refusals with their status and code; nothing is changed by any of them.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::config::ConfirmDestroy;
use serde_json::{Value, json};

use crate::node::{Node, RUNNING_104, Reply, request, send};
use crate::server::Server;

/// Sends a request and asserts that it is refused without a call of `pct`.
async fn refused(node: &Node, method: &str, path: &str, body: Value, status: u16, code: &str) {
    let reply = node.send(method, path, (body != Value::Null).then_some(body)).await;
    reply.assert_error(status, code);
    assert_eq!(node.calls(), [""; 0], "{reply:?}");
}

#[tokio::test]
async fn a_container_in_no_state_for_it() {
    let node = Node::new();
    node.write_conf(110, &format!("{RUNNING_104}lock: backup\n"));
    node.write_conf(111, &format!("{RUNNING_104}template: 1\n"));
    node.write_conf(112, &format!("{RUNNING_104}lxc.cgroup2.cpuset.cpus: 0-1\n"));
    node.write_conf(113, "memory: 512\ntags: lxc-autoscale-clone-113\nprotection: 1\n");
    node.write_conf(114, "memory: 512\ntags: lxc-autoscale-clone-113\n");
    node.write_conf(116, "memory: 512\ntags: lxc-autoscale-clone-116\n");
    node.write_conf(115, "memory: 512\n\n[before]\nmemory: 512\n");
    for (method, path, body, status, code) in [
        ("POST", "/scale/cores", json!({"vm_id": 999, "cores": 4}), 404, "no_such_container"),
        ("POST", "/scale/ram", json!({"vm_id": 999, "memory": 4096}), 404, "no_such_container"),
        ("POST", "/scale/storage/increase", json!({"vm_id": 999, "disk_size": 1}), 404, "no_such_container"),
        ("POST", "/snapshot/create", json!({"vm_id": 999, "snapshot_name": "ab"}), 404, "no_such_container"),
        (
            "POST",
            "/snapshot/rollback",
            json!({"vm_id": 999, "snapshot_name": "ab"}),
            404,
            "no_such_container",
        ),
        (
            "POST",
            "/snapshot/rollback",
            json!({"vm_id": 104, "snapshot_name": "none"}),
            404,
            "no_such_snapshot",
        ),
        (
            "POST",
            "/snapshot/create",
            json!({"vm_id": 115, "snapshot_name": "before"}),
            409,
            "snapshot_exists",
        ),
        ("GET", "/snapshot/list?vm_id=999", Value::Null, 404, "no_such_container"),
        ("GET", "/resource/vm/status?vm_id=999", Value::Null, 404, "no_such_container"),
        ("POST", "/scale/cores", json!({"vm_id": 110, "cores": 4}), 409, "locked"),
        ("POST", "/scale/cpulimit", json!({"vm_id": 110, "cpulimit": 1.5}), 409, "locked"),
        ("POST", "/scale/cpulimit", json!({"vm_id": 111, "cpulimit": 1.5}), 409, "is_template"),
        ("POST", "/scale/ram", json!({"vm_id": 110, "memory": 4096}), 409, "locked"),
        ("POST", "/snapshot/create", json!({"vm_id": 110, "snapshot_name": "ab"}), 409, "locked"),
        ("POST", "/scale/cores", json!({"vm_id": 111, "cores": 4}), 409, "is_template"),
        ("POST", "/scale/cores", json!({"vm_id": 112, "cores": 4}), 409, "pinned_cpuset"),
        (
            "POST",
            "/clone/create",
            json!({"vm_id": 104, "new_vm_id": 102, "new_vm_name": "x"}),
            409,
            "container_exists",
        ),
        (
            "POST",
            "/clone/create",
            json!({"vm_id": 104, "new_vm_id": 104, "new_vm_name": "x"}),
            409,
            "container_exists",
        ),
        (
            "POST",
            "/clone/create",
            json!({"vm_id": 104, "new_vm_id": 200, "new_vm_name": "x"}),
            409,
            "container_exists",
        ),
        (
            "POST",
            "/clone/create",
            json!({"vm_id": 999, "new_vm_id": 105, "new_vm_name": "x"}),
            404,
            "no_such_container",
        ),
        ("POST", "/clone/create", json!({"vm_id": 110, "new_vm_id": 105, "new_vm_name": "x"}), 409, "locked"),
        ("DELETE", "/clone/delete", json!({"vm_id": 999}), 404, "no_such_container"),
        ("DELETE", "/clone/delete", json!({"vm_id": 104}), 403, "not_a_clone"),
        ("DELETE", "/clone/delete", json!({"vm_id": 113}), 409, "protected"),
        // A copy that somebody made of our copy has a mark with another id.
        ("DELETE", "/clone/delete", json!({"vm_id": 114}), 403, "not_a_clone"),
        // Anyone who may set tags can set ours.
        ("DELETE", "/clone/delete", json!({"vm_id": 116}), 403, "not_a_clone"),
    ] {
        refused(&node, method, path, body, status, code).await;
    }
}

/// All combinations of configuration and request; a protected container is never removed.
#[tokio::test]
async fn a_container_that_is_no_copy_goes_only_when_both_say_so_and_the_second_time() {
    for (configured, asked, goes) in
        [(false, false, false), (false, true, false), (true, false, false), (true, true, true)]
    {
        let mut node = Node::new();
        node.config.limits.destroy_any_container = configured;
        node.write_conf(113, &format!("{RUNNING_104}protection: 1\n"));
        let body = |id: u32| json!({"vm_id": id, "any_container": asked});
        let api = node.api();
        let reply = remove(&api, body(102)).await;
        if goes {
            let given = confirmation(&reply);
            assert_eq!(node.calls(), [""; 0]);
            let again = json!({"vm_id": 102, "any_container": true, "confirmation": given});
            remove(&api, again).await.data();
            assert_eq!((node.calls(), node.conf(102)), (vec!["destroy 102 --purge 1".to_owned()], None));
        } else {
            reply.assert_error(403, "not_a_clone");
            assert!(reply.message().contains("`limits.destroy_any_container`"), "{reply:?}");
            assert_eq!(node.calls(), [""; 0]);
        }
        node.send("DELETE", "/clone/delete", Some(body(113))).await.assert_error(409, "protected");
        assert!(node.conf(113).is_some());
    }
}

#[tokio::test]
async fn a_container_that_runs_and_is_no_copy_stays() {
    let mut node = Node::new();
    node.config.limits.destroy_any_container = true;
    let body = json!({"vm_id": 104, "any_container": true});
    refused(&node, "DELETE", "/clone/delete", body, 409, "running").await;
    refused(&node, "POST", "/undo", json!({"vm_id": 999, "to": "original"}), 404, "no_such_container").await;
}

async fn remove(api: &Router, body: Value) -> Reply {
    send(api, request("DELETE", "/clone/delete", Some(body))).await
}

/// The confirmation in a response that refuses a removal without one.
#[track_caller]
fn confirmation(reply: &Reply) -> Value {
    let (status, code) = (reply.status.as_u16(), &reply.body["code"]);
    assert_eq!((status, code), (428, &json!("confirmation_needed")), "{reply:?}");
    reply.body["data"]["confirmation"].clone()
}

/// A confirmation is valid only for what was shown.
#[tokio::test]
async fn a_container_that_was_changed_since_it_was_shown_stays() {
    let mut node = Node::new();
    node.config.limits.destroy_any_container = true;
    let body =
        |confirmation: Value| json!({"vm_id": 102, "any_container": true, "confirmation": confirmation});
    let api = node.api();
    let shown = remove(&api, body(Value::Null)).await;
    let data = &shown.body["data"];
    assert_eq!((&data["vm_id"], &data["snapshots"]), (&json!(102), &json!([])), "{data}");
    node.write_conf(102, &format!("{}tags: important\n", node.conf(102).unwrap()));
    let again = remove(&api, body(confirmation(&shown))).await;
    assert_ne!(confirmation(&again), confirmation(&shown));
    for nonsense in ["", "-", "1-2", "9999999999-00000000000000000000000000000000"] {
        confirmation(&remove(&api, body(json!(nonsense))).await);
    }
    assert_eq!(node.calls(), [""; 0]);
    // Another server does not accept it.
    confirmation(&remove(&node.api(), body(confirmation(&again))).await);
    remove(&api, body(confirmation(&again))).await.data();
    assert_eq!(node.conf(102), None);
}

#[tokio::test]
async fn which_removals_take_two_requests_is_configured() {
    for (confirm, of_a_copy, of_another) in [
        (ConfirmDestroy::Others, 200, 428),
        (ConfirmDestroy::Always, 428, 428),
        (ConfirmDestroy::Never, 200, 200),
    ] {
        let mut node = Node::new();
        node.config.limits.destroy_any_container = true;
        node.config.limits.confirm_destroy = confirm;
        let order = json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"});
        node.send("POST", "/clone/create", Some(order)).await.data();
        let remove = |id: u32| json!({"vm_id": id, "any_container": id == 102});
        let copy = node.send("DELETE", "/clone/delete", Some(remove(105))).await;
        let other = node.send("DELETE", "/clone/delete", Some(remove(102))).await;
        assert_eq!(
            (copy.status.as_u16(), other.status.as_u16()),
            (of_a_copy, of_another),
            "{confirm:?}: {copy:?} {other:?}"
        );
    }
}

#[tokio::test]
async fn numbers_out_of_bounds() {
    let mut node = Node::new();
    node.config.limits.max_cores = 8;
    node.config.limits.max_memory_mib = 8192;
    node.config.limits.max_disk_increase_gib = 10;
    for (path, body) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 0})),
        ("/scale/cores", json!({"vm_id": 104, "cores": 9})),
        ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": -0.1})),
        ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 8.01})),
        ("/scale/ram", json!({"vm_id": 104, "memory": 15})),
        ("/scale/ram", json!({"vm_id": 104, "memory": 8193})),
        ("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 0})),
        ("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 11})),
    ] {
        refused(&node, "POST", path, body, 422, "out_of_bounds").await;
    }
}

/// Somebody else has set the size since the client looked.
#[tokio::test]
async fn a_size_that_is_another_than_expected() {
    let node = Node::new();
    node.write_conf(105, &format!("{RUNNING_104}cpulimit: 1.5\n"));
    for (path, body, has) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 4, "expected": 3}), "is 2, and the request expects 3"),
        (
            "/scale/cores",
            json!({"vm_id": 104, "cores": 4, "expected": 0}),
            "is 2, and the request expects none",
        ),
        (
            "/scale/cores",
            json!({"vm_id": 102, "cores": 4, "expected": 2}),
            "is none, and the request expects 2",
        ),
        (
            "/scale/cpulimit",
            json!({"vm_id": 105, "cpulimit": 1, "expected": 2}),
            "is 1.5, and the request expects 2",
        ),
        (
            "/scale/cpulimit",
            json!({"vm_id": 104, "cpulimit": 1, "expected": 2}),
            "is none, and the request expects 2",
        ),
        (
            "/scale/cpulimit",
            json!({"vm_id": 105, "cpulimit": 0, "expected": 0}),
            "is 1.5, and the request expects none",
        ),
        (
            "/scale/ram",
            json!({"vm_id": 104, "memory": 4096, "expected": 1024}),
            "is 2048 MiB, and the request expects 1024 MiB",
        ),
    ] {
        let reply = node.post(path, body).await;
        reply.assert_error(409, "size_changed");
        assert!(
            reply.message().contains(has) && reply.message().ends_with("nothing was changed"),
            "{reply:?}"
        );
        assert_eq!(node.calls(), [""; 0]);
    }
    for (path, body) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 4, "expected": 8193})),
        ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 1, "expected": -1})),
        ("/scale/ram", json!({"vm_id": 104, "memory": 4096, "expected": 1_073_741_825})),
    ] {
        refused(&node, "POST", path, body, 422, "out_of_bounds").await;
    }
    // If the size already is the requested one, that is no loss; if it is the expected one, it is changed.
    for (path, body, changed) in [
        ("/scale/cores", json!({"vm_id": 104, "cores": 2, "expected": 7}), false),
        ("/scale/ram", json!({"vm_id": 104, "memory": 2048, "expected": 7}), false),
        ("/scale/cores", json!({"vm_id": 104, "cores": 4, "expected": 2.0}), true),
        ("/scale/cores", json!({"vm_id": 102, "cores": 2, "expected": 0}), true),
        ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 1, "expected": 0}), true),
        ("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 2, "expected": 1.0}), true),
        ("/scale/ram", json!({"vm_id": 104, "memory": 4096, "expected": 2048}), true),
        ("/scale/ram", json!({"vm_id": 104, "memory": 8192, "expected": null}), true),
    ] {
        assert_eq!(node.post(path, body.clone()).await.data()["changed"], changed, "{path} {body}");
    }
}

#[tokio::test]
async fn malformed_parameters() {
    let node = Node::new();
    for body in [
        json!({"vm_id": 104}),
        json!({"vm_id": 104, "cores": 4, "memory": 1}),
        json!({"vm_id": 99, "cores": 4}),
        json!({"vm_id": "104", "cores": 4}),
        json!({"vm_id": 104, "cores": -5}),
        json!({"vm_id": 104, "cores": 1.5}),
        json!({"vm_id": 104, "cores": "4 -mp0 /root,mp=/mnt/host"}),
        json!([]),
    ] {
        refused(&node, "POST", "/scale/cores", body, 400, "invalid_parameter").await;
    }
    for name in ["", "x --description owned", "-start", "current", "a"] {
        let body = json!({"vm_id": 104, "snapshot_name": name});
        refused(&node, "POST", "/snapshot/create", body, 400, "invalid_parameter").await;
    }
    for name in ["", "-x", "a b", "--full"] {
        let body = json!({"vm_id": 104, "new_vm_id": 105, "new_vm_name": name});
        refused(&node, "POST", "/clone/create", body, 400, "invalid_parameter").await;
    }
    for query in [
        "",
        "?vm_id=",
        "?vm_id=abc",
        "?vm_id=104%3Bid",
        "?vm_id=104&x=1",
        "?vm_id=99",
        "?vm_id=104&vm_id=105",
    ] {
        for path in ["/snapshot/list", "/resource/vm/status"] {
            refused(&node, "GET", &format!("{path}{query}"), Value::Null, 400, "invalid_parameter").await;
        }
    }
}

/// An error about a request names the field, in a body and in a query.
#[test]
fn what_is_malformed_is_named() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let [post, get] = ["POST", "GET"];
    for (method, path, body, says) in [
        (
            post,
            "/scale/cores",
            json!({"vm_id": 104, "cores": "2"}),
            "`cores`: invalid type: string \"2\", expected a whole number",
        ),
        (
            post,
            "/scale/cores",
            json!({"vm_id": 104, "cores": 1.5}),
            "`cores`: invalid value: floating point `1.5`",
        ),
        (post, "/scale/cores", json!({"vm_id": 104}), "missing field `cores`"),
        (
            post,
            "/scale/cores",
            json!({"vm_id": 104, "lxc_id": 104, "cores": 2}),
            "(`lxc_id` is the same field)",
        ),
        (get, "/snapshot/list?vm_id=abc", Value::Null, "`vm_id`: in the query: "),
        (get, "/resource/node/status", Value::Null, "in the query: missing field `node_name`"),
        (get, "/snapshot/list?vm_id=104&x=1", Value::Null, "unknown field `x`"),
    ] {
        let (status, answer) = server.ask(method, path, &body);
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_parameter")), "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(says) && !message.contains("deserialize"), "{path}: {message}");
    }
}

#[tokio::test]
async fn one_is_told_from_many() {
    let node = Node::new();
    node.measured(104, 300.0, 1);
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    for (path, says) in [
        ("/metrics/current", "1 container, measured "),
        ("/ledger", "1 change of sizes."),
        ("/jobs", "0 jobs."),
        ("/snapshot/list?vm_id=104", "Container 104 has no snapshots."),
    ] {
        let reply = node.get(path).await;
        assert!(reply.message().starts_with(says), "{reply:?}");
    }
}

#[tokio::test]
async fn every_error_has_the_one_shape() {
    let node = Node::new();
    refused(&node, "GET", "/nowhere", Value::Null, 404, "no_such_route").await;
    refused(&node, "POST", "/scale/cores/", json!({}), 404, "no_such_route").await;
    refused(&node, "GET", "/scale/cores?vm_id=104&cores=4", Value::Null, 405, "method_not_allowed").await;
    refused(&node, "POST", "/clone/delete", json!({"vm_id": 104}), 405, "method_not_allowed").await;
    let reply = node.get("/scale/cores").await;
    assert_eq!(reply.headers["allow"], "POST");
    assert_eq!(reply.headers["cache-control"], "no-store");

    let api = node.api();
    let with = |content_type: Option<&str>, body: Body| {
        let request =
            Request::post("/scale/cores").header("host", "proxmox:5000").extension(Peer { uid: Some(0) });
        let request = match content_type {
            Some(value) => request.header("content-type", value),
            None => request,
        };
        request.body(body).unwrap()
    };
    let good = r#"{"vm_id": 104, "cores": 2}"#;
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        send(&api, with(content_type, Body::from(good))).await.assert_error(415, "unsupported_media_type");
    }
    send(&api, with(Some("application/json; charset=utf-8"), Body::from(good))).await.data();
    for broken in ["", "{", "{\"vm_id\": 104,", "nonsense"] {
        send(&api, with(Some("application/json"), Body::from(broken)))
            .await
            .assert_error(400, "invalid_json");
    }
    let long = format!("{{\"vm_id\": 104, \"cores\": {}4}}", " ".repeat(64 << 10));
    send(&api, with(Some("application/json"), Body::from(long))).await.assert_error(413, "body_too_large");
    assert_eq!(node.calls(), [""; 0]);
}

/// Who × where from × expected.
#[tokio::test]
async fn strangers_get_no_answer() {
    let mut node = Node::new();
    node.config.server.trusted_uids = vec![990];
    node.config.server.allowed_hosts = vec!["pve.example.com".to_owned()];
    let api = node.api();
    let ask = async |uid: Option<u32>, host: &str, extra: Option<(&str, &str)>| {
        let request = Request::post("/scale/cores").header("host", host).extension(Peer { uid });
        let request = match extra {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let body = Body::from(r#"{"vm_id": 104, "cores": 2}"#);
        send(&api, request.header("content-type", "application/json").body(body).unwrap()).await
    };
    for host in ["proxmox:5000", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "pve.example.com"] {
        ask(Some(0), host, None).await.data();
        ask(Some(990), host, None).await.data();
        ask(Some(1000), host, None).await.assert_error(403, "forbidden");
        ask(None, host, None).await.assert_error(403, "forbidden");
    }
    ask(Some(0), "evil.example:5000", None).await.assert_error(421, "unknown_host");
    ask(Some(0), "192.168.1.10:5000", None).await.assert_error(421, "unknown_host");
    ask(Some(0), "proxmox:5000", Some(("origin", "http://proxmox:5000"))).await.data();
    for (name, value) in
        [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        ask(Some(0), "proxmox:5000", Some((name, value))).await.assert_error(403, "foreign_origin");
    }
    // A request that did not come over a connection has no peer.
    let mut anonymous = request("GET", "/routes", None);
    anonymous.extensions_mut().clear();
    send(&api, anonymous).await.assert_error(403, "forbidden");
    assert_eq!(node.calls(), [""; 0]);
}

#[tokio::test]
async fn a_shrink_that_might_hurt() {
    let mut node = Node::new();
    let shrink = json!({"vm_id": 104, "memory": 1024});
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    node.measured(104, 1000.0, 600);
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    node.measured(104, 10.0, -600);
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    node.measured(105, 10.0, 5);
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    node.measured(104, 1000.0, 5);
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_below_working_set").await;

    node.config.limits.memory_margin_percent = 2.0;
    node.post("/scale/ram", shrink.clone()).await.data();
    assert_eq!(node.calls(), ["set 104 -memory 1024"]);
}

/// Whatever is in place of the metrics file, it must not allow a shrink or stop the server.
#[tokio::test]
async fn a_shrink_by_a_file_that_is_no_metrics_file() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let node = Node::new();
    let shrink = json!({"vm_id": 104, "memory": 1024});
    node.measured(104, 10.0, 5);
    let file = &node.config.metrics.file;
    let good = std::fs::read_to_string(file).unwrap();
    for broken in [
        good[..good.len() / 2].to_owned(),
        good.replace("10.0", "\"ten\""),
        good.replace("10.0", "null"),
        good.replace("10.0", "-0.1"),
        good.replace("10.0", "0.0"),
        format!("{good}garbage"),
        String::new(),
        "[\n]\n".to_owned(),
    ] {
        std::fs::write(file, &broken).unwrap();
        refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    }
    // A terabyte without a line break.
    std::fs::File::create(file).unwrap().set_len(1 << 40).unwrap();
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    std::fs::remove_file(file).unwrap();
    mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    refused(&node, "POST", "/scale/ram", shrink.clone(), 409, "shrink_without_metrics").await;
    assert_eq!(node.get("/health/check").await.data()["state"], "degraded");
}

#[tokio::test]
async fn a_shrink_that_cannot_hurt_or_is_allowed() {
    let mut node = Node::new();
    node.post("/scale/ram", json!({"vm_id": 102, "memory": 512})).await.data();
    node.config.limits.allow_blind_memory_shrink = true;
    node.post("/scale/ram", json!({"vm_id": 104, "memory": 1024})).await.data();
    assert_eq!(node.calls(), ["set 102 -memory 512", "set 104 -memory 1024"]);
}

/// What a snapshot would bring back is held to the bounds of sizes like any other change; what stays as it is, is not.
#[tokio::test]
async fn a_rollback_to_sizes_out_of_bounds_is_refused() {
    let rollback = json!({"vm_id": 104, "snapshot_name": "before"});
    for (current, kept, is_refused) in [
        ("cores: 2\nmemory: 2048", "cores: 8\nmemory: 2048", true),
        ("cores: 2\nmemory: 2048", "cores: 2\nmemory: 16384", true),
        ("cores: 2\nmemory: 2048", "cores: 2\ncpulimit: 6\nmemory: 2048", true),
        ("cores: 2\nmemory: 2048", "cores: 2\nmemory: 256", true),
        ("cores: 2\nmemory: 2048", "cores: 3\nmemory: 4096", false),
        ("cores: 8\nmemory: 2048", "cores: 8\nmemory: 4096", false),
    ] {
        let mut node = Node::new();
        let limits = &mut node.config.limits;
        (limits.max_cores, limits.min_memory_mib, limits.max_memory_mib) = (4, 512, 8192);
        let rest = "rootfs: local-lvm:vm-104-disk-0,size=8G\n";
        node.write_conf(104, &format!("{current}\n{rest}\n[before]\n#mine\n{kept}\n{rest}snaptime: 1\n"));
        if is_refused {
            refused(&node, "POST", "/snapshot/rollback", rollback.clone(), 422, "out_of_bounds").await;
            assert!(node.is_running(104));
        } else {
            node.post("/snapshot/rollback", rollback.clone()).await.data();
        }
    }
}

/// A snapshot of a container that had no number of cores gives it all of its node.
#[tokio::test]
async fn a_rollback_to_no_number_of_cores_is_held_to_the_bounds_too() {
    let mut node = Node::new();
    node.config.limits.max_cores = 1;
    std::fs::write(
        node.root().join("proc/stat"),
        "cpu  1 0 1 1 0 0 0 0 0 0\ncpu0 1 0 1 1 0 0 0 0 0 0\ncpu1 1 0 1 1 0 0 0 0 0 0\n",
    )
    .unwrap();
    node.write_conf(104, "cores: 1\nmemory: 512\n\n[before]\nmemory: 512\nsnaptime: 1\n");
    let rollback = json!({"vm_id": 104, "snapshot_name": "before"});
    refused(&node, "POST", "/snapshot/rollback", rollback, 422, "out_of_bounds").await;
}

/// A misspelt parameter is not a wish fulfilled: the table of routes says which there are. The pages of the documentation
/// alone take any, because a browser may add some.
#[tokio::test]
async fn no_route_takes_a_query_parameter_that_it_does_not_know() {
    let node = Node::new();
    let api = node.api();
    let routes = node.get("/routes").await.data().as_array().unwrap().clone();
    assert!(40 < routes.len(), "{routes:?}");
    for route in &routes {
        let (method, path) = (route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
        if path.starts_with("/docs") {
            continue;
        }
        let body = (method != "GET").then(|| json!({"vm_id": 104}));
        let asked = format!("{}?no_such_field=1", path.replace("{id}", "1"));
        let reply = send(&api, request(method, &asked, body)).await;
        reply.assert_error(400, "invalid_parameter");
        assert!(reply.message().contains("unknown field `no_such_field`"), "{method} {path}: {reply:?}");
    }
    // What is in the body is not given in the query as well.
    let both = node.post("/scale/cores?vm_id=102", json!({"vm_id": 104, "cores": 3})).await;
    both.assert_error(400, "invalid_parameter");
    assert!(both.message().contains("`vm_id`"), "{both:?}");
    assert_eq!(node.calls(), [""; 0]);
    let jobs = node.get("/jobs?limit=1").await;
    jobs.assert_error(400, "invalid_parameter");
    // No parameter at all, as some clients write it.
    node.get("/jobs?").await.data();
}
