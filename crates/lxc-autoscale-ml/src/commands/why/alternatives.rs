//! Shows what would have changed a decision, for people.

use std::io::{self, Write};

use serde::Serialize;

use super::super::decisions::local_time;
use super::super::screen::{Screen, Tone};
use super::super::table::resource;
use super::{heading, tone};
use crate::decide::{Decision, Policy, Resource};
use crate::explain::{Alternatives, Otherwise, World};
use crate::ledger::Entry;

/// The reasoning behind a ledger entry.
#[derive(Serialize)]
pub(super) struct Reasoning {
    /// What would have changed it; absent if it cannot be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<Alternatives>,
    /// Why it cannot be repeated, or what differs when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip)]
    world: Option<World>,
}

impl Reasoning {
    /// Repeats the decision with the rules in force at the time.
    pub(super) fn of(entry: &Entry, policy: Option<Policy>) -> Self {
        let Some(policy) = policy else {
            let note = "the rules that were in force are not kept any more, so it cannot be decided again";
            return Self { otherwise: None, note: Some(note.to_owned()), world: None };
        };
        let world = World::of(entry, policy);
        let again = world.decide(entry.decision.resource);
        let note = (!says_the_same(&again, &entry.decision))
            .then(|| format!("this version decides differently from the same numbers: {again}"));
        let otherwise = world.alternatives(entry.decision.resource);
        Self { otherwise: Some(otherwise), note, world: Some(world) }
    }

    pub(super) fn show(&self, entry: &Entry, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        heading("What would have changed it", screen, out)?;
        if let Some(note) = &self.note {
            writeln!(out, "  {}", screen.wrap(note, 2, 6))?;
        }
        match (&self.otherwise, &self.world) {
            (Some(otherwise), Some(world)) => {
                show_alternatives(otherwise, entry.decision.resource, world, screen, out)
            }
            _ => Ok(()),
        }
    }
}

/// Whether the repeated decision equals the stored one; an accepted change is carried out as it was proposed.
fn says_the_same(again: &Decision, kept: &Decision) -> bool {
    again.action == kept.action && (again.to == kept.to || kept.apply)
}

/// A line for each alternative: its condition, and the decision it leads to.
pub(super) fn show_alternatives(
    alternatives: &Alternatives,
    kind: Resource,
    world: &World,
    screen: Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let words = |it: &Otherwise| it.change.words(kind, world, &local_time);
    for it in &alternatives.decisive {
        let (change, to) = (words(it), outcome(&it.decision));
        let line = format!("{:<6}  if {change}: {to}", resource(kind));
        writeln!(out, "  {}", screen.paint(tone(&it.decision), &screen.wrap(&line, 2, 10)))?;
    }
    for it in &alternatives.next {
        let line =
            format!("{:<6}  not enough: if {}, then {}", resource(kind), words(it), it.decision.reason);
        writeln!(out, "  {}", screen.paint(Tone::Faint, &screen.wrap(&line, 2, 10)))?;
    }
    if alternatives.decisive.is_empty() && alternatives.next.is_empty() {
        writeln!(out, "  {:<6}  no single change leads to anything else", resource(kind))?;
    }
    Ok(())
}

/// The decision, and its reason if it keeps the size.
fn outcome(decision: &Decision) -> String {
    let text = decision.to_string();
    match decision.to {
        Some(_) => text.split(": ").next().unwrap_or_default().to_owned(),
        None => text,
    }
}
