//! Common behaviour of the command lines of the three programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is test code")]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lxc_autoscale_e2e::binary;

const PROGRAMS: [(&str, &str); 3] = [
    ("lxc-monitor", "lxc_monitor.toml"),
    ("lxc-autoscale-ml", "lxc_autoscale_ml.toml"),
    ("lxc-autoscale-api", "lxc_autoscale_api.toml"),
];

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(file)
}

/// Runs a command whose output goes into a pipe that nobody reads any more.
fn run_into_closed_pipe(program: &str, file: &str, arguments: &[&str]) -> Output {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(binary(program));
    command.args(arguments).arg("--config").arg(shipped(file));
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let [monitor, ml, api] = PROGRAMS;
    for ((program, file), arguments) in [
        (monitor, &["config"][..]),
        (monitor, &["config", "--json"]),
        (monitor, &["history", "--metric", "list"]),
        (ml, &["config"]),
        (ml, &["config", "--json"]),
        (ml, &["policy", "presets"]),
        (api, &["config"]),
        (api, &["config", "--json"]),
        (api, &["openapi"]),
    ] {
        let output = run_into_closed_pipe(program, file, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{program} {arguments:?}: {}\n{said}",
            output.status
        );
    }
}

#[test]
fn what_is_wrong_with_a_configuration_from_a_pipe_is_said_of_the_pipe() {
    for (program, file) in PROGRAMS {
        let text = fs::read_to_string(shipped(file)).unwrap();
        let wrong = format!("no_such_key = 1\n{text}");
        let mut command = Command::new(binary(program));
        command.args(["config", "--stdin", "--config", "/nonexistent/installed.toml"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(wrong.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program}");
        assert!(
            said.starts_with(&format!("{program}: standard input:1: unknown key `no_such_key`")),
            "{said}"
        );
    }
}

/// Somebody who types the bare name wants to see the help, not to start a second daemon that resizes containers.
#[test]
fn a_bare_name_starts_no_daemon() {
    for ((program, _), code) in PROGRAMS.into_iter().zip([2, 64, 2]) {
        for arguments in [&[][..], &["--config", "/nonexistent/installed.toml"]] {
            let output = Command::new(binary(program)).args(arguments).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{program} {arguments:?}: {said}");
            assert!(said.contains("Usage: ") && said.contains("--help"), "{program} {arguments:?}: {said}");
        }
    }
}
