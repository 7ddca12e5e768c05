//! The anomaly flags: a program of the monitor's crate, which prints the table itself.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::command::{self, CommandError, cargo};

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Other traces than the project's own, in one CSV file of the same columns.
    #[arg(long, value_name = "CSV")]
    traces: Option<PathBuf>,
    /// Wanted share of flagged values.
    #[arg(long)]
    share: Option<f64>,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    let mut command = cargo(["run", "--release", "--locked", "--quiet"]);
    command.args(["--package", "lxc-monitor", "--example", "bench_anomaly", "--"]);
    if let Some(path) = &options.traces {
        command.arg("--traces").arg(absolute(path)?);
    }
    if let Some(share) = options.share {
        command.arg("--share").arg(share.to_string());
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
