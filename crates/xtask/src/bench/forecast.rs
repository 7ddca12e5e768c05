//! Forecasts against other methods: a program of the ml daemon's crate, which prints the table itself.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::command::{self, CommandError, cargo};

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// More traces than the project's own: a CSV file (also with gzip), or a directory of such files.
    #[arg(long, value_name = "PATH")]
    traces: Option<PathBuf>,
    /// Renew the table of docs/forecast.md.
    #[arg(long)]
    write: bool,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    let mut command = cargo(["run", "--release", "--locked", "--quiet"]);
    command.args(["--package", "lxc-autoscale-ml", "--example", "bench_forecast", "--"]);
    if let Some(path) = &options.traces {
        command.arg("--traces").arg(absolute(path)?);
    }
    if options.write {
        command.args(["--docs", "docs"]);
    }
    if let Some(path) = &options.json {
        command.arg("--json").arg(absolute(path)?);
    }
    command::run(&mut command)
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path)
        .map_err(|source| CommandError::Figures { path: path.display().to_string(), source })
}
