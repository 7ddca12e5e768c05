//! `once`: one cycle, and its changes.

use std::io::Write;

use jiff::Timestamp;
use lxc_autoscale_core::service::StopAsked;
use serde::Serialize;

use super::right;
use super::table::{Table, change, resource, sign};
use super::{CommandError, write_json};
use crate::config::Config;
use crate::daemon::{CycleReport, Daemon};
use crate::decide::{Action, Decision};
use crate::ledger::{Outcome, StateLock};
use crate::pipeline::Proposal;

/// The decision about one resource and its outcome.
#[derive(Serialize)]
struct Line<'a> {
    id: lxc_autoscale_core::Vmid,
    #[serde(flatten)]
    decision: &'a Decision,
    why: String,
    outcome: Outcome,
}

/// Decides and acts once at `now`, and shows everything that was not left unchanged.
///
/// # Errors
/// [`CommandError`] when a daemon is running with the same state, when the state cannot be used, and, after everything
/// was shown, when there was trouble with the file, the ledger or the API.
pub async fn once(
    config: Config,
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let _lock = StateLock::take(&config.state.directory)?;
    let mut daemon = Daemon::start(config)?;
    let report = daemon.cycle(now, &StopAsked::default()).await;
    daemon.checkpoint();
    let lines: Vec<Line<'_>> =
        report.proposals.iter().flat_map(|proposal| lines(proposal, &report)).collect();
    if json {
        write_json(out, &lines)?;
    } else {
        show(&lines, out)?;
    }
    if report.troubles.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Incomplete(report.troubles.join("; ")))
    }
}

fn lines<'a>(proposal: &'a Proposal, report: &'a CycleReport) -> impl Iterator<Item = Line<'a>> {
    let id = proposal.id;
    proposal.decisions.both().into_iter().map(move |decision| {
        let of_this = |carried: &&crate::execute::Carried| carried.id == id && carried.decision == *decision;
        let carried = report.carried.iter().find(of_this).map(|carried| carried.outcome.clone());
        let mode = proposal.in_force.policy.mode(decision.resource);
        let outcome = carried.unwrap_or_else(|| Outcome::unasked(decision, mode));
        Line { id, decision, why: decision.reason.to_string(), outcome }
    })
}

fn show(lines: &[Line<'_>], out: &mut impl Write) -> Result<(), CommandError> {
    let mut table = Table::headed(&["", "CT", "RESOURCE", "ALLOCATION", right::HEADING, "OUTCOME", "WHY"]);
    let changed: Vec<_> = lines.iter().filter(|line| line.decision.action != Action::Keep).collect();
    for line in &changed {
        table.row(vec![
            sign(line.decision),
            line.id.to_string(),
            resource(line.decision.resource),
            change(line.decision),
            right::cell(line.decision),
            line.outcome.word().to_owned(),
            line.outcome.error().map_or_else(|| line.why.clone(), str::to_owned),
        ]);
    }
    if !changed.is_empty() {
        table.write(out)?;
        writeln!(out)?;
    }
    let kept = lines.len() - changed.len();
    writeln!(
        out,
        "{} decided to change, {kept} kept as they are; `plan` and `why ID` tell the reasons.",
        changed.len()
    )?;
    Ok(())
}
