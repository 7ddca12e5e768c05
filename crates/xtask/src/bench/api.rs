//! Requests per second of the API, and the overhead compared with a bare `pct`: a program of its crate, on a
//! simulated node.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::example::Example;
use crate::command::{self, CommandError, cargo};

/// Options of this benchmark.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How long each kind of request is sent, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Number of connections, each with one request at a time.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Number of changes whose latency is compared with a bare `pct`.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// Address at which the Python original's server will listen; the benchmark waits for it, and sends it the same
    /// requests.
    #[arg(long, value_name = "HOST:PORT", requires = "directory")]
    original: Option<SocketAddr>,
    /// Create the node in this directory, where the original finds its `pct`; it is not removed.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds the programs involved, and measures.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    let mut build = cargo(["build", "--release", "--locked"]);
    for program in ["lxc-autoscale-api", "lxc-autoscale-sim", "lxc-monitor"] {
        build.args(["--bin", program]);
    }
    command::run(build)?;
    let number = |number: usize| Some(number.to_string());
    Example::new("bench_api")
        .value("--seconds", Some(options.seconds.to_string()))
        .value("--connections", number(options.connections))
        .value("--changes", number(options.changes))
        .value("--original", options.original.map(|address| address.to_string()))
        .file("--directory", options.directory.as_deref())?
        .file("--json", options.json.as_deref())?
        .run()
}
