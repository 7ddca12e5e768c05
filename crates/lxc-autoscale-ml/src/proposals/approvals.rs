//! Accepted changes, and whether a present decision goes as far.

use std::collections::BTreeMap;
use std::fmt;

use lxc_autoscale_core::Vmid;

use crate::decide::{Action, Amount, Decision, Decisions, Mode, Policy, Resource};
use crate::history::names_differ;

/// Sizes that differ by less are equal.
const SAME: f64 = 1e-6;

/// Changes that somebody wants carried out although the mode would only show them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Approvals {
    /// With the name that the container had when it was proposed.
    accepted: BTreeMap<(Vmid, Resource), (Option<String>, Decision)>,
    everything: bool,
}

/// Why a present decision does not go as far as an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub enum Uncovered {
    /// The container has another size.
    OtherSize {
        /// The size then.
        then: Option<Amount>,
        /// The size now.
        now: Option<Amount>,
    },
    /// It would be left unchanged now, or resized less far or in the other direction.
    OtherDecision(Box<Decision>),
}

impl Approvals {
    /// All decisions, whatever the mode: for a plan that somebody carries out.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Adds an accepted change of a container of this name.
    pub fn accept(&mut self, id: Vmid, name: Option<String>, decision: Decision) {
        self.accepted.insert((id, decision.resource), (name, decision));
    }

    /// Replaces decisions by accepted changes, exactly as accepted, if the decision goes as far, the mode still asks,
    /// and the id does not belong to a container of another name now.
    pub fn give(&self, container: (Vmid, Option<&str>), policy: &Policy, decisions: &mut Decisions) {
        self.give_one(container, policy, &mut decisions.cpu);
        self.give_one(container, policy, &mut decisions.memory);
    }

    /// Like [`Approvals::give`], for one resource.
    pub fn give_one(&self, (id, name): (Vmid, Option<&str>), policy: &Policy, decision: &mut Decision) {
        if self.everything {
            decision.apply = decision.action != Action::Keep;
            return;
        }
        let asks = policy.mode(decision.resource) == Mode::Approve;
        if !asks || decision.apply || decision.action == Action::Keep {
            return;
        }
        if let Some((asked_of, accepted)) = self.accepted.get(&(id, decision.resource))
            && !names_differ(asked_of.as_deref(), name)
            && covers(decision, accepted).is_ok()
        {
            (decision.to, decision.apply) = (accepted.to, true);
        }
    }
}

/// Whether `now` goes in the same direction from the same size at least as far as `before`, so that all of its guards
/// allow `before`.
///
/// # Errors
/// [`Uncovered`]: what differs.
pub fn covers(now: &Decision, before: &Decision) -> Result<(), Uncovered> {
    let same = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= SAME,
        _ => false,
    };
    if !same(now.from, before.from) {
        let amount = |value: Option<f64>| value.map(|value| Amount::of(before.resource, value));
        return Err(Uncovered::OtherSize { then: amount(before.from), now: amount(now.from) });
    }
    let goes_as_far = match (now.to, before.to, now.action) {
        (Some(now), Some(before), Action::Grow) => before <= now + SAME,
        (Some(now), Some(before), Action::Shrink) => now <= before + SAME,
        _ => false,
    };
    if now.action == before.action && goes_as_far {
        Ok(())
    } else {
        Err(Uncovered::OtherDecision(Box::new(now.clone())))
    }
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |amount: &Option<Amount>| {
            amount.map_or_else(|| "an unknown size".to_owned(), |it| it.to_string())
        };
        match self {
            Self::OtherSize { then, now } => {
                write!(f, "it had {} then and has {} now", shown(then), shown(now))
            }
            Self::OtherDecision(decision) => write!(f, "decided now: {decision}"),
        }
    }
}
