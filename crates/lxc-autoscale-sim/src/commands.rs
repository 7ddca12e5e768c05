//! The long-running commands `run` and `demo`: their options, and the output of their errors.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use lxc_autoscale_core::ErrorChain;

use crate::demo::{self, DemoOptions};
use crate::node::{CgroupVersion, EngineKind, NodeLayout};
use crate::run::{self, RunOptions};
use crate::workload::{FASTEST, is_speed};

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Directory of the node (`node`) and its commands (`bin`); created if it does not exist
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub dir: PathBuf,
    /// Cgroup version of a new node; an existing node keeps its own
    #[arg(long, value_enum)]
    pub cgroup: Option<CgroupChoice>,
    /// End after this time instead of waiting for SIGTERM or Ctrl-C
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
}

/// A version of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupChoice {
    /// One hierarchy per controller
    V1,
    /// One hierarchy
    V2,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Simulated containers, or real ones on this machine (needs root and Debian's `lxc`)
    #[arg(long, value_enum, default_value_t = DemoEngine::Sim)]
    pub engine: DemoEngine,
    /// Number of containers: the first N of the ten simulated ones (all if not given); real ones have the ids from
    /// 100 on (3 if not given)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    pub ct: Option<u32>,
    /// End after this time instead of waiting for Ctrl-C
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Write a report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Port of the API; a free one if not given
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: Option<u16>,
    /// Keep all files in this directory instead of a temporary one
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub dir: Option<PathBuf>,
    /// Policies for the ml daemon: TOML with `[policy.NAME]` and `[shadow.NAME]` tables
    #[arg(long, value_name = "FILE")]
    pub policies: Option<PathBuf>,
    /// Seed of the random parts of simulated workloads
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// How much faster than real time the simulated workloads run
    #[arg(long, value_name = "F", default_value_t = 10.0, value_parser = speed)]
    pub speed: f64,
}

/// Makes the path of a directory absolute: links and scripts in a node hold it, and are used from elsewhere.
pub(crate) fn directory() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

/// Parses the speed-up of the workloads, so that a wrong one is refused before anything is created.
fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().map_err(|_| "not a number".to_owned())?;
    if is_speed(speed) { Ok(speed) } else { Err(format!("must be above 0 and at most {FASTEST}")) }
}

/// What runs the containers of a demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoEngine {
    /// Files, advanced by a simulated kernel
    Sim,
    /// Real containers
    Lxc,
}

/// Options of `serve-rest`.
#[derive(Debug, Args)]
pub struct ServeRestArgs {
    /// Address to listen on; port 0 stands for any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8006")]
    pub listen: SocketAddr,
    /// Append each call with its answer to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Root directory of another node of the same cluster; may be given more than once
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub other: Vec<PathBuf>,
}

impl ServeRestArgs {
    /// Serves until SIGTERM or Ctrl-C; the first line of standard output is the address.
    pub fn run(self, node: Option<PathBuf>) -> ExitCode {
        let Some(node) = node else {
            let _ =
                writeln!(io::stderr().lock(), "lxc-autoscale-sim: `--node DIR` must say which node is meant");
            return ExitCode::from(2);
        };
        let others: Vec<NodeLayout> = self.other.into_iter().map(NodeLayout::new).collect();
        exit_code(run::serve_rest(&NodeLayout::new(node), &others, self.listen, self.log).map(|()| true))
    }
}

impl RunArgs {
    /// Runs the node until it is told to stop.
    pub fn run(self) -> ExitCode {
        let options = RunOptions {
            directory: self.dir,
            cgroup: self.cgroup.map(|choice| match choice {
                CgroupChoice::V1 => CgroupVersion::V1,
                CgroupChoice::V2 => CgroupVersion::V2,
            }),
            duration: self.seconds.map(Duration::from_secs),
        };
        exit_code(run::run(&options).map(|()| true))
    }
}

impl DemoArgs {
    /// Runs the demo; succeeds only if all three daemons were healthy.
    pub fn run(self) -> ExitCode {
        let options = DemoOptions {
            engine: match self.engine {
                DemoEngine::Sim => EngineKind::Simulated,
                DemoEngine::Lxc => EngineKind::Lxc,
            },
            n_containers: self.ct,
            duration: self.seconds.map(Duration::from_secs),
            report: self.report,
            api_port: self.api_port,
            directory: self.dir,
            policies: self.policies,
            seed: self.seed,
            speed: self.speed,
        };
        exit_code(demo::run(&options))
    }
}

fn exit_code<E: std::error::Error + 'static>(result: Result<bool, E>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If standard error is gone, too, the exit code still shows the failure.
            let _ = writeln!(io::stderr().lock(), "lxc-autoscale-sim: {}", ErrorChain(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_speed_that_workloads_can_run_at_is_taken() {
        for (text, taken) in [
            ("10", true),
            ("0.5", true),
            ("0", false),
            ("-1", false),
            ("nan", false),
            ("inf", false),
            ("x", false),
        ] {
            assert_eq!(speed(text).is_ok(), taken, "{text}");
        }
    }
}
