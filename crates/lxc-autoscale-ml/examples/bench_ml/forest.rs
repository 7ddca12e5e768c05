//! The isolation forest compared with scikit-learn's: training on a table and scoring all of its rows, in one run.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use linfa::ParamGuard;
use lxc_autoscale_ml::detect::IsolationForestParams;
use ndarray::{Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const COLUMNS: usize = 26;
const CONTAMINATION: f64 = 0.05;
const TREES: usize = 100;
/// Numbers of rows, and of repetitions; the shortest time counts.
const SIZES: [(usize, u32); 3] = [(1_000, 9), (10_000, 5), (100_000, 3)];
/// Rows per tree: the daemon's default and scikit-learn's.
const SAMPLES: [usize; 2] = [64, 256];

/// One comparison.
#[derive(serde::Serialize)]
pub(crate) struct Row {
    rows: usize,
    samples: usize,
    /// Whether both were pinned to one processor.
    one_processor: bool,
    ours_seconds: f64,
    scikit_learn_seconds: f64,
}

/// All comparisons.
#[derive(serde::Serialize)]
pub(crate) struct Figures {
    scikit_learn: String,
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Theirs {
    version: String,
    seconds: BTreeMap<usize, f64>,
}

/// Measures both; `python` has scikit-learn.
pub(crate) fn measure(python: &Path, directory: &Path) -> Result<Figures, Box<dyn Error>> {
    let table = table(SIZES.iter().map(|(rows, _)| *rows).max().unwrap_or_default());
    let path = directory.join("table.f32");
    let bytes: Vec<u8> = table.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&path, bytes)?;
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).ok_or("no processor")?);
    let (mut rows, mut version) = (Vec::new(), String::new());
    for (one_processor, processors) in [(true, &one), (false, &all)] {
        // Inherited by child processes.
        sched_setaffinity(None, processors)?;
        for samples in SAMPLES {
            let theirs = scikit_learn(python, &path, samples)?;
            for (size, runs) in SIZES {
                rows.push(Row {
                    rows: size,
                    samples,
                    one_processor,
                    ours_seconds: ours(&table.view().split_at(Axis(0), size).0.to_owned(), samples, runs)?,
                    scikit_learn_seconds: *theirs.seconds.get(&size).ok_or("no time")?,
                });
            }
            version = theirs.version;
        }
    }
    Ok(Figures { scikit_learn: version, rows })
}

/// Two modes in most columns, and one row in a hundred with neither.
fn table(rows: usize) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(26);
    let mut table = Array2::zeros((rows, COLUMNS));
    for mut row in table.rows_mut() {
        let busy = if rng.gen_bool(0.3) { 3.0 } else { 0.0 };
        let odd = if rng.gen_bool(0.01) { 4.0 } else { 1.0 };
        for (column, cell) in row.iter_mut().enumerate() {
            // Nearly Gaussian.
            let noise: f32 = (0..6).map(|_| rng.gen_range(-1.0_f32..1.0)).sum();
            *cell = odd * noise + if column % 3 == 0 { busy } else { 0.0 };
        }
    }
    table
}

fn ours(table: &Array2<f32>, samples: usize, runs: u32) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for seed in 0..u64::from(runs) {
        let params = IsolationForestParams::default().n_trees(TREES).max_samples(samples);
        let params = params.contamination(CONTAMINATION).seed(seed).check()?;
        let begun = Instant::now();
        let forest = params.grow(table.view())?;
        let scores = forest.score_samples(table)?;
        best = best.min(begun.elapsed().as_secs_f64());
        std::hint::black_box(scores);
    }
    Ok(best)
}

fn scikit_learn(python: &Path, table: &Path, samples: usize) -> Result<Theirs, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bench_ml/forest.py");
    let mut command = Command::new(python);
    command.arg(script).arg(table).args([COLUMNS, TREES, samples].map(|number| number.to_string()));
    command.arg(CONTAMINATION.to_string()).args(SIZES.map(|(rows, runs)| format!("{rows}:{runs}")));
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`{}` with scikit-learn ended with {}", python.display(), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The figures as a table.
pub(crate) fn markdown(figures: &Figures) -> String {
    let mut text = format!(
        "| rows × {COLUMNS}, {TREES} trees | rows a tree | processors | ours | scikit-learn {} | times faster |\n\
         | ---: | ---: | --- | ---: | ---: | ---: |\n",
        figures.scikit_learn
    );
    for row in &figures.rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} ms | {:.1} ms | {:.1} |",
            row.rows,
            row.samples,
            if row.one_processor { "one" } else { "all" },
            1000.0 * row.ours_seconds,
            1000.0 * row.scikit_learn_seconds,
            row.scikit_learn_seconds / row.ours_seconds
        );
    }
    text
}
