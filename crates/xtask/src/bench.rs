//! The benchmarks: each is a program of the crate it measures, run in the release profile.

use std::path::Path;

use clap::ValueEnum;

use crate::command::{self, CommandError, cargo};

/// A benchmark.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Name {
    /// Cost of an append to the exchange file, by the length of the file, against rewriting it.
    MetricsFile,
}

/// Runs a benchmark; it prints its table, and writes its figures as JSON where asked.
pub(crate) fn run(name: Name, json: Option<&Path>) -> Result<(), CommandError> {
    let (package, example) = match name {
        Name::MetricsFile => ("lxc-autoscale-core", "bench_metrics_file"),
    };
    let mut command = cargo(["run", "--release", "--locked", "--quiet"]);
    command.args(["--package", package, "--example", example]);
    if let Some(path) = json {
        let absolute = std::path::absolute(path)
            .map_err(|source| CommandError::Figures { path: path.display().to_string(), source })?;
        command.arg("--").arg("--json").arg(absolute);
    }
    command::run(&mut command)
}
