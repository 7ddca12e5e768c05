//! The cost of measuring a container: the monitor with everything it ships with, the same with only rates and the
//! snapshot's line, the cheapest reader of the same files, forked commands and netdata, compared in one run.
//!
//! The containers are real control groups in Proxmox's layout, each with one sleeping process in a PID namespace of
//! its own, a configuration file, a command socket and a network device. All of this is in a network namespace and a
//! PID namespace created for the run ([`outside`]), which end with it; the groups are removed afterwards.
//!
//! CPU time is what the kernel charges to a control group that contains only the contestant, so its children and
//! ended threads count.

mod against;
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

/// Options of this benchmark.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Numbers of containers, in ascending order.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    containers: Vec<usize>,
    /// How long each contestant is measured, in seconds; each reads every container once a second.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Features that are turned off in the first row of the monitor, to see their cost.
    #[arg(long, value_delimiter = ',', value_parser = OPTIONAL_FEATURES)]
    without: Vec<String>,
    /// Omit netdata.
    #[arg(long)]
    without_netdata: bool,
    /// Compare only this other build of the monitor, the present one and the floor, in turns; all with rates and the
    /// snapshot's line only.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["without", "json"])]
    against: Option<PathBuf>,
    /// How often each has its turn with `--against`.
    #[arg(long, default_value_t = 4, requires = "against")]
    turns: u32,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why the monitor could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorBenchError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Only root can create groups and namespaces.
    #[error("this benchmark creates control groups and namespaces: run it as root")]
    NotRoot,
    /// An I/O error of something that the benchmark creates or reads.
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        /// The action that failed.
        what: &'static str,
        /// The path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A contestant failed.
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

/// Measures and prints the table; leaves nothing behind in any case.
pub(crate) fn run(options: &Options) -> Result<(), MonitorBenchError> {
    outside::run(options)
}
