//! The command line.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use lxc_autoscale_core::{ErrorChain, Mebibytes};

use crate::commands::{DemoArgs, RunArgs, ServeRestArgs, directory};
use crate::node::{self, CgroupVersion, NodeLayout, NodeSettings};
use crate::pve::{Machine, Terminal, pct, pvesh};
use crate::rest::pveum;

/// A simulated Proxmox node, and the demo that runs the three daemons on it.
#[derive(Debug, Parser)]
#[command(name = "lxc-autoscale-sim", version)]
pub struct Cli {
    /// Root directory of the node
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub node: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node and the three daemons, and show what they do
    Demo(DemoArgs),
    /// Run a simulated node with ten containers until it is told to stop
    Run(RunArgs),
    /// Create a node without containers, and the commands `pct` and `pvesh` that act on it
    CreateNode {
        /// What runs the containers of the node
        #[arg(long, value_enum, default_value_t = EngineChoice::Simulated)]
        engine: EngineChoice,
        /// Name of the node
        #[arg(long, default_value = "proxmox")]
        name: String,
        /// CPUs of a simulated node
        #[arg(long, default_value_t = 8)]
        cpus: u32,
        /// Memory of a simulated node, in MiB
        #[arg(long, default_value_t = 16384)]
        memory: u64,
        /// Use cgroup v1 on a simulated node
        #[arg(long)]
        cgroup_v1: bool,
        /// Directory for `pct` and `pvesh`
        #[arg(long, value_name = "DIR")]
        bin: Option<PathBuf>,
    },
    /// Enact `cores` as cpusets and spread them, as pvestatd does about every ten seconds
    Rebalance,
    /// Proxmox's `pct`, acting on the node
    #[command(disable_help_flag = true)]
    Pct {
        /// Arguments of `pct`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Proxmox's `pveum`, as far as API tokens need it
    #[command(disable_help_flag = true)]
    Pveum {
        /// Arguments of `pveum`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Serve Proxmox's REST API of the node over HTTPS until told to stop
    ServeRest(ServeRestArgs),
    /// Proxmox's `pvesh`, for the calls the daemons make
    #[command(disable_help_flag = true)]
    Pvesh {
        /// Arguments of `pvesh`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
}

/// What runs a node's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// Files, advanced by a simulated kernel
    Simulated,
    /// Debian's `lxc` tools and this machine's cgroups
    Lxc,
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Demo(demo) => demo.run(),
            Command::Run(run) => run.run(),
            Command::ServeRest(serve) => serve.run(self.node),
            command => run_on_node(self.node, command),
        }
    }
}

/// Runs a command that acts on a node and ends.
fn run_on_node(node: Option<PathBuf>, command: Command) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut err = io::stderr().lock();
    let Some(node) = node else {
        let _ = writeln!(err, "lxc-autoscale-sim: `--node DIR` must say which node is meant");
        return ExitCode::from(2);
    };
    let layout = NodeLayout::new(node);
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    let status = match command {
        // These were handled before.
        Command::Demo(_) | Command::Run(_) | Command::ServeRest(_) => 2,
        Command::Pct { args } => pct::run(&layout, &pct::decoded(args), &mut terminal),
        Command::Pveum { args } => pveum::run(&layout, &args, &mut terminal),
        Command::Pvesh { args } => pvesh::run(&layout, &args, &mut terminal),
        Command::CreateNode { engine, name, cpus, memory, cgroup_v1, bin } => {
            let settings = match engine {
                EngineChoice::Lxc => NodeSettings { name, ..NodeSettings::for_lxc() },
                EngineChoice::Simulated => NodeSettings {
                    name,
                    cpus,
                    memory: Mebibytes::new(memory),
                    cgroup: if cgroup_v1 { CgroupVersion::V1 } else { CgroupVersion::V2 },
                    ..NodeSettings::default()
                },
            };
            let made = node::create_node(&layout, &settings)
                .and_then(|()| bin.map_or(Ok(()), |bin| node::write_wrappers(&layout, &bin)));
            report(made, &mut terminal)
        }
        Command::Rebalance => {
            let balanced = Machine::open(&layout).and_then(|machine| machine.rebalance());
            let printed = balanced.and_then(|log| {
                log.iter().try_for_each(|line| writeln!(terminal.out, "{line}"))?;
                Ok(())
            });
            report(printed, &mut terminal)
        }
    };
    let flushed = out.flush();
    if flushed.is_err() { ExitCode::FAILURE } else { ExitCode::from(status) }
}

fn report<E: std::error::Error + 'static>(result: Result<(), E>, terminal: &mut Terminal<'_>) -> u8 {
    let Err(error) = result else { return 0 };
    let _ = writeln!(terminal.err, "lxc-autoscale-sim: {}", ErrorChain(&error));
    1
}
