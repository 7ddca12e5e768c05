//! Forecasts for people against last value, seasonal naive, ETS and MSTL: `cargo xtask bench forecast`.

mod contestant;
#[path = "../bench_scaling/generate.rs"]
mod generate;
#[path = "../shared/parallel.rs"]
mod parallel;
#[path = "../shared/recorded.rs"]
mod recorded;
mod score;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_ml::backtest::recording::Recording;

use crate::score::{Set, contest, markdown};

/// The command whose tables stand in the page.
const COMMAND: &str = "cargo xtask bench forecast";

#[derive(Parser)]
struct Args {
    /// More traces: a CSV file (also with gzip), or a directory of such files.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Directory of `forecast.md`, whose table is renewed.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Write the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench_forecast: {}", ErrorChain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut sets = vec![
        set("24 made-up containers, 14 days", &generate::traces()),
        set("6 recorded machines, 5 days", &recorded::shipped()?),
    ];
    if let Some(path) = &args.traces {
        let recordings = recorded::read_all(path)?;
        sets.push(set(&format!("{} recorded machines", recordings.len()), &recordings));
    }
    let tables = sets.iter().map(markdown).collect::<Vec<_>>().join("\n");
    writeln!(io::stdout().lock(), "{tables}")?;
    if let Some(docs) = &args.docs {
        recorded::renew(&docs.join("forecast.md"), COMMAND, &tables)?;
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&sets)?)?;
    }
    Ok(())
}

fn set(title: &str, recordings: &[Recording]) -> Set {
    Set { title: title.to_owned(), rows: contest(recordings) }
}
