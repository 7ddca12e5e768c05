//! Runs the fuzz targets of `crates/fuzz` without cargo-fuzz: it uses nightly Rust, its coverage pass, and
//! libFuzzer's runtime from `libfuzzer-sys`.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::command::{self, CommandError, workspace_root};
use crate::say;

/// The targets in `crates/fuzz/fuzz_targets`, as listed in `crates/fuzz/Cargo.toml`.
const TARGETS: &[&str] = &[
    "alert_state",
    "anomaly_state",
    "cgroup",
    "container_config",
    "history_blob",
    "import_scan",
    "metrics_reader",
    "metrics_recovery",
    "monitor_config",
    "procfs",
    "record_time",
    "snapshot_json",
];

/// The only platform on which libFuzzer's runtime is used here.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The same flags as cargo-fuzz's, without the address sanitizer: the project has no `unsafe` code in which it could
/// find defects.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Options of `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which target; if omitted, all of them one after the other.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long to search with each target, in seconds.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// Builds the targets and runs them; stops at the first finding, whose file is named in the output.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    let directory = workspace_root().join("target/fuzz");
    let mut build =
        command::program("cargo", ["+nightly", "build", "--release", "--bins", "--target", PLATFORM]);
    build.args(["--features", "monitor"]).current_dir(fuzz_crate());
    build.env("CARGO_TARGET_DIR", &directory).env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO");
    command::run(&mut build)?;
    let chosen = |target: &&str| options.target.as_deref().is_none_or(|wanted| wanted == *target);
    for target in TARGETS.iter().copied().filter(chosen) {
        search(target, &directory, options.seconds)?;
    }
    Ok(())
}

fn search(target: &str, directory: &Path, seconds: u32) -> Result<(), CommandError> {
    // What it learns is kept for the next run; the project's corpus grows only by hand.
    let learnt = made(directory.join("learnt").join(target))?;
    let findings = made(directory.join("findings"))?;
    say(&format!("{target}: {seconds} s; a finding goes to {}", findings.display()));
    let mut search = Command::new(directory.join(PLATFORM).join("release").join(target));
    search
        .arg(format!("-max_total_time={seconds}"))
        .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/{target}-", findings.display()))
        .args([learnt, fuzz_crate().join("corpus").join(target)]);
    command::run(&mut search)
}

fn fuzz_crate() -> PathBuf {
    workspace_root().join("crates/fuzz")
}

fn made(directory: PathBuf) -> Result<PathBuf, CommandError> {
    std::fs::create_dir_all(&directory).map_err(|source| CommandError::Spawn {
        command: format!("mkdir -p {}", directory.display()),
        source,
    })?;
    Ok(directory)
}
