//! Requests per second and latencies of the API on a simulated node, and its overhead compared with a bare `pct`.
//!
//! Run it with `cargo xtask bench api`. Server, simulated node and load generator share the machine.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod disk;
mod load;
mod overhead;
mod plain;
mod stage;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use lxc_autoscale_core::Vmid;

use load::{Call, Failure, Measured};
use stage::Stage;
use table::Row;

/// The options of the benchmark.
#[derive(Debug, Parser)]
struct Options {
    /// How long each kind of request is sent, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Number of connections, each with one request at a time
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Number of changes whose latency is compared with a bare `pct`
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// Address at which the Python original's server will listen; the benchmark waits for it, and sends it the same
    /// requests
    #[arg(long, value_name = "HOST:PORT", requires = "directory")]
    original: Option<SocketAddr>,
    /// Create the node in this directory, where the original finds its `pct`; it is not removed
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let stage = Stage::set_up(options.directory.as_deref())?;
    if let Some(address) = options.original {
        stage.wait_for(address)?;
    }
    // A single thread, so that the load generator takes as little as possible from the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (rows, overhead) = runtime.block_on(measure(&stage, &options))?;
    print!("{}", table::markdown(&rows, &overhead, &options));
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", table::json(&rows, &overhead, &options)))?;
    }
    Ok(())
}

async fn measure(stage: &Stage, options: &Options) -> Result<(Vec<Row>, overhead::Overhead), Failure> {
    let containers = stage.containers();
    let mut rows = Vec::new();
    for what in ["GET /health/check", "GET /resource/vm/status", "POST /scale/cores"] {
        let ours = run(stage.address(), what, containers, options).await?;
        let original = match options.original {
            Some(address) => Some(run(address, what, containers, options).await?),
            None => None,
        };
        rows.push(Row { what, ours, original });
    }
    let overhead = overhead::measure(stage, containers[0], options.changes).await?;
    Ok((rows, overhead))
}

async fn run(
    address: SocketAddr,
    what: &str,
    containers: &[Vmid],
    options: &Options,
) -> Result<Measured, Failure> {
    let calls: Vec<Vec<Call>> = (0..options.connections)
        .map(|number| {
            // Changes of the same container wait for each other, so each connection uses its own.
            let vmid = containers[number % containers.len()];
            match what {
                "GET /health/check" => vec![Call::get("/health/check".to_owned())],
                "GET /resource/vm/status" => vec![Call::get(format!("/resource/vm/status?vm_id={vmid}"))],
                _ => [1, 2].map(|cores| Call::set_cores(vmid, cores)).to_vec(),
            }
        })
        .collect();
    load::run(address, calls, Duration::from_secs(options.seconds)).await
}
