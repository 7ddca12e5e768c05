//! Requests a second of the API, and what it adds to a bare `pct`: a program of its crate, on a simulated node.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::example::Example;
use crate::command::{self, CommandError, cargo};

/// What is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How long each kind of request is sent, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections at once, each with one request at a time.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Changes whose latency is held against a bare `pct`.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// Where the Python original's server will listen; it is waited for, and sent the same requests.
    #[arg(long, value_name = "HOST:PORT", requires = "directory")]
    original: Option<SocketAddr>,
    /// Make the node in this directory, where the original finds its `pct`; it is left there.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds what takes part, and measures.
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
