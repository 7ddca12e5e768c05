//! A client that knows nothing but the OpenAPI document: schemathesis makes requests from it, valid ones and others,
//! and holds every answer to it (<https://schemathesis.readthedocs.io>).

use std::fs;
use std::process::Command;

use lxc_autoscale_e2e::output;

use crate::node::{BackEnd, Node};

/// Where the program is; `cargo xtask test` installs it and says so.
const PROGRAM: &str = "SCHEMATHESIS";

/// What makes a whole configuration a good one, its program knows, and no schema: a value or a text of the right form may
/// be refused (422), and so may a change that was meant for another file (412). Who replaces a file must say which (428).
const SETTINGS: &str = r#"
[[operations]]
include-path-regex = "^/config"
checks.missing_required_header.expected-statuses = [400, 401, 403, 428]
checks.positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 412, 422]
"#;

/// All of its checks: no 500, no status, type or body that the document does not know, nothing valid that is refused,
/// nothing invalid that is taken.
#[test]
fn a_client_made_from_the_document_finds_no_fault() {
    let Some(program) = std::env::var_os(PROGRAM) else {
        eprintln!("skipped: {PROGRAM} does not say where schemathesis is; `cargo xtask test` installs it");
        return;
    };
    // The document names the bounds of Proxmox, so the limits of this server must not be narrower.
    let node = Node::start_with(
        BackEnd::Pct,
        "[limits]\nmax_memory_mib = 1073741824\nmax_disk_increase_gib = 131072\n",
    );
    fs::write(node.proxmox.at("schemathesis.toml"), SETTINGS).unwrap();
    let document = format!("http://{}/openapi.json", node.address());
    // What each route is asked at least takes its time on a slow machine; then there is a time for what comes to mind.
    for options in
        [&["--phases", "examples,coverage"][..], &["--phases", "fuzzing,stateful", "--max-time", "15"]]
    {
        let mut run = Command::new(&program);
        run.args(["run", &document, "--checks", "all", "--seed", "42", "--continue-on-failure"])
            .args(options);
        // It keeps what it found beside it.
        let done = output(run.args(["--no-color"]).current_dir(node.proxmox.at("")));
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        if options.contains(&"--max-time") {
            continue;
        }
        let figure =
            |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default();
        let (selected, known) = figure("Selected: ").split_once('/').unwrap();
        assert_eq!((selected, figure("Tested: ")), (known, known), "{said}");
        assert!(30 < known.parse().unwrap(), "{said}");
    }
}
