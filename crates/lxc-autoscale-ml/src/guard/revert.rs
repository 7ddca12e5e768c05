//! Watches the effect of a shrink, undoes it when the container is worse off, and does not try again soon.
//!
//! No measurement tells beforehand what a shrink of memory will do: how much of the page cache was useful shows only
//! when it is gone. So every shrink is a **probe**. For some measurements after it ([`GuardPolicy::watch_samples`], at
//! least [`GuardPolicy::watch_seconds`]) the signs of shortage are compared with those before it, and the container is
//! not shrunk again meanwhile. If one of them is worse ([`super::symptom`]), the former size is restored at once,
//! without a cool-down. The CPU is treated the same way.
//!
//! After a failed probe the next shrink waits for twice the cool-down, then four times, and so on up to
//! [`GuardPolicy::max_backoff_seconds`] (CPU: [`GuardPolicy::max_cpu_backoff_seconds`]), until a probe does no harm;
//! and for [`GuardPolicy::remember_seconds`] memory does not shrink beyond halfway to the size that failed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::GuardPolicy;
use super::manual::SAME;
use super::symptom::{Symptom, Symptoms};
use crate::clock;
use crate::decide::Resource;

/// An undo that could not be carried out for this long (a lock, a full node) is given up: its reason is past.
const UNDO_EXPIRES: SignedDuration = SignedDuration::from_hours(1);
/// More doublings than this exceed any longest wait.
const MOST_DOUBLINGS: u32 = 20;

/// A shrink that is being watched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// When it was made.
    pub changed_at: Timestamp,
    /// The size before, in cores or MiB.
    pub from: f64,
    /// The size after it.
    pub to: f64,
    /// The worst signs before it.
    pub before: Symptoms,
    /// Measurements after it that showed no harm.
    pub samples: u32,
}

/// A harmful shrink and its consequences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When the harm was noticed.
    pub at: Timestamp,
    /// The largest size that recently proved too small, in cores or MiB.
    pub size: f64,
    /// No shrink below this until it is forgotten: halfway up to the size that was restored, so that the next probe
    /// halves the unknown range.
    pub least: f64,
    /// What got worse.
    pub symptom: Symptom,
    /// How many shrinks in a row did harm; 0 after one that did none.
    pub count: u32,
    /// No shrink before this time.
    pub retry_at: Timestamp,
    /// When the size may be tried again.
    pub forget_at: Timestamp,
}

/// A size to restore.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// The size, in cores or MiB.
    pub size: f64,
    /// Why.
    pub symptom: Symptom,
    /// Since when.
    pub since: Timestamp,
}

/// The state of the shrinks of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shrinks {
    /// The last one, while it is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// The last one, while a size set by somebody else is in force instead, such as that of a boost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting: Option<Watch>,
    /// The last harmful one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The one to be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// The rules by which a shrink is judged.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The thresholds.
    pub guard: &'a GuardPolicy,
    /// The resource that is watched.
    pub resource: Resource,
    /// The cool-down of a shrink, in seconds.
    pub cooldown_seconds: u64,
}

impl Shrinks {
    /// Notes a change of size at `at`; `before` are the worst signs of the time before it.
    pub fn note_change(&mut self, at: Timestamp, from: f64, to: f64, before: Symptoms) {
        // A growth ends the watch: later symptoms are not caused by the shrink.
        self.watch = (to < from).then_some(Watch { changed_at: at, from, to, before, samples: 0 });
        self.resting = None;
        if self.undo.is_some_and(|undo| undo.size <= to) {
            self.undo = None;
        }
    }

    /// A size set by somebody else is in force since the record taken at `at`: it hides the effect of a shrink. The
    /// watch starts anew when the watched size is back.
    pub(super) fn note_others(&mut self, at: Timestamp, size: f64) {
        match self.resting.filter(|_| self.is_back_at(size)) {
            Some(watch) => {
                self.watch = Some(Watch { changed_at: at, samples: 0, ..watch });
                self.resting = None;
            }
            None => self.resting = self.watch.take().or(self.resting),
        }
    }

    /// Whether `size` is the one whose watch rests.
    pub(super) fn is_back_at(&self, size: f64) -> bool {
        self.resting.is_some_and(|watch| (watch.to - size).abs() < SAME)
    }

    /// The clock was set back: what lies after `now` was now, and lasts as long from then on as it would have.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        for watch in self.watch.iter_mut().chain(&mut self.resting) {
            clock::set_back(&mut watch.changed_at, now);
        }
        if let Some(undo) = &mut self.undo {
            clock::set_back(&mut undo.since, now);
        }
        if let Some(failure) = &mut self.failure
            && let Some(ahead) = clock::ahead(failure.at, now)
        {
            failure.at = now;
            for until in [&mut failure.retry_at, &mut failure.forget_at] {
                *until = until.checked_sub(ahead).unwrap_or(now);
            }
        }
    }

    /// Takes in the signs of the step that ended at `at`.
    pub fn observe(&mut self, at: Timestamp, seen: &Symptoms, rules: Rules<'_>) {
        if self.undo.is_some_and(|undo| UNDO_EXPIRES < at.duration_since(undo.since)) {
            self.undo = None;
        }
        let Some(watch) = &mut self.watch else { return };
        if at <= watch.changed_at || !seen.speak_of(rules.resource) {
            return;
        }
        let watch = *watch;
        if let Some(symptom) = seen.worse_than(&watch.before, rules.resource, rules.guard) {
            self.watch = None;
            self.undo = Some(Undo { size: watch.from, symptom, since: at });
            self.fail(at, watch, symptom, rules);
            return;
        }
        let samples = watch.samples.saturating_add(1);
        let watched = u64::try_from(at.duration_since(watch.changed_at).as_secs()).unwrap_or(0);
        let is_over = rules.guard.watch_samples <= samples && rules.guard.watch_seconds <= watched;
        self.watch = (!is_over).then_some(Watch { samples, ..watch });
        if is_over && let Some(failure) = &mut self.failure {
            failure.count = 0;
        }
    }

    fn fail(&mut self, at: Timestamp, watch: Watch, symptom: Symptom, rules: Rules<'_>) {
        let before = self.failure.filter(|before| at < before.forget_at.max(before.retry_at));
        let count = before.map_or(1, |before| before.count.saturating_add(1));
        let middle = f64::midpoint(watch.from, watch.to);
        let longest = match rules.resource {
            Resource::Cpu => rules.guard.max_cpu_backoff_seconds,
            Resource::Memory => rules.guard.max_backoff_seconds,
        };
        let retry_at = later(at, doubled(rules.cooldown_seconds, count, longest));
        self.failure = Some(Failure {
            at,
            size: before.map_or(watch.to, |before| before.size.max(watch.to)),
            least: before.map_or(middle, |before| before.least.max(middle)),
            symptom,
            count,
            retry_at,
            forget_at: later(at, rules.guard.remember_seconds),
        });
    }

    /// The failure that forbids a shrink at `now`, with the remaining time, in seconds.
    pub fn backing_off(&self, now: Timestamp) -> Option<(Failure, u64)> {
        let failure = self.failure?;
        let left = u64::try_from(failure.retry_at.duration_since(now).as_secs()).unwrap_or(0);
        (0 < left).then_some((failure, left))
    }

    /// The failure whose size must not be tried again yet.
    pub fn remembered(&self, now: Timestamp) -> Option<Failure> {
        self.failure.filter(|failure| now < failure.forget_at)
    }
}

/// The cool-down doubled so many times, at most the longest.
pub(super) fn doubled(cooldown_seconds: u64, times: u32, longest_seconds: u64) -> u64 {
    cooldown_seconds.saturating_mul(1 << times.min(MOST_DOUBLINGS)).min(longest_seconds)
}

/// `seconds` after `at`; the end of time if it is later than that.
fn later(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    at.checked_add(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn rules(guard: &GuardPolicy) -> Rules<'_> {
        Rules { guard, resource: Resource::Memory, cooldown_seconds: 1800 }
    }

    fn pressure(percent: f64) -> Symptoms {
        Symptoms { memory_pressure_percent: Some(percent), ran_out: Some(false), ..Symptoms::default() }
    }

    /// A shrink from 1000 to 750 at 0, then one measurement a minute.
    fn after(pressures: &[f64]) -> Shrinks {
        let (guard, mut shrinks) = (GuardPolicy::default(), Shrinks::default());
        shrinks.note_change(at(0), 1000.0, 750.0, pressure(0.3));
        for (minute, percent) in (1..).zip(pressures) {
            shrinks.observe(at(60 * minute), &pressure(*percent), rules(&guard));
        }
        shrinks
    }

    #[test]
    fn a_shrink_is_watched_for_its_samples_and_its_time() {
        assert_eq!(after(&[0.0; 4]).watch.unwrap().samples, 4);
        assert_eq!(after(&[0.0; 5]), Shrinks::default());
        // Many measurements in a short time are not enough, nor are few in a long time.
        let (guard, mut shrinks) = (GuardPolicy::default(), Shrinks::default());
        shrinks.note_change(at(0), 1000.0, 750.0, pressure(0.3));
        for second in 1..20 {
            shrinks.observe(at(second), &pressure(0.0), rules(&guard));
        }
        assert!(shrinks.watch.is_some());
        // Nor are measurements without information.
        shrinks.observe(at(4000), &Symptoms::default(), rules(&guard));
        assert_eq!(shrinks.watch.unwrap().samples, 19);
        shrinks.observe(at(4060), &pressure(0.0), rules(&guard));
        assert_eq!(shrinks.watch, None);
    }

    #[test]
    fn harm_is_undone_at_once_and_remembered() {
        let shrinks = after(&[0.0, 5.0]);
        assert_eq!(shrinks.watch, None);
        assert_eq!(shrinks.undo.map(|undo| undo.size), Some(1000.0));
        let failure = shrinks.failure.unwrap();
        assert_eq!((failure.size, failure.count, failure.at), (750.0, 1, at(120)));
        assert_eq!(shrinks.backing_off(at(120)).map(|(_, left)| left), Some(3600));
        assert_eq!(shrinks.backing_off(at(3720)), None);
        assert!(shrinks.remembered(at(6 * 86_400)).is_some());
        assert!(shrinks.remembered(at(8 * 86_400)).is_none());
    }

    #[test]
    fn what_was_given_back_is_undone_no_more() {
        let mut shrinks = after(&[5.0]);
        shrinks.note_change(at(90), 750.0, 900.0, pressure(5.0));
        assert!(shrinks.undo.is_some(), "a part is not all");
        shrinks.note_change(at(150), 900.0, 1000.0, pressure(5.0));
        assert_eq!(shrinks.undo, None);
        let mut late = after(&[5.0]);
        late.observe(at(2 * 3600), &pressure(5.0), rules(&GuardPolicy::default()));
        assert_eq!(late.undo, None);
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_longest() {
        let (guard, mut shrinks) = (GuardPolicy::default(), Shrinks::default());
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            shrinks.note_change(at(now), 1000.0, 750.0, pressure(0.0));
            shrinks.observe(at(now + 60), &pressure(9.0), rules(&guard));
            waits.push(shrinks.backing_off(at(now + 60)).unwrap().1);
            now += 90_000;
        }
        assert_eq!(waits, [3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400, 86_400]);
        // The CPU is tried again sooner: too little of it only costs waiting.
        let cpu = Rules { resource: Resource::Cpu, cooldown_seconds: 600, ..rules(&guard) };
        let throttled = Symptoms { throttled_percent: Some(50.0), ..Symptoms::default() };
        let mut of_cpu = Shrinks::default();
        let mut cpu_waits = Vec::new();
        for time in (0..4).map(|number| 90_000 * number) {
            of_cpu.note_change(at(time), 2.0, 1.0, Symptoms::default());
            of_cpu.observe(at(time + 60), &throttled, cpu);
            cpu_waits.push(of_cpu.backing_off(at(time + 60)).unwrap().1);
        }
        assert_eq!(cpu_waits, [1200, 2400, 3600, 3600]);
        // A failure whose size is forgotten starts a new series.
        now += 8 * 86_400;
        shrinks.note_change(at(now), 1000.0, 750.0, pressure(0.0));
        shrinks.observe(at(now + 60), &pressure(9.0), rules(&guard));
        assert_eq!(shrinks.failure.unwrap().count, 1);
    }

    #[test]
    fn a_watch_rests_under_the_size_of_a_boost() {
        let (guard, mut shrinks) = (GuardPolicy::default(), Shrinks::default());
        shrinks.note_change(at(0), 1000.0, 750.0, pressure(0.3));
        shrinks.observe(at(60), &pressure(0.0), rules(&guard));
        shrinks.note_others(at(120), 4096.0);
        // Neither calm nor pressure under the boost says anything about the shrink.
        for (second, percent) in (120..).step_by(60).zip([0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0]) {
            shrinks.observe(at(second), &pressure(percent), rules(&guard));
        }
        assert_eq!((shrinks.watch, shrinks.failure, shrinks.undo), (None, None, None));
        shrinks.note_others(at(600), 750.0);
        assert_eq!(shrinks.watch.map(|watch| (watch.changed_at, watch.samples)), Some((at(600), 0)));
        shrinks.observe(at(660), &pressure(9.0), rules(&guard));
        assert_eq!(shrinks.undo.map(|undo| undo.size), Some(1000.0));
        // A change of ours ends it for good.
        let mut changed = after(&[0.0]);
        changed.note_others(at(120), 4096.0);
        changed.note_change(at(180), 4096.0, 2048.0, pressure(0.0));
        changed.note_others(at(240), 750.0);
        assert_eq!(changed.watch, None);
    }

    #[test]
    fn a_shrink_without_harm_ends_the_series() {
        let (guard, mut shrinks) = (GuardPolicy::default(), Shrinks::default());
        let mut now = 0;
        let mut waits = Vec::new();
        for does_harm in [true, true, false, true] {
            shrinks.note_change(at(now), 1000.0, 750.0, pressure(0.0));
            for minute in 1..=5 {
                shrinks.observe(
                    at(now + 60 * minute),
                    &pressure(if does_harm { 9.0 } else { 0.0 }),
                    rules(&guard),
                );
            }
            waits.push(shrinks.backing_off(at(now + 60)).map(|(_, left)| left));
            now += 90_000;
        }
        assert_eq!(waits, [Some(3600), Some(7200), None, Some(3600)]);
        // The failed size is remembered all the same.
        assert!((shrinks.remembered(at(now)).unwrap().size - 750.0).abs() < 1e-9);
    }

    #[test]
    fn the_largest_size_that_failed_counts() {
        let (guard, mut shrinks) = (GuardPolicy::default(), Shrinks::default());
        for (now, to) in [(0, 600.0), (7000, 800.0), (20_000, 700.0)] {
            shrinks.note_change(at(now), 1000.0, to, pressure(0.0));
            shrinks.observe(at(now + 60), &pressure(9.0), rules(&guard));
        }
        let failure = shrinks.failure.unwrap();
        assert_eq!((failure.size, failure.least, failure.count), (800.0, 900.0, 3));
    }
}
