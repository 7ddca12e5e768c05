//! `lxc-monitor history`: what was measured of a container or of the node, for people and for programs.

mod render;
mod when;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::history_store::{HistoryError, HistoryReader, Metric, Series, SeriesInfo, Tier};
use lxc_autoscale_core::nearest;

use super::config::HistoryConfig;
pub use when::InvalidMoment;

/// Where a series begins to be shown unless that is said.
const SINCE: &str = "24h";

/// What `lxc-monitor history` takes.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// A container's id or name, or `node` [default: list everything that was ever recorded].
    pub id: Option<String>,
    /// Metric to show, `cpu` unless given; `list` lists all metrics, or with ID those that are kept of it (with --since,
    /// --until and --tier, in that time and tier only).
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Start: how long ago (90m, 24h, 7d, 4w), or a date or time (2026-11-20, 2026-11-20T08:00) [default: 24h].
    #[arg(long, value_name = "WHEN", requires = "id")]
    pub since: Option<String>,
    /// End, written in the same way [default: now].
    #[arg(long, value_name = "WHEN", requires = "id")]
    pub until: Option<String>,
    /// Interval that each roll-up covers.
    #[arg(long, value_name = "TIER", default_value = "auto", value_parser = ["auto", "1m", "5m", "1h"], requires = "id")]
    pub tier: String,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV.
    #[arg(long)]
    pub csv: bool,
    /// Print every roll-up in the table, not only as many rows as fit on a screen.
    #[arg(long, requires = "id")]
    pub all: bool,
}

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Table,
    Json,
    Csv,
}

impl HistoryArgs {
    fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else if self.csv {
            Format::Csv
        } else {
            Format::Table
        }
    }
}

/// Why the history cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// Nothing was ever recorded.
    #[error("there is no history at `{}`; `lxc-monitor run` writes it, and `lxc-monitor import` fills it", path.display())]
    Nothing {
        /// The database.
        path: PathBuf,
    },
    /// There is no such series.
    #[error("the history knows no container `{id}`{}", did_you_mean(nearest.as_deref()))]
    UnknownSeries {
        /// The requested id.
        id: String,
        /// The most similar id.
        nearest: Option<String>,
    },
    /// The name does not identify one.
    #[error("the name `{name}` is that of several containers, {ids}; give the id")]
    SharedName {
        /// The requested name.
        name: String,
        /// Their ids.
        ids: String,
    },
    /// A metric was asked for, but not of what.
    #[error(
        "`--metric {name}` shows it of one container or of the node: give an id, a name or `node` before it"
    )]
    NoSeries {
        /// The requested metric.
        name: String,
    },
    /// There is no such metric.
    #[error("there is no metric `{name}`{}; `--metric list` lists all", did_you_mean(nearest.as_deref()))]
    UnknownMetric {
        /// The requested name.
        name: String,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// Only other series have the metric.
    #[error(
        "`{name}` is not measured of {}{}; `history {series} --metric list` lists what is",
        if *series == Series::NODE { "the node" } else { "a container" },
        did_you_mean(nearest.as_deref())
    )]
    NotOfSeries {
        /// The requested name.
        name: String,
        /// The series.
        series: Series,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// A time is invalid.
    #[error(transparent)]
    Moment(#[from] InvalidMoment),
    /// The period is empty.
    #[error("`--until` is not after `--since`")]
    Order,
    /// The period has not begun.
    #[error("`--since {since}` is yet to come")]
    YetToCome {
        /// What was given.
        since: String,
    },
    /// The database.
    #[error(transparent)]
    History(#[from] HistoryError),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// The data to show.
#[derive(Clone, Debug)]
struct Extract {
    series: SeriesInfo,
    metric: Metric,
    tier: Tier,
    from_ms: i64,
    to_ms: i64,
    points: Vec<lxc_autoscale_core::history_store::Point>,
}

/// The output, and a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub warning: Option<String>,
}

/// Produces the requested text.
///
/// # Errors
/// [`ShowError`], with the most similar existing name.
pub fn run(
    config: &HistoryConfig,
    args: &HistoryArgs,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Shown, ShowError> {
    let metric_name = args.metric.as_deref().unwrap_or("cpu");
    let is_list = matches!(metric_name, "list" | "help");
    if is_list && args.id.is_none() {
        return Ok(Shown { text: render::metrics(|_| true, args.format()), warning: None });
    }
    let metric = if is_list { None } else { Some(find_metric(metric_name)?) };
    let reader =
        HistoryReader::open(&config.file)?.ok_or_else(|| ShowError::Nothing { path: config.file.clone() })?;
    let reader = reader.as_of(now.as_millisecond());
    let known = reader.series()?;
    let Some(id) = &args.id else {
        return match &args.metric {
            Some(name) => Err(ShowError::NoSeries { name: name.clone() }),
            None => Ok(Shown { text: render::series(&known, args.format()), warning: None }),
        };
    };
    let former = reader.former()?;
    let series = find_series(id, &known, &former)?;
    let Some(metric) = metric else {
        return list_kept(&reader, &series, args, now, zone);
    };
    if !metric.is_of(series.series) {
        let others = Metric::ALL.iter().filter(|other| other.is_of(series.series));
        return Err(ShowError::NotOfSeries {
            name: metric_name.to_owned(),
            series: series.series,
            nearest: nearest(metric_name, others.map(|metric| metric.name())).map(str::to_owned),
        });
    }
    let since = args.since.as_deref().unwrap_or(SINCE);
    let (from_ms, to_ms) = between(Some(since), args.until.as_deref(), now, zone)?;
    let tier = match given_tier(args) {
        Some(tier) => tier,
        None => reader.automatic_tier(from_ms, to_ms)?,
    };
    // The first bucket is the one that contains the beginning.
    let found = reader.read_of(&series, metric, tier.between(tier.bucket_start(from_ms), to_ms))?;
    let extract = Extract { series, metric, tier, from_ms, to_ms, points: found.points };
    let text = match args.format() {
        Format::Json => render::json(&extract, zone),
        Format::Csv => render::csv(&extract, zone),
        Format::Table => render::table(&extract, zone, args.all),
    };
    let warnings: Vec<String> =
        damage(found.damaged_blocks).into_iter().chain(other_owner(&extract, &former, zone)).collect();
    Ok(Shown { text, warning: (!warnings.is_empty()).then(|| warnings.join("; ")) })
}

/// The metrics that are kept of a series, at any time and in any tier unless the arguments say which.
fn list_kept(
    reader: &HistoryReader,
    series: &SeriesInfo,
    args: &HistoryArgs,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Shown, ShowError> {
    let (from_ms, to_ms) = between(args.since.as_deref(), args.until.as_deref(), now, zone)?;
    let tiers = given_tier(args).map_or(Tier::ALL.to_vec(), |tier| vec![tier]);
    let (mut kept, mut damaged) = (BTreeSet::new(), 0);
    for tier in tiers {
        let (of_tier, damaged_of_tier) =
            reader.kept_of(series, tier.between(tier.bucket_start(from_ms), to_ms))?;
        kept.extend(of_tier);
        damaged += damaged_of_tier;
    }
    let text = render::metrics(|metric| kept.contains(&metric), args.format());
    Ok(Shown { text, warning: damage(damaged) })
}

/// The period from `since`, or from the beginning, to `until`, or now.
fn between(
    since: Option<&str>,
    until: Option<&str>,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<(i64, i64), ShowError> {
    let from_ms = since.map_or(Ok(0), |since| when::moment(since, now, zone))?;
    let to_ms = match until {
        Some(until) => when::moment(until, now, zone)?,
        // A roll-up that begins this very millisecond counts as past.
        None => now.as_millisecond() + 1,
    };
    match since {
        _ if from_ms < to_ms => Ok((from_ms, to_ms)),
        Some(since) if until.is_none() => Err(ShowError::YetToCome { since: since.to_owned() }),
        _ => Err(ShowError::Order),
    }
}

fn given_tier(args: &HistoryArgs) -> Option<Tier> {
    Tier::ALL.into_iter().find(|tier| tier.name() == args.tier)
}

fn damage(blocks: u64) -> Option<String> {
    (0 < blocks).then(|| format!("{blocks} blocks of the history are damaged and left out"))
}

/// That the id was another container's in a part of the period.
fn other_owner(extract: &Extract, former: &[SeriesInfo], zone: &TimeZone) -> Option<String> {
    let Extract { series: SeriesInfo { series, name, epoch }, from_ms, to_ms, .. } = extract;
    if epoch.ends_ms != i64::MAX {
        let since = render::short(epoch.ends_ms, zone);
        return Some(format!("this is `{name}`, which had the id {series} until {since}"));
    }
    let before = former.iter().filter(|info| info.series == *series).max_by_key(|info| info.epoch.ends_ms)?;
    let is_cut = (*from_ms..*to_ms).contains(&epoch.begins_ms);
    is_cut.then(|| {
        let (since, former) = (render::short(epoch.begins_ms, zone), &before.name);
        format!("until {since}, {series} was another container, which `history {former}` shows")
    })
}

fn find_metric(name: &str) -> Result<Metric, ShowError> {
    Metric::from_name(name).ok_or_else(|| ShowError::UnknownMetric {
        name: name.to_owned(),
        nearest: nearest(name, Metric::ALL.iter().map(|metric| metric.name())).map(str::to_owned),
    })
}

/// By id, or by name; a name that no container has now may be that of one whose id another container has got.
fn find_series(id: &str, known: &[SeriesInfo], former: &[SeriesInfo]) -> Result<SeriesInfo, ShowError> {
    let shown = |info: &SeriesInfo| info.series.to_string();
    if let Some(info) = known.iter().find(|info| shown(info) == id) {
        return Ok(info.clone());
    }
    let is_called = |info: &&SeriesInfo| info.series != Series::NODE && info.name == id;
    let of_name: Vec<&SeriesInfo> = known.iter().filter(is_called).collect();
    match of_name[..] {
        [] => {}
        [info] => return Ok(info.clone()),
        [..] => {
            let ids: Vec<String> = of_name.into_iter().map(shown).collect();
            return Err(ShowError::SharedName { name: id.to_owned(), ids: ids.join(", ") });
        }
    }
    // With one name for several times, the latest.
    if let Some(info) = former.iter().filter(|info| info.name == id).max_by_key(|info| info.epoch.ends_ms) {
        return Ok(info.clone());
    }
    let words: Vec<String> = known.iter().flat_map(|info| [shown(info), info.name.clone()]).collect();
    let nearest = nearest(id, words.iter().map(String::as_str).filter(|word| !word.is_empty()));
    Err(ShowError::UnknownSeries { id: id.to_owned(), nearest: nearest.map(str::to_owned) })
}

#[cfg(test)]
#[path = "show/tests.rs"]
mod tests;
