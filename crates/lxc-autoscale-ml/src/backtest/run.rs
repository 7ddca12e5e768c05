//! The replay itself: every container through the daemon's functions, on a simulated host.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;

use super::host::Host;
use super::recording::Recording;
use super::score::{Judge, Prices, Rules, Sums};
use crate::classes::Class;
use crate::decide::{Action, Decision, Policy};
use crate::forecast::Quantiles;
use crate::policy::{Given, Identity, InForce, PolicyBook};
use crate::recommend::Shared;
use crate::replay::{CpuClass, Replayed, Size, carried_out, changed, within_provisioned};

/// The forecast is drawn once an hour: a month of it is only some pixels wide.
const BAND_SECONDS: i64 = 3600;
/// Levels between which the forecast is drawn.
pub(super) const CPU_BAND: (f64, f64) = (0.8, 0.98);
pub(super) const MEMORY_BAND: (f64, f64) = (0.5, 0.99);
/// The warm-up is at most this part of a recording: short ones need figures, too.
const MOST_WARM_UP: f64 = 1.0 / 3.0;

/// How recordings are replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The source of the bounds.
    pub bounds: Bounds,
    /// The constants and models of the decisions.
    pub shared: Arc<Shared>,
    /// How decisions are judged; with a configuration, the head-room is that of each container's policy.
    pub rules: Rules,
    /// Shortest time between two decisions, in seconds.
    pub interval_seconds: i64,
    /// Whether the guards are active, as in the daemon.
    pub with_guards: bool,
    /// Whether forecasts are kept, for the charts.
    pub with_forecasts: bool,
}

/// The source of the bounds.
#[derive(Clone, Debug)]
pub enum Bounds {
    /// The policy without its own bounds: they follow from each container's provisioned size.
    Provisioned(Box<Policy>),
    /// The configuration, per container and, with schedules, per time.
    Configured(Box<PolicyBook>),
}

/// The result for one container.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its id.
    pub id: u64,
    /// Its name, if known.
    pub name: Option<String>,
    /// Its first size.
    pub begin: Size,
    /// Its changes, in the order of time.
    pub changes: Vec<Change>,
    /// Forecasts, once an hour.
    pub forecasts: Vec<Forecast>,
    /// The judged sums.
    pub sums: Sums,
    /// The prices that its policy sets.
    pub prices: Prices,
    /// The replayed time, in days.
    pub days: f64,
    /// What kind of load it was at the end; `None` if too little is known of it.
    pub class: Option<Class>,
}

/// A change of size.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was decided, in seconds since the Unix epoch.
    pub at: i64,
    /// The size from the next sample on.
    pub size: Size,
    /// The decision about CPU, if there was one.
    pub cpu: Option<Decision>,
    /// The decision about memory, if there was one.
    pub memory: Option<Decision>,
}

/// A forecast: (low, high) of each resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// When, in seconds since the Unix epoch.
    pub at: i64,
    /// CPU in the next five minutes, in cores.
    pub cpu: Option<(f64, f64)>,
    /// Memory in the next hour, in MiB.
    pub memory: Option<(f64, f64)>,
}

impl Replay {
    /// Replays all recordings, several at once; the outcomes are in the same order. `progress` is told the number
    /// completed after each.
    pub fn all(&self, recordings: &[Recording], progress: &(impl Fn(usize) + Sync)) -> Vec<Outcome> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            let mut outcomes = Vec::new();
            while let Some((index, recording)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                recordings.get(index).map(|recording| (index, recording))
            } {
                outcomes.push((index, self.one(recording)));
                progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            }
            outcomes
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(recordings.len());
        let mut outcomes: Vec<(usize, Outcome)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Replays one recording.
    pub fn one(&self, recording: &Recording) -> Outcome {
        let rules = self.rules_for(recording);
        let (policy, shared) = self.rules_of(recording, rules.cpu_class);
        let prices = Prices::from(shared.config());
        let rules = match self.bounds {
            Bounds::Provisioned(_) => rules,
            Bounds::Configured(_) => {
                Rules { headroom: shared.config().cpu_headroom_percent / 100.0, ..rules }
            }
        };
        let container = Replayed::new(policy, recording.obstacles.clone(), recording.node, shared);
        let mut container = if self.with_guards { container.guarded() } else { container };
        let scheduled = match &self.bounds {
            Bounds::Configured(book) if book.has_schedules() => identity(recording).map(|who| (book, who)),
            _ => None,
        };
        let mut host = Host::new(recording.provisioned.cores);
        let mut judge = Judge::new(rules, recording.provisioned);
        let begin = rules.effective(recording.provisioned, recording.provisioned);
        let mut size = begin;
        let mut ran_out = false;
        let mut decided: Option<i64> = None;
        let (mut changes, mut forecasts) = (Vec::new(), Vec::new());
        for step in recording.steps() {
            let at = step.sample.at;
            let Ok(now) = Timestamp::from_second(at) else { continue };
            let mut seen = host.serve(&step, size, now);
            judge.step(&step, size);
            if step.sample.is_disturbed {
                container.observe_disturbed(&seen);
            } else {
                container.observe(&seen);
            }
            if self.with_forecasts && is_new_hour(forecasts.last(), at) {
                forecasts.push(forecast(&container, at, now));
            }
            ran_out |= seen.oom == Some(true);
            if decided.is_some_and(|last| at - last < self.interval_seconds) {
                continue;
            }
            decided = Some(at);
            // No decision on a disturbed step; only running out of memory is answered.
            if step.sample.is_disturbed && !ran_out {
                continue;
            }
            // The daemon answers what happened in any record since its last decision.
            seen.oom = if ran_out { Some(true) } else { seen.oom };
            ran_out = false;
            if let Some((book, who)) = &scheduled {
                let in_force = book.in_force(who, now);
                container.set_policy(configured(in_force, rules.cpu_class, recording.provisioned));
            }
            let decisions = container.decide(&seen, size, now);
            if let Some(new) = changed(size, &decisions) {
                size = new;
                let made = |decision: Decision| {
                    (decision.apply && decision.action != Action::Keep).then_some(decision)
                };
                changes.push(Change { at, size, cpu: made(decisions.cpu), memory: made(decisions.memory) });
            }
        }
        let sums = judge.sums();
        let days = recording.steps().map(|step| step.seconds).sum::<f64>() / 86_400.0;
        let (id, name) = (recording.id, recording.name.clone());
        Outcome { id, name, begin, changes, forecasts, sums, prices, days, class: container.class() }
    }

    /// The policy at the beginning of the recording, and the constants of its recommendations.
    fn rules_of(&self, recording: &Recording, class: CpuClass) -> (Policy, Arc<Shared>) {
        match &self.bounds {
            Bounds::Provisioned(policy) => {
                let policy = within_provisioned(policy, class, recording.provisioned);
                (carried_out(policy), Arc::clone(&self.shared))
            }
            Bounds::Configured(book) => {
                let lasting = lasting(book, recording);
                let is_general = lasting.recommend == *self.shared.config();
                let shared = if is_general {
                    Arc::clone(&self.shared)
                } else {
                    Arc::new(self.shared.with_config(&lasting.recommend))
                };
                (configured(lasting, class, recording.provisioned), shared)
            }
        }
    }

    /// The rules with a warm-up that leaves most of the recording, and the CPU class of the policy.
    fn rules_for(&self, recording: &Recording) -> Rules {
        let rules = recording.cpu_class.map_or(self.rules, |class| self.rules.in_class(class));
        let span = recording.span().map_or(0.0, |(first, last)| (last - first) as f64);
        let warm_up_seconds = self.rules.warm_up_seconds.min(MOST_WARM_UP * span);
        Rules { warm_up_seconds, ..rules }
    }
}

/// The rules for the container of a recording, without those of schedules.
pub(super) fn lasting(book: &PolicyBook, recording: &Recording) -> InForce {
    identity(recording).map_or_else(|| book.general(), |who| book.lasting(&who))
}

/// The policy as the replay applies it, to a container that was given the size it had at first.
fn configured(in_force: InForce, class: CpuClass, provisioned: Size) -> Policy {
    let in_force = in_force.with_cpu_control(class.control());
    let given = Given { cores: Some(provisioned.cores), memory_mib: Some(provisioned.memory_mib) };
    carried_out(in_force.with_given(given).policy)
}

fn is_new_hour(last: Option<&Forecast>, at: i64) -> bool {
    last.is_none_or(|last| last.at.div_euclid(BAND_SECONDS) < at.div_euclid(BAND_SECONDS))
}

/// The identity by which policies select the container; `None` for an id that is invalid in Proxmox.
fn identity(recording: &Recording) -> Option<Identity> {
    let id = Vmid::try_from(u32::try_from(recording.id).ok()?).ok()?;
    let (name, tags) = (recording.name.clone(), recording.obstacles.tags.clone());
    Some(Identity { id, name, tags, pool: recording.pool.clone() })
}

fn forecast(container: &Replayed, at: i64, now: Timestamp) -> Forecast {
    let (cpu, memory) = container.model().forecasts(now);
    let band = |quantiles: Option<Quantiles>, (low, high): (f64, f64)| {
        quantiles.map(|quantiles| (quantiles.at(low), quantiles.at(high)))
    };
    Forecast { at, cpu: band(cpu, CPU_BAND), memory: band(memory, MEMORY_BAND) }
}
