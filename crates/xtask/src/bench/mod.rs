//! The benchmarks: one file each; what is measured runs in the release profile.

mod anomaly;
mod api;
mod example;
mod learnt;
mod ml;
pub(crate) mod monitor;
mod on_traces;
mod unit;

use std::path::PathBuf;

use clap::Subcommand;

use self::example::Example;
use crate::command::CommandError;

/// A benchmark; it prints its table, and writes its figures as JSON where asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// What each part of the recommendation brings: the cost of sizes without it.
    Ablation(on_traces::Options),
    /// How many values of real workloads are flagged as unusual, and how many injected shifts are found.
    Anomaly(anomaly::Options),
    /// Requests a second and latencies of the API on a simulated node, and what it adds to a bare `pct`.
    Api(api::Options),
    /// How well each detector of unusual behaviour tells events of known place from the rest.
    Detect(on_traces::Options),
    /// Groups of machines that are alike, and how well they tell kinds of containers apart; with `--model` the groups that
    /// ship are learnt.
    Classes(learnt::Options),
    /// How often decisions stay right, by their confidence; with `--model` the confidence that ships is learnt.
    Confidence(learnt::Options),
    /// Pinball loss and coverage of forecasts against last value, seasonal naive, ETS and MSTL.
    Forecast(on_traces::Options),
    /// Size of 30 days of 200 containers in the history, time to load a week, and what writing costs.
    History {
        /// Write the figures to this file, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Entries and bytes that 90 days of 200 containers take in the ledger of decisions.
    Ledger {
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
    /// CPU time and memory of a cycle of the ml daemon, its isolation forest against scikit-learn's, speed of a back-test.
    Ml(ml::Options),
    /// CPU time and memory of the monitor per container, against the cheapest possible reader, forked commands
    /// and netdata.
    Monitor(monitor::Options),
    /// What this product's sizes cost against those of other autoscalers, and against who knows the future.
    Scaling(on_traces::Options),
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Ablation(options) => Ok(on_traces::run("bench_ablation", options)?),
        Bench::Anomaly(options) => Ok(anomaly::run(options)?),
        Bench::Api(options) => Ok(api::run(options)?),
        Bench::Detect(options) => Ok(on_traces::run("bench_detect", options)?),
        Bench::Classes(options) => Ok(learnt::run("bench_classes", options)?),
        Bench::Confidence(options) => Ok(learnt::run("bench_confidence", options)?),
        Bench::Forecast(options) => Ok(on_traces::run("bench_forecast", options)?),
        Bench::History { json } => {
            let history = Example::new("bench_history");
            Ok(history.file("--json", json.as_deref())?.run()?)
        }
        Bench::Ledger { json } => {
            let ledger = Example::new("bench_ledger");
            Ok(ledger.file("--json", json.as_deref())?.run()?)
        }
        Bench::MetricsFile { json } => {
            let metrics_file = Example::new("bench_metrics_file");
            Ok(metrics_file.file("--json", json.as_deref())?.run()?)
        }
        Bench::Ml(options) => Ok(ml::run(options)?),
        Bench::Monitor(options) => Ok(monitor::run(options)?),
        Bench::Scaling(options) => Ok(on_traces::run("bench_scaling", options)?),
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
