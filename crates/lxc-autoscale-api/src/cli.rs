//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use lxc_autoscale_core::Vmid;

use crate::key_command::KeyCommand;

/// Default path of the configuration file.
pub const DEFAULT_CONFIG: &str = "/etc/lxc_autoscale_ml/lxc_autoscale_api.toml";

/// REST server that resizes, snapshots and clones LXC containers.
#[derive(Debug, Parser)]
#[command(name = "lxc-autoscale-api", version, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve until told to stop (SIGTERM); SIGHUP reads the configuration again.
    Run,
    /// Report what works on this machine and what does not; exit code 1 if containers could not be changed.
    Check,
    /// Undo changes of sizes through the running server, as far as that does no harm; exit code 1 if one could not be
    /// undone.
    Undo(UndoArgs),
    /// The audit log of changes.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print the OpenAPI document of the REST API.
    Openapi,
    /// Show every key of the configuration, its value and where it comes from, or what is wrong with it; exit code 1
    /// if it is wrong.
    Config(ConfigArgs),
    /// Manage API keys, for callers who are not root on this machine.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// Arguments of `config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct ConfigArgs {
    /// Read the configuration from standard input instead of its file.
    #[arg(long)]
    pub stdin: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What to undo, and how far back.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("which").args(["vmid", "all"]).required(true))]
pub struct UndoArgs {
    /// The container.
    #[arg(value_name = "VMID")]
    pub vmid: Option<Vmid>,
    /// All containers that were ever changed.
    #[arg(long)]
    pub all: bool,
    /// A time such as 2026-11-25T08:00:00Z, or `original` for the size before the first recorded change.
    #[arg(long, value_name = "TIME")]
    pub to: String,
}

/// What to do with the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum AuditCommand {
    /// Verify its hash chain; exit code 1 if lines were altered, removed or inserted.
    Verify,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_undo_is_of_one_container_or_of_all() {
        let parsed = |line: &str| {
            let words = ["lxc-autoscale-api", "undo"].into_iter().chain(line.split_whitespace());
            Cli::try_parse_from(words).ok().map(|cli| cli.command)
        };
        let undo = |vmid: Option<u32>, to: &str| {
            let vmid = vmid.map(|id| Vmid::try_from(id).unwrap());
            Some(Command::Undo(UndoArgs { vmid, all: vmid.is_none(), to: to.to_owned() }))
        };
        assert_eq!(parsed("104 --to 2026-11-25T08:00:00Z"), undo(Some(104), "2026-11-25T08:00:00Z"));
        assert_eq!(parsed("--all --to original"), undo(None, "original"));
        let nothing = Cli::try_parse_from(["lxc-autoscale-api", "undo"]).unwrap_err().to_string();
        assert!(nothing.contains("--to <TIME> <VMID|--all>"), "{nothing}");
        for line in ["--to original", "104 --all --to original", "104", "--all"] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    #[test]
    fn it_serves_only_if_told_to() {
        let cli = Cli::parse_from(["lxc-autoscale-api", "run"]);
        assert_eq!((cli.config, cli.command), (PathBuf::from(DEFAULT_CONFIG), Command::Run));
        let cli = Cli::parse_from(["lxc-autoscale-api", "check", "--config", "/x.toml"]);
        assert_eq!((cli.config, cli.command), (PathBuf::from("/x.toml"), Command::Check));
        for words in [&["lxc-autoscale-api"][..], &["lxc-autoscale-api", "--config", "/x.toml"]] {
            assert!(Cli::try_parse_from(words).is_err(), "{words:?}");
        }
    }
}
