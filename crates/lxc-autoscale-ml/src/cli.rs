//! The command line.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;

use crate::backtest::BacktestArgs;
use crate::commands::{ColorChoice, Like, Named};
use crate::detect::IsolationForestParams;
use crate::replay::CpuClass;

/// Where the configuration is unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/lxc_autoscale_ml/lxc_autoscale_ml.toml";

/// Learns how each LXC container behaves, decides its size, and asks the API to resize it.
///
/// Exit codes: 0 success; 1 failure; 2 `plan` found something to change; 3 `apply` refused a plan and did nothing;
/// 4 `apply` did only part of a plan; 5 nothing is known of the container, or for `plan` of the present; 64 wrong
/// usage.
#[derive(Debug, Parser)]
#[command(name = "lxc-autoscale-ml", version, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file [default: /etc/lxc_autoscale_ml/lxc_autoscale_ml.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// When to colour the output.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Decide and act at every interval until stopped (SIGTERM); SIGHUP reloads the configuration.
    Run,
    /// Decide and act once, as `scaling.mode` says, and show what was done.
    Once {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what would be done now and why, without doing it; exit code 2 if something would change.
    Plan {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Also show what is left as it is, and why.
        #[arg(long)]
        all: bool,
        /// Also write the plan to FILE, which `apply` carries out within `proposals.plan_seconds`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Carry out exactly what a plan says, or refuse if something has changed since; asks first, on a terminal.
    Apply {
        /// The file that `plan` wrote.
        file: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what was decided about a container, what came of it, and its sizes over time.
    History {
        /// The container's id or name.
        id: Named,
        /// How far back: 90m, 24h, 7d, 4w.
        #[arg(long, value_name = "AGO", default_value = "7d", value_parser = parse_ago)]
        since: SignedDuration,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what would be decided about a container now, from which numbers, and what was decided lately.
    Why {
        /// The container's id or name.
        id: Named,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// How many past decisions to show at most.
        #[arg(long, value_name = "N", default_value_t = 10)]
        limit: u32,
        /// Show what was decided at TIME instead: 2026-11-25T14:05, 2026-11-25T13:05:00Z, or 3h for three hours ago.
        #[arg(long, value_name = "TIME", value_parser = parse_instant, conflicts_with = "limit")]
        at: Option<Instant>,
    },
    /// Show what the sizes that were set have saved, and where something got worse since.
    Report {
        /// How far back: 24h, 7d, 4w.
        #[arg(long, value_name = "AGO", default_value = "30d", value_parser = parse_ago)]
        since: SignedDuration,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show how many more containers fit on the node, what runs out first, and when.
    Capacity(CapacityArgs),
    /// Show what a container is expected to use in the coming hours, with bands that held in its own past.
    Forecast {
        /// The container's id or name.
        id: Named,
        /// How many hours ahead.
        #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u8).range(1..=24))]
        hours: u8,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the newest decision about each container.
    Decisions {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Only the N containers with the latest decisions.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show every key of the configuration, its value and where it comes from, or what is wrong with it (exit code 1).
    Config(ConfigArgs),
    /// Show the rules in force for a container, the policies, or the presets.
    Policy {
        /// What to show.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Show what each candidate policy (`[shadow.NAME]`) would have cost, next to what was really spent.
    Shadow {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the changes that wait to be accepted (mode `approve`), accept or reject them.
    Proposals {
        /// What to do [default: list].
        #[command(subcommand)]
        action: Option<ProposalsAction>,
        /// Print JSON.
        #[arg(long, global = true)]
        json: bool,
    },
    /// Recommend sizes for measurements read from standard input, one JSON line per step.
    ///
    /// Without `--config`, the built-in defaults apply, whatever is installed.
    Recommend(RecommendArgs),
    /// Replay recorded measurements through a policy, and show what it would have done, saved and missed.
    ///
    /// Without `--policy` or `--config`, the installed configuration is tried; without one, for `--traces`, and with
    /// `--built-in`, the built-in policy.
    Backtest(BacktestArgs),
    /// Learn a demand model from recorded machines, for `recommend.demand_model`.
    Train(TrainArgs),
    /// Learn one table of numbers (CSV) with the isolation forest and score another: prints one `score,decision`
    /// line per row, as scikit-learn's `score_samples` and `decision_function` define them.
    Detect(DetectArgs),
}

/// A time as people write it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instant {
    /// At a time.
    At(Timestamp),
    /// So long ago.
    Ago(SignedDuration),
}

impl Instant {
    /// The time it denotes at `now`.
    pub fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

/// Arguments of `capacity`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("like").required(true).multiple(true).args(["id", "policy", "cores", "memory_mib"])))]
pub struct CapacityArgs {
    /// Count containers like this one, given by id or name.
    pub id: Option<Named>,
    /// Count containers like the average one of this policy.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub policy: Option<String>,
    /// Count containers that use this many cores at their peak.
    #[arg(long, value_name = "N", requires = "memory_mib", conflicts_with_all = ["id", "policy"], value_parser = parse_amount)]
    pub cores: Option<f64>,
    /// Count containers that use this much memory at their peak, in MiB.
    #[arg(long, value_name = "N", requires = "cores", conflicts_with_all = ["id", "policy"], value_parser = parse_amount)]
    pub memory_mib: Option<f64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl CapacityArgs {
    /// What is counted, where `id` is the one that was named; `None` where nothing is named, which the command line
    /// rules out.
    pub fn like(&self, id: Option<Vmid>) -> Option<Like> {
        let size =
            self.cores.zip(self.memory_mib).map(|(cores, memory_mib)| Like::Size { cores, memory_mib });
        let policy = || self.policy.clone().map(Like::Policy);
        id.map(Like::Container).or_else(policy).or(size)
    }
}

/// What `policy` shows.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show every value in force for a container, and where it comes from.
    Show {
        /// The container's id or name.
        id: Named,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Show the values at another time, such as 2026-03-29T01:30:00Z [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    /// List the policies, and the containers that each applies to.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the presets, or show what one sets and why.
    Presets {
        /// The preset to show.
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `config`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ConfigArgs {
    /// Read the configuration from standard input instead of its file.
    #[arg(long)]
    pub stdin: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to do about proposals.
#[derive(Clone, Debug, Subcommand)]
pub enum ProposalsAction {
    /// Show the proposals that wait.
    List {
        /// Also show those that have ended.
        #[arg(long)]
        all: bool,
    },
    /// Let the daemon carry them out, each exactly as it says, as soon as its guards allow it.
    Accept {
        /// Numbers of proposals, or `all`.
        #[arg(required = true, value_name = "NO")]
        numbers: Vec<String>,
    },
    /// Refuse them; the same is not proposed again for `proposals.rejected_seconds`.
    Reject {
        /// Numbers of proposals, or `all`.
        #[arg(required = true, value_name = "NO")]
        numbers: Vec<String>,
        /// Why; stored with the answer.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Arguments of `train`.
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// CSV with the columns timestamp (s), container_id, cpu_cores_used and memory_mb_used, one line every 300 s.
    #[arg(long, value_name = "FILE")]
    pub traces: PathBuf,
    /// Where to write the model.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Number of trees for each quantile.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = parse_rounds)]
    pub rounds: usize,
}

fn parse_ago(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "write a number and m, h, d or w, such as 7d".to_owned();
    let unit = match text.chars().next_back() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        Some('w') => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u16 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(SignedDuration::from_secs(unit * i64::from(number)))
}

fn parse_instant(text: &str) -> Result<Instant, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Instant::At(at));
    }
    if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        let zone = jiff::tz::TimeZone::system();
        let zoned = local.to_zoned_datetime(zone).map_err(|error| error.to_string())?;
        return Ok(Instant::At(zoned.timestamp()));
    }
    let wrong = |_| "write a time such as 2026-11-25T14:05, or how long ago, such as 3h".to_owned();
    parse_ago(text).map(Instant::Ago).map_err(wrong)
}

fn parse_amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if 0.0 < amount && amount.is_finite() { Ok(amount) } else { Err("must be more than 0".to_owned()) }
}

fn parse_rounds(text: &str) -> Result<usize, String> {
    let rounds: usize = text.parse().map_err(|_| "not a number of trees".to_owned())?;
    if (1..=5000).contains(&rounds) { Ok(rounds) } else { Err("must be 1 to 5000".to_owned()) }
}

/// Arguments of `detect`.
#[derive(Clone, Debug, Args)]
pub struct DetectArgs {
    /// Table to learn.
    #[arg(long, value_name = "FILE")]
    pub train: PathBuf,
    /// Table whose rows are to be scored.
    #[arg(long, value_name = "FILE")]
    pub score: PathBuf,
    /// Number of trees.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub trees: usize,
    /// Number of rows that each tree sees.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub samples: usize,
    /// Share of the learnt rows that counts as unusual.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub contamination: f64,
    /// Seed of the random numbers.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

impl DetectArgs {
    /// The parameters of the forest.
    pub fn params(&self) -> IsolationForestParams {
        IsolationForestParams::default()
            .n_trees(self.trees)
            .max_samples(self.samples)
            .contamination(self.contamination)
            .seed(self.seed)
    }
}

/// Arguments of `recommend`.
#[derive(Clone, Copy, Debug, Args)]
pub struct RecommendArgs {
    /// Speak the line protocol on standard input and output.
    #[arg(long, required = true)]
    pub stdio: bool,
    /// In which units CPU is given.
    #[arg(long, value_enum, default_value_t)]
    pub cpu_class: CpuClass,
}

impl Cli {
    /// The configuration file.
    pub fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }
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
    fn the_configuration_may_be_named_before_and_after_the_command() {
        for words in [["--config", "/x.toml", "plan"], ["plan", "--config", "/x.toml"]] {
            let cli = Cli::parse_from(["lxc-autoscale-ml"].into_iter().chain(words));
            assert_eq!(cli.config_path(), Path::new("/x.toml"));
        }
        assert_eq!(Cli::parse_from(["lxc-autoscale-ml", "run"]).config_path(), Path::new(DEFAULT_CONFIG));
    }

    #[test]
    fn an_id_or_name_must_be_one() {
        for good in ["104", "web", "web-2.lan", "2048-game"] {
            assert!(Cli::try_parse_from(["lxc-autoscale-ml", "why", good]).is_ok());
        }
        for bad in ["99", "104;ls", "web one", ""] {
            let error = Cli::try_parse_from(["lxc-autoscale-ml", "why", bad]).unwrap_err();
            assert!(error.to_string().contains("is not a container id"), "{error}");
        }
    }
}
