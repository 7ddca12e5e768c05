//! `capacity`: how many more containers fit, what runs out first and when.

mod show;

use std::collections::BTreeMap;
use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::history_store::{HistoryReader, Metric, Point, Series, Tier};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use super::screen::Screen;
use super::{CommandError, look, write_json};
use crate::capacity::{Fit, Newcomer, Outlook, Room, fit, outlook};
use crate::config::Config;
use crate::decide::Resource;
use crate::figures::counted;
use crate::pipeline::{Pipeline, Proposal};
use crate::policy::selector::Match;
use crate::proposals::Approvals;

/// How far back to look for a trend.
const PAST: SignedDuration = SignedDuration::from_hours(30 * 24);
const DAY_MS: i64 = 86_400_000;

/// The container to be added.
#[derive(Clone, Debug)]
pub enum Like {
    /// One more like this one.
    Container(Vmid),
    /// One more like the average container of a policy.
    Policy(String),
    /// A given peak.
    Size {
        /// In cores.
        cores: f64,
        /// In MiB.
        memory_mib: f64,
    },
}

/// The result as JSON.
#[derive(Serialize)]
struct Capacity {
    /// What is counted.
    like: String,
    newcomer: Newcomer,
    #[serde(flatten)]
    fit: Fit,
    /// The trend of the daily peaks of all containers' memory.
    memory_outlook: Outlook,
    /// The trend of the node's daily peaks of CPU.
    cpu_outlook: Outlook,
    /// What is unknown, if anything.
    notes: Vec<String>,
}

/// Shows how many more containers of a kind fit.
///
/// # Errors
/// [`CommandError`] when the container or policy to compare with is unknown, or the metrics file or the ledger cannot
/// be read.
pub fn capacity(
    config: &Config,
    like: &Like,
    now: Timestamp,
    json: bool,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (pipeline, changes) = look(config)?;
    let proposals = pipeline.propose(&changes, &Approvals::default(), now);
    let mut notes = Vec::new();
    let (name, newcomer) = newcomer(config, &pipeline, &proposals, like)?;
    let node = pipeline.history().node();
    let unknown =
        proposals.iter().filter(|it| peak_cores(it).is_none() && !it.inputs.obstacles.stopped).count();
    if 0 < unknown {
        let one = "container is not known well enough, and counts with what it has";
        let more = "containers are not known well enough, and count with what they have";
        notes.push(counted(unknown, one, more));
    }
    let room = Room {
        cpus: node.cpus,
        memory_total_mib: node.memory_total_mib,
        memory_available_mib: node.memory_available_mib,
        reserve_percent: config.policy().node_memory_reserve_percent,
        claims: proposals.iter().map(Proposal::claim).collect(),
        peak_cores: proposals.iter().filter_map(expected_cores).collect(),
    };
    let fit = fit(&room, &newcomer);
    let peaks = daily_peaks(config, now, &mut notes);
    let look_ahead = |metric: Metric, free: Option<f64>| {
        outlook(peaks.get(&metric).map_or(&[], Vec::as_slice), free.unwrap_or(0.0), now)
    };
    let memory_outlook = look_ahead(Metric::ContainersMemory, fit.memory.map(|it| it.free));
    let cpu_outlook = look_ahead(Metric::Cpu, fit.cpu.map(|it| it.free));
    let capacity = Capacity { like: name, newcomer, fit, memory_outlook, cpu_outlook, notes };
    if json { write_json(out, &capacity) } else { capacity.show(screen, out).map_err(CommandError::from) }
}

/// A description of what is counted, and its peaks.
fn newcomer(
    config: &Config,
    pipeline: &Pipeline,
    proposals: &[Proposal],
    like: &Like,
) -> Result<(String, Newcomer), CommandError> {
    let peaks = |proposal: &Proposal| Some((expected_cores(proposal)?, proposal.claim().expected_mib?));
    match like {
        Like::Size { cores, memory_mib } => {
            Ok(("one of this size".to_owned(), Newcomer { cores: *cores, memory_mib: *memory_mib }))
        }
        Like::Container(id) => {
            let unknown = || CommandError::UnknownContainer { id: *id, file: config.metrics.file.clone() };
            let proposal = proposals.iter().find(|it| it.id == *id).ok_or_else(unknown)?;
            let (cores, memory_mib) = peaks(proposal).ok_or(CommandError::NotKnownEnough { id: *id })?;
            let name = proposal.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            Ok((format!("{id}{name}"), Newcomer { cores, memory_mib }))
        }
        Like::Policy(name) => {
            let unknown = || CommandError::UnknownPolicy { name: name.clone() };
            let policy = pipeline.book().policies().iter().find(|it| it.name == *name).ok_or_else(unknown)?;
            let identity = |id| pipeline.history().container(id).map(|container| &container.identity);
            let is_of = |it: &&Proposal| {
                identity(it.id).is_some_and(|who| matches!(policy.selector.matches(who), Match::Yes(_)))
            };
            let known: Vec<(f64, f64)> = proposals.iter().filter(is_of).filter_map(peaks).collect();
            if known.is_empty() {
                return Err(CommandError::NobodyOfPolicy { name: name.clone() });
            }
            let count = known.len() as f64;
            let cores = known.iter().map(|(cores, _)| cores).sum::<f64>() / count;
            let memory_mib = known.iter().map(|(_, mib)| mib).sum::<f64>() / count;
            let containers = counted(known.len(), "container", "containers");
            let average = format!("the average of {containers} of the policy {name}");
            Ok((average, Newcomer { cores, memory_mib }))
        }
    }
}

/// The CPU peak expected of a container, in cores; `None` if unknown.
fn peak_cores(proposal: &Proposal) -> Option<f64> {
    Some(proposal.inputs.recommendation.as_ref()?.cpu.as_ref()?.expected())
}

/// The same; its size if unknown, and zero for one that is stopped.
fn expected_cores(proposal: &Proposal) -> Option<f64> {
    if proposal.inputs.obstacles.stopped {
        return None;
    }
    peak_cores(proposal).or(proposal.decisions.about(Resource::Cpu).from)
}

/// The peaks of the last days, by metric, from the monitor's history; days are numbered since 1970.
fn daily_peaks(
    config: &Config,
    now: Timestamp,
    notes: &mut Vec<String>,
) -> BTreeMap<Metric, Vec<(i64, f64)>> {
    let path = &config.metrics.history;
    if path.as_os_str().is_empty() {
        notes.push("`metrics.history` names no history, so no trend is known".to_owned());
        return BTreeMap::new();
    }
    // The present day may not have had its peak yet.
    let to_ms = now.as_millisecond().div_euclid(DAY_MS) * DAY_MS;
    let from_ms = to_ms - i64::try_from(PAST.as_millis()).unwrap_or(0);
    let metrics = [Metric::Cpu, Metric::ContainersMemory];
    let read = HistoryReader::open(path).and_then(|reader| match reader {
        Some(reader) => {
            reader.read_many(Series::NODE, &metrics, Tier::Hour.between(from_ms, to_ms)).map(|it| it.0)
        }
        None => Ok(BTreeMap::new()),
    });
    let points = read.unwrap_or_else(|error| {
        notes.push(format!("the monitor's history cannot be read: {}", ErrorChain(&error)));
        BTreeMap::new()
    });
    points.into_iter().map(|(metric, points)| (metric, by_day(metric, &points))).collect()
}

fn by_day(metric: Metric, points: &[Point]) -> Vec<(i64, f64)> {
    let mut days: BTreeMap<i64, f64> = BTreeMap::new();
    for point in points {
        // Nobody buys a node for a peak of one second of CPU.
        let value = if metric == Metric::Cpu { point.mean } else { point.max };
        let day = days.entry(point.start_ms.div_euclid(DAY_MS)).or_insert(value);
        *day = day.max(value);
    }
    days.into_iter().collect()
}
