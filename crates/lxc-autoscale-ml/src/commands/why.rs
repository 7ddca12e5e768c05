//! `why`: the last decisions about one container, and the reasoning now.

use std::io::Write;

use jiff::Timestamp;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use super::decisions::local_time;
use super::table::{amount, resource};
use super::{CommandError, look, write_json};
use crate::config::Config;
use crate::decide::{Action, Amount, Resource};
use crate::ledger::{Entry, Ledger};
use crate::observation::Observation;
use crate::pipeline::Proposal;
use crate::proposals::Approvals;
use crate::recommend::{Estimate, Recommendation};

/// All that is known about why a container has the size it has.
#[derive(Serialize)]
struct Explanation {
    id: Vmid,
    /// What would be decided now; absent when no measurement names the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Proposal>,
    /// Gaps in its measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    gaps: Option<u64>,
    /// What the current reasoning lacks, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// The last decisions, newest first.
    decisions: Vec<Entry>,
}

/// Shows why `id` has the size it has, at `now`.
///
/// # Errors
/// [`CommandError`] when nothing is known of the container, or the ledger cannot be read. A metrics file that
/// cannot be read costs only the current reasoning.
pub fn why(
    config: &Config,
    id: Vmid,
    now: Timestamp,
    json: bool,
    limit: u32,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let decisions = match Ledger::open_read_only(&config.state.ledger())? {
        Some(ledger) => ledger.of_container(id, limit)?,
        None => Vec::new(),
    };
    let mut explanation = Explanation { id, now: None, gaps: None, trouble: None, decisions };
    match look(config) {
        Ok((pipeline, changes)) => {
            explanation.now = pipeline
                .propose(&changes, &Approvals::default(), now)
                .into_iter()
                .find(|proposal| proposal.id == id);
            explanation.gaps = pipeline.history().container(id).map(|container| container.gaps);
        }
        Err(error) => explanation.trouble = Some(ErrorChain(&error).to_string()),
    }
    if explanation.now.is_none() && explanation.decisions.is_empty() && explanation.trouble.is_none() {
        return Err(CommandError::UnknownContainer { id, file: config.metrics.file.clone() });
    }
    if json { write_json(out, &explanation) } else { explanation.show(out).map_err(CommandError::from) }
}

impl Explanation {
    fn show(&self, out: &mut impl Write) -> std::io::Result<()> {
        let name = self.now.as_ref().and_then(|proposal| proposal.name.as_deref());
        writeln!(out, "Container {}{}", self.id, name.map(|name| format!(" ({name})")).unwrap_or_default())?;
        match (&self.now, &self.trouble) {
            (Some(proposal), _) => self.show_now(proposal, out)?,
            (None, Some(trouble)) => writeln!(out, "\nWhat would be decided now is not known: {trouble}")?,
            (None, None) => writeln!(out, "\nThe newest measurement does not name it.")?,
        }
        writeln!(out, "\nLast decisions")?;
        if self.decisions.is_empty() {
            writeln!(out, "  none yet")?;
        }
        for entry in &self.decisions {
            let times = if 1 < entry.times { format!(", {} times", entry.times) } else { String::new() };
            writeln!(
                out,
                "  {}  {}: {}",
                local_time(entry.at),
                resource(entry.decision.resource),
                entry.decision
            )?;
            if entry.decision.action != Action::Keep {
                let error = entry.outcome.error().map(|error| format!(": {error}")).unwrap_or_default();
                writeln!(out, "      {}{times}{error}", entry.outcome.word())?;
            }
        }
        Ok(())
    }

    fn show_now(&self, proposal: &Proposal, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "\nNow")?;
        for decision in proposal.decisions.both() {
            let unapplied = decision.action != Action::Keep && !decision.apply;
            let note = if unapplied { " (recommended, not carried out)" } else { "" };
            writeln!(out, "  {}: {decision}{note}", resource(decision.resource))?;
            writeln!(out, "      otherwise: {}", decision.reason.otherwise())?;
        }
        writeln!(out, "\nFrom these numbers")?;
        if let Some(observation) = &proposal.inputs.observation {
            show_observation(observation, out)?;
        }
        if let Some(recommendation) = &proposal.inputs.recommendation {
            show_recommendation(recommendation, out)?;
        }
        if let Some(gaps) = self.gaps.filter(|gaps| 0 < *gaps) {
            writeln!(out, "  {:<22}{gaps} gaps of more than 15 minutes", "measurements")?;
        }
        let unusual = match proposal.inputs.anomaly {
            Some(score) if score.is_anomaly() => {
                let because = proposal.inputs.unusual.as_ref().map(|unusual| unusual.because.join(", "));
                let because = because.filter(|because| !because.is_empty());
                let because = because.map(|because| format!(": {because}")).unwrap_or_default();
                format!("yes (score {:.3}, decision {:.3}){because}", score.score, score.decision)
            }
            Some(score) => format!("no (score {:.3}, decision {:.3})", score.score, score.decision),
            None => "not known yet".to_owned(),
        };
        writeln!(out, "  {:<22}{unusual}", "behaves unusually")?;
        let node = proposal.inputs.node;
        let cpus = node.cpus.map_or_else(|| "?".to_owned(), |cpus| cpus.to_string());
        let available = amount(Resource::Memory, node.memory_available_mib);
        writeln!(out, "  {:<22}{cpus} CPUs, {available} of memory available", "node")
    }
}

fn show_observation(seen: &Observation, out: &mut impl Write) -> std::io::Result<()> {
    let percent = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.1} %"));
    let yes_no = |value: Option<bool>| match value {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    writeln!(out, "  {:<22}{}", "measured at", local_time(seen.at))?;
    let used = amount(Resource::Cpu, seen.cpu_cores_used);
    let limit = amount(Resource::Cpu, seen.cores_limit);
    let throttled = percent(seen.cpu_throttled_share.map(|share| share * 100.0));
    writeln!(out, "  {:<22}{used} of {limit}, held back {throttled}", "CPU use")?;
    let used = amount(Resource::Memory, seen.memory_used_mib);
    let limit = amount(Resource::Memory, seen.memory_limit_mib);
    writeln!(out, "  {:<22}{used} of {limit}", "working set")?;
    writeln!(out, "  {:<22}{}", "ran out of memory", yes_no(seen.oom))?;
    writeln!(out, "  {:<22}{}", "memory pressure", percent(seen.memory_pressure_percent))
}

fn show_recommendation(recommendation: &Recommendation, out: &mut impl Write) -> std::io::Result<()> {
    let hours = recommendation.history_seconds as f64 / 3600.0;
    writeln!(out, "  {:<22}{hours:.1} h", "known for")?;
    let class = recommendation.class.map_or_else(|| "not known yet".to_owned(), |class| class.to_string());
    writeln!(out, "  {:<22}{class}", "kind of load")?;
    for (resource_kind, estimate) in
        [(Resource::Cpu, &recommendation.cpu), (Resource::Memory, &recommendation.memory)]
    {
        if let Some(estimate) = estimate {
            show_estimate(resource_kind, estimate, out)?;
        }
    }
    Ok(())
}

fn show_estimate(kind: Resource, estimate: &Estimate, out: &mut impl Write) -> std::io::Result<()> {
    let of = |value| Amount::of(kind, value);
    let label = format!("{} it should have", resource(kind));
    writeln!(
        out,
        "  {label:<22}{}, not less than {} ({:.0} % sure; {})",
        of(estimate.target),
        of(estimate.floor),
        estimate.confidence_percent,
        estimate.basis
    )?;
    for evidence in &estimate.evidence {
        writeln!(out, "      {}: {}", evidence.fact, of(evidence.value))?;
    }
    Ok(())
}
