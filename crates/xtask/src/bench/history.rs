//! The history: a program of the monitor's crate, which prints the table itself.

use std::path::Path;

use crate::command::{self, CommandError, cargo};

/// Runs it.
pub(crate) fn run(json: Option<&Path>) -> Result<(), CommandError> {
    let mut command = cargo(["run", "--release", "--locked", "--quiet"]);
    command.args(["--package", "lxc-monitor", "--example", "bench_history"]);
    if let Some(path) = json {
        let absolute = std::path::absolute(path)
            .map_err(|source| CommandError::Figures { path: path.display().to_string(), source })?;
        command.arg("--").arg("--json").arg(absolute);
    }
    command::run(&mut command)
}
