//! What an outcome says of when a container was last changed.

use jiff::Timestamp;

use crate::decide::{Action, Decision, LastChanges, Resource};
use crate::ledger::Outcome;

/// Notes a decision with this outcome, asked for at `at`.
pub(super) fn note(changes: &mut LastChanges, decision: &Decision, outcome: &Outcome, at: Timestamp) {
    match outcome {
        Outcome::Done { .. } => changes.note(decision, at),
        Outcome::Unknown { .. } => changes.note_unsure(decision, at),
        // Somebody else was faster. A lack of memory is answered by that, and must not be answered again.
        Outcome::Already { .. } if is_memory_growth(decision) => changes.note(decision, at),
        _ => {}
    }
}

fn is_memory_growth(decision: &Decision) -> bool {
    (decision.resource, decision.action) == (Resource::Memory, Action::Grow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Amount, Reason};

    #[test]
    fn a_lack_of_memory_is_answered_by_whoever_was_faster() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let decision = |resource, action| Decision {
            resource,
            action,
            from: Some(1024.0),
            to: Some(1280.0),
            reason: Reason::RanOutOfMemory { target: Amount::of(Resource::Memory, 1280.0) },
            confidence_percent: 100.0,
            apply: true,
        };
        let already = Outcome::Already { size: Some(1280.0) };
        for (resource, action, want) in [
            (Resource::Memory, Action::Grow, Some(at)),
            (Resource::Memory, Action::Shrink, None),
            (Resource::Cpu, Action::Grow, None),
        ] {
            let mut changes = LastChanges::default();
            note(&mut changes, &decision(resource, action), &already, at);
            assert_eq!(changes.memory_grown(Some(1280.0)), want, "{resource:?} {action:?}");
            assert_eq!((changes.cpu_up, changes.memory_down), (None, None));
        }
    }
}
