//! Rebuilds the table of this product against others on the same work: `cargo xtask bench scaling`.

mod contest;
mod figures;
mod generate;
mod oracle;
#[path = "../shared/parallel.rs"]
mod parallel;
mod peers;
#[path = "../shared/recorded.rs"]
mod recorded;
mod show;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::replay::CpuClass;

use crate::show::Set;

/// The command whose tables stand in the page.
const COMMAND: &str = "cargo xtask bench scaling";

#[derive(Parser)]
struct Args {
    /// More traces: a CSV file (also with gzip), or a directory of such files.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Directory of `benchmark.md` and `benchmark.svg`, whose table and picture are renewed.
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
            let _ = writeln!(io::stderr(), "bench_scaling: {}", ErrorChain(error.as_ref()));
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
        let days = recordings.iter().filter_map(Recording::span).map(|(first, last)| (last - first) / 86_400);
        let title =
            format!("{} recorded machines, {} days", recordings.len(), days.max().unwrap_or_default());
        sets.push(set(&title, &recordings));
    }
    let tables = sets.iter().map(show::markdown).collect::<Vec<_>>().join("\n");
    let mut out = io::stdout().lock();
    writeln!(out, "{tables}")?;
    if let Some(docs) = &args.docs {
        recorded::renew(&docs.join("benchmark.md"), COMMAND, &tables)?;
        std::fs::write(docs.join("benchmark.svg"), show::picture(&sets))?;
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&sets)?)?;
    }
    Ok(())
}

fn set(title: &str, recordings: &[Recording]) -> Set {
    Set {
        title: title.to_owned(),
        fractional: contest::figures(recordings, CpuClass::Fractional),
        integer: contest::figures(recordings, CpuClass::Integer),
    }
}
