//! Sizes that somebody else set, as `history` tells of them.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::RecordingApi;
use crate::node::{IDLE, Node};

async fn history(node: &Node, url: &str, more: &[&str]) -> String {
    let config = node.path("ml.toml");
    std::fs::write(&config, node.config_text(url, "[scaling]\nmode = \"recommend\"")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
    program.args(["history", "100"]).args(more).arg("--config").arg(config).env("TZ", "UTC");
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn history_tells_who_set_a_size() {
    let api = RecordingApi::up().await;
    let mut node = Node::new(&[(100, IDLE)]);
    node.now = Timestamp::now() - SignedDuration::from_hours(3);
    let mut daemon = node.daemon(&api.url(), "[scaling]\nmode = \"recommend\"");
    // Each size is measured some minutes after it was set: by root, past the API, and by somebody it knows nothing of.
    for (number, (size, caller)) in
        (1..).zip([(4096, None), (6144, Some("uid:0")), (8192, Some("outside")), (2048, None)])
    {
        node.containers.get_mut(&100).unwrap().memory_mib = size;
        node.record(SignedDuration::from_mins(5));
        if let Some(caller) = caller {
            api.tells(json!({
                "number": number, "at": node.now - SignedDuration::from_mins(3), "vm_id": 100,
                "resource": "memory", "before": 1024.0, "after": size, "caller": caller,
                "why": "request: it moves house", "change": number, "undoable": true,
            }));
        }
        node.cycle(&mut daemon).await;
    }
    drop(daemon);
    let shown = history(&node, &api.url(), &[]).await;
    for want in [
        "4096 MiB → 6144 MiB  set by uid:0 through the API (request: it moves house)",
        "6144 MiB → 8192 MiB  set by somebody, past the API",
        "8192 MiB → 2048 MiB  set by somebody else",
    ] {
        assert!(shown.contains(want), "`{want}` is not in:\n{shown}");
    }
    let told: Value = serde_json::from_str(&history(&node, &api.url(), &["--json"]).await).unwrap();
    let by: Vec<&Value> = told["by_hand"].as_array().unwrap().iter().map(|set| &set["by"]).collect();
    assert_eq!(by, [&json!("uid:0"), &json!("outside"), &Value::Null], "{told:#}");
    // Without the API the sizes are told all the same.
    let down = RecordingApi::down();
    let shown = history(&node, &down.url(), &[]).await;
    assert!(shown.contains("6144 MiB  set by somebody else"), "{shown}");
    assert!(shown.contains("Note: who set these sizes is not known"), "{shown}");
}
