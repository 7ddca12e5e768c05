//! `plan`: what would be done now, and why, in the manner of a diff.

use std::io::Write;

use jiff::Timestamp;

use super::screen::{Screen, Tone};
use super::table::{amount, resource};
use super::{CommandError, Finding, look, write_json};
use crate::config::Config;
use crate::decide::{Action, Amount, Decision, Resource};
use crate::pipeline::Proposal;
use crate::proposals::Approvals;

/// Columns of blanks before a reason that goes on in the next line.
const INDENT: usize = 6;

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanView {
    /// JSON instead of text.
    pub json: bool,
    /// What is left as it is, too, with the reason.
    pub all: bool,
}

/// Shows what would be done at `now`; does nothing.
///
/// # Errors
/// [`CommandError`] when the metrics file or the ledger cannot be read.
pub fn plan(
    config: &Config,
    now: Timestamp,
    view: PlanView,
    screen: Screen,
    out: &mut impl Write,
) -> Result<Finding, CommandError> {
    let (pipeline, changes) = look(config)?;
    let proposals = pipeline.propose(&changes, &Approvals::default(), now);
    if view.json {
        write_json(out, &proposals)?;
    } else {
        show(&proposals, view.all, screen, out)?;
    }
    let changing = proposals.iter().flat_map(decisions).any(|decision| decision.action != Action::Keep);
    Ok(if changing { Finding::Changes } else { Finding::Nothing })
}

fn show(proposals: &[Proposal], all: bool, screen: Screen, out: &mut impl Write) -> Result<(), CommandError> {
    if proposals.is_empty() {
        writeln!(out, "The metrics file names no container.")?;
        return Ok(());
    }
    let name = |proposal: &Proposal| proposal.name.clone().unwrap_or_default();
    let shown = || {
        let of = |proposal| decisions(proposal).into_iter().map(move |decision| (proposal, decision));
        proposals.iter().flat_map(of).filter(|(_, decision)| all || decision.action != Action::Keep)
    };
    let names = shown().map(|(proposal, _)| name(proposal).chars().count()).max().unwrap_or(0);
    let sizes = shown().map(|(_, decision)| size(decision).chars().count()).max().unwrap_or(0);
    for (proposal, decision) in shown() {
        let (sign, tone) = match decision.action {
            Action::Grow => ('~', Some(Tone::Grow)),
            Action::Shrink => ('~', Some(Tone::Shrink)),
            Action::Keep => (' ', None),
        };
        let (name, size) = (name(proposal), size(decision));
        let line = format!(
            "{sign} {:<5} {name:<names$}  {:<6}  {size:<sizes$}  {:>6}  ",
            proposal.id.to_string(),
            resource(decision.resource),
            share(decision)
        );
        let mut why = decision.reason.to_string();
        if 0.0 < decision.confidence_percent {
            why = format!("{why}; {:.0} % sure", decision.confidence_percent);
        }
        if decision.action != Action::Keep && !decision.apply {
            let mode = proposal.in_force.policy.mode(decision.resource).word();
            why = format!("{why} [mode {mode}: not carried out by itself]");
        }
        let begin = line.chars().count();
        let why = screen.wrap(&why, begin, INDENT);
        let line = tone.map_or_else(|| screen.paint(Tone::Faint, &line), |tone| screen.paint(tone, &line));
        writeln!(out, "{line}{why}")?;
    }
    summary(proposals, all, screen, out)
}

fn summary(
    proposals: &[Proposal],
    all: bool,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let every = || proposals.iter().flat_map(decisions);
    let count = |wanted: fn(&Decision) -> bool| every().filter(|decision| wanted(decision)).count();
    let grow = count(|decision| decision.action == Action::Grow);
    let shrink = count(|decision| decision.action == Action::Shrink);
    let kept = count(|decision| decision.action == Action::Keep);
    let applied = count(|decision| decision.action != Action::Keep && decision.apply);
    let added = |kind: Resource| -> f64 {
        every().filter(|it| it.resource == kind).filter_map(|it| Some(it.to? - it.from?)).sum()
    };
    let (memory, cpu) = (added(Resource::Memory), Amount::Cores(added(Resource::Cpu).abs()));
    let sign = if added(Resource::Cpu) < 0.0 { "-" } else { "+" };
    let more = if all || kept == 0 { "" } else { " (--all tells why)" };
    if grow + shrink != 0 {
        writeln!(out)?;
    }
    let line = format!(
        "Plan: {grow} to grow, {shrink} to shrink, {kept} kept{more}; {memory:+.0} MiB, {sign}{cpu}. {applied} of them \
         would be carried out."
    );
    writeln!(out, "{}", screen.paint(Tone::Strong, &screen.wrap(&line, 0, INDENT)))?;
    Ok(())
}

/// `1024 → 768 MiB`; `1024 MiB` where it stays.
fn size(decision: &Decision) -> String {
    let to = amount(decision.resource, decision.to.or(decision.from));
    match (decision.from, decision.to) {
        (Some(from), Some(_)) => {
            let from = Amount::of(decision.resource, from).to_string();
            format!("{} → {to}", from.split(' ').next().unwrap_or_default())
        }
        _ => to,
    }
}

/// `-25 %`; nothing where it stays.
fn share(decision: &Decision) -> String {
    match (decision.from, decision.to) {
        (Some(from), Some(to)) if 0.0 < from => format!("{:+.0} %", 100.0 * (to - from) / from),
        _ => String::new(),
    }
}

/// Both decisions about a container.
pub(super) fn decisions(proposal: &Proposal) -> [&Decision; 2] {
    [&proposal.decisions.cpu, &proposal.decisions.memory]
}
