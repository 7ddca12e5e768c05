//! The benchmarks, one file each. What they measure is built in the release profile.

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

/// A benchmark, which prints its table and, if asked, writes its figures as JSON.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The benefit of each part of the recommendation: the cost of sizes without it.
    Ablation(on_traces::Options),
    /// How many values of real workloads are flagged as unusual, and how many injected shifts are found.
    Anomaly(anomaly::Options),
    /// Requests per second and latencies of the API on a simulated node, and its overhead compared with a bare `pct`.
    Api(api::Options),
    /// How well each detector of unusual behaviour distinguishes known events from the rest.
    Detect(on_traces::Options),
    /// Groups of similar machines, and how well they distinguish kinds of containers; with `--model`, learns the
    /// groups that are shipped.
    Classes(learnt::Options),
    /// How often decisions stay right, by their confidence; with `--model`, learns the confidence that is shipped.
    Confidence(learnt::Options),
    /// Pinball loss and coverage of forecasts, compared with last value, seasonal naive, ETS and MSTL.
    Forecast(on_traces::Options),
    /// Size of 30 days of 200 containers in the history, time to load a week, and the cost of writing.
    History {
        /// Also write the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Entries and bytes of 90 days of 200 containers in the ledger of decisions.
    Ledger {
        /// Also write the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Cost of an append to the exchange file by the length of the file, compared with rewriting it.
    MetricsFile {
        /// Also write the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// CPU time and memory of a cycle of the ml daemon, its isolation forest compared with scikit-learn's, speed of a
    /// back-test.
    Ml(ml::Options),
    /// CPU time and memory of the monitor per container, compared with the cheapest possible reader, forked commands
    /// and netdata.
    Monitor(monitor::Options),
    /// Cost of this product's sizes, compared with other autoscalers and with perfect knowledge of the future.
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

/// Why a benchmark produced no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The monitor could not be measured.
    #[error(transparent)]
    Monitor(#[from] monitor::MonitorBenchError),
}
