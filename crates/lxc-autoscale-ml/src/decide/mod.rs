//! Whether to change a container's size, and why.
//!
//! Pure: policy, situation, node and time go in, decisions come out. A decision can be replayed exactly from what is
//! stored with it.
//!
//! ## Invariants
//!
//! - A growth needs evidence, a shrink needs proof: enough history, a known working set, confidence, no anomaly, and
//!   for memory its pressure or its OOM kills.
//! - Missing or stale data changes nothing.
//! - No shrink goes below the present usage plus margin.
//! - No target lies outside the policy's bounds, except that a container that was set beyond them by hand comes back in
//!   steps; no growth goes beyond what the node has.
//! - After a change nothing happens for the cool-down of the next direction. A container that ran out of memory does
//!   not wait, and a shrink that did harm is undone at once.
//! - The guards ([`crate::guard`]) override the recommendation: sizes set by hand, disturbances such as backups, harm
//!   done by a shrink, leaks, and the memory that the node has left.
//!
//! The rules take precedence in the order of the code in [`decide`] and in `weigh`.

mod policy;
mod reason;
mod situation;
mod weigh;

pub use policy::{CpuControl, CpuPolicy, FEWEST_BY_CONTROL, MemoryPolicy, Mode, Policy};
pub use reason::{Amount, Reason, SettingName};
pub use situation::{Allocation, AnomalyScore, LastChanges, NodeSituation, Obstacles, Situation, Unsure};

use std::fmt;

use jiff::Timestamp;
use lxc_autoscale_core::container_config::has_tag;
use serde::{Deserialize, Serialize};

use self::weigh::Case;
use crate::guard::manual::Manual;
use crate::guard::{Guard, GuardPolicy, ResourceGuard};
use crate::observation::Observation;
use crate::recommend::{CUT_OFF_SHARE, Estimate, Fact, LEAST_OOM_GROWTH_MIB, LEAST_OOM_GROWTH_PERCENT};

/// Granularity of `cpulimit`, in cores: Proxmox shows hundredths.
const CPULIMIT_STEP: f64 = 0.01;
/// A smaller shrink of the CPU is not worth a change: two hundredths of a core for an hour, 72 core-seconds, are about
/// what the change itself costs the node.
const MIN_SHRINK_CORES: f64 = 0.02;

/// The resource that a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// `cores` or `cpulimit`, in cores.
    Cpu,
    /// `memory`, in MiB.
    Memory,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Give more.
    Grow,
    /// Give less.
    Shrink,
    /// Leave it unchanged.
    Keep,
}

/// What to do about one resource of one container, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The resource.
    pub resource: Resource,
    /// What is to be done.
    pub action: Action,
    /// The present size (cores or MiB); `None` when unknown.
    pub from: Option<f64>,
    /// The new size; `Some` exactly when `action` is not `Keep`.
    pub to: Option<f64>,
    /// Whether to carry it out (mode `auto`, or accepted) or only to show and propose it.
    pub apply: bool,
    /// Why.
    pub reason: Reason,
    /// How likely it stays right over the next hour (0–100, [`crate::confidence`]); 0 when unknown.
    pub confidence_percent: f64,
}

impl Decision {
    fn keep(resource: Resource, from: Option<f64>, reason: Reason) -> Self {
        Self { resource, action: Action::Keep, from, to: None, apply: false, reason, confidence_percent: 0.0 }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |value: Option<f64>| value.map(|value| Amount::of(self.resource, value));
        match (self.action, amount(self.from), amount(self.to)) {
            (Action::Grow, Some(from), Some(to)) => write!(f, "grow from {from} to {to}: {}", self.reason),
            (Action::Shrink, Some(from), Some(to)) => {
                write!(f, "shrink from {from} to {to}: {}", self.reason)
            }
            (_, Some(from), _) => write!(f, "keep {from}: {}", self.reason),
            (_, None, _) => write!(f, "keep: {}", self.reason),
        }
    }
}

/// The decisions about one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// About its CPU.
    pub cpu: Decision,
    /// About its memory.
    pub memory: Decision,
}

impl Decisions {
    /// About its CPU, then about its memory.
    pub fn both(&self) -> [&Decision; 2] {
        [&self.cpu, &self.memory]
    }

    /// About one resource.
    pub fn about(&self, resource: Resource) -> &Decision {
        match resource {
            Resource::Cpu => &self.cpu,
            Resource::Memory => &self.memory,
        }
    }
}

/// Decides about one container.
pub fn decide(policy: &Policy, situation: &Situation<'_>, node: &NodeSituation, now: Timestamp) -> Decisions {
    Decisions {
        cpu: decide_cpu(policy, situation, node, now),
        memory: decide_memory(policy, situation, node, now),
    }
}

fn decide_cpu(policy: &Policy, situation: &Situation<'_>, node: &NodeSituation, now: Timestamp) -> Decision {
    let rules = &policy.cpu;
    let pinned = situation.obstacles.pinned_cpus();
    let effective =
        situation.allocation.and_then(|allocation| allocation.effective_cores(rules.control, pinned, node));
    let keep = |reason| Decision::keep(Resource::Cpu, effective, reason);
    if let Some(obstacle) = obstacle(policy, rules.mode, &situation.obstacles) {
        return keep(obstacle);
    }
    let guard = &situation.guard;
    if let Some(reason) = left_alone(&policy.guard, situation, Resource::Cpu, now) {
        return keep(reason);
    }
    if let (CpuControl::Cores, Some(cpus)) = (rules.control, &situation.obstacles.pinned_cpuset) {
        return keep(Reason::Pinned { cpus: cpus.clone() });
    }
    let (Some(allocation), Some(current)) = (situation.allocation, effective) else {
        return keep(Reason::AllocationUnknown);
    };
    let seen = match usable_observation(policy, situation, now) {
        Ok(seen) => seen,
        Err(reason) => return keep(reason),
    };
    let Some(used) = seen.cpu_cores_used else { return keep(Reason::UseUnknown) };
    let Some(estimate) = situation.recommendation.and_then(|recommendation| recommendation.cpu.as_ref())
    else {
        return keep(Reason::NoRecommendation);
    };

    let last_change = situation.changes.cpu_up.max(situation.changes.cpu_down);
    let mut vetoes = shrink_vetoes(policy, situation, seen, estimate, last_change);
    if seen.cpu_throttled_share.is_some_and(|share| CUT_OFF_SHARE <= share) {
        vetoes.push(Reason::JustCutOff);
    }
    vetoes.extend(shrink_holds(&policy.guard, &guard.cpu, rules.cooldown_down_seconds, now));
    let whole = rules.control == CpuControl::Cores;
    let granularity = if whole { 1.0 } else { CPULIMIT_STEP };
    Case {
        resource: Resource::Cpu,
        mode: rules.mode,
        exempt_urgent: policy.approve_exempt_oom,
        current,
        estimate,
        low: rules.min_cores,
        high: rules.max_cores,
        caps: cpu_caps(rules, allocation, pinned, node),
        granularity,
        max_step_up_percent: rules.max_step_up_percent,
        max_step_down_percent: rules.max_step_down_percent,
        least_step: if whole { 1.0 } else { CPULIMIT_STEP },
        hysteresis_percent: rules.hysteresis_percent,
        min_shrink: MIN_SHRINK_CORES,
        cooldown_up_seconds: rules.cooldown_up_seconds,
        cooldown_down_seconds: rules.cooldown_down_seconds,
        last_change,
        in_use: used,
        urgent: None,
        undo: undo(&guard.cpu),
        // For the CPU, failed sizes are not remembered: a limit that is too low is noticed at once and costs little.
        held: boosted(&guard.cpu, Resource::Cpu, now)
            .into_iter()
            .chain(random_day(estimate, Resource::Cpu, rules.max_cores, granularity))
            .collect(),
        min_confidence_percent: policy.min_confidence_percent,
        vetoes,
    }
    .weigh(now)
}

fn decide_memory(
    policy: &Policy,
    situation: &Situation<'_>,
    node: &NodeSituation,
    now: Timestamp,
) -> Decision {
    let rules = &policy.memory;
    let current = situation.allocation.map(|allocation| allocation.memory_mib);
    let keep = |reason| Decision::keep(Resource::Memory, current, reason);
    if let Some(obstacle) = obstacle(policy, rules.mode, &situation.obstacles) {
        return keep(obstacle);
    }
    let guard = &situation.guard;
    let ran_out = situation.observation.is_some_and(|seen| seen.oom == Some(true));
    if let Some(reason) = left_alone(&policy.guard, situation, Resource::Memory, now)
        && !ran_out
    {
        return keep(reason);
    }
    let Some(current) = current else { return keep(Reason::AllocationUnknown) };
    let seen = match usable_observation(policy, situation, now) {
        Ok(seen) => seen,
        Err(reason) => return keep(reason),
    };
    let Some(used) = seen.memory_used_mib else { return keep(Reason::UseUnknown) };
    let Some(estimate) = situation.recommendation.and_then(|recommendation| recommendation.memory.as_ref())
    else {
        return keep(Reason::NoRecommendation);
    };

    let granularity = rules.granularity_mib as f64;
    let last_change = situation.changes.memory_up.max(situation.changes.memory_down);
    let mut vetoes = shrink_vetoes(policy, situation, seen, estimate, last_change);
    match seen.memory_pressure_percent {
        _ if ran_out => vetoes.push(Reason::JustCutOff),
        Some(percent) if rules.max_pressure_percent < percent => {
            vetoes.push(Reason::UnderPressure { percent, max_percent: rules.max_pressure_percent });
        }
        None if seen.oom.is_none() => vetoes.push(Reason::PressureUnknown),
        _ => {}
    }
    vetoes.extend(shrink_holds(&policy.guard, &guard.memory, rules.cooldown_down_seconds, now));
    let mut caps = memory_caps(policy, current, node);
    caps.extend(guard_caps(&policy.guard, guard, now));
    let undo = undo(&guard.memory);
    let unbounded = undo.as_ref().map_or(0.0, |(size, _)| *size).max(rules.min_mib as f64);
    // Rounded up to the granularity, because the cap is rounded down.
    let unbounded = (unbounded / granularity).ceil() * granularity;
    caps.extend(first_day_cap(estimate).map(|(most, reason)| (most.max(unbounded), reason)));
    let remembered = guard.memory.shrinks.remembered(now).map(|failure| {
        let size = Amount::Mib(failure.size);
        (failure.least, Reason::TooSmallBefore { size, symptom: failure.symptom })
    });
    let bump = (current * (1.0 + LEAST_OOM_GROWTH_PERCENT / 100.0)).max(current + LEAST_OOM_GROWTH_MIB);
    Case {
        resource: Resource::Memory,
        mode: rules.mode,
        exempt_urgent: policy.approve_exempt_oom,
        current,
        estimate,
        low: rules.min_mib as f64,
        high: rules.max_mib as f64,
        caps,
        granularity,
        max_step_up_percent: rules.max_step_up_percent,
        max_step_down_percent: rules.max_step_down_percent,
        least_step: if ran_out { (bump - current).max(granularity) } else { granularity },
        hysteresis_percent: rules.hysteresis_percent,
        min_shrink: rules.min_shrink_mib as f64,
        cooldown_up_seconds: rules.cooldown_up_seconds,
        cooldown_down_seconds: rules.cooldown_down_seconds,
        last_change,
        in_use: used * (1.0 + rules.margin_percent / 100.0),
        urgent: ran_out.then_some(bump),
        undo,
        held: boosted(&guard.memory, Resource::Memory, now)
            .into_iter()
            .chain(remembered)
            .chain(first_day_floor(estimate, rules.margin_percent))
            .chain(random_day(estimate, Resource::Memory, rules.max_mib as f64, granularity))
            .collect(),
        min_confidence_percent: policy.min_confidence_percent,
        vetoes,
    }
    .weigh(now)
}

/// Why the guards forbid any change of a resource.
fn left_alone(
    rules: &GuardPolicy,
    situation: &Situation<'_>,
    resource: Resource,
    now: Timestamp,
) -> Option<Reason> {
    let guard = &situation.guard;
    let resource_guard = match resource {
        Resource::Cpu => &guard.cpu,
        Resource::Memory => &guard.memory,
    };
    if let Some(disturbance) = &guard.disturbance {
        return Some(Reason::Disturbed { disturbance: disturbance.clone() });
    }
    let manual = resource_guard.manual?;
    let remaining_seconds = manual.left(rules.respect_manual_seconds, now)?;
    let [from, size] = [manual.from, manual.size].map(|size| Amount::of(resource, size));
    let setting = match resource {
        Resource::Cpu => situation.allocation.and_then(|allocation| set_of_cpu(&allocation, &manual)),
        Resource::Memory => None,
    };
    Some(Reason::SetByHand { from, size, setting, remaining_seconds })
}

/// Which CPU setting somebody changed, as far as it can be told: the sizes before and after are the smaller of both
/// settings.
fn set_of_cpu(allocation: &Allocation, manual: &Manual) -> Option<CpuControl> {
    if allocation.cores_by_configuration() != Some(manual.size) {
        return None;
    }
    if manual.size < manual.from {
        // The setting that is the smaller one now was larger before, because both were.
        let is_limit = allocation.cpulimit == Some(manual.size);
        return Some(if is_limit { CpuControl::Cpulimit } else { CpuControl::Cores });
    }
    // Only `cpulimit` can be fractional; with whole numbers, either setting was raised or the limit was removed.
    (manual.from.fract() != 0.0).then_some(CpuControl::Cpulimit)
}

/// Reasons of the guards against a shrink.
fn shrink_holds(
    rules: &GuardPolicy,
    resource_guard: &ResourceGuard,
    cooldown_seconds: u64,
    now: Timestamp,
) -> Vec<Reason> {
    let watched = resource_guard.shrinks.watch.map(|watch| Reason::Watched {
        samples: watch.samples,
        needed_samples: rules.watch_samples,
        remaining_seconds: rules
            .watch_seconds
            .saturating_sub(u64::try_from(now.duration_since(watch.changed_at).as_secs()).unwrap_or(0)),
    });
    let backing_off = resource_guard.shrinks.backing_off(now).map(|(failure, remaining_seconds)| {
        Reason::BackingOff { symptom: failure.symptom, count: failure.count, remaining_seconds }
    });
    let unpaid = resource_guard.unpaid.waiting(cooldown_seconds, rules.max_unpaid_seconds, now);
    let unpaid = unpaid.map(|(count, remaining_seconds)| Reason::Unpaid { count, remaining_seconds });
    watched.into_iter().chain(backing_off).chain(unpaid).collect()
}

/// The size that a boost holds, with the reason.
fn boosted(resource_guard: &ResourceGuard, resource: Resource, now: Timestamp) -> Option<(f64, Reason)> {
    let boost = resource_guard.boost?;
    let remaining_seconds = boost.left(now)?;
    Some((boost.size, Reason::Boosted { size: Amount::of(resource, boost.size), remaining_seconds }))
}

/// The size to restore after a harmful shrink, with the reason.
fn undo(resource_guard: &ResourceGuard) -> Option<(f64, Reason)> {
    resource_guard.shrinks.undo.map(|undo| (undo.size, Reason::Undone { symptom: undo.symptom }))
}

/// The guards' caps on growth of memory.
fn guard_caps(rules: &GuardPolicy, guard: &Guard, now: Timestamp) -> Vec<(f64, Reason)> {
    let leak = guard.leak.map(|leak| {
        let most = leak.most_mib(rules.leak_growth_percent);
        let full_seconds = leak.full_at.duration_since(now).as_secs().max(0);
        let mib_per_hour = leak.mib_per_hour;
        (most, Reason::Leaking { mib_per_hour, most: Amount::Mib(most), full_seconds })
    });
    let run = guard.oom_run.map(|run| {
        let most = run.most_mib(rules.oom_growth_factor);
        (most, Reason::RunsOutAgain { times: run.times, most: Amount::Mib(most) })
    });
    let budget = guard.budget.map(|budget| {
        let [most, committed, total] =
            [budget.most_mib, budget.committed_mib, budget.budget_mib].map(Amount::Mib);
        (budget.most_mib, Reason::NodeBudget { most, committed, budget: total, ahead: budget.ahead })
    });
    leak.into_iter().chain(run).chain(budget).collect()
}

/// On the first day, headroom above what was seen, in percent: the same as for plain peaks
/// (`recommend.memory_headroom_percent`).
const FIRST_DAY_HEADROOM_PERCENT: f64 = 30.0;

/// Caps growth of memory that only a forecast asks for while the container is known for less than a day: such a
/// forecast is wide, and based on other containers.
fn first_day_cap(estimate: &Estimate) -> Option<(f64, Reason)> {
    if estimate.is_known_a_day() || estimate.basis != Fact::Forecast {
        return None;
    }
    let seen = estimate.seen();
    let most = seen * (1.0 + FIRST_DAY_HEADROOM_PERCENT / 100.0);
    let known_seconds = estimate.known_seconds;
    Some((most, Reason::NotSeenYet { known_seconds, seen: Amount::Mib(seen), most: Amount::Mib(most) }))
}

/// The least memory, margin included, while the container is known for less than a day: a peak may recur before the
/// first season is known.
fn first_day_floor(estimate: &Estimate, margin_percent: f64) -> Option<(f64, Reason)> {
    let (known_seconds, seen) = (estimate.known_seconds, estimate.seen());
    let least = seen * (1.0 + margin_percent / 100.0);
    (!estimate.is_known_a_day())
        .then_some((least, Reason::UsedBefore { known_seconds, seen: Amount::Mib(seen) }))
}

/// What was enough for a random day, which will come again; a container above its maximum still comes back to it, in whole
/// multiples of the granularity.
fn random_day(estimate: &Estimate, resource: Resource, high: f64, granularity: f64) -> Option<(f64, Reason)> {
    let enough = estimate.random_day?;
    let most = (high / granularity).floor() * granularity;
    Some((enough.min(most), Reason::Random { size: Amount::of(resource, enough) }))
}

/// What forbids any change of a resource.
fn obstacle(policy: &Policy, mode: Mode, obstacles: &Obstacles) -> Option<Reason> {
    let is_off = mode == Mode::Off && !policy.ignored;
    if is_off { Some(Reason::ModeOff) } else { left_alone_by(policy, obstacles) }
}

/// Why a container is left alone, whatever its modes are.
pub fn left_alone_by(policy: &Policy, obstacles: &Obstacles) -> Option<Reason> {
    if policy.ignored {
        return Some(Reason::Ignored);
    }
    if let Some(why) = &policy.unclear {
        return Some(Reason::PolicyUnclear { why: why.clone() });
    }
    if obstacles.template {
        return Some(Reason::Template);
    }
    if obstacles.stopped {
        return Some(Reason::Stopped);
    }
    if let Some(lock) = &obstacles.lock {
        return Some(Reason::Locked { lock: lock.clone() });
    }
    has_tag(&obstacles.tags, &policy.off_tag).then(|| Reason::TaggedOff { tag: policy.off_tag.clone() })
}

fn usable_observation<'a>(
    policy: &Policy,
    situation: &Situation<'a>,
    now: Timestamp,
) -> Result<&'a Observation, Reason> {
    let seen = situation.observation.ok_or(Reason::NoObservation)?;
    let age_seconds = now.duration_since(seen.at).as_secs();
    // A time in the future says as little about now as an old one: the clock was set back since.
    let fresh = age_seconds.unsigned_abs() <= policy.max_age_seconds;
    if fresh { Ok(seen) } else { Err(Reason::Stale { age_seconds, max_seconds: policy.max_age_seconds }) }
}

/// Reasons against a shrink of either resource.
fn shrink_vetoes(
    policy: &Policy,
    situation: &Situation<'_>,
    seen: &Observation,
    estimate: &Estimate,
    last_change: Option<Timestamp>,
) -> Vec<Reason> {
    let mut vetoes = Vec::new();
    let seconds = estimate.known_seconds;
    if seconds < policy.min_history_seconds {
        vetoes.push(Reason::ShortHistory { seconds, needed_seconds: policy.min_history_seconds });
    }
    if last_change.is_some_and(|changed| seen.at <= changed) {
        vetoes.push(Reason::NotMeasuredSince);
    }
    if let Some(anomaly) = situation.anomaly.filter(|anomaly| anomaly.is_anomaly()) {
        vetoes.push(Reason::Anomalous { score: anomaly.score });
    }
    vetoes
}

/// Caps on growth of the CPU besides the policy; an unknown node allows none.
fn cpu_caps(
    rules: &CpuPolicy,
    allocation: Allocation,
    pinned: Option<u32>,
    node: &NodeSituation,
) -> Vec<(f64, Reason)> {
    let maximum = Amount::Cores(rules.max_cores);
    let mut caps = vec![(rules.max_cores, Reason::AtMaximum { maximum })];
    caps.push(match node.cpus {
        Some(cpus) => (f64::from(cpus), Reason::NodeCpus { cpus }),
        None => (0.0, Reason::NodeUnknown),
    });
    let (setting, other) = match (rules.control, pinned) {
        (CpuControl::Cores, _) => (SettingName::Cpulimit, allocation.cpulimit.map(f64::ceil)),
        (CpuControl::Cpulimit, Some(cpus)) => (SettingName::Cpuset, Some(f64::from(cpus))),
        (CpuControl::Cpulimit, None) => (SettingName::Cores, allocation.cores),
    };
    caps.extend(
        other.map(|cores| (cores, Reason::OtherSettingBinds { setting, value: Amount::Cores(cores) })),
    );
    caps
}

/// Caps on growth of the memory besides the policy; an unknown node allows none.
fn memory_caps(policy: &Policy, current: f64, node: &NodeSituation) -> Vec<(f64, Reason)> {
    let most = policy.memory.max_mib as f64;
    let mut caps = vec![(most, Reason::AtMaximum { maximum: Amount::Mib(most) })];
    caps.push(match (node.memory_total_mib, node.memory_available_mib) {
        (Some(total), Some(available)) => {
            let reserve = total * (policy.node_memory_reserve_percent / 100.0);
            let reason =
                Reason::NodeMemory { available: Amount::Mib(available), reserve: Amount::Mib(reserve) };
            // Memory that the container has but does not use is not counted as available; the cap is about what is
            // added.
            ((current + (available - reserve).max(0.0)).min(total), reason)
        }
        _ => (0.0, Reason::NodeUnknown),
    });
    caps
}

impl Allocation {
    /// The cores of the controlled setting; if it is not set, those that bound the container without it.
    fn effective_cores(&self, control: CpuControl, pinned: Option<u32>, node: &NodeSituation) -> Option<f64> {
        // Proxmox ignores `cores` of a pinned container.
        let without_limit = pinned.map(f64::from).or(self.cores).or(node.cpus.map(f64::from));
        match control {
            CpuControl::Cores => without_limit,
            CpuControl::Cpulimit => self.cpulimit.or(without_limit),
        }
    }
}

#[cfg(test)]
mod tests;
