//! What would have changed a decision: the function that made it, called again with one of its inputs changed. Pure.
//!
//! A decision is stored with its inputs, so it can be repeated at any time. Each [`Change`] alters one input; those
//! that lead to another action or size are reported. For a number, the nearest such value is searched for, and the
//! decision reported is the one at exactly that value: every statement was computed, none is inferred.

mod change;
mod edge;

use jiff::Timestamp;
use serde::Serialize;

pub use change::Change;

use crate::decide::{Action, Amount, Decision, Policy, Reason, Resource, decide};
use crate::ledger::{Entry, Inputs};

/// Sizes that differ by less are equal.
const SAME: f64 = 1e-6;

/// All inputs of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The rules in force.
    pub policy: Policy,
    /// What was known.
    pub inputs: Inputs,
    /// When it was made.
    pub at: Timestamp,
}

/// The result of one change of the inputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Otherwise {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The decision it leads to.
    pub decision: Decision,
}

/// The alternatives to a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Alternatives {
    /// Single changes that lead to another decision.
    pub decisive: Vec<Otherwise>,
    /// Changes that remove the decisive reason and still lead to the same decision, for the next reason.
    pub next: Vec<Otherwise>,
}

impl World {
    /// The world of a decision in the ledger. What the confidence in any size follows from is not kept, so the confidence
    /// that the decision names counts: that of its shrink, which is not that of the recommended size.
    pub fn of(entry: &Entry, policy: Policy) -> Self {
        let (made, least) = (&entry.decision, policy.min_confidence_percent);
        let world = Self { policy, inputs: entry.inputs.clone(), at: entry.at };
        let percent = match made.reason {
            Reason::LowConfidence { percent, .. } => percent,
            _ if made.action == Action::Shrink => made.confidence_percent,
            // It was high enough; how high is not kept.
            Reason::CoolDownDown { .. } => {
                let estimate = world.inputs.estimate(made.resource);
                estimate.map_or(least, |estimate| estimate.confidence_percent.max(least))
            }
            _ => return world,
        };
        world.with(made.resource, &Change::Confidence { percent })
    }

    /// The decision about a resource.
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

    /// The changes that would have led to another decision about a resource.
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

impl Alternatives {
    /// The least recommendation with which a shrink would not be made; `None` where no recommendation prevents it.
    pub fn enough(&self) -> Option<Amount> {
        self.decisive.iter().find_map(|it| match it.change {
            Change::Recommended { amount } if it.decision.action == Action::Keep => Some(amount),
            _ => None,
        })
    }

    /// What would have to be different for another decision than `made`. For a shrink that is a number: it depends on
    /// steps, rounding and what a change must save, not on the recommendation alone.
    pub fn advice(&self, made: &Decision) -> String {
        let enough = self.enough().filter(|_| made.action == Action::Shrink);
        enough.map_or_else(
            || made.reason.otherwise(),
            |amount| format!("it would keep what it has if it should have {amount}"),
        )
    }
}

/// Whether two decisions differ in more than their reasons.
fn differs(one: &Decision, other: &Decision) -> bool {
    let same_size = match (one.to, other.to) {
        (Some(one), Some(other)) => (one - other).abs() < SAME,
        (one, other) => one.is_none() && other.is_none(),
    };
    // If the present size is unknown or interpreted differently, "keep" is still "keep".
    one.action != other.action || (one.action != Action::Keep && !same_size)
}

#[cfg(test)]
mod tests;
