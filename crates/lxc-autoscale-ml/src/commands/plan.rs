//! `plan`: what would be done now, and why, in the style of a diff; with `--out`, as a file for `apply`.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use lxc_autoscale_core::metrics_file::MetricsReader;

use super::decisions::local_time;
use super::diff::{self, INDENT, Line};
use super::screen::{Screen, Tone};
use super::{CommandError, Finding, look, outdated, write_json};
use crate::config::Config;
use crate::decide::{Action, Decision, Mode};
use crate::pipeline::Proposal;
use crate::plan::{Configuration, Node, Plan};
use crate::proposals::Approvals;

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanView {
    /// JSON instead of text.
    pub json: bool,
    /// Also what is left unchanged, with the reason.
    pub all: bool,
}

/// Where to write a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanOut<'a> {
    /// The file to write.
    pub file: &'a Path,
    /// The configuration it is made with.
    pub config_file: &'a Path,
}

/// Shows what would be done at `now`, and writes it to a file if requested; does nothing else.
///
/// A written plan is decided as if all of it were carried out, so that memory given to one container is not given to
/// another, too.
///
/// # Errors
/// [`CommandError`] when the metrics file or the ledger cannot be read, or the plan cannot be written.
pub fn plan(
    config: &Config,
    now: Timestamp,
    view: PlanView,
    written: Option<PlanOut<'_>>,
    screen: Screen,
    out: &mut impl Write,
) -> Result<Finding, CommandError> {
    let (pipeline, changes) = look(config)?;
    let approvals = if written.is_some() { Approvals::everything() } else { Approvals::default() };
    let proposals = pipeline.propose(&changes, &approvals, now);
    let outdated = outdated(config, &pipeline, now);
    // Nothing is decided on old measurements, and `apply` would refuse the plan.
    let written = written.filter(|_| outdated.is_none());
    let written = written.map(|to| write_plan(config, &proposals, to, now)).transpose()?;
    if view.json {
        write_json(out, &proposals)?;
    } else {
        show(&proposals, view.all, written.as_ref(), screen, out)?;
    }
    let decisions = || proposals.iter().flat_map(|proposal| proposal.decisions.both());
    let changing = decisions().any(|decision| decision.action != Action::Keep);
    Ok(match outdated {
        Some(why) => Finding::Outdated(why),
        None if changing => Finding::Changes,
        None => Finding::Nothing,
    })
}

fn write_plan(
    config: &Config,
    proposals: &[Proposal],
    to: PlanOut<'_>,
    now: Timestamp,
) -> Result<(Plan, String), CommandError> {
    let configuration = configuration(to.config_file)?;
    let good_for = config.proposals.plan_holds();
    let plan = Plan::new(proposals, node(config)?, configuration, now, good_for);
    let mut text = serde_json::to_string_pretty(&plan)?;
    text.push('\n');
    std::fs::write(to.file, text)
        .map_err(|source| CommandError::PlanWrite { file: to.file.to_owned(), source })?;
    Ok((plan, to.file.display().to_string()))
}

/// The node in the newest record.
pub(super) fn node(config: &Config) -> Result<Node, CommandError> {
    let newest = MetricsReader::read_newest(&config.metrics.file)?;
    let Some(node) = newest.and_then(|snapshot| snapshot.summary.node) else { return Ok(Node::default()) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and not negative")]
    let memory_total_mib = node.memory_total_mb.map(|mib| mib.max(0.0).round() as u64);
    let name = Some(node.name).filter(|name| !name.is_empty());
    Ok(Node { name, cpus: node.cpus, memory_total_mib })
}

/// The present configuration.
pub(super) fn configuration(file: &Path) -> Result<Configuration, CommandError> {
    Configuration::read(file)
        .map_err(|source| CommandError::ConfigurationRead { file: file.to_owned(), source })
}

fn show(
    proposals: &[Proposal],
    all: bool,
    written: Option<&(Plan, String)>,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    if proposals.is_empty() {
        writeln!(out, "The metrics file names no container.")?;
        return Ok(());
    }
    let changes = proposals.iter().flat_map(|proposal| {
        let changes = proposal.decisions.both().into_iter().filter(|it| it.action != Action::Keep);
        changes.map(|decision| held_back(proposal, decision))
    });
    let held: Vec<Option<Mode>> = changes.collect();
    let marked = is_mixed(&held);
    let all_lines: Vec<Line<'_>> = proposals.iter().flat_map(|proposal| lines(proposal, marked)).collect();
    let (changing, kept): (Vec<_>, Vec<_>) =
        all_lines.iter().partition(|line| line.decision.action != Action::Keep);
    let more = if all || kept.is_empty() { "" } else { " (--all tells why)" };
    let (counts, added) = diff::sums(&all_lines.iter().map(|line| line.decision).collect::<Vec<_>>());
    let outlook = if let Some((plan, file)) = written {
        let until = local_time(plan.expires_at);
        format!(
            " Plan {} is written; until {until} `lxc-autoscale-ml apply {file}` carries out all of it.",
            plan.id
        )
    } else {
        outlook(&held)
    };
    let sums = format!("Plan: {counts}, {} kept{more}; {added}.{outlook}", kept.len());
    let gap = !changing.is_empty();
    let shown: Vec<Line<'_>> =
        all_lines.into_iter().filter(|line| all || line.decision.action != Action::Keep).collect();
    diff::show(&shown, screen, out)?;
    if gap {
        writeln!(out)?;
    }
    writeln!(out, "{}", screen.paint(Tone::Strong, &screen.wrap(&sums, 0, INDENT)))?;
    Ok(())
}

/// The two decisions about a container; if `marked`, with the mode that holds them back.
fn lines(proposal: &Proposal, marked: bool) -> [Line<'_>; 2] {
    let name = proposal.name.as_deref().unwrap_or_default();
    proposal.decisions.both().map(|decision| {
        let mode = held_back(proposal, decision).filter(|_| marked);
        let note = mode.map(|mode| format!(" [{}]", mode.word())).unwrap_or_default();
        let recommended_percent = proposal.inputs.recommended_confidence(decision.resource);
        Line { id: proposal.id, name, decision, recommended_percent, note }
    })
}

/// The mode in which a change is not carried out by itself.
fn held_back(proposal: &Proposal, decision: &Decision) -> Option<Mode> {
    let is_held_back = decision.action != Action::Keep && !decision.apply;
    is_held_back.then(|| proposal.in_force.policy.mode(decision.resource))
}

/// What would become of the changes, each with the mode that holds it back.
fn outlook(changes: &[Option<Mode>]) -> String {
    let Some(first) = changes.first() else { return String::new() };
    if !is_mixed(changes) {
        return match first {
            None => " All of them would be carried out.".to_owned(),
            Some(Mode::Approve) => {
                " None of them would be carried out before it is accepted: the mode is approve.".to_owned()
            }
            Some(mode) => format!(" None of them would be carried out: the mode is {}.", mode.word()),
        };
    }
    let carried_out = changes.iter().filter(|held| held.is_none()).count();
    let marks = [(Mode::Recommend, "only shown"), (Mode::Approve, "only proposed")];
    let marks = marks.iter().filter(|(mode, _)| changes.contains(&Some(*mode)));
    let marks: Vec<String> =
        marks.map(|(mode, fate)| format!("what is marked [{}] is {fate}", mode.word())).collect();
    format!(" {carried_out} of them would be carried out; {}.", marks.join(", "))
}

/// Whether one sentence about all changes would not be enough.
fn is_mixed(changes: &[Option<Mode>]) -> bool {
    changes.windows(2).any(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_changes_back_is_told_once() {
        let (recommend, approve) = (Some(Mode::Recommend), Some(Mode::Approve));
        let cases: [(&[Option<Mode>], &str); 6] = [
            (&[], ""),
            (&[None, None], " All of them would be carried out."),
            (&[recommend, recommend], " None of them would be carried out: the mode is recommend."),
            (&[approve], " None of them would be carried out before it is accepted: the mode is approve."),
            (
                &[None, recommend, None],
                " 2 of them would be carried out; what is marked [recommend] is only shown.",
            ),
            (
                &[recommend, approve],
                " 0 of them would be carried out; what is marked [recommend] is only shown, what is marked \
                 [approve] is only proposed.",
            ),
        ];
        for (changes, want) in cases {
            assert_eq!(outlook(changes), want);
        }
    }
}
