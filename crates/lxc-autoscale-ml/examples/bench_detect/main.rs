//! How well each detector distinguishes known events from the rest: `cargo xtask bench detect`.

mod contest;
mod figures;
#[path = "../shared/generate.rs"]
mod generate;
mod labelled;
#[path = "../shared/page.rs"]
mod page;
#[path = "../shared/parallel.rs"]
mod parallel;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/recorded.rs"]
mod recorded;

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::detect::Detector;

use crate::contest::DETECTORS;
use crate::figures::{OfSeries, OfSet};
use crate::labelled::KINDS;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    program: program::Args,
    /// Only these detectors.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Detector>,
}

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench detect";

/// The detectors on a set of series.
#[derive(serde::Serialize)]
struct Set {
    title: String,
    detectors: Vec<(String, OfSet)>,
}

fn main() -> ExitCode {
    program::run("bench_detect", run)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let detectors = if args.only.is_empty() { &DETECTORS[..] } else { &args.only };
    let mut sets = vec![
        set("24 synthetic containers, 14 days", &generate::traces(24, 14), detectors)?,
        set("6 recorded machines, 5 days", &recorded::shipped()?, detectors)?,
    ];
    if let Some(path) = &args.program.traces {
        let recordings = recorded::read_all(path)?;
        sets.push(set(&format!("{} recorded machines", recordings.len()), &recordings, detectors)?);
    }
    let tables = sets.iter().map(markdown).collect::<Vec<_>>().join("\n");
    args.program.publish("detectors.md", COMMAND, &tables, &sets)
}

fn set(title: &str, recordings: &[Recording], detectors: &[Detector]) -> Result<Set, Box<dyn Error>> {
    let judge = |recording: &Recording| -> Result<Option<Vec<OfSeries>>, String> {
        let Some((clean, with)) = labelled::label(recording) else { return Ok(None) };
        let (said_clean, said) = (contest::judge(&clean, detectors)?, contest::judge(&with, detectors)?);
        let young = contest::judge_young(&clean, detectors)?;
        let of = said.iter().zip(&said_clean).zip(&young);
        let of = of.map(|((said, clean), young)| figures::of_series(&with, said, clean, young));
        Ok(Some(of.collect()))
    };
    let judged = parallel::in_parallel(recordings, judge).into_iter().collect::<Result<Vec<_>, _>>()?;
    let judged: Vec<Vec<OfSeries>> = judged.into_iter().flatten().collect();
    let of = |detector: usize| {
        figures::of_set(&judged.iter().map(|series| series[detector].clone()).collect::<Vec<_>>())
    };
    let name = |detector| format!("{}", serde_json::json!(detector)).trim_matches('"').to_owned();
    let detectors = detectors.iter().enumerate().map(|(index, detector)| (name(detector), of(index)));
    Ok(Set { title: title.to_owned(), detectors: detectors.collect() })
}

fn markdown(set: &Set) -> String {
    let mut text =
        format!("### {}\n\n| detector | ROC-AUC | PR-AUC | taken to be unusual | events found |", set.title);
    for kind in KINDS {
        let _ = write!(text, " {} |", kind.name());
    }
    text.push_str(" false alarms a day | without events |\n| --- | ---: | ---: | ---: | ---: |");
    text.push_str(&" ---: |".repeat(KINDS.len()));
    text.push_str(" ---: | ---: |\n");
    for (name, figures) in &set.detectors {
        for (index, at) in figures.thresholds.iter().enumerate() {
            let first = index == 0;
            let areas = if first {
                format!("`{name}` | {:.3} | {:.3}", figures.roc_auc, figures.pr_auc)
            } else {
                " | | ".to_owned()
            };
            let _ = write!(text, "| {areas} | {} % | {:.0} % |", 100.0 * at.share, 100.0 * at.recall);
            for kind in KINDS {
                // These series have no event of that kind.
                let recall = at.recall_by_kind.get(kind.name()).filter(|recall| recall.is_finite());
                let shown = recall.map_or("–".to_owned(), |recall| format!("{:.0} %", 100.0 * recall));
                let _ = write!(text, " {shown} |");
            }
            let _ = writeln!(text, " {:.2} | {:.2} |", at.false_alarms, at.clean_alarms);
        }
    }
    text
}
