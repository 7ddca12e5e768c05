//! Benchmarks of the ml daemon on recorded and synthetic traces.

use std::path::PathBuf;

use clap::Args;

use super::example::Example;
use crate::command::CommandError;

/// Options of these benchmarks.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// More traces in addition to the project's own: a CSV file (optionally with gzip), or a directory of such files.
    #[arg(long, value_name = "PATH")]
    traces: Option<PathBuf>,
    /// Update its tables, and its picture if it has one, in the documentation.
    #[arg(long)]
    write: bool,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    /// The example of this name with these options.
    pub(super) fn example(&self, name: &str) -> Result<Example, CommandError> {
        Example::new(name)
            .file("--traces", self.traces.as_deref())?
            .value("--docs", self.write.then_some("docs"))
            .file("--json", self.json.as_deref())
    }
}

/// Runs the benchmark of this name.
pub(crate) fn run(name: &str, options: &Options) -> Result<(), CommandError> {
    options.example(name)?.run()
}
