//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// A simulated Proxmox node, and the demo that runs the three daemons on it.
#[derive(Debug, Parser)]
#[command(name = "lxc-autoscale-sim", version)]
pub struct Cli {
    /// Root directory of the node
    #[arg(long, global = true, value_name = "DIR")]
    pub node: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Proxmox's `pct`, acting on the node
    #[command(disable_help_flag = true)]
    Pct {
        /// What `pct` is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Proxmox's `pvesh`, for the calls the daemons make
    #[command(disable_help_flag = true)]
    Pvesh {
        /// What `pvesh` is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> std::process::ExitCode {
        std::process::ExitCode::from(255)
    }
}
