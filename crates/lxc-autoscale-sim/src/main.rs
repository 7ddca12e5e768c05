//! Entry point: reads the command line and runs the command.

use std::process::ExitCode;

use clap::Parser;
use lxc_autoscale_sim::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
