//! `backtest`: from the command line to files and tables.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::progress::{Bar, Progress as _};

use super::error::BacktestError;
use super::metrics::ReplayRules;
use super::recording::Recording;
use super::report::{Report, Title, amount};
use super::run::{Bounds, Outcome, Replay, lasting};
use super::score::{Prices, Rules};
use super::{allocations, html, metrics, report, traces};
use crate::config::Config;
use crate::figures::counted;
use crate::policy::Identity;
use crate::replay::CpuClass;

/// How many known ids are listed when an unknown one is asked for.
const NAMED_IDS: usize = 10;

/// Arguments of `backtest`.
#[derive(Clone, Debug, Args)]
pub struct BacktestArgs {
    /// The monitor's metrics file [default: the one that the configuration names].
    #[arg(long, value_name = "FILE", conflicts_with = "traces")]
    pub metrics: Option<PathBuf>,
    /// CSV, plain or gzipped, with the columns timestamp (s), container_id, provisioned_cores, provisioned_memory_mb,
    /// cpu_cores_used and memory_mb_used.
    #[arg(long, value_name = "CSV")]
    pub traces: Option<PathBuf>,
    /// Configuration of the daemon whose policy is tried; what it would only recommend counts as done [default: the
    /// installed one; without one, and for traces, the built-in policy, and the limits of containers from traces then
    /// follow from what each was provisioned with].
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Try the built-in policy, whatever is installed.
    #[arg(long, conflicts_with = "policy")]
    pub built_in: bool,
    /// In which units CPU is given [default: as the policy says; fractional for traces without one].
    #[arg(long, value_enum)]
    pub cpu_class: Option<CpuClass>,
    /// Write the sizes over time to this CSV file: timestamp,container_id,cores,memory_mb.
    #[arg(long, value_name = "FILE")]
    pub allocations: Option<PathBuf>,
    /// Write a page with charts to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Only these containers: ids or names, separated by commas.
    #[arg(long, value_name = "ID", value_delimiter = ',', num_args = 1..)]
    pub containers: Vec<String>,
    /// First days of each container that are not judged, because little is learnt yet; at most a third of its days.
    #[arg(long, value_name = "DAYS", default_value_t = 3.0, value_parser = parse_days)]
    pub warm_up_days: f64,
}

impl BacktestArgs {
    /// The configuration whose policy is replayed; `None` for the built-in one. `named` is the one of `--config`, and
    /// `installed` the one of this node, which need not exist.
    pub fn policy_file<'a>(&'a self, named: Option<&'a Path>, installed: &'a Path) -> Option<&'a Path> {
        if self.built_in {
            return None;
        }
        // Traces are of other machines: the limits, ids and tags of this node's configuration are not about them. One
        // that cannot even be looked for is an error when it is read, not a reason to replay another policy.
        let is_there = || self.traces.is_none() && installed.try_exists().unwrap_or(true);
        self.policy.as_deref().or(named).or_else(|| is_there().then_some(installed))
    }

    /// Whether the configuration tells which file is replayed, even with the built-in policy.
    pub fn reads_configured_file(&self) -> bool {
        self.traces.is_none() && self.metrics.is_none()
    }
}

fn parse_days(text: &str) -> Result<f64, String> {
    let days: f64 = text.parse().map_err(|_| "not a number of days".to_owned())?;
    if (0.0..=3650.0).contains(&days) { Ok(days) } else { Err("must be 0 to 3650".to_owned()) }
}

/// Replays the recordings by the policy of `config`, which is in `policy_file` unless it is built in, and writes the
/// result to `out`.
///
/// # Errors
/// [`BacktestError`]; files that were written before stay.
pub fn command(
    args: &BacktestArgs,
    policy_file: Option<&Path>,
    config: &Config,
    out: &mut impl Write,
) -> Result<(), BacktestError> {
    let is_named = policy_file.is_some();
    let book = config.policy_book()?;
    let source = args.traces.as_ref().or(args.metrics.as_ref()).unwrap_or(&config.metrics.file).clone();
    let class_by = |control| args.cpu_class.unwrap_or_else(|| CpuClass::of(control));
    let recordings = if let Some(path) = &args.traces {
        let mut recordings = traces::read(path)?;
        for recording in recordings.iter_mut().filter(|_| is_named) {
            recording.cpu_class = Some(class_by(lasting(&book, recording).policy.cpu.control));
        }
        recordings
    } else {
        let rules_of = |identity: &_| {
            let policy = book.lasting(identity).policy;
            ReplayRules { cpu_class: class_by(policy.cpu.control), boot_seconds: policy.guard.boot_seconds }
        };
        from_metrics(&source, config.metrics.believed(), rules_of)?
    };
    let recordings = chosen(recordings, &args.containers)?;

    let prices = Prices::from(&config.recommend);
    let replay = Replay {
        shared: Arc::new(config.shared()?),
        rules: rules(args, config),
        // A trace has a line per decision; the daemon decides at its own interval.
        interval_seconds: if args.traces.is_some() { 0 } else { seconds(config.interval_seconds) },
        // Machines of others within their provisioned sizes: the recommendation alone, as in `recommend`.
        with_guards: args.traces.is_none() || is_named,
        with_forecasts: args.html.is_some(),
        bounds: if args.traces.is_some() && !is_named {
            Bounds::Provisioned(Box::new(config.policy()))
        } else {
            Bounds::Configured(Box::new(book))
        },
    };
    let begin = Instant::now();
    let bar = Bar::of_pieces("replaying", "containers");
    let outcomes = replay.all(&recordings, &|done| bar.at(done as u64, recordings.len() as u64));
    drop(bar);
    let took = begin.elapsed().as_secs_f64();

    if let Some(path) = &args.allocations {
        allocations::write_file(path, &recordings, &outcomes)?;
    }
    let report =
        Report::new(title(args, (policy_file, config), &source, &recordings, &outcomes), prices, &outcomes);
    if let Some(path) = &args.html {
        let failed = |source| BacktestError::Write { path: path.clone(), source };
        std::fs::write(path, html::page(&report, &recordings, &outcomes)).map_err(failed)?;
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        report::write(&report, out)?;
    }
    let days = report.title.container_days;
    // Not part of the result, which is the same every time.
    note(&format!(
        "replayed {} container-days in {took:.1} s, {} a second",
        amount(days),
        amount(days / took.max(1e-9))
    ));
    Ok(())
}

fn from_metrics(
    path: &Path,
    believed: Believed,
    rules_of: impl Fn(&Identity) -> ReplayRules,
) -> Result<Vec<Recording>, BacktestError> {
    let read = metrics::read(path, believed, rules_of)?;
    if read.unreadable != 0 {
        note(&format!("{} left out, because unreadable", counted(read.unreadable, "record", "records")));
    }
    if !read.unsized_ids.is_empty() {
        let ids = named(read.unsized_ids.iter().copied());
        note(&format!("left out, because nothing tells what they have: {ids}"));
    }
    Ok(read.recordings)
}

/// The recordings of these ids and names; all of them if none is named.
fn chosen(recordings: Vec<Recording>, wanted: &[String]) -> Result<Vec<Recording>, BacktestError> {
    if wanted.is_empty() {
        return Ok(recordings);
    }
    let ids = wanted.iter().map(|it| id_of(&recordings, it)).collect::<Result<BTreeSet<u64>, _>>()?;
    Ok(recordings.into_iter().filter(|recording| ids.contains(&recording.id)).collect())
}

fn id_of(recordings: &[Recording], wanted: &str) -> Result<u64, BacktestError> {
    let is_it = |recording: &&Recording| match wanted.parse::<u64>() {
        Ok(id) => recording.id == id,
        Err(_) => recording.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(wanted)),
    };
    let ids: BTreeSet<u64> = recordings.iter().filter(is_it).map(|recording| recording.id).collect();
    match ids.first() {
        Some(id) if ids.len() == 1 => Ok(*id),
        Some(_) => {
            let (name, ids) = (wanted.to_owned(), named(ids.into_iter()));
            Err(BacktestError::AmbiguousName { name, ids })
        }
        None => {
            let known = named(recordings.iter().map(|recording| recording.id));
            Err(BacktestError::UnknownContainer { id: wanted.to_owned(), known })
        }
    }
}

fn named(ids: impl ExactSizeIterator<Item = u64>) -> String {
    let more = ids.len().saturating_sub(NAMED_IDS);
    let shown: Vec<String> = ids.take(NAMED_IDS).map(|id| id.to_string()).collect();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", shown.join(", "))
}

/// As in the benchmark; but for one's own recordings, the policy sets the maximum.
fn rules(args: &BacktestArgs, config: &Config) -> Rules {
    let benchmark = Rules::benchmark(args.cpu_class.unwrap_or_default());
    let most = if args.traces.is_some() { benchmark.most_times_provisioned } else { f64::INFINITY };
    Rules {
        most_times_provisioned: most,
        headroom: config.recommend.cpu_headroom_percent / 100.0,
        warm_up_seconds: args.warm_up_days * 86_400.0,
        ..benchmark
    }
}

fn title(
    args: &BacktestArgs,
    (policy_file, config): (Option<&Path>, &Config),
    source: &Path,
    recordings: &[Recording],
    outcomes: &[Outcome],
) -> Title {
    let spans = || recordings.iter().filter_map(Recording::span);
    let date = |seconds: Option<i64>| {
        let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        time.map_or_else(|| "?".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
    };
    let class_of = |recording: &Recording| recording.cpu_class.or(args.cpu_class).unwrap_or_default();
    let is_whole = |recording: &Recording| class_of(recording) == CpuClass::Integer;
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Title {
        source: name(source),
        from: date(spans().map(|(first, _)| first).min()),
        to: date(spans().map(|(_, last)| last).max()),
        policy: policy_file.map_or_else(|| "built-in".to_owned(), name),
        cpu: match (recordings.iter().any(is_whole), recordings.iter().all(is_whole)) {
            (false, _) => "CPU in hundredths of a core",
            (true, true) => "CPU in whole cores",
            (true, false) => "CPU in whole cores or in hundredths, as each policy says",
        },
        warm_up_days: args.warm_up_days,
        container_days: outcomes.iter().map(|outcome| outcome.days).sum(),
        too_short: report::too_short(
            spans().map(|(first, last)| last - first).max().unwrap_or_default(),
            config.scaling.min_history_seconds,
        ),
    }
}

fn seconds(interval: u64) -> i64 {
    i64::try_from(interval).unwrap_or(i64::MAX)
}

/// A line on standard error, beside the result.
fn note(text: &str) {
    // If standard error is gone, nothing can be done.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BacktestArgs,
    }

    #[test]
    fn the_installed_policy_is_replayed_unless_told_otherwise() {
        let directory = tempfile::tempdir().unwrap();
        let (here, gone) = (directory.path().join("ml.toml"), directory.path().join("gone.toml"));
        std::fs::write(&here, "").unwrap();
        let (own, named) = (Path::new("own.toml"), Path::new("named.toml"));
        for (words, named, installed, want) in [
            (vec![], None, &here, Some(here.as_path())),
            (vec![], None, &gone, None),
            (vec![], Some(named), &here, Some(named)),
            (vec!["--policy", "own.toml"], Some(named), &here, Some(own)),
            (vec!["--metrics", "m.json"], None, &here, Some(here.as_path())),
            (vec!["--built-in"], None, &here, None),
            (vec!["--built-in"], Some(named), &here, None),
            // Traces are of other machines.
            (vec!["--traces", "t.csv"], None, &here, None),
            (vec!["--traces", "t.csv"], Some(named), &here, Some(named)),
            (vec!["--traces", "t.csv", "--policy", "own.toml"], None, &gone, Some(own)),
        ] {
            let line = Line::parse_from(["backtest"].into_iter().chain(words.iter().copied()));
            assert_eq!(line.args.policy_file(named, installed), want, "{words:?}");
        }
        assert!(Line::try_parse_from(["backtest", "--built-in", "--policy", "own.toml"]).is_err());
    }
}
