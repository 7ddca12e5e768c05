//! Clusters of similar machines, and how well they classify containers of known kinds: `cargo xtask bench classes`.

#[path = "../shared/generate.rs"]
mod generate;
#[path = "../shared/page.rs"]
mod page;
#[path = "../shared/parallel.rs"]
mod parallel;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/recorded.rs"]
#[expect(dead_code, reason = "five days are too few to tell kinds apart")]
mod recorded;
#[path = "../shared/steps.rs"]
mod steps;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeans;
use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::classes::traits::Traits;
use lxc_autoscale_ml::classes::{Class, ClassModel, Group, Scaling};
use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::parallel::in_parallel;
use crate::table::Found;

/// The command whose tables are in the page.
const COMMAND: &str = "cargo xtask bench classes";
/// More clusters than classes: a class may have several kinds of members, which one centre would not represent.
const GROUPS: usize = 12;
/// Number of k-means runs, of which the best is taken.
const RUNS: usize = 20;
/// Window in steps of five minutes: eight days, as much as the daemon keeps.
const WINDOW: usize = 8 * DAY;
const DAY: usize = 288;

#[derive(Parser)]
struct Learning {
    #[command(flatten)]
    program: program::Args,
    /// Write the groups of the traces, which come with the program, to this file.
    #[arg(long, requires = "traces")]
    model: Option<PathBuf>,
}

/// The traits of a container at the end of one of its days.
pub(crate) struct Look {
    pub(crate) name: String,
    pub(crate) traits: Traits,
}

fn main() -> ExitCode {
    program::run("bench_classes", run)
}

fn run(args: &Learning) -> Result<(), Box<dyn Error>> {
    let own = looks(&generate::traces(24, 14));
    let mut model = ClassModel::shipped().cloned();
    let mut found = Vec::new();
    if let Some(path) = &args.program.traces {
        let recorded = looks(&recorded::read_all(path)?);
        let traits: Vec<Traits> = recorded.iter().chain(&own).map(|look| look.traits).collect();
        let learnt = learn(&traits)?;
        if let Some(path) = &args.model {
            std::fs::write(path, serde_json::to_vec_pretty(&learnt)?)?;
        }
        found.push(Found::new("recorded machines", &recorded, &learnt));
        model = Some(learnt);
    }
    let model = model.ok_or("the groups that ship cannot be used")?;
    found.push(Found::new("synthetic containers", &own, &model));
    args.program.publish("demand-model.md", COMMAND, &table::markdown(&model, &found), &found)
}

/// The traits of each container at the end of each day.
fn looks(recordings: &[Recording]) -> Vec<Look> {
    in_parallel(recordings, |recording| {
        let series = steps::series(recording);
        let days = series.cpu.len() / DAY;
        let look = |days: usize| {
            let window = days.saturating_mul(DAY).saturating_sub(WINDOW)..days * DAY;
            let traits = Traits::of(&series.cpu[window.clone()], &series.memory[window])?;
            let name = recording.name.clone().unwrap_or_else(|| recording.id.to_string());
            Some(Look { name, traits })
        };
        (1..=days).filter_map(look).collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect()
}

/// Clusters these by k-means.
fn learn(traits: &[Traits]) -> Result<ClassModel, Box<dyn Error>> {
    let scaling = Scaling::of(traits);
    let values: Vec<f64> = traits.iter().flat_map(|traits| scaling.scaled(traits.values())).collect();
    let table = Array2::from_shape_vec((traits.len(), Traits::NAMES.len()), values)?;
    let fitted = KMeans::params_with_rng(GROUPS, ChaCha8Rng::seed_from_u64(1))
        .n_runs(RUNS)
        .fit(&DatasetBase::from(table))?;
    let mut groups: Vec<Group> = fitted
        .centroids()
        .rows()
        .into_iter()
        .map(|middle| {
            let middle = scaling.unscaled(std::array::from_fn(|index| middle[index]));
            let middle = middle.map(|value| (value * 1e4).round() / 1e4);
            Group { class: Class::of_traits(&Traits::from_values(middle)), middle }
        })
        .collect();
    groups.sort_by(|a, b| a.class.cmp(&b.class).then(a.middle[0].total_cmp(&b.middle[0])));
    Ok(ClassModel { traits: Traits::NAMES.map(str::to_owned).to_vec(), scaling, groups })
}
