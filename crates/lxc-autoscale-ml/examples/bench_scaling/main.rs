//! The table that compares this product with others on the same workload: `cargo xtask bench scaling`.

mod contest;
#[path = "../shared/crosswise.rs"]
mod crosswise;
#[path = "../shared/figures.rs"]
mod figures;
#[path = "../shared/generate.rs"]
mod generate;
mod oracle;
#[path = "../shared/page.rs"]
mod page;
#[path = "../shared/parallel.rs"]
mod parallel;
mod peers;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/recorded.rs"]
mod recorded;
mod show;
#[path = "../shared/steps.rs"]
mod steps;

use std::error::Error;
use std::process::ExitCode;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::replay::CpuClass;

use crate::crosswise::Crosswise;
use crate::program::Args;
use crate::show::Set;

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench scaling";

fn main() -> ExitCode {
    program::run("bench_scaling", run)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let more = args.traces.as_deref().map(recorded::read_all).transpose()?;
    let learnt = more.as_deref().map(Crosswise::learn).transpose()?;
    let own = set("24 synthetic containers, 14 days", &generate::traces(24, 14), None);
    let mut sets = vec![own, set("6 recorded machines, 5 days", &recorded::shipped()?, learnt.as_ref())];
    if let Some(recordings) = &more {
        let days = recordings.iter().filter_map(Recording::span).map(|(first, last)| (last - first) / 86_400);
        let title =
            format!("{} recorded machines, {} days", recordings.len(), days.max().unwrap_or_default());
        sets.push(set(&title, recordings, learnt.as_ref()));
    }
    let tables = sets.iter().map(show::markdown).collect::<Vec<_>>().join("\n");
    args.publish("benchmark.md", COMMAND, &tables, &sets)?;
    if let Some(docs) = &args.docs {
        std::fs::write(docs.join("benchmark.svg"), show::picture(&sets))?;
    }
    Ok(())
}

fn set(title: &str, recordings: &[Recording], learnt: Option<&Crosswise>) -> Set {
    Set {
        title: title.to_owned(),
        fractional: contest::figures(recordings, CpuClass::Fractional, learnt),
        integer: contest::figures(recordings, CpuClass::Integer, learnt),
    }
}
