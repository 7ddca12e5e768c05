//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use lxc_autoscale_core::CommandOutput;
use lxc_autoscale_core::config::{self, ConfigError, ShowError};
use lxc_autoscale_core::telemetry::{self, TelemetryError};

use crate::alerts::list;
use crate::alerts::store::StoreError;
use crate::check;
use crate::clock;
use crate::collector::Collector;
use crate::config::{DEFAULT_PATH, MonitorConfig, SHIPPED};
use crate::daemon::{self, DaemonError};
use crate::history::command::{self as history, HistoryCommandError, ImportArgs};
use crate::history::show::HistoryArgs;

/// One thread for the cycle, and two for what is read back to be served. Reads that may hang have their own.
const MAX_BLOCKING_THREADS: usize = 1 + 2;

/// Measures the LXC containers of this node and the node itself, without starting a process.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure at every interval and append to the metrics file until stopped (SIGTERM); SIGHUP reloads the configuration.
    Run,
    /// Measure twice and print one snapshot as JSON.
    Once(OnceArgs),
    /// Show what can be read on this node, what cannot, and why.
    Check(CheckArgs),
    /// Show what was measured of a container or of the node.
    History(HistoryArgs),
    /// Add the content of a metrics file to the history, ours or one of the Python original.
    Import(ImportArgs),
    /// Show the alerts that are firing.
    Alerts(AlertsArgs),
    /// Show every key of the configuration, its value and where it comes from, or what is wrong with it (exit code 1).
    Config(ConfigArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Read the configuration from standard input instead of its file.
    #[arg(long)]
    stdin: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct OnceArgs {
    /// Time between the two measurements, in milliseconds.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    interval_ms: u64,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AlertsArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Why the program failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Showing the configuration.
    #[error(transparent)]
    Show(#[from] ShowError),
    /// The log.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The alerts' state.
    #[error(transparent)]
    Alerts(#[from] StoreError),
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryCommandError),
    /// Standard output.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
}

/// The outcome if nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// `check` found that something essential cannot be read, or `config` that the configuration is wrong.
    NotHealthy,
    /// `alerts` shows what was known earlier, if anything, and not what is.
    NothingKnown,
}

impl Cli {
    /// The command line of this process; does not return where it is wrong or asks for help.
    pub fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::of_daemon(&arguments).unwrap_or_else(|| Self::parse_from(arguments))
    }

    /// A command line as the unit has it, read without the parser: what a daemon runs once at its start stays in its memory for as
    /// long as it runs, and the parser is a twentieth of the program.
    fn of_daemon(arguments: &[OsString]) -> Option<Self> {
        let [_, run, option, config] = arguments else { return None };
        // An empty name, or one that looks like an option, is for the parser to judge.
        let is_plain = !config.is_empty() && !config.as_encoded_bytes().starts_with(b"-");
        (run == "run" && option == "--config" && is_plain)
            .then(|| Self { config: config.into(), command: Command::Run })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`CliError`], to be printed with its causes.
    pub fn run(self) -> Result<Outcome, CliError> {
        // The command shows what is wrong with it.
        if let Command::Config(args) = &self.command {
            return self.show_config(args);
        }
        let config = self.load_config()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_name("lxc-monitor-work")
            .build()
            .map_err(CliError::Runtime)?;
        let outcome = runtime.block_on(async {
            match &self.command {
                Command::Run => {
                    let log = telemetry::init(&config.logging)?;
                    daemon::run(&self.config, config, log).await?;
                    Ok(Outcome::Success)
                }
                Command::History(args) => {
                    history::show(&config.history, args)?;
                    Ok(Outcome::Success)
                }
                Command::Import(args) => {
                    history::import(&config.history, args)?;
                    Ok(Outcome::Success)
                }
                Command::Once(args) => once(&config, Duration::from_millis(args.interval_ms)).await,
                Command::Config(args) => self.show_config(args),
                Command::Alerts(args) => {
                    let (listing, now) = (list::active(&config)?, clock::now().wall);
                    let warning = listing.warning(&config, now);
                    for line in listing.disagreement.iter().chain(&warning) {
                        // When standard error is closed, nothing can be reported.
                        let _ = writeln!(io::stderr(), "lxc-monitor: {line}");
                    }
                    print(&if args.json {
                        list::json(&listing, warning.as_deref())
                    } else {
                        list::table(&listing.alerts, now)
                    })?;
                    Ok(if warning.is_none() { Outcome::Success } else { Outcome::NothingKnown })
                }
                Command::Check(args) => {
                    let report = check::run(&config).await;
                    let text = if args.json { check::json(&report) } else { check::table(&report) };
                    print(&text)?;
                    Ok(if report.is_healthy() { Outcome::Success } else { Outcome::NotHealthy })
                }
            }
        });
        // A read that hangs in the kernel must not keep the program from exiting.
        runtime.shutdown_background();
        outcome
    }

    fn show_config(&self, args: &ConfigArgs) -> Result<Outcome, CliError> {
        let mut text = Vec::new();
        let valid = config::show::<MonitorConfig>(SHIPPED, &self.config, args.stdin, args.json, &mut text)?;
        print(&String::from_utf8_lossy(&text))?;
        Ok(if valid { Outcome::Success } else { Outcome::NotHealthy })
    }

    /// `once` and `check` must work before anything is set up, so they do without the default file.
    fn load_config(&self) -> Result<MonitorConfig, ConfigError> {
        match config::load(&self.config) {
            Err(ConfigError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    && self.config.as_os_str() == DEFAULT_PATH
                    && !matches!(self.command, Command::Run) =>
            {
                Ok(MonitorConfig::default())
            }
            loaded => loaded,
        }
    }
}

async fn once(config: &MonitorConfig, interval: Duration) -> Result<Outcome, CliError> {
    let mut collector = Collector::new(&config.clone().with_full_looks());
    collector.cycle();
    tokio::time::sleep(interval).await;
    let snapshot = collector.cycle();
    let json = serde_json::to_string_pretty(&snapshot).map_err(|error| CliError::Stdout(error.into()))?;
    print(&format!("{json}\n"))?;
    Ok(Outcome::Success)
}

fn print(text: &str) -> Result<(), CliError> {
    let mut out = CommandOutput::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command line as the parser reads it, and without it.
    fn both(line: &str) -> (Option<String>, Option<String>) {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let shown = |cli: Cli| format!("{cli:?}");
        (Cli::try_parse_from(&arguments).ok().map(shown), Cli::of_daemon(&arguments).map(shown))
    }

    #[test]
    fn the_units_command_line_is_read_as_the_parser_reads_it() {
        let unit = include_str!("../../../systemd/lxc_monitor.service");
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let (parsed, of_daemon) = both(start);
        assert!(parsed.is_some());
        assert_eq!(of_daemon, parsed);
    }

    #[test]
    fn any_other_command_line_is_left_to_the_parser() {
        for line in [
            "m run",
            "m --config x run",
            "m check --config x",
            "m run --config --json",
            "m run --config ",
            "m run --config x y",
        ] {
            assert_eq!(both(line).1, None, "{line}");
        }
    }
}
