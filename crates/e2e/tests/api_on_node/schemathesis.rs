//! A client that knows only the OpenAPI document: schemathesis generates valid and invalid requests from it, and
//! checks every response against it (<https://schemathesis.readthedocs.io>).

use std::fs;
use std::process::Command;

use lxc_autoscale_e2e::output;

use crate::node::{BackEnd, Node};

/// The variable with the path of the program, which `cargo xtask test` installs.
const PROGRAM: &str = "SCHEMATHESIS";

/// Only the daemon's program, and no schema, knows whether a whole configuration is valid. So a value or a text of
/// the right form may be refused (422), and so may a change meant for another version of the file (412). Replacing a
/// file needs a tag (428).
const SETTINGS: &str = r#"
[[operations]]
include-path-regex = "^/config"
checks.missing_required_header.expected-statuses = [400, 401, 403, 428]
checks.positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 412, 422]
"#;

/// All of its checks: no status 500, no status, type or body that is not in the document, no valid request refused,
/// and no invalid request accepted.
#[test]
fn a_client_made_from_the_document_finds_no_fault() {
    let Some(program) = std::env::var_os(PROGRAM) else {
        eprintln!("skipped: {PROGRAM} does not say where schemathesis is; `cargo xtask test` installs it");
        return;
    };
    // The document has Proxmox's bounds, so the limits of this server must not be narrower.
    let node = Node::start_with(
        BackEnd::Pct,
        "[limits]\nmax_memory_mib = 1073741824\nmax_disk_increase_gib = 131072\n",
    );
    fs::write(node.proxmox.at("schemathesis.toml"), SETTINGS).unwrap();
    let document = format!("http://{}/openapi.json", node.address());
    // The minimum for each route takes a while on a slow machine; after that, there is a time limit for random
    // requests.
    for options in
        [&["--phases", "examples,coverage"][..], &["--phases", "fuzzing,stateful", "--max-time", "15"]]
    {
        let mut run = Command::new(&program);
        run.args(["run", &document, "--checks", "all", "--seed", "42", "--continue-on-failure"])
            .args(options);
        // It stores its findings in the current directory.
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
