//! The commands of the project itself: `cargo xtask test [--vm] | lint | docs | ci | bench | fuzz | torture |
//! pictures`.

mod bench;
mod command;
mod fuzz;
mod packages;
mod pictures;
mod torture;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{CommandError, cargo, is_installed, run};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of the project itself")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that the tests need (as root, if they are missing), then run every test.
    Test {
        /// Only run the truth test, and the monitor under systemd, in a virtual machine with cgroup version 2. Its
        /// image is built once, as root.
        #[arg(long, conflicts_with = "rest")]
        vm: bool,
        /// Arguments for the test runner, for instance a filter.
        #[arg(trailing_var_arg = true)]
        rest: Vec<String>,
    },
    /// Formatting, clippy, dependency rules, shell scripts.
    Lint,
    /// Build the API documentation; a broken link is an error.
    Docs,
    /// What the gate runs: lint, test, docs; without the virtual machine.
    Ci,
    /// Run a benchmark.
    Bench {
        /// Which one.
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Search for input that breaks the parsers of foreign bytes; needs nightly Rust and g++.
    Fuzz(fuzz::Options),
    /// Run the torture tests at full length.
    Torture(torture::Options),
    /// Make the pictures of the documentation that show the program, with a browser.
    Pictures,
    /// The half of `bench monitor` that runs in namespaces of its own.
    #[command(hide = true)]
    BenchMonitorInside {
        /// Directory for everything that it writes.
        directory: PathBuf,
        #[command(flatten)]
        options: bench::monitor::Options,
    },
}

fn main() -> ExitCode {
    match dispatch(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A benchmark produced no figures.
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
    /// The monitor could not be measured.
    #[error(transparent)]
    Monitor(#[from] bench::monitor::MonitorBenchError),
    /// A picture was not made.
    #[error(transparent)]
    Picture(#[from] pictures::PictureError),
    /// The tests in the virtual machine gave no result, or failed.
    #[error(transparent)]
    Vm(#[from] vm::VmError),
}

fn dispatch(task: Task) -> Result<(), TaskError> {
    match task {
        Task::Test { vm: true, .. } => vm::test()?,
        Task::Test { vm: false, rest } => test(&rest)?,
        Task::Lint => lint()?,
        Task::Docs => docs()?,
        Task::Ci => {
            lint()?;
            test(&[])?;
            docs()?;
        }
        Task::Bench { bench } => bench::run(&bench)?,
        Task::Fuzz(options) => fuzz::run(&options)?,
        Task::Torture(options) => torture::torture(&options)?,
        Task::Pictures => pictures::make()?,
        Task::BenchMonitorInside { directory, options } => bench::monitor::run_inside(&directory, &options)?,
    }
    Ok(())
}

/// Runs every test of every crate, on real parts if they are available.
fn test(rest: &[String]) -> Result<(), CommandError> {
    packages::ensure(packages::FOR_TESTS)?;
    let schemathesis = packages::schemathesis()?;
    // The whole-system tests start the daemons' own binaries.
    run(cargo(["build", "--workspace", "--bins", "--locked"]))?;
    if is_installed("cargo-nextest") {
        let mut tests = cargo(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
        run(tests.args(rest).env("SCHEMATHESIS", schemathesis))?;
        run(cargo(["test", "--workspace", "--locked", "--doc", "--quiet"]))
    } else {
        let mut tests = cargo(["test", "--workspace", "--locked", "--no-fail-fast", "--"]);
        run(tests.args(rest).env("SCHEMATHESIS", schemathesis))
    }
}

/// The scripts that shellcheck checks.
const SHELL_SCRIPTS: [&str; 6] = [
    "install.sh",
    "uninstall.sh",
    ".ci/run",
    "crates/xtask/src/vm/build-image.sh",
    "crates/xtask/src/vm/run.sh",
    "crates/xtask/src/vm/services.sh",
];

fn lint() -> Result<(), CommandError> {
    packages::ensure(packages::FOR_LINTS)?;
    run(cargo(["fmt", "--all", "--check"]))?;
    run(cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    run(command::program("shellcheck", SHELL_SCRIPTS))?;
    run(packages::cargo_deny()?.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

fn docs() -> Result<(), CommandError> {
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run(&mut doc)
}

/// A line for the person who runs the task.
#[expect(clippy::print_stderr, reason = "this is a command-line tool; its progress goes to stderr")]
fn say(line: &str) {
    eprintln!("xtask: {line}");
}
