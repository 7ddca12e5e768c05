//! `GET /resource/lxc/why`: passes on the output of the ml daemon's program, and reports its failures.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::node::Node;
use crate::server::{Server, program, write_config};

/// A node whose `lxc-autoscale-ml` is this script.
pub(crate) fn node_with(script: &str) -> Node {
    let mut node = Node::new();
    let program = node.root().join("ml");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    node.config.configuration.ml_program = program;
    node
}

#[tokio::test]
async fn what_the_program_says_is_handed_on() {
    let node = node_with("printf '{\"id\": 104, \"asked\": \"%s\"}' \"$*\"");
    let config = node.root().join("lxc_autoscale_ml.toml").display().to_string();
    for (query, at) in [
        ("lxc_id=104", ""),
        ("vm_id=104", ""),
        ("vm_id=104&at=2026-11-25T13:05:00Z", " --at=2026-11-25T13:05:00Z"),
        ("vm_id=104&at=2026-11-25T14:05:00%2B01:00", " --at=2026-11-25T13:05:00Z"),
        // A time must not be taken for an option.
        ("vm_id=104&at=-000001-01-01T00:00:00Z", " --at=-000001-01-01T00:00:00Z"),
    ] {
        let reply = node.get(&format!("/resource/lxc/why?{query}")).await;
        let asked = format!("why 104 --json --config {config}{at}");
        assert_eq!(reply.data(), &json!({"vm_id": 104, "explanation": {"id": 104, "asked": asked}}));
    }
    for bad in ["", "vm_id=104&at=yesterday", "vm_id=104&limit=3", "vm_id=--help"] {
        let reply = node.get(&format!("/resource/lxc/why?{bad}")).await;
        reply.assert_error(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn the_kind_of_load_is_told_where_it_is_known() {
    let steady = json!({"name": "steady", "meaning": "uses about the same all the time"});
    let present = json!({"id": 104, "kind_of_load": steady, "decisions": []});
    let past = json!([{"decision": {}}, {"kind_of_load": steady, "decision": {}}]);
    let unreadable = json!({"id": 104, "kind_of_load": {"name": 3}, "decisions": []});
    for (explanation, query, kind) in [
        (&present, "", Some(&steady)),
        (&past, "&at=2026-11-25T13:05:00Z", Some(&steady)),
        (&json!({"id": 104, "decisions": []}), "", None),
        (&json!([]), "&at=2026-11-25T13:05:00Z", None),
        (&unreadable, "", None),
    ] {
        let node = node_with(&format!("cat <<'END'\n{explanation}\nEND"));
        let reply = node.get(&format!("/resource/lxc/why?vm_id=104{query}")).await;
        assert_eq!(reply.data().get("kind_of_load"), kind, "{reply:?}");
        assert_eq!(&reply.data()["explanation"], explanation);
    }
}

#[tokio::test]
async fn what_the_program_does_not_say_is_told() {
    for (script, status, code, says) in [
        (
            "echo 'lxc-autoscale-ml: nothing is known of it' >&2; exit 5",
            404,
            "no_decision",
            "nothing is known",
        ),
        ("echo 'cannot read the ledger' >&2; exit 1", 502, "why_failed", "cannot read the ledger"),
        ("echo '{'", 502, "why_failed", "gave no report"),
        ("rm \"$0\"; kill -9 $$", 502, "why_failed", "gave no report"),
    ] {
        let node = node_with(script);
        let reply = node.get("/resource/lxc/why?vm_id=104").await;
        reply.assert_error(status, code);
        assert!(reply.message().contains(says), "{reply:?}");
    }
    let mut node = Node::new();
    node.config.configuration.ml_program = "/nonexistent/lxc-autoscale-ml".into();
    let reply = node.get("/resource/lxc/why?vm_id=104").await;
    reply.assert_error(502, "why_failed");
    assert!(reply.message().contains("/nonexistent/lxc-autoscale-ml"), "{reply:?}");
}

/// The program can read no measurements and has decided nothing; the node knows whether the container exists.
#[test]
fn a_container_that_is_not_there_is_told_from_one_of_which_nothing_is_known() {
    let blind = r#"printf '{"id": %s, "trouble": "cannot read the metrics file", "decisions": []}' "$2""#;
    let node = node_with(blind);
    write_config(
        &node,
        "",
        &format!("[configuration]\nml_program = \"{}\"", node.root().join("ml").display()),
    );
    let server = Server::spawn(&node, &mut program(&node, "run"));
    let ask = |query: &str| server.ask("GET", &format!("/resource/lxc/why?{query}"), &Value::Null);
    let (status, answer) = ask("lxc_id=104");
    assert_eq!((status, &answer["data"]["explanation"]["id"]), (200, &json!(104)), "{answer}");
    let (status, answer) = ask("lxc_id=999");
    assert_eq!((status, &answer["code"]), (404, &json!("no_decision")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("no container has that id here"), "{answer}");
    // The decisions about a container that no longer exists are shown.
    let known = r#"printf '{"id": %s, "decisions": [{}]}' "$2""#;
    fs::write(node.root().join("ml"), format!("#!/bin/sh\n{known}\n")).unwrap();
    assert_eq!(ask("lxc_id=999").0, 200);
}

/// Repeating a decision keeps a CPU busy for a while, so only one runs at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_question_is_answered_at_a_time() {
    let script =
        "root=$(dirname \"$0\"); mkdir \"$root/turn\" || exit 1; sleep 0.05; rmdir \"$root/turn\"; echo '{}'";
    let api = node_with(script);
    let (node, api) = (&api, api.api());
    let all = (0..8).map(|_| {
        let api = api.clone();
        tokio::spawn(async move {
            let request = crate::node::request("GET", "/resource/lxc/why?vm_id=104", None);
            crate::node::send(&api, request).await
        })
    });
    let mut n_answered = 0;
    for reply in all.collect::<Vec<_>>() {
        let reply = reply.await.unwrap();
        if reply.status == 503 {
            assert_eq!(reply.body["code"], "why_busy");
            continue;
        }
        assert_eq!(reply.data()["explanation"], Value::from(serde_json::Map::new()));
        n_answered += 1;
    }
    // Each waiting request occupies a connection, so at most four wait; one that comes when another has been answered
    // may be a fifth.
    assert!((4..=8).contains(&n_answered), "{n_answered}");
    assert!(!node.root().join("turn").exists());
}
