//! What `/health/check` and `check` say when changes or callers would be refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lxc_autoscale_api::auth::caller::Role;
use rustix::process::geteuid;
use serde_json::json;

use crate::node::Node;
use crate::server::{run_to_end, write_config};
use crate::trail::key;

/// Places where no audit log can be written, each with what is said about it.
fn unwritable(root: &Path) -> Vec<(PathBuf, &'static str)> {
    let directory = root.join("a directory");
    fs::create_dir(&directory).unwrap();
    vec![
        ("/dev/full".into(), "No space left on device"),
        (root.join("nowhere/audit.jsonl"), "No such file or directory"),
        (directory, "is no regular file"),
    ]
}

/// What the program says of itself on this node with another audit log.
fn check_with(node: &Node, audit: &Path) -> (Option<i32>, String) {
    write_config(node, "", "");
    let file = node.root().join("api.toml");
    let own = format!("file = \"{}\"", node.root().join("audit.jsonl").display());
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&own), "{text}");
    let text = text.replace(&own, &format!("file = \"{}\"", audit.display()));
    let unit = format!("[paths]\nunit = \"{}\"\n", node.root().join("api.service").display());
    fs::write(&file, text.replace("[paths]\n", &unit)).unwrap();
    let (code, stdout, _) = run_to_end(node, "check");
    (code, stdout)
}

/// Every change would be refused: it must not be said that containers can be changed.
#[tokio::test]
async fn an_audit_log_that_cannot_be_written_is_no_good_health() {
    let mut node = Node::new();
    node.measured(104, 300.5, 5);
    for (audit, says) in unwritable(node.root()) {
        node.config.audit.file.clone_from(&audit);
        let changed = node.post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await;
        changed.assert_error(503, "not_audited");
        let reply = node.get("/health/check").await;
        assert_eq!((reply.status.as_u16(), &reply.body["code"]), (503, &json!("unhealthy")), "{reply:?}");
        let message = reply.message();
        assert!(message.starts_with("Containers cannot be changed: "), "{message}");
        assert!(message.contains(says) && message.contains("`audit.file`"), "{message}");

        let (code, said) = check_with(&node, &audit);
        assert_eq!(code, Some(1), "{said}");
        let line = said.lines().position(|line| line.starts_with("FAILED   audit")).unwrap();
        assert!(said.lines().nth(line + 1).unwrap().contains(" -> "), "{said}");
    }
    // Without one, and with one that is not made yet, all is well.
    for audit in [PathBuf::new(), node.root().join("new.jsonl")] {
        node.config.audit.file.clone_from(&audit);
        assert_eq!(node.get("/health/check").await.data()["state"], "healthy");
        let (code, said) = check_with(&node, &audit);
        assert!(!said.contains("FAILED   audit"), "{code:?} {said}");
        assert!(!audit.exists(), "a look makes nothing");
    }
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.data();
    assert_eq!(node.get("/health/check").await.data()["state"], "healthy");
}

/// Root may write what the service's own user may not. Only root can look as somebody else.
#[test]
fn check_looks_at_the_audit_log_as_the_user_of_the_service() {
    if !geteuid().is_root() {
        return;
    }
    let node = Node::new();
    let audit = node.root().join("audit.jsonl");
    fs::write(&audit, "").unwrap();
    fs::set_permissions(node.root(), fs::Permissions::from_mode(0o777)).unwrap();
    for (user, mode, is_fine) in
        [("nobody", 0o600, false), ("nobody", 0o666, true), ("root", 0o600, true), ("missing", 0o600, true)]
    {
        fs::set_permissions(&audit, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(node.root().join("api.service"), format!("[Service]\nUser={user}\n")).unwrap();
        let (_, said) = check_with(&node, &audit);
        let word = if is_fine { "ok       audit" } else { "FAILED   audit" };
        assert!(said.contains(word), "{user} {mode:o}: {said}");
        assert!(is_fine || said.contains("Permission denied"), "{said}");
    }
}

/// Holders of keys are answered 500.
#[tokio::test]
async fn keys_that_cannot_be_read_are_no_good_health() {
    let node = Node::new();
    node.measured(104, 300.5, 5);
    write_config(&node, "", "");
    let is_root = geteuid().is_root();
    key(&node, "somebody", Role::Viewer, &[]);
    let keys = node.root().join("keys.json");
    let check = || {
        let (code, said, _) = run_to_end(&node, "check");
        (code, said)
    };
    assert_eq!(node.get("/health/check").await.data()["state"], "healthy");
    let (code, said) = check();
    assert!(code == Some(i32::from(!is_root)) && said.contains("ok       keys           1 key"), "{said}");
    let mode = |mode: u32| fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
    for broken in [false, true] {
        if broken {
            mode(0o600);
            fs::write(&keys, "nonsense").unwrap();
        } else {
            mode(0o644);
        }
        let reply = node.get("/health/check").await;
        assert_eq!((reply.status.as_u16(), &reply.body["code"]), (503, &json!("unhealthy")), "{reply:?}");
        let message = reply.message();
        assert!(
            message.starts_with("Nobody is let in with a key: ") && message.contains("keys.json"),
            "{message}"
        );
        assert_eq!(message.contains("chmod 600"), !broken, "{message}");
        let (code, said) = check();
        assert!(code == Some(1) && said.contains("FAILED   keys"), "{said}");
    }
}
