//! Benchmarks of what is learnt from traces and comes with the program; they can learn it anew, too.

use std::path::PathBuf;

use clap::Args;

use super::on_traces;
use crate::command::CommandError;

/// What is measured.
#[derive(Args, Debug)]
#[group(id = "learnt")]
pub(crate) struct Options {
    #[command(flatten)]
    on_traces: on_traces::Options,
    /// Write what comes with the program, learnt from all of the traces, to this file.
    #[arg(long, value_name = "FILE", requires = "traces")]
    model: Option<PathBuf>,
}

/// Runs the one of that name.
pub(crate) fn run(name: &str, options: &Options) -> Result<(), CommandError> {
    options.on_traces.example(name)?.file("--model", options.model.as_deref())?.run()
}
