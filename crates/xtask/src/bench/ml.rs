//! The cost of the ml daemon. A cycle is measured with the program itself, on a history written by the monitor's own
//! writer.

use std::path::PathBuf;

use clap::Args;

use super::example::Example;
use super::unit;
use crate::command::{CommandError, cargo, run as run_command, workspace_root};
use crate::packages;

/// The daemon's unit.
const UNIT: &str = "lxc_autoscale_ml.service";

/// Options of this benchmark.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run only these parts: cycle, forest, backtest.
    #[arg(long, value_delimiter = ',', value_parser = ["cycle", "forest", "backtest"])]
    only: Vec<String>,
    /// A Python that has scikit-learn, instead of one with the pinned version, which is installed below `target`.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Update its tables in the documentation; for that, all of its parts must run.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    let python = match &options.python {
        _ if !wanted("forest") => None,
        Some(python) => Some(python.clone()),
        None => {
            packages::ensure(packages::FOR_PYTHON)?;
            Some(packages::scikit_learn()?)
        }
    };
    run_command(cargo(["build", "--release", "--locked", "--quiet", "--bin", "lxc-autoscale-ml"]))?;
    let directory = tempfile::Builder::new().prefix("bench-ml.").tempdir_in("/var/tmp");
    let directory =
        directory.map_err(|source| CommandError::Figures { path: "/var/tmp".to_owned(), source })?;
    let history = wanted("cycle").then(|| directory.path().join("metrics.sqlite"));
    if let Some(history) = &history {
        Example::new("bench_history").value("--make", Some(history)).run()?;
    }
    let environment = unit::environment(UNIT)
        .map_err(|source| CommandError::Figures { path: unit::path(UNIT).display().to_string(), source })?;
    let bench = Example::new("bench_ml");
    let bench = environment.into_iter().fold(bench, |bench, set| bench.value("--environment", Some(set)));
    bench
        .value("--daemon", Some(workspace_root().join("target/release/lxc-autoscale-ml")))
        .value("--history", history)
        .value("--python", python)
        .value("--only", (!options.only.is_empty()).then(|| options.only.join(",")))
        .value("--docs", options.write.then_some("docs"))
        .file("--json", options.json.as_deref())?
        .run()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use crate::Args;

    #[test]
    fn tables_are_only_written_with_all_of_them() {
        let refused = |options: &str| {
            let words = ["xtask", "bench", "ml"].into_iter().chain(options.split_whitespace());
            Args::try_parse_from(words).err().map(|error| error.kind())
        };
        assert_eq!(refused("--write"), None);
        assert_eq!(refused("--only cycle,forest"), None);
        assert_eq!(refused("--only cycle --write"), Some(ErrorKind::ArgumentConflict));
        assert_eq!(refused("--write --only cycle,forest,backtest"), Some(ErrorKind::ArgumentConflict));
    }
}
