//! Rebuilds the table of this product against others on the same work: `cargo xtask bench scaling`.

mod contest;
mod figures;
mod generate;
mod oracle;
mod peers;
mod show;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::backtest::traces;
use lxc_autoscale_ml::replay::CpuClass;

use crate::show::Set;

/// Between these two lines of the page stands the table.
const BEGIN: &str = "<!-- begin: cargo xtask bench scaling -->";
const END: &str = "<!-- end: cargo xtask bench scaling -->";

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
        set("6 recorded machines, 5 days", &recorded()?),
    ];
    if let Some(path) = &args.traces {
        let recordings = read_all(path)?;
        let days = recordings.iter().filter_map(Recording::span).map(|(first, last)| (last - first) / 86_400);
        let title =
            format!("{} recorded machines, {} days", recordings.len(), days.max().unwrap_or_default());
        sets.push(set(&title, &recordings));
    }
    let tables = sets.iter().map(show::markdown).collect::<Vec<_>>().join("\n");
    let mut out = io::stdout().lock();
    writeln!(out, "{tables}")?;
    if let Some(docs) = &args.docs {
        renew(&docs.join("benchmark.md"), &tables)?;
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

/// The recordings that come with the simulated node; where they are from is written beside them.
fn recorded() -> Result<Vec<Recording>, Box<dyn Error>> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../lxc-autoscale-sim/traces"))
}

/// The recordings of a file, or of all CSV files of a directory.
fn read_all(path: &Path) -> Result<Vec<Recording>, Box<dyn Error>> {
    if !path.is_dir() {
        return Ok(traces::read(path)?);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let plain =
            file.extension().is_some_and(|extension| extension == "gz").then(|| file.with_extension(""));
        if plain.as_ref().unwrap_or(&file).extension().is_some_and(|extension| extension == "csv") {
            files.push(file);
        }
    }
    files.sort();
    let mut recordings = Vec::new();
    for file in files {
        recordings.extend(traces::read(&file)?);
    }
    if recordings.is_empty() {
        Err(format!("`{}` holds no traces", path.display()).into())
    } else {
        Ok(recordings)
    }
}

/// Puts the tables where the page has its old ones.
fn renew(page: &Path, tables: &str) -> Result<(), Box<dyn Error>> {
    let old = std::fs::read_to_string(page)?;
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        parts.ok_or_else(|| format!("`{}` lacks the lines around its table", page.display()))?;
    Ok(std::fs::write(page, format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))?)
}
