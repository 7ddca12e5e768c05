//! `plan`: what would be done now, and why.

use std::io::Write;

use jiff::Timestamp;

use super::table::{Table, change, confidence, resource, sign};
use super::{CommandError, Finding, look, write_json};
use crate::config::Config;
use crate::decide::{Action, Decision};
use crate::pipeline::Proposal;
use crate::proposals::Approvals;

/// Shows what would be done at `now`; does nothing.
///
/// # Errors
/// [`CommandError`] when the metrics file or the ledger cannot be read.
pub fn plan(
    config: &Config,
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> Result<Finding, CommandError> {
    let (pipeline, changes) = look(config)?;
    let proposals = pipeline.propose(&changes, &Approvals::default(), now);
    if json {
        write_json(out, &proposals)?;
    } else {
        show(&proposals, out)?;
    }
    let changing = proposals.iter().flat_map(decisions).any(|decision| decision.action != Action::Keep);
    Ok(if changing { Finding::Changes } else { Finding::Nothing })
}

fn show(proposals: &[Proposal], out: &mut impl Write) -> Result<(), CommandError> {
    if proposals.is_empty() {
        writeln!(out, "The metrics file names no container.")?;
        return Ok(());
    }
    let mut table = Table::headed(&["", "CT", "NAME", "RESOURCE", "ALLOCATION", "SURE", "WHY"]);
    for proposal in proposals {
        for decision in decisions(proposal) {
            let shown_only = decision.action != Action::Keep && !decision.apply;
            let note = if shown_only { " [recommended only]" } else { "" };
            table.row(vec![
                sign(decision),
                proposal.id.to_string(),
                proposal.name.clone().unwrap_or_default(),
                resource(decision.resource),
                change(decision),
                confidence(decision),
                format!("{}{note}", decision.reason),
            ]);
        }
    }
    table.write(out)?;
    let count = |wanted: fn(&Decision) -> bool| {
        proposals.iter().flat_map(decisions).filter(|decision| wanted(decision)).count()
    };
    let grow = count(|decision| decision.action == Action::Grow);
    let shrink = count(|decision| decision.action == Action::Shrink);
    let applied = count(|decision| decision.action != Action::Keep && decision.apply);
    writeln!(out, "\n{grow} to grow, {shrink} to shrink; {applied} of them would be carried out.")?;
    Ok(())
}

/// Both decisions about a container.
pub(super) fn decisions(proposal: &Proposal) -> [&Decision; 2] {
    [&proposal.decisions.cpu, &proposal.decisions.memory]
}
