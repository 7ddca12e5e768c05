//! The anomaly flags: a program of the monitor's crate, which prints the table itself.

use std::path::PathBuf;

use clap::Args;

use super::example::Example;
use crate::command::CommandError;

/// Options of this benchmark.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Other traces instead of the project's own, in one CSV file with the same columns.
    #[arg(long, value_name = "CSV")]
    traces: Option<PathBuf>,
    /// Target share of flagged values.
    #[arg(long)]
    share: Option<f64>,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    Example::new("bench_anomaly")
        .file("--traces", options.traces.as_deref())?
        .value("--share", options.share.map(|share| share.to_string()))
        .file("--json", options.json.as_deref())?
        .run()
}
