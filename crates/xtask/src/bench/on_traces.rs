//! Benchmarks of the ml daemon on recorded and made-up traces.

use std::path::PathBuf;

use clap::Args;

use super::example::Example;
use crate::command::CommandError;

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// More traces than the project's own: a CSV file (also with gzip), or a directory of such files.
    #[arg(long, value_name = "PATH")]
    traces: Option<PathBuf>,
    /// Renew its tables, and its picture where it has one, in the documentation.
    #[arg(long)]
    write: bool,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    /// The example of that name, told of them.
    pub(super) fn example(&self, name: &str) -> Result<Example, CommandError> {
        Example::new(name)
            .file("--traces", self.traces.as_deref())?
            .value("--docs", self.write.then_some("docs"))
            .file("--json", self.json.as_deref())
    }
}

/// Runs the one of that name.
pub(crate) fn run(name: &str, options: &Options) -> Result<(), CommandError> {
    options.example(name)?.run()
}
