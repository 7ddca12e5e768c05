//! The benefit of each part of the recommendation: `cargo xtask bench ablation`.

#[path = "../shared/crosswise.rs"]
mod crosswise;
#[path = "../shared/figures.rs"]
mod figures;
#[path = "../shared/generate.rs"]
mod generate;
#[path = "../shared/page.rs"]
mod page;
#[path = "../shared/parallel.rs"]
mod parallel;
mod part;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/recorded.rs"]
#[expect(dead_code, reason = "the recordings that ship are too few to tell parts apart")]
mod recorded;
#[path = "../shared/steer.rs"]
#[expect(dead_code, reason = "another benchmark looks at the decisions")]
mod steer;
#[path = "../shared/steps.rs"]
mod steps;
mod watch;

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::backtest::score::{Judge, Prices, Rules};
use lxc_autoscale_ml::detect::IsolationForestError;
use lxc_autoscale_ml::forecast::DemandModel;
use lxc_autoscale_ml::observation::Observation;
use lxc_autoscale_ml::recommend::RecommendConfig;
use lxc_autoscale_ml::replay::CpuClass;

use crate::crosswise::Crosswise;
use crate::figures::Figures;
use crate::parallel::in_parallel;
use crate::part::{Left, PARTS, Part, YOUNG};
use crate::program::Args;
use crate::steer::{Aids, steer};
use crate::watch::Watch;

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench ablation";

/// Age of a young container, and its warm-up.
const YOUNG_DAYS: i64 = 3;
const DAY_SECONDS: i64 = 86_400;
const YOUNG_WARM_UP_SECONDS: f64 = 6.0 * 3600.0;

/// The figures of one set of traces.
#[derive(serde::Serialize)]
struct Set {
    title: String,
    /// The complete recommendation first, then without each part.
    rows: Vec<Figures>,
}

fn main() -> ExitCode {
    program::run("bench_ablation", run)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let shipped = DemandModel::shipped();
    let rules = Rules::benchmark(CpuClass::Fractional);
    let made_up = generate::traces(24, 14);
    let mut sets =
        vec![set("24 synthetic containers, 14 days", &PARTS, rules, &made_up, |_| shipped.clone())?];
    if let Some(path) = &args.traces {
        let recordings = recorded::read_all(path)?;
        let learnt = Crosswise::learn(&recordings)?;
        let title = format!("{} recorded machines, each by what was learnt from others", recordings.len());
        sets.push(set(&title, &PARTS, rules, &recordings, |id| Some(learnt.stranger(id)))?);
        let young = young(recordings);
        let title = format!(
            "the same machines, each new every {YOUNG_DAYS} days and judged from the seventh hour on"
        );
        let rules = Rules { warm_up_seconds: YOUNG_WARM_UP_SECONDS, ..rules };
        sets.push(set(&title, &YOUNG, rules, &young, |id| Some(learnt.stranger(id)))?);
    }
    let tables = sets.iter().map(markdown).collect::<Vec<_>>().join("\n");
    args.publish("benchmark.md", COMMAND, &tables, &sets)
}

/// The recordings in pieces, each as a machine without a past.
fn young(recordings: Vec<Recording>) -> Vec<Recording> {
    let pieces = recordings.into_iter().flat_map(|mut recording| {
        let samples = std::mem::take(&mut recording.samples);
        let first = samples.first().map_or(0, |sample| sample.at);
        let piece_of = move |at: i64| (at - first).div_euclid(YOUNG_DAYS * DAY_SECONDS);
        let pieces: Vec<Recording> = samples
            .chunk_by(|a, b| piece_of(a.at) == piece_of(b.at))
            .map(|samples| Recording { samples: samples.to_vec(), ..recording.clone() })
            .collect();
        pieces
    });
    pieces.filter(|piece| piece.span().is_some_and(|(first, last)| DAY_SECONDS <= last - first)).collect()
}

fn set(
    title: &str,
    parts: &[(&str, Part)],
    rules: Rules,
    recordings: &[Recording],
    demand: impl Fn(u64) -> Option<Arc<DemandModel>> + Sync,
) -> Result<Set, IsolationForestError> {
    let whole = RecommendConfig::default();
    let prices = Prices::from(&whole);
    let rows = parts.iter().map(|(name, part)| {
        let sums = in_parallel(recordings, |recording| {
            let Left { policy, shared, mut shown, guarded, detector } =
                part(&whole, demand(recording.id), recording.id);
            let (mut watch, mut failed) = (detector.map(Watch::new), Ok(()));
            let mut unusual = |seen: &Observation| {
                let judged = watch.as_mut()?.judge(seen);
                judged.unwrap_or_else(|error| {
                    failed = Err(error);
                    None
                })
            };
            let aids = Aids { guarded, detector: Some(&mut unusual) };
            let mut judge = Judge::new(rules, recording.provisioned);
            steer(recording, &rules, &policy, Arc::new(shared), aids, &mut shown, |moment| {
                judge.step(moment.step, moment.had);
            });
            failed.map(|()| judge.sums())
        });
        let sums = sums.into_iter().collect::<Result<Vec<_>, IsolationForestError>>()?;
        Ok(Figures::new(name, &sums, &prices))
    });
    Ok(Set { title: title.to_owned(), rows: rows.collect::<Result<_, IsolationForestError>>()? })
}

fn markdown(set: &Set) -> String {
    let mut text = format!(
        "### What each part brings: {}\n\n| | J [95 %] | more than all of it | J CPU | J memory | geometric mean | CPU work unserved | CPU resizes a day | short of memory a month | memory resizes a day |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        set.title
    );
    let whole = set.rows.first().map_or(f64::NAN, |row| row.j);
    for row in &set.rows {
        let (low, high) = row.j_interval;
        let _ = writeln!(
            text,
            "| {} | {:.3} [{low:.2}, {high:.2}] | {:+.1} % | {:.3} | {:.3} | {:.3} | {:.2} % | {:.1} | {:.1} | {:.1} |",
            row.policy,
            row.j,
            100.0 * (row.j / whole - 1.0),
            row.j_cpu,
            row.j_memory,
            row.geometric_mean,
            100.0 * row.cpu_shortfall,
            row.cpu_resizes,
            row.shortages,
            row.memory_resizes,
        );
    }
    text
}
