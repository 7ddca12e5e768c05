//! The single changes, and how each is put into what a decision was made from.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::has_tag;
use serde::Serialize;

use super::World;
use crate::confidence::Chances;
use crate::decide::{Amount, AnomalyScore, CpuControl, Mode, Resource};
use crate::guard::ResourceGuard;
use crate::guard::disturbance::Disturbance;
use crate::recommend::Estimate;

/// One input that is different.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Change {
    /// It should have so much.
    Recommended {
        /// So much.
        amount: Amount,
    },
    /// It used so much just now.
    Used {
        /// So much.
        amount: Amount,
    },
    /// Its tasks waited for memory for this share of the time.
    Pressure {
        /// In percent.
        percent: f64,
    },
    /// So much of the node's memory was available.
    NodeAvailable {
        /// So much.
        amount: Amount,
    },
    /// It had been known for so long.
    Known {
        /// In seconds.
        seconds: u64,
    },
    /// The change had been so likely to stay right for an hour.
    Confidence {
        /// In percent.
        percent: f64,
    },
    /// It had not been changed lately.
    NoCoolDown {
        /// When the cool-down ends.
        ends: Timestamp,
    },
    /// It had not run into its CPU limit.
    NotThrottled,
    /// It had not run out of memory.
    NotOutOfMemory,
    /// It had behaved as usual.
    Usual,
    /// Nothing had disturbed the measurement.
    Undisturbed,
    /// Nobody had set its size by hand.
    NotByHand {
        /// Until when that is respected.
        until: Timestamp,
    },
    /// No boost were on.
    NotBoosted {
        /// When it ends.
        until: Timestamp,
    },
    /// The last shrink were not being watched any more.
    NotWatched,
    /// Its last shrinks had done no harm.
    NoHarm,
    /// Its use on the last day said nothing about how long a size lasts.
    NoLastDay,
    /// It had not leaked.
    NoLeak,
    /// It had not run out of memory again and again.
    NoOomRun,
    /// The node had memory for all that is expected.
    NoBudget,
    /// The policy allowed any size.
    Unbounded,
    /// The policy allowed steps of any size.
    NoStepLimit,
    /// The policy allowed the smallest changes.
    NoHysteresis,
    /// The policy's mode were `auto`.
    ModeAuto,
    /// `containers.ignore` did not name it, and its mode were `auto`.
    NotIgnored,
    /// Proxmox held no lock on it.
    NotLocked,
    /// It did not carry the tag.
    NotTagged,
    /// It ran.
    Running,
    /// It were not pinned to CPUs.
    NotPinned,
    /// Its newest measurement were fresh.
    Measured,
}

/// The changes that take something away, as far as there is something.
pub(super) fn discrete(world: &World, resource: Resource) -> Vec<Change> {
    let (inputs, policy) = (&world.inputs, &world.policy);
    let (guard, obstacles) = (&inputs.guard, &inputs.obstacles);
    let resource_guard = match resource {
        Resource::Cpu => &guard.cpu,
        Resource::Memory => &guard.memory,
    };
    let seen = inputs.observation.as_ref();
    let is_memory = resource == Resource::Memory;
    let ends = cool_down_ends(world, resource);
    let until = resource_guard.manual.map(|manual| later(manual.at, policy.guard.respect_manual_seconds));
    let is_stale = seen.is_some_and(|seen| {
        policy.max_age_seconds < world.at.duration_since(seen.at).as_secs().unsigned_abs()
    });
    let throttled = seen.and_then(|seen| seen.cpu_throttled_share).is_some_and(|share| 0.0 < share);
    let ran_out = seen.and_then(|seen| seen.oom) == Some(true);
    let has_harm = resource_guard.shrinks.failure.is_some() || resource_guard.shrinks.undo.is_some();
    let has_day = estimate(world, resource).is_some_and(has_last_day);
    let pinned = !is_memory && policy.cpu.control == CpuControl::Cores && obstacles.pinned_cpuset.is_some();
    let all = [
        policy.ignored.then_some(Change::NotIgnored),
        (policy.mode(resource) == Mode::Off && !policy.ignored).then_some(Change::ModeAuto),
        obstacles.stopped.then_some(Change::Running),
        obstacles.lock.is_some().then_some(Change::NotLocked),
        has_tag(&obstacles.tags, &policy.off_tag).then_some(Change::NotTagged),
        guard.disturbance.is_some().then_some(Change::Undisturbed),
        until.map(|until| Change::NotByHand { until }),
        resource_guard.boost.map(|boost| Change::NotBoosted { until: boost.ends }),
        pinned.then_some(Change::NotPinned),
        is_stale.then_some(Change::Measured),
        ends.map(|ends| Change::NoCoolDown { ends }),
        inputs.anomaly.is_some_and(AnomalyScore::is_anomaly).then_some(Change::Usual),
        (throttled && !is_memory).then_some(Change::NotThrottled),
        (ran_out && is_memory).then_some(Change::NotOutOfMemory),
        resource_guard.shrinks.watch.is_some().then_some(Change::NotWatched),
        has_harm.then_some(Change::NoHarm),
        has_day.then_some(Change::NoLastDay),
        (guard.leak.is_some() && is_memory).then_some(Change::NoLeak),
        (guard.oom_run.is_some() && is_memory).then_some(Change::NoOomRun),
        (guard.budget.is_some() && is_memory).then_some(Change::NoBudget),
        Some(Change::Unbounded),
        Some(Change::NoStepLimit),
        Some(Change::NoHysteresis),
    ];
    all.into_iter().flatten().collect()
}

/// When the cool-down that is on ends; `None` where none is.
fn cool_down_ends(world: &World, resource: Resource) -> Option<Timestamp> {
    let (changes, policy) = (&world.inputs.changes, &world.policy);
    let (last, up, down) = match resource {
        Resource::Cpu => {
            let rules = &policy.cpu;
            (changes.cpu_up.max(changes.cpu_down)?, rules.cooldown_up_seconds, rules.cooldown_down_seconds)
        }
        Resource::Memory => {
            let rules = &policy.memory;
            (
                changes.memory_up.max(changes.memory_down)?,
                rules.cooldown_up_seconds,
                rules.cooldown_down_seconds,
            )
        }
    };
    let wants_more =
        estimate(world, resource).zip(world.decide(resource).from).map(|(it, from)| from < it.target);
    let seconds = if wants_more == Some(true) { up } else { down };
    Some(later(last, seconds)).filter(|ends| world.at < *ends)
}

fn later(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    at.checked_add(seconds).unwrap_or(Timestamp::MAX)
}

/// What is recommended.
pub(super) fn estimate(world: &World, resource: Resource) -> Option<&Estimate> {
    world.inputs.estimate(resource)
}

fn estimate_mut(world: &mut World, resource: Resource) -> Option<&mut Estimate> {
    let recommendation = world.inputs.recommendation.as_mut()?;
    match resource {
        Resource::Cpu => recommendation.cpu.as_mut(),
        Resource::Memory => recommendation.memory.as_mut(),
    }
}

fn resource_guard_mut(world: &mut World, resource: Resource) -> &mut ResourceGuard {
    match resource {
        Resource::Cpu => &mut world.inputs.guard.cpu,
        Resource::Memory => &mut world.inputs.guard.memory,
    }
}

fn value(amount: Amount) -> f64 {
    let (Amount::Cores(value) | Amount::Mib(value)) = amount;
    value
}

impl Change {
    /// Puts it into what a decision about `resource` is made from.
    pub(super) fn put(&self, resource: Resource, world: &mut World) {
        match self {
            Self::Recommended { amount } => {
                outgrow_last_day(world, resource, value(*amount));
                if let Some(estimate) = estimate_mut(world, resource) {
                    estimate.target = value(*amount);
                }
            }
            Self::Used { amount } => put_used(world, resource, value(*amount)),
            Self::Pressure { percent } => {
                if let Some(seen) = &mut world.inputs.observation {
                    seen.memory_pressure_percent = Some(*percent);
                }
            }
            Self::NodeAvailable { amount } => {
                world.inputs.node.memory_available_mib = Some(value(*amount));
            }
            Self::Known { seconds } => {
                if let Some(estimate) = estimate_mut(world, resource) {
                    estimate.known_seconds = *seconds;
                }
            }
            Self::Confidence { percent } => {
                if let Some(estimate) = estimate_mut(world, resource) {
                    estimate.confidence_percent = *percent;
                    // What the confidence in other sizes follows from would say otherwise.
                    estimate.chances = Chances::default();
                }
            }
            Self::NotThrottled | Self::NotOutOfMemory | Self::Measured => self.put_seen(world),
            Self::Unbounded | Self::NoStepLimit | Self::NoHysteresis | Self::ModeAuto | Self::NotIgnored => {
                self.put_rule(resource, world);
            }
            Self::NoCoolDown { .. } => {
                let changes = &mut world.inputs.changes;
                match resource {
                    Resource::Cpu => (changes.cpu_up, changes.cpu_down) = (None, None),
                    Resource::Memory => (changes.memory_up, changes.memory_down) = (None, None),
                }
            }
            Self::Usual => world.inputs.anomaly = None,
            Self::Undisturbed => world.inputs.guard.disturbance = None,
            Self::NotByHand { .. } => resource_guard_mut(world, resource).manual = None,
            Self::NotBoosted { .. } => resource_guard_mut(world, resource).boost = None,
            Self::NotWatched => resource_guard_mut(world, resource).shrinks.watch = None,
            Self::NoHarm => {
                let shrinks = &mut resource_guard_mut(world, resource).shrinks;
                (shrinks.failure, shrinks.undo) = (None, None);
            }
            Self::NoLastDay => {
                if let Some(estimate) = estimate_mut(world, resource) {
                    forget_last_day(estimate);
                }
            }
            Self::NoLeak => world.inputs.guard.leak = None,
            Self::NoOomRun => world.inputs.guard.oom_run = None,
            Self::NoBudget => world.inputs.guard.budget = None,
            Self::NotLocked => {
                world.inputs.obstacles.lock = None;
                // What disturbs the measurement then is the lock as well.
                let disturbance = &mut world.inputs.guard.disturbance;
                if matches!(disturbance, Some(Disturbance::Lock { .. })) {
                    *disturbance = None;
                }
            }
            Self::NotTagged => {
                world.inputs.obstacles.tags.retain(|tag| !tag.eq_ignore_ascii_case(&world.policy.off_tag));
            }
            Self::Running => world.inputs.obstacles.stopped = false,
            Self::NotPinned => world.inputs.obstacles.pinned_cpuset = None,
        }
    }

    fn put_seen(&self, world: &mut World) {
        let Some(seen) = &mut world.inputs.observation else { return };
        match self {
            Self::NotThrottled => seen.cpu_throttled_share = Some(0.0),
            Self::NotOutOfMemory => seen.oom = Some(false),
            _ => seen.at = world.at,
        }
    }

    fn put_rule(&self, resource: Resource, world: &mut World) {
        let (cpu, memory) = (&mut world.policy.cpu, &mut world.policy.memory);
        match (self, resource) {
            (Self::Unbounded, Resource::Cpu) => {
                let least = if cpu.control == CpuControl::Cores { 1.0 } else { 0.01 };
                (cpu.min_cores, cpu.max_cores) = (least, f64::from(u32::MAX));
            }
            (Self::Unbounded, Resource::Memory) => {
                // 16 MiB is the least `pct set --memory` accepts.
                (memory.min_mib, memory.max_mib) = (16, u64::from(u32::MAX));
            }
            (Self::NoStepLimit, Resource::Cpu) => {
                (cpu.max_step_up_percent, cpu.max_step_down_percent) = (f64::from(u32::MAX), 100.0);
            }
            (Self::NoStepLimit, Resource::Memory) => {
                (memory.max_step_up_percent, memory.max_step_down_percent) = (f64::from(u32::MAX), 100.0);
            }
            (Self::NoHysteresis, Resource::Cpu) => cpu.hysteresis_percent = 0.0,
            (Self::NoHysteresis, Resource::Memory) => {
                (memory.hysteresis_percent, memory.min_shrink_mib) = (0.0, 0);
            }
            (_, Resource::Cpu) => cpu.mode = Mode::Auto,
            (_, Resource::Memory) => memory.mode = Mode::Auto,
        }
    }

    /// Its words: what would have had to be, after "if". `local` shows a time.
    pub fn words(&self, resource: Resource, now: &World, local: &dyn Fn(Timestamp) -> String) -> String {
        match self {
            Self::Recommended { amount } => format!("the recommendation were {amount}"),
            Self::Used { amount } => used_words(*amount, resource, now),
            Self::Pressure { percent } => format!("its tasks waited for memory {percent:.2} % of the time"),
            Self::NodeAvailable { amount } => format!("the node had {amount} of memory available"),
            Self::Known { seconds } => format!("it were known for {:.1} h", *seconds as f64 / 3600.0),
            Self::Confidence { percent } => {
                format!("the chance that this stays right for an hour were {percent:.0} %")
            }
            Self::NoCoolDown { ends } => format!("it were not for the cool-down (ends {})", local(*ends)),
            Self::NotThrottled => "it had not run into its CPU limit".to_owned(),
            Self::NotOutOfMemory => "it had not run out of memory".to_owned(),
            Self::Usual => "it behaved as usual".to_owned(),
            Self::Undisturbed => "nothing disturbed the measurement".to_owned(),
            Self::NotByHand { until } => {
                format!("nobody had set it by hand (respected until {})", local(*until))
            }
            Self::NotBoosted { until } => format!("it were not boosted (until {})", local(*until)),
            Self::NotWatched => "its last shrink were not watched any more".to_owned(),
            Self::NoHarm => "its last shrink had done no harm".to_owned(),
            Self::NoLastDay => "its use on the last day did not count".to_owned(),
            Self::NoLeak => "it did not leak".to_owned(),
            Self::NoOomRun => "it had not run out of memory again and again".to_owned(),
            Self::NoBudget => "the node had memory for all that is expected".to_owned(),
            Self::Unbounded => "the policy had no minimum and no maximum".to_owned(),
            Self::NoStepLimit => "the policy did not limit the step".to_owned(),
            Self::NoHysteresis => "the smallest change were worth it (no hysteresis)".to_owned(),
            Self::NotIgnored => "`containers.ignore` did not name it and the mode were `auto`".to_owned(),
            Self::ModeAuto => "the mode were `auto`".to_owned(),
            Self::NotLocked => "Proxmox held no lock on it".to_owned(),
            Self::NotTagged => "it did not carry the tag".to_owned(),
            Self::Running => "it ran".to_owned(),
            Self::NotPinned => "it were not pinned to CPUs".to_owned(),
            Self::Measured => "it had been measured just now".to_owned(),
        }
    }
}

/// More than the present size was not enough on the last day either.
fn outgrow_last_day(world: &mut World, resource: Resource, amount: f64) {
    let has_day = estimate(world, resource).is_some_and(has_last_day);
    let is_more = has_day && world.decide(resource).from.is_some_and(|from| from < amount);
    if let Some(estimate) = estimate_mut(world, resource).filter(|_| is_more) {
        forget_last_day(estimate);
    }
}

fn has_last_day(estimate: &Estimate) -> bool {
    estimate.restlessness.is_some() || estimate.random_day.is_some()
}

fn forget_last_day(estimate: &mut Estimate) {
    (estimate.restlessness, estimate.random_day) = (None, None);
}

/// What it uses, and the most it used just now, which a shrink does not go below.
fn put_used(world: &mut World, resource: Resource, used: f64) {
    outgrow_last_day(world, resource, used);
    if let Some(estimate) = estimate_mut(world, resource) {
        estimate.floor = used;
        estimate.target = estimate.target.max(used);
    }
    if let Some(seen) = &mut world.inputs.observation {
        match resource {
            Resource::Cpu => seen.cpu_cores_used = Some(used),
            Resource::Memory => seen.memory_used_mib = Some(used),
        }
    }
}

/// The most it used just now, as [`put_used`] takes it.
pub(super) fn used(world: &World, resource: Resource) -> Option<f64> {
    let seen = world.inputs.observation.as_ref()?;
    let seen = match resource {
        Resource::Cpu => seen.cpu_cores_used,
        Resource::Memory => seen.memory_used_mib,
    };
    let floor = estimate(world, resource).map(|estimate| estimate.floor);
    seen.map(|seen| floor.map_or(seen, |floor| floor.max(seen)))
}

fn used_words(amount: Amount, resource: Resource, now: &World) -> String {
    let what = match resource {
        Resource::Cpu => "CPU in use",
        Resource::Memory => "working set",
    };
    let Some(before) = used(now, resource) else { return format!("its {what} were {amount}") };
    let difference = value(amount) - before;
    let word = if difference < 0.0 { "less" } else { "more" };
    format!("it had {} {word} {what} ({amount})", Amount::of(resource, difference.abs()))
}
