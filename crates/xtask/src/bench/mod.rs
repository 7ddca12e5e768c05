//! The benchmarks: one file each; what is measured runs in the release profile.

mod anomaly;
mod forecast;
mod history;
mod metrics_file;
pub(crate) mod monitor;
mod scaling;

use std::path::PathBuf;

use clap::Subcommand;

use crate::command::CommandError;

/// A benchmark; it prints its table, and writes its figures as JSON where asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// How many values of real workloads are flagged as unusual, and how many injected shifts are found.
    Anomaly(anomaly::Options),
    /// Pinball loss and coverage of forecasts against last value, seasonal naive, ETS and MSTL.
    Forecast(forecast::Options),
    /// Size of 30 days of 200 containers in the history, time to load a week, and what writing costs.
    History {
        /// Write the figures to this file, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Cost of an append to the exchange file, by the length of the file, against rewriting it.
    MetricsFile {
        /// Write the figures to this file, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// CPU time and memory of the monitor per container, against the cheapest possible reader, forked commands
    /// and netdata.
    Monitor(monitor::Options),
    /// What this product's sizes cost against those of other autoscalers, and against who knows the future.
    Scaling(scaling::Options),
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Anomaly(options) => Ok(anomaly::run(options)?),
        Bench::Forecast(options) => Ok(forecast::run(options)?),
        Bench::History { json } => Ok(history::run(json.as_deref())?),
        Bench::MetricsFile { json } => Ok(metrics_file::run(json.as_deref())?),
        Bench::Monitor(options) => Ok(monitor::run(options)?),
        Bench::Scaling(options) => Ok(scaling::run(options)?),
    }
}

/// Why a benchmark gave no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The monitor could not be measured.
    #[error(transparent)]
    Monitor(#[from] monitor::MonitorBenchError),
}
