//! The nearest value of a number that would have led to another action.

use super::World;
use super::change::{Change, estimate, used};
use crate::decide::{Action, Amount, Decision, Reason, Resource};

/// How often the range is halved: until it is smaller than any step that is shown.
const HALVINGS: u32 = 40;
/// A value this close to a whole step counts as that step.
const ROUNDING: f64 = 1e-6;
/// Recommendations and usages are searched up to this multiple of the present size.
const FARTHEST: f64 = 4.0;

/// The smallest change of each number that leads to another action.
pub(super) fn nearest(world: &World, resource: Resource, made: &Decision) -> Vec<Change> {
    let mut found = Vec::new();
    let mut search = |from: f64, to: f64, step: f64, change: &dyn Fn(f64) -> Change| {
        let acts = |value: f64| world.with(resource, &change(value)).decide(resource).action;
        let Some(value) = edge(from, to, made.action, &acts) else { return };
        // Shown in whole steps, as the first one beyond the edge.
        let (whole, onward) = if to < from {
            ((value / step + ROUNDING).floor(), -1.0)
        } else {
            ((value / step - ROUNDING).ceil(), 1.0)
        };
        let beyond = if acts(whole * step) == made.action { whole + onward } else { whole };
        found.push(change((beyond * step).max(0.0)));
    };
    let amount = |value: f64| Amount::of(resource, value);
    let step = match resource {
        Resource::Cpu => 0.01,
        Resource::Memory => 1.0,
    };
    if let Some(farthest) = made.from.map(|from| FARTHEST * from) {
        if let Some(estimate) = estimate(world, resource) {
            let change = |value: f64| Change::Recommended { amount: amount(value) };
            search(estimate.target, 0.0, step, &change);
            search(estimate.target, farthest.max(estimate.target), step, &change);
        }
        if let Some(used) = used(world, resource) {
            let change = |value: f64| Change::Used { amount: amount(value) };
            search(used, 0.0, step, &change);
            search(used, farthest.max(used), step, &change);
        }
    }
    if resource == Resource::Memory {
        let pressure = world.inputs.observation.as_ref().and_then(|seen| seen.memory_pressure_percent);
        if let Some(pressure) = pressure {
            let change = |percent: f64| Change::Pressure { percent };
            search(pressure, 0.0, 0.01, &change);
            search(pressure, 100.0, 0.01, &change);
        }
        let node = world.inputs.node;
        if let (Some(available), Some(total)) = (node.memory_available_mib, node.memory_total_mib) {
            let change = |value: f64| Change::NodeAvailable { amount: amount(value) };
            search(available, total, step, &change);
            search(available, 0.0, step, &change);
        }
    }
    // What these two lack is stated, and need not be searched for. The confidence is that of the shrink, which is not that
    // of the recommended size.
    if let Some(estimate) = estimate(world, resource) {
        let seconds = world.policy.min_history_seconds;
        found.extend((estimate.known_seconds < seconds).then_some(Change::Known { seconds }));
    }
    if let Reason::LowConfidence { needed_percent: percent, .. } = made.reason {
        found.push(Change::Confidence { percent });
    }
    found
}

/// The value nearest to `from`, towards `to`, that leads to another action than `action`; `None` if `to` does not.
fn edge(from: f64, to: f64, action: Action, acts: &dyn Fn(f64) -> Action) -> Option<f64> {
    if acts(to) == action {
        return None;
    }
    let (mut same, mut other) = (from, to);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(same, other);
        if acts(middle) == action {
            same = middle;
        } else {
            other = middle;
        }
    }
    Some(other)
}
