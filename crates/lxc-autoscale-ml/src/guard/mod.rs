//! Protects containers from our own decisions, and the node from containers.
//!
//! Everything here is a pure function of the records, the policy and the time. The state of a container: the shrink
//! being watched and the last one that did harm ([`revert`]), sizes set by somebody else ([`manual`]), active boosts
//! ([`boost`]), whether it leaks ([`leak`]) or runs out of memory repeatedly ([`oom_run`]). What must survive a restart
//! of the daemon is [`LastingState`]; [`StateFromRecords`] follows from the records.
//!
//! Two steps per cycle: [`ContainerGuard::observe`] takes in each record as it is read, and [`ContainerGuard::judge`]
//! judges the new ones by the policy in force. Each decision is given a [`Guard`], which the ledger stores with it.

pub mod boost;
pub mod budget;
mod config;
pub mod disturbance;
pub mod leak;
pub mod manual;
pub mod oom_run;
mod register;
pub mod revert;
mod signs;
pub mod symptom;
pub mod tell;
pub mod unpaid;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use config::GuardPolicy;
pub use register::{LastingStates, NewLeak, Register};

use self::boost::{ApiChange, Boost};
use self::budget::MemoryBudget;
use self::disturbance::Disturbance;
use self::leak::{Hours, Leak};
use self::manual::{Manual, Sizes};
use self::oom_run::{Lasts, OomRun};
use self::revert::{Rules, Shrinks};
use self::signs::Signs;
use self::symptom::Symptoms;
use self::unpaid::Unpaid;
use crate::clock;
use crate::decide::{Policy, Resource};
use crate::observation::Observation;
use crate::policy::Given;

/// Steps whose signs are kept: more than arrive in one cycle, and enough for the time before a change.
const KEPT_STEPS: usize = 64;
/// Steps before a change that serve as its baseline.
const BASELINE_STEPS: usize = 10;

/// A cycle that ended before its change was noted called the API at most this long after it began.
const LONGEST_CALL: SignedDuration = SignedDuration::from_mins(5);

/// The guards' state of one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerGuard {
    /// Apart, because it is large: a map of guards that come in by their ids keeps half of its room free.
    lasting: Box<LastingState>,
    records: StateFromRecords,
}

/// The part of a container's state that follows from its records. A checkpoint has it; where there is none, all records
/// are read again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StateFromRecords {
    recent: VecDeque<Signs>,
    hours: Hours,
}

/// The part of a container's state that must survive a restart, because the records do not tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastingState {
    /// The newest record taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Timestamp>,
    /// The newest record judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<Timestamp>,
    #[serde(default)]
    cpu: LastingSizeState,
    #[serde(default)]
    memory: LastingSizeState,
    /// The CPU that somebody gave the container, in cores: the first known size, or what was set by hand since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_cores: Option<f64>,
    /// The memory that somebody gave the container, in MiB: the first known size, or what was set by hand since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_mib: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leak: Option<Leak>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_run: Option<OomRun>,
    /// How long the series counts, as of the newest record.
    #[serde(default, skip_serializing_if = "Lasts::is_a_day")]
    oom_run_lasts: Lasts,
}

/// The part of [`LastingState`] about one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LastingSizeState {
    #[serde(default)]
    sizes: Sizes,
    #[serde(default)]
    shrinks: Shrinks,
    #[serde(default, skip_serializing_if = "Unpaid::is_empty")]
    unpaid: Unpaid,
    /// The boosts last reported by the API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    boosts: Vec<Boost>,
}

/// The guards' state of one container at one time, as a decision uses it and the ledger stores it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// The disturbance in the newest step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<Disturbance>,
    /// What is known about the container's CPU.
    #[serde(default)]
    pub cpu: ResourceGuard,
    /// What is known about the container's memory.
    #[serde(default)]
    pub memory: ResourceGuard,
    /// The container's present leak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leak: Option<Leak>,
    /// The container's present series of running out of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_run: Option<OomRun>,
    /// The memory that the node has left for it, if that is less than it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<MemoryBudget>,
}

/// The part of [`Guard`] about one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceGuard {
    /// The resource's shrinks and their outcome.
    #[serde(flatten)]
    pub shrinks: Shrinks,
    /// The shrinks that did not pay off.
    #[serde(default, skip_serializing_if = "Unpaid::is_empty")]
    pub unpaid: Unpaid,
    /// The size set by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// The largest active boost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boost: Option<Boost>,
}

/// What the guards take from one record.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
pub struct GuardInput<'a> {
    /// The facts of the step that it ends.
    pub observation: &'a Observation,
    /// The container's CPU by configuration, in cores; `None` when unknown or unlimited.
    pub cores: Option<f64>,
    /// The number of the node's CPUs, if the configuration does not limit the container to fewer.
    pub unlimited_cores: Option<f64>,
    /// Whether the container is pinned to CPUs: Proxmox then ignores `cores`, and `cores` above may not show a change of
    /// the limit.
    pub pinned: bool,
    /// The container's memory by configuration, in MiB.
    pub memory_mib: Option<f64>,
    /// Whether the container restarted in the step.
    pub restarted: bool,
    /// Whether the record is the first one of another container with the same id.
    pub replaced: bool,
    /// Whether the step was disturbed and says nothing about the container.
    pub disturbed: bool,
    /// How long a series of running out of memory counts.
    pub oom_run_lasts: Lasts,
    /// The sizes that the container had when the ledger first knew it: they count as given where nothing else tells.
    pub first: Given,
}

impl Guard {
    /// Whether there is nothing to report.
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// Adds to a queue of at most so many.
fn push_newest<T>(queue: &mut VecDeque<T>, newest: T, most: usize) {
    while most <= queue.len() && queue.pop_front().is_some() {}
    if queue.len() == queue.capacity() {
        // By default a queue doubles, so one that was restored almost full would have twice the room that it needs.
        queue.reserve_exact(most - queue.len());
    }
    queue.push_back(newest);
}

impl ContainerGuard {
    /// Restores the state saved before a restart.
    pub fn restored(lasting: Box<LastingState>) -> Self {
        Self { lasting, ..Self::default() }
    }

    /// The state that follows from the records.
    pub fn state_from_records(&self) -> &StateFromRecords {
        &self.records
    }

    /// Restores the state that follows from the records.
    pub fn restore_state_from_records(&mut self, records: StateFromRecords) {
        self.records = records;
    }

    /// The state that must survive a restart.
    pub fn lasting_state(&self) -> &LastingState {
        &self.lasting
    }

    /// Takes in the next record. One that was taken in before a restart adds only what was not saved.
    pub fn observe(&mut self, seen: GuardInput<'_>) {
        let at = seen.observation.at;
        if seen.replaced {
            self.records = StateFromRecords::default();
        }
        if seen.restarted {
            self.records.hours.clear();
        }
        let hour_is_over = match seen.observation.memory_used_mib.filter(|_| !seen.disturbed) {
            Some(used) => self.records.hours.push(at, used),
            None => false,
        };
        // During a disturbance only running out of memory counts.
        if !seen.disturbed || seen.observation.oom == Some(true) {
            // Before the push, because growing would double the memory of the queue.
            let signs = (at, Symptoms::of(seen.observation)).into();
            push_newest(&mut self.records.recent, signs, KEPT_STEPS);
        }
        if self.lasting.seen.is_some_and(|newest| at <= newest) {
            return;
        }
        if seen.replaced {
            *self.lasting = LastingState::default();
        }
        self.lasting.seen = Some(at);
        self.lasting.oom_run_lasts = seen.oom_run_lasts;
        if seen.pinned {
            self.lasting.of_mut(Resource::Cpu).sizes.expect_nothing();
        }
        self.lasting.observe_sizes(&seen);
        self.lasting.observe_oom(&seen);
        self.observe_leak(&seen, hour_is_over);
    }

    fn observe_leak(&mut self, seen: &GuardInput<'_>, hour_is_over: bool) {
        let (lasting, at) = (&mut self.lasting, seen.observation.at);
        let used = seen.observation.memory_used_mib;
        let is_over = |leak: &mut Leak| used.is_some_and(|used| leak.is_over(at, used));
        if seen.restarted || lasting.leak.as_mut().is_some_and(is_over) {
            lasting.leak = None;
        }
        if !hour_is_over {
            return;
        }
        let Some(limit) = seen.observation.memory_limit_mib.or(seen.memory_mib) else { return };
        let full = limit.max(lasting.given_now().unwrap_or_default());
        let Some(growth) = self.records.hours.growth(full) else { return };
        match &mut lasting.leak {
            Some(leak) => leak.goes_on(at, full, growth),
            None => lasting.leak = Some(Leak::new(at, limit, full, growth)),
        }
    }

    /// Notes a change of ours that was made between the two times, as the API read it back.
    pub fn note_set(&mut self, resource: Resource, times: (Timestamp, Timestamp), from: f64, to: f64) {
        // Of memory there is one setting alone.
        let is_bound = resource == Resource::Cpu;
        self.lasting.of_mut(resource).sizes.note_set(times, from, to, is_bound);
        self.note_unmeasured(resource, times, from, to);
    }

    /// Notes a change of ours that was made between the two times.
    pub fn note_change(&mut self, resource: Resource, times: (Timestamp, Timestamp), from: f64, to: f64) {
        let (begun, done) = times;
        self.lasting.of_mut(resource).sizes.note_ours(begun, done);
        self.note_unmeasured(resource, times, from, to);
    }

    /// Notes a change of ours that may have been made between the two times. A shrink is watched, because it may do harm.
    /// A growth may not have been made, so it ends neither a watch nor the request to undo harm.
    pub fn note_unsure(&mut self, resource: Resource, times: (Timestamp, Timestamp), from: f64, to: f64) {
        let (begun, done) = times;
        self.lasting.of_mut(resource).sizes.note_ours(begun, done);
        if to < from {
            self.note_unmeasured(resource, times, from, to);
        }
    }

    /// A shrink is watched, and a growth may take shrinks back.
    fn note_unmeasured(&mut self, resource: Resource, times: (Timestamp, Timestamp), from: f64, to: f64) {
        let (begun, done) = times;
        let before = self.worst_until(begun);
        let state = self.lasting.of_mut(resource);
        let undone = state.shrinks.undo.is_some_and(|undo| undo.size <= to);
        state.shrinks.note_change(done, from, to, before);
        if undone {
            state.unpaid.disregard();
        } else {
            state.unpaid.note_change(done, from, to);
        }
    }

    /// Notes that, by the ledger, we began a change at `at`; it is not watched.
    pub fn note_ours(&mut self, resource: Resource, at: Timestamp) {
        self.lasting.of_mut(resource).sizes.note_ours_roughly(at, at + LONGEST_CALL);
    }

    /// Notes a change of ours that began at `at` and was cut off; a shrink may have happened, and is watched.
    pub fn note_interrupted(&mut self, resource: Resource, at: Timestamp, from: f64, to: f64) {
        let before = self.worst_until(at);
        self.note_ours(resource, at);
        if to < from {
            self.lasting.of_mut(resource).shrinks.note_change(at, from, to, before);
        }
    }

    /// The active boosts, as the API reports them.
    pub fn set_boosts(&mut self, resource: Resource, boosts: Vec<Boost>) {
        self.lasting.of_mut(resource).boosts = boosts;
    }

    /// Whether a size was changed and the API has not said yet whether that was a boost.
    pub fn is_open(&self) -> bool {
        self.lasting.cpu.sizes.is_open() || self.lasting.memory.sizes.is_open()
    }

    /// Takes in the changes of a size, oldest first, that the API reported at `asked`.
    pub fn explain(&mut self, resource: Resource, changes: &[ApiChange], asked: Timestamp) {
        let by_hand = self.lasting.of_mut(resource).sizes.explain(changes, asked);
        match (resource, by_hand) {
            (Resource::Cpu, Some(manual)) => self.lasting.given_cores = Some(manual.size),
            (Resource::Memory, Some(manual)) => self.lasting.note_given(manual),
            (_, None) => {}
        }
    }

    /// The worst signs of the steps before a change that began at `at`.
    fn worst_until(&self, at: Timestamp) -> Symptoms {
        let before = self.records.recent.iter().rev().skip_while(|signs| at < signs.at);
        before.take(BASELINE_STEPS).map(Signs::symptoms).reduce(Symptoms::worst).unwrap_or_default()
    }

    /// Judges the new steps by the policy in force.
    pub fn judge(&mut self, policy: &Policy, now: Timestamp) {
        self.lasting.set_back(now);
        self.records.hours.set_back(now);
        self.records.recent.retain(|signs| clock::ahead(signs.at, now).is_none());
        let lasting = &mut self.lasting;
        let newest = self.records.recent.back().map(|signs| signs.at);
        for signs in self.records.recent.iter().filter(|signs| lasting.judged < Some(signs.at)) {
            let (at, symptoms) = (signs.at, signs.symptoms());
            let guard = &policy.guard;
            let cooldown_seconds = policy.cpu.cooldown_down_seconds;
            let rules = Rules { guard, resource: Resource::Cpu, cooldown_seconds };
            lasting.cpu.shrinks.observe(at, &symptoms, rules);
            let cooldown_seconds = policy.memory.cooldown_down_seconds;
            let rules = Rules { guard, resource: Resource::Memory, cooldown_seconds };
            lasting.memory.shrinks.observe(at, &symptoms, rules);
        }
        lasting.judged = lasting.judged.max(newest);
    }

    /// The state for a decision at `now`.
    pub fn guard(&self, disturbance: Option<Disturbance>, now: Timestamp) -> Guard {
        let lasting = &self.lasting;
        Guard {
            disturbance,
            cpu: lasting.cpu.for_decision(now),
            memory: lasting.memory.for_decision(now),
            leak: lasting.leak.map(|leak| leak.given(lasting.given_now())),
            oom_run: lasting
                .oom_run
                .filter(|run| run.counts(now, lasting.oom_run_lasts))
                .map(|run| OomRun { given_mib: lasting.given_now(), ..run }),
            budget: None,
        }
    }
}

impl LastingState {
    /// Its present leak.
    pub fn leak(&self) -> Option<&Leak> {
        self.leak.as_ref()
    }

    /// The sizes that somebody gave it, as known now: a possible boost counts until the API has said what it was.
    pub fn given(&self) -> Given {
        Given { cores: self.cpu.given_now(self.given_cores), memory_mib: self.given_now() }
    }

    /// The sizes that somebody else set last, of the CPU and of the memory.
    pub fn by_hand(&self) -> [Option<Manual>; 2] {
        [self.cpu.sizes.manual(), self.memory.sizes.manual()]
    }

    /// Whether it equals `other` apart from how far the records were read.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let timeless = |lasting: &Self| Self {
            seen: None,
            judged: None,
            cpu: lasting.cpu.timeless(),
            memory: lasting.memory.timeless(),
            ..lasting.clone()
        };
        timeless(self) == timeless(other)
    }

    /// The clock was set back: state dated later than now would block everything until then.
    fn set_back(&mut self, now: Timestamp) {
        if self.seen.max(self.judged).is_some_and(|seen| clock::ahead(seen, now).is_some()) {
            (self.seen, self.judged) = (None, None);
        }
        for state in [&mut self.cpu, &mut self.memory] {
            state.sizes.set_back(now);
            state.shrinks.set_back(now);
            state.unpaid.set_back(now);
        }
        if let Some(leak) = &mut self.leak {
            leak.set_back(now);
        }
        if let Some(run) = &mut self.oom_run {
            run.set_back(now);
        }
    }

    fn of_mut(&mut self, resource: Resource) -> &mut LastingSizeState {
        match resource {
            Resource::Cpu => &mut self.cpu,
            Resource::Memory => &mut self.memory,
        }
    }

    fn observe_sizes(&mut self, seen: &GuardInput<'_>) {
        let at = seen.observation.at;
        self.observe_cores(seen);
        if self.given_mib.is_none() {
            let set = self.memory.sizes.manual().map(|manual| manual.size);
            let had = seen.first.memory_mib.or(seen.memory_mib).or(seen.observation.memory_limit_mib);
            self.given_mib = set.or(had);
        }
        if let Some(manual) = seen.memory_mib.and_then(|mib| self.memory.observe_size(at, mib)) {
            self.note_given(manual);
        }
    }

    fn observe_cores(&mut self, seen: &GuardInput<'_>) {
        let Some(cores) = seen.cores else {
            // Only somebody else takes a limit away.
            self.given_cores = seen.unlimited_cores.or(self.given_cores);
            return;
        };
        if self.given_cores.is_none() {
            let set = self.cpu.sizes.manual().map(|manual| manual.size);
            self.given_cores = set.or(seen.first.cores).or(Some(cores));
        } else if self.cpu.sizes.is_unknown() {
            // It had no limit, and got one that is not ours.
            self.given_cores = Some(cores);
        }
        if let Some(manual) = self.cpu.observe_size(seen.observation.at, cores) {
            self.given_cores = Some(manual.size);
        }
    }

    /// Somebody set its memory, and it was not a boost.
    fn note_given(&mut self, manual: Manual) {
        self.given_mib = Some(manual.size);
        self.leak = None;
    }

    /// The memory that somebody gave it, in MiB, as known now: a possible boost counts until the API has said what it
    /// was.
    fn given_now(&self) -> Option<f64> {
        self.memory.given_now(self.given_mib)
    }

    fn observe_oom(&mut self, seen: &GuardInput<'_>) {
        let limit = seen.memory_mib.or(seen.observation.memory_limit_mib);
        if seen.observation.oom == Some(true)
            && let Some(limit) = limit
        {
            let run = self.oom_run.filter(|run| run.counts(seen.observation.at, seen.oom_run_lasts));
            self.oom_run = Some(OomRun::after(run, seen.observation.at, limit));
        }
    }
}

impl LastingSizeState {
    /// Takes in the size in a record taken at `at`; returns a change that is now known to be manual.
    fn observe_size(&mut self, at: Timestamp, size: f64) -> Option<Manual> {
        let by_hand = self.sizes.observe(at, size);
        if self.sizes.manual().is_some_and(|manual| manual.at == at) {
            self.shrinks.note_others(at, size);
            self.unpaid.disregard();
        } else if self.shrinks.is_back_at(size) {
            // What seemed to be somebody else's was a late reading.
            self.shrinks.note_others(at, size);
        }
        by_hand
    }

    /// What somebody gave it, as known now, if `given` is what it was given before any open change.
    fn given_now(&self, given: Option<f64>) -> Option<f64> {
        let open = self.sizes.manual().filter(|_| self.sizes.is_open()).map(|manual| manual.size);
        open.or(given)
    }

    fn for_decision(&self, now: Timestamp) -> ResourceGuard {
        let on = self.boosts.iter().filter(|boost| boost.left(now).is_some());
        let boost = on.max_by(|one, other| one.size.total_cmp(&other.size)).copied();
        ResourceGuard { shrinks: self.shrinks, unpaid: self.unpaid, manual: self.sizes.manual(), boost }
    }

    fn timeless(&self) -> Self {
        Self { sizes: self.sizes.timeless(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
