//! Measures the LXC containers of a node and the node itself; see the library for how.

use std::io::Write;
use std::process::ExitCode;

use lxc_autoscale_core::ErrorChain;
use lxc_monitor::cli::{Cli, CliError, Outcome};

/// The same as that of `lxc-autoscale-ml`.
const EXIT_NOTHING_KNOWN: u8 = 5;

fn main() -> ExitCode {
    match Cli::of_process().run() {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::NotHealthy) => ExitCode::FAILURE,
        Ok(Outcome::NothingKnown) => ExitCode::from(EXIT_NOTHING_KNOWN),
        Err(error) => {
            // When standard error is closed, nothing can be reported.
            let _ = writeln!(std::io::stderr(), "lxc-monitor: {}", ErrorChain(&error));
            match error {
                // `config` says that something is wrong, as its answer with `--json` does.
                CliError::Show(_) => ExitCode::FAILURE,
                _ => ExitCode::from(2),
            }
        }
    }
}
