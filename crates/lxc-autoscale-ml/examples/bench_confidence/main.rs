//! How often decisions stay right, by their stated confidence: `cargo xtask bench confidence`.
//!
//! With `--traces` the demand model and the confidence are trained on one half of the machines and evaluated on the
//! other, and vice versa; synthetic containers are evaluated with the shipped confidence.

#[path = "../shared/crosswise.rs"]
mod crosswise;
#[path = "../shared/generate.rs"]
mod generate;
mod outcome;
#[path = "../shared/page.rs"]
mod page;
#[path = "../shared/parallel.rs"]
mod parallel;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/recorded.rs"]
#[expect(dead_code, reason = "what ships was learnt from the recordings that ship")]
mod recorded;
#[path = "../shared/steer.rs"]
mod steer;
#[path = "../shared/steps.rs"]
mod steps;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::confidence::calibration::{Row, fit};
use lxc_autoscale_ml::confidence::{ByMove, ConfidenceModel, Move, Probability};
use lxc_autoscale_ml::forecast::DemandModel;

use crate::crosswise::{Crosswise, half};
use crate::outcome::{Said, both_resources};
use crate::table::{Judged, Set};

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench confidence";

#[derive(Parser)]
struct Learning {
    #[command(flatten)]
    program: program::Args,
    /// Write what was learnt from the traces to this file: the confidence that comes with the program.
    #[arg(long, requires = "traces")]
    model: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::run("bench_confidence", run)
}

fn run(args: &Learning) -> Result<(), Box<dyn Error>> {
    let shipped = DemandModel::shipped();
    let made_up = both_resources(&generate::traces(24, 14), |_| shipped.clone());
    let stated = |said: &Vec<Said>| Judged::new(said.iter().map(|said| (said, said.stated_percent)));
    let mut sets =
        vec![Set::new("24 synthetic containers, 14 days, with what ships", made_up.each_ref().map(stated))];
    if let Some(path) = &args.program.traces {
        let recordings = recorded::read_all(path)?;
        let title = format!("{} recorded machines, each by what was learnt from others", recordings.len());
        let (judged, model) = crosswise(&recordings)?;
        sets.push(Set::new(&title, judged));
        if let Some(path) = &args.model {
            std::fs::write(path, serde_json::to_vec(&model)?)?;
        }
    }
    let tables = sets.iter().map(table::markdown).collect::<Vec<_>>().join("\n");
    args.program.publish("demand-model.md", COMMAND, &tables, &sets)
}

/// Trains on each half and evaluates on the other; the model is trained on everything that was evaluated.
fn crosswise(recordings: &[Recording]) -> Result<([Judged; 2], ConfidenceModel), Box<dyn Error>> {
    let learnt = Crosswise::learn(recordings)?;
    let said = both_resources(recordings, |id| Some(learnt.stranger(id)));
    let both = said.each_ref().map(|said| -> Result<_, Box<dyn Error>> {
        let by_half = [learn(said, |said| half(said.id) == 0)?, learn(said, |said| half(said.id) == 1)?];
        let stranger = |said: &Said| by_half[1 - half(said.id)].of(said.made).percent(&said.grounds);
        let judged = Judged::new(said.iter().map(|said| (said, stranger(said))));
        Ok((judged, learn(said, |_| true)?))
    });
    let [cpu, memory] = both;
    let ((cpu, cpu_model), (memory, memory_model)) = (cpu?, memory?);
    Ok(([cpu, memory], ConfidenceModel::new(cpu_model, memory_model)))
}

/// Trains on those of `said` that are `meant`.
fn learn(said: &[Said], meant: impl Fn(&Said) -> bool) -> Result<ByMove, Box<dyn Error>> {
    let learn = |made: Move| -> Result<Probability, Box<dyn Error>> {
        let rows: Vec<Row> =
            said.iter().filter(|said| said.made == made && meant(said)).filter_map(Said::row).collect();
        let probability = fit(&rows).ok_or_else(|| format!("too few decisions to learn from: {made:?}"))?;
        Ok(rounded(probability))
    };
    Ok(ByMove { keep: learn(Move::Keep)?, grow: learn(Move::Grow)?, shrink: learn(Move::Shrink)? })
}

/// Five digits are more than the data supports.
fn rounded(mut probability: Probability) -> Probability {
    let round = |value: f64| (value * 1e5).round() / 1e5;
    probability.bias = round(probability.bias);
    probability.weights.iter_mut().for_each(|weight| *weight = round(*weight));
    probability.curve.iter_mut().for_each(|point| *point = (round(point.0), round(point.1)));
    probability
}
