//! Forecasts for people against last value, seasonal naive, ETS and MSTL: `cargo xtask bench forecast`.

mod contestant;
#[path = "../shared/generate.rs"]
mod generate;
#[path = "../shared/page.rs"]
mod page;
#[path = "../shared/parallel.rs"]
mod parallel;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/recorded.rs"]
mod recorded;
mod score;

use std::error::Error;
use std::process::ExitCode;

use lxc_autoscale_ml::backtest::recording::Recording;

use crate::program::Args;
use crate::score::{Set, contest, markdown};

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench forecast";

fn main() -> ExitCode {
    program::run("bench_forecast", run)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut sets = vec![
        set("24 synthetic containers, 14 days", &generate::traces(24, 14)),
        set("6 recorded machines, 5 days", &recorded::shipped()?),
    ];
    if let Some(path) = &args.traces {
        let recordings = recorded::read_all(path)?;
        sets.push(set(&format!("{} recorded machines", recordings.len()), &recordings));
    }
    let tables = sets.iter().map(markdown).collect::<Vec<_>>().join("\n");
    args.publish("forecast.md", COMMAND, &tables, &sets)
}

fn set(title: &str, recordings: &[Recording]) -> Set {
    Set { title: title.to_owned(), rows: contest(recordings) }
}
