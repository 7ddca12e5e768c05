//! The cost of the ml daemon: a cycle, its isolation forest compared with scikit-learn's, a back-test: `cargo xtask
//! bench ml`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its tables")]

mod backtest;
mod cycles;
mod forest;
#[path = "../shared/generate.rs"]
mod generate;
mod node;
#[path = "../shared/page.rs"]
mod page;
mod process;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use lxc_autoscale_core::ErrorChain;

use crate::process::Program;

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench ml";

#[derive(Parser)]
struct Args {
    /// The daemon's program.
    #[arg(long)]
    daemon: PathBuf,
    /// What its unit sets in its environment: NAME=VALUE.
    #[arg(long)]
    environment: Vec<String>,
    /// The monitor's history of 30 days of the containers, up to now; without it, no cycle is measured.
    #[arg(long)]
    history: Option<PathBuf>,
    /// A Python that has scikit-learn; without it, no forest is measured.
    #[arg(long)]
    python: Option<PathBuf>,
    /// What is measured; everything unless it is said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Directory of the documentation, where all tables are renewed.
    #[arg(long, conflicts_with = "only", requires = "history", requires = "python")]
    docs: Option<PathBuf>,
    /// Write the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Cycle,
    Forest,
    Backtest,
}

#[derive(serde::Serialize)]
struct Figures {
    cycle: Option<cycles::Figures>,
    forest: Option<forest::Figures>,
    backtest: Option<backtest::Figures>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench_ml: {}", ErrorChain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    // Not in /tmp, which may be in memory and would then count as used.
    let directory = tempfile::Builder::new().prefix("bench_ml.").tempdir_in("/var/tmp")?;
    let program = Program { path: &args.daemon, environment: &args.environment };
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let cycle = match &args.history {
        Some(history) if wanted(Part::Cycle) => Some(cycles::measure(&program, history, directory.path())?),
        _ => None,
    };
    let forest = match &args.python {
        Some(python) if wanted(Part::Forest) => Some(forest::measure(python, directory.path())?),
        _ => None,
    };
    let backtest =
        if wanted(Part::Backtest) { Some(backtest::measure(&args.daemon, directory.path())?) } else { None };
    let tables = [
        cycle.as_ref().map(cycles::markdown),
        forest.as_ref().map(forest::markdown),
        backtest.as_ref().map(backtest::markdown),
    ];
    let tables = tables.into_iter().flatten().collect::<Vec<_>>().join("\n");
    println!("{tables}");
    if let Some(docs) = &args.docs {
        page::renew(&docs.join("performance.md"), COMMAND, &tables)?;
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&Figures { cycle, forest, backtest })?)?;
    }
    Ok(())
}
