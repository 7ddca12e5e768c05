//! Common parts of the benchmarks on traces: options, exit code, and output of the tables.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_core::ErrorChain;
use serde::Serialize;

use crate::page;

/// The options.
#[derive(Parser)]
pub(crate) struct Args {
    /// More traces: a CSV file (also with gzip), or a directory of such files.
    #[arg(long)]
    pub(crate) traces: Option<PathBuf>,
    /// Directory of the documentation, where what it shows of this benchmark is renewed.
    #[arg(long)]
    pub(crate) docs: Option<PathBuf>,
    /// Write the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs `work` with the options of the command line; `name` is the name of the program.
pub(crate) fn run<A: Parser>(name: &str, work: fn(&A) -> Result<(), Box<dyn Error>>) -> ExitCode {
    match work(&A::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {}", ErrorChain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

impl Args {
    /// Prints the tables, and writes them to `page` of the documentation (replacing those of `command`) and the figures
    /// as JSON if requested.
    pub(crate) fn publish(
        &self,
        page: &str,
        command: &str,
        tables: &str,
        figures: &impl Serialize,
    ) -> Result<(), Box<dyn Error>> {
        writeln!(io::stdout().lock(), "{tables}")?;
        if let Some(docs) = &self.docs {
            page::renew(&docs.join(page), command, tables)?;
        }
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(figures)?)?;
        }
        Ok(())
    }
}
