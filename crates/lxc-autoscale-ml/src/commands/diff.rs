//! Decisions in the style of a diff: one line each, and a line with the sums.

use std::io::{self, Write};

use lxc_autoscale_core::Vmid;

use super::right;
use super::screen::{Screen, Tone};
use super::table::{amount, resource};
use crate::decide::{Action, Amount, Decision, Resource};
use crate::figures::signed;

/// Indentation of the continuation lines of a reason.
pub(super) const INDENT: usize = 6;

/// One decision with its annotations.
pub(super) struct Line<'a> {
    pub(super) id: Vmid,
    pub(super) name: &'a str,
    pub(super) decision: &'a Decision,
    /// How likely the recommended size stays right for an hour, in percent.
    pub(super) recommended_percent: Option<f64>,
    /// Shown after the reason.
    pub(super) note: String,
}

/// Shows the decisions, each in one line if the screen is wide enough.
pub(super) fn show(lines: &[Line<'_>], screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let widest = |cell: fn(&Line<'_>) -> usize| lines.iter().map(cell).max().unwrap_or(0);
    let names = widest(|line| line.name.chars().count());
    let sizes = widest(|line| size(line.decision).chars().count());
    for Line { id, name, decision, recommended_percent, note } in lines {
        let (sign, tone) = match decision.action {
            Action::Grow => ('~', Tone::Grow),
            Action::Shrink => ('~', Tone::Shrink),
            Action::Keep => (' ', Tone::Faint),
        };
        let head = format!(
            "{sign} {:<5} {name:<names$}  {:<6}  {:<sizes$}  {:>6}  ",
            id.to_string(),
            resource(decision.resource),
            size(decision),
            share(decision)
        );
        let mut why = decision.reason.to_string();
        if let Some(right) = right::both(decision, *recommended_percent) {
            why = format!("{why}; {right}");
        }
        let why = screen.wrap(&format!("{why}{note}"), head.chars().count(), INDENT);
        writeln!(out, "{}{why}", screen.paint(tone, &head))?;
    }
    Ok(())
}

/// `2 to grow, 2 to shrink`, and what that adds: `-1024 MiB, +2 cores`.
pub(super) fn sums(decisions: &[&Decision]) -> (String, String) {
    let count = |action: Action| decisions.iter().filter(|decision| decision.action == action).count();
    let added = |kind: Resource| -> f64 {
        let of_this = decisions.iter().filter(|it| it.resource == kind);
        of_this.filter_map(|it| Some(it.to? - it.from?)).sum()
    };
    let (memory, cpu) = (added(Resource::Memory), Amount::Cores(added(Resource::Cpu).abs()));
    let sign = match signed(added(Resource::Cpu), 2).as_bytes() {
        [b'-', ..] => "-",
        [b'+', ..] => "+",
        _ => "",
    };
    let counts = format!("{} to grow, {} to shrink", count(Action::Grow), count(Action::Shrink));
    (counts, format!("{} MiB, {sign}{cpu}", signed(memory, 0)))
}

/// `1024 → 768 MiB`; `1024 MiB` if it stays.
pub(super) fn size(decision: &Decision) -> String {
    let to = amount(decision.resource, decision.to.or(decision.from));
    match (decision.from, decision.to) {
        (Some(from), Some(_)) => {
            let from = Amount::of(decision.resource, from).to_string();
            format!("{} → {to}", from.split(' ').next().unwrap_or_default())
        }
        _ => to,
    }
}

/// `-25 %`; empty if it stays.
fn share(decision: &Decision) -> String {
    match (decision.from, decision.to) {
        (Some(from), Some(to)) if 0.0 < from => format!("{} %", signed(100.0 * (to - from) / from, 0)),
        _ => String::new(),
    }
}
