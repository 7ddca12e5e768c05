//! Benchmarks of models that are learnt from traces and shipped with the program; they can also learn them again.

use std::path::PathBuf;

use clap::Args;

use super::on_traces;
use crate::command::CommandError;

/// Options of these benchmarks.
#[derive(Args, Debug)]
#[group(id = "learnt")]
pub(crate) struct Options {
    #[command(flatten)]
    on_traces: on_traces::Options,
    /// Write the shipped model, learnt from all of the traces, to this file.
    #[arg(long, value_name = "FILE", requires = "traces")]
    model: Option<PathBuf>,
}

/// Runs the benchmark of this name.
pub(crate) fn run(name: &str, options: &Options) -> Result<(), CommandError> {
    options.on_traces.example(name)?.file("--model", options.model.as_deref())?.run()
}
