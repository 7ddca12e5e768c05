//! What would have changed a decision: the very function that made it, asked again with one of its inputs changed. Pure.
//!
//! A decision is kept with all that it was made from, so it can be made again at any time. Each [`Change`] alters one
//! input; those that would have led to another action, or to another size, are told. Where an input is a number, the
//! nearest value that does so is searched for, and the decision at exactly that value is the one that is told: nothing
//! is said that was not decided.

mod change;
mod edge;

use jiff::Timestamp;
use serde::Serialize;

pub use change::Change;

use crate::decide::{Action, Decision, Policy, Resource, decide};
use crate::ledger::Inputs;

/// Sizes that differ by less are the same.
const SAME: f64 = 1e-6;

/// Everything a decision is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The rules in force.
    pub policy: Policy,
    /// What was known.
    pub inputs: Inputs,
    /// When it was made.
    pub at: Timestamp,
}

/// What one change of the inputs would have led to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Otherwise {
    /// What is different.
    #[serde(flatten)]
    pub change: Change,
    /// What would have been decided.
    pub decision: Decision,
}

/// What there is to say about the alternatives to a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Alternatives {
    /// Single changes that lead to another decision.
    pub decisive: Vec<Otherwise>,
    /// Changes that take away the reason that won, and yet the same is decided, for the reason that is next.
    pub next: Vec<Otherwise>,
}

impl World {
    /// What is decided about a resource.
    pub fn decide(&self, resource: Resource) -> Decision {
        let situation = self.inputs.situation();
        decide(&self.policy, &situation, &self.inputs.node, self.at).about(resource).clone()
    }

    /// The same with one input changed.
    #[must_use]
    pub fn with(&self, resource: Resource, change: &Change) -> Self {
        let mut world = self.clone();
        change.put(resource, &mut world);
        world
    }

    /// What would have changed what is decided about a resource.
    pub fn alternatives(&self, resource: Resource) -> Alternatives {
        let made = self.decide(resource);
        let mut alternatives = Alternatives::default();
        for change in change::discrete(self, resource).into_iter().chain(edge::nearest(self, resource, &made))
        {
            let decision = self.with(resource, &change).decide(resource);
            if differs(&decision, &made) {
                alternatives.decisive.push(Otherwise { change, decision });
            } else if std::mem::discriminant(&decision.reason) != std::mem::discriminant(&made.reason) {
                alternatives.next.push(Otherwise { change, decision });
            }
        }
        alternatives
    }
}

/// Whether two decisions say something else, whatever their reasons.
fn differs(one: &Decision, other: &Decision) -> bool {
    let same_size = match (one.to, other.to) {
        (Some(one), Some(other)) => (one - other).abs() < SAME,
        (one, other) => one.is_none() && other.is_none(),
    };
    // With what it has unknown or read another way, "keep" is still "keep".
    one.action != other.action || (one.action != Action::Keep && !same_size)
}

#[cfg(test)]
mod tests;
