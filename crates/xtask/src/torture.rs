//! The torture tests at full length.

use clap::Args;

use crate::command::{CommandError, cargo, is_installed, run};
use crate::packages;

/// Options of `cargo xtask torture`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many writers and monitors are killed; ordinary test runs kill fewer.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    kills: u64,
    /// Use moments other than those of ordinary test runs.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs all tests named torture, of the exchange file and of the monitor.
pub(crate) fn torture(options: &Options) -> Result<(), CommandError> {
    packages::ensure(packages::FOR_TESTS)?;
    for package in ["lxc-autoscale-core", "lxc-monitor"] {
        let mut tests = if is_installed("cargo-nextest") {
            let mut tests = cargo(["nextest", "run", "--locked", "--no-fail-fast", "--package", package]);
            tests.args(["--test", "torture", "--success-output", "final"]);
            tests
        } else {
            let mut tests = cargo(["test", "--locked", "--package", package, "--test", "torture"]);
            tests.args(["--", "--nocapture"]);
            tests
        };
        tests.env("LXC_TORTURE_KILLS", options.kills.to_string());
        if let Some(seed) = options.seed {
            tests.env("LXC_TORTURE_SEED", seed.to_string());
        }
        run(&mut tests)?;
    }
    Ok(())
}
