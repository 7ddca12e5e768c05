//! What a look at a container costs: the monitor with all it ships with, the same with rates and the snapshot's line only, the
//! cheapest reader of the same files, forked commands and netdata, side by side in one run.
//!
//! The containers are real control groups in Proxmox's layout, each with one sleeping process in a PID namespace
//! of its own, a configuration file, a command socket and a network device. All of it stands in a network and a
//! PID namespace made for the run ([`outside`]), which end with it; the groups are removed afterwards.
//!
//! CPU time is what the kernel charges to a control group in which the contestant runs alone, so that its
//! children and ended threads count.

mod contestants;
mod files;
mod groups;
mod inside;
mod measure;
mod netdata;
mod outside;
mod stage;
mod table;

use std::io;
use std::path::PathBuf;

use clap::Args;

pub(crate) use inside::run as run_inside;

use crate::command::CommandError;

/// Features of the monitor that can be switched off, by their tables in its configuration.
const OPTIONAL_FEATURES: [&str; 3] = ["alerts", "anomaly", "history"];

/// What is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many containers, smallest first.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    containers: Vec<usize>,
    /// How long each contestant is watched, in seconds; each looks at every container once a second.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Features that are switched off in the first row of the monitor, to see what they cost.
    #[arg(long, value_delimiter = ',', value_parser = OPTIONAL_FEATURES)]
    without: Vec<String>,
    /// Leave netdata out.
    #[arg(long)]
    without_netdata: bool,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why the monitor could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorBenchError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Groups and namespaces are root's to make.
    #[error("this benchmark makes control groups and namespaces: run it as root")]
    NotRoot,
    /// Something the benchmark makes or reads gave an error.
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A contestant did not do what it was started for.
    #[error("{0}")]
    Contestant(String),
}

impl MonitorBenchError {
    /// For `map_err`.
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into().display().to_string();
        move |source| Self::Io { what, path, source }
    }
}

/// Measures, and prints the table; whatever happens, nothing stays behind.
pub(crate) fn run(options: &Options) -> Result<(), MonitorBenchError> {
    outside::run(options)
}
