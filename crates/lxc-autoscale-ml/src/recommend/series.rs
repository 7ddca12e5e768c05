//! The last days of one resource in steps of five minutes, of bounded size.
//!
//! Observations arrive every two seconds in a demonstration, every minute from the monitor and every five minutes from
//! a recorded trace; a [`Series`] treats all of them alike. A step without observations is unknown and is skipped by
//! every query, so a gap is never taken for idleness.

use jiff::tz::TimeZone;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::clock::days_before;
use crate::checkpoint::packed;

/// Length of a step: the span of the kernel's longest pressure average; a week of steps fits into a few kilobytes.
pub const STEP_SECONDS: i64 = 300;
/// Steps per day.
pub const DAY_STEPS: i64 = 86_400 / STEP_SECONDS;
/// Eight days: a week, and the hours around this time a week ago.
pub const KEPT_STEPS: i64 = 8 * DAY_STEPS;
/// Shorter observations are averaged over this time before their peak counts: a burst of two seconds can wait in a
/// queue, and a limit that follows it would never shrink.
const SMOOTHING_SECONDS: f64 = 60.0;

/// Behaviour that is unusual for longer than an hour is not an exception any more but the new normal.
const LONGEST_DOUBT_STEPS: i64 = 3600 / STEP_SECONDS;

/// The hour before a rise.
const BEFORE_STEPS: i64 = 3600 / STEP_SECONDS;
/// Days that must agree on a rise, as far as they are known.
const RISE_DAYS: i64 = 3;

/// A step counts by itself from this much measured time on.
const HALF_STEP_SECONDS: f64 = 150.0;

/// How the observations within a step become its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Within {
    /// The busiest minute: for CPU, where short bursts may wait.
    BusiestMinute,
    /// The largest observation: for memory, which cannot wait.
    Largest,
}

/// The last eight days of one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    within: Within,
    /// Values by step modulo `KEPT_STEPS`; NaN is unknown.
    #[serde(serialize_with = "packed::serialize", deserialize_with = "ring")]
    values: Vec<f32>,
    /// The newest step with data.
    newest: Option<i64>,
    /// How much of the newest step was measured.
    newest_seconds: f64,
    minute: Minute,
    #[serde(default)]
    doubts: Doubts,
}

/// Steps with unusual behaviour: they count for the present, and for the season only as far as another day confirms
/// them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Doubts {
    /// Oldest first.
    steps: Vec<i64>,
    /// First and last step of the newest run of unusual steps.
    run: Option<(i64, i64)>,
}

impl Doubts {
    fn add(&mut self, step: i64) {
        let begin = match self.run {
            Some((begin, last)) if (last..=last + 1).contains(&step) => begin,
            _ => step,
        };
        self.run = Some((begin, step));
        self.steps.retain(|doubted| step - KEPT_STEPS < *doubted);
        if LONGEST_DOUBT_STEPS <= step - begin {
            self.steps.retain(|doubted| *doubted < begin);
        } else if self.steps.last() != Some(&step) {
            self.steps.push(step);
        }
    }

    fn has(&self, step: i64) -> bool {
        self.steps.binary_search(&step).is_ok()
    }
}

/// Short observations within one minute, to be averaged.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Minute {
    index: i64,
    weighted: f64,
    seconds: f64,
}

/// The step that ends at or after `at_seconds`: an observation covers the time before it.
pub fn step_of(at_seconds: i64) -> i64 {
    (at_seconds - 1).div_euclid(STEP_SECONDS)
}

impl Series {
    /// An empty series.
    pub fn new(within: Within) -> Self {
        Self {
            within,
            values: Vec::new(),
            newest: None,
            newest_seconds: 0.0,
            minute: Minute::default(),
            doubts: Doubts::default(),
        }
    }

    /// Adds the mean `value` over the `seconds` before `at_seconds`; returns the part of it that counts.
    pub fn push(&mut self, at_seconds: i64, seconds: f64, value: f64) -> f64 {
        let value = match self.within {
            Within::BusiestMinute if seconds < SMOOTHING_SECONDS => {
                self.minute_mean(at_seconds, seconds, value)
            }
            _ => value,
        };
        let step = step_of(at_seconds);
        if self.newest.is_none_or(|newest| newest < step) {
            self.newest_seconds = 0.0;
        }
        self.newest_seconds += seconds;
        self.raise(step, value);
        value
    }

    fn minute_mean(&mut self, at_seconds: i64, seconds: f64, value: f64) -> f64 {
        let index = (at_seconds - 1).div_euclid(60);
        if index != self.minute.index {
            self.minute = Minute { index, ..Minute::default() };
        }
        self.minute.weighted += value * seconds;
        self.minute.seconds += seconds;
        // The rest of an incomplete minute counts as idle, otherwise its first seconds would be its peak.
        self.minute.weighted / self.minute.seconds.max(SMOOTHING_SECONDS / 2.0)
    }

    fn raise(&mut self, step: i64, value: f64) {
        if self.values.is_empty() {
            self.values = vec![f32::NAN; usize::try_from(KEPT_STEPS).unwrap_or_default()];
        }
        let newest = self.newest.unwrap_or(step);
        if newest < step {
            for unknown in (newest + 1).max(step - KEPT_STEPS + 1)..=step {
                self.values[place(unknown)] = f32::NAN;
            }
        } else if step <= newest - KEPT_STEPS {
            return;
        }
        self.newest = Some(newest.max(step));
        let kept = &mut self.values[place(step)];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "seven digits are more than any counter is good for"
        )]
        let value = value as f32;
        // `max` of NaN and a number is the number.
        *kept = kept.max(value);
    }

    /// The newest step with data.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// The value of a step, if it is known and not too old.
    pub fn at(&self, step: i64) -> Option<f64> {
        let newest = self.newest?;
        if newest < step || step <= newest - KEPT_STEPS {
            return None;
        }
        let value = self.values[place(step)];
        (!value.is_nan()).then(|| f64::from(value))
    }

    /// The value of a step; while less than half of the step was measured, at least the value of the step before.
    pub fn settled(&self, step: i64) -> Option<f64> {
        let young = self.newest == Some(step) && self.newest_seconds < HALF_STEP_SECONDS;
        let before = if young { self.at(step - 1) } else { None };
        self.at(step).map(|value| before.map_or(value, |before| before.max(value)))
    }

    /// The steps up to `now`, oldest first, the last one as in [`Series::settled`]; NaN is unknown.
    pub fn window(&self, now: i64) -> Vec<f32> {
        let Some(newest) = self.newest.filter(|newest| now - KEPT_STEPS < *newest) else { return Vec::new() };
        let mut steps: Vec<f32> = Vec::with_capacity(usize::try_from(KEPT_STEPS).unwrap_or_default());
        let (older, younger) = self.kept(newest - KEPT_STEPS + 1, now.min(newest));
        let known = |values: &[f32]| values.iter().position(|value| !value.is_nan());
        // It begins with the first known one.
        match known(older) {
            Some(first) => {
                steps.extend_from_slice(&older[first..]);
                steps.extend_from_slice(younger);
            }
            None => steps.extend_from_slice(&younger[known(younger).unwrap_or(younger.len())..]),
        }
        let unknown = usize::try_from(now - newest).unwrap_or_default();
        if steps.is_empty() {
            steps.push(f32::NAN);
        } else {
            steps.resize(steps.len() + unknown, f32::NAN);
        }
        if let (Some(last), Some(settled)) = (steps.last_mut(), self.settled(now)) {
            #[expect(clippy::cast_possible_truncation, reason = "it comes from one of them")]
            let settled = settled as f32;
            *last = settled;
        }
        steps
    }

    /// Like [`Series::window`], at most the newest `count` steps.
    pub fn window_of(&self, now: i64, count: i64) -> Vec<f32> {
        let mut steps = self.window(now);
        let count = usize::try_from(count).unwrap_or_default();
        steps.drain(..steps.len().saturating_sub(count));
        steps
    }

    /// How many of the steps `first..=last` are known.
    pub fn known(&self, first: i64, last: i64) -> i64 {
        let Some(newest) = self.newest else { return 0 };
        let (older, younger) = self.kept(first.max(newest - KEPT_STEPS + 1), last.min(newest));
        let count = |values: &[f32]| values.iter().filter(|value| !value.is_nan()).count();
        i64::try_from(count(older) + count(younger)).unwrap_or_default()
    }

    /// The largest known value of the steps `first..=last`.
    pub fn peak(&self, first: i64, last: i64) -> Option<f64> {
        let newest = self.newest?;
        let (older, younger) = self.kept(first.max(newest - KEPT_STEPS + 1), last.min(newest));
        // `max` of NaN and a number is the number.
        let peak = peak_of(older).max(peak_of(younger));
        (!peak.is_nan()).then(|| f64::from(peak))
    }

    /// The steps `first..=last`, all of them kept, in two pieces: cut where the ring wraps around.
    fn kept(&self, first: i64, last: i64) -> (&[f32], &[f32]) {
        let count = usize::try_from(last - first + 1).unwrap_or_default();
        if count == 0 || self.values.is_empty() {
            return (&[], &[]);
        }
        let (begin, end) = (place(first), place(last));
        if begin <= end && count <= self.values.len() {
            (&self.values[begin..=end], &[])
        } else {
            (&self.values[begin..], &self.values[..=end])
        }
    }

    /// The largest known value of the `count` steps up to `now`.
    pub fn recent_peak(&self, now: i64, count: i64) -> Option<f64> {
        self.peak(now - count + 1, now)
    }

    /// Marks the newest step as unusual.
    pub fn doubt_newest(&mut self) {
        if let Some(newest) = self.newest {
            self.doubts.add(newest);
        }
    }

    /// The largest value, on the last `days` days, of the steps that `look` picks of each, by the clock of `zone`.
    ///
    /// Doubtful steps count as far as another day reaches: a single unusual event is no habit. Where one day is asked
    /// for, the day before it may confirm it. As long as a single day is known, nobody knows what is usual, so all of it
    /// counts.
    pub fn season_peak(&self, now: i64, days: i64, look: SeasonLook, zone: &TimeZone) -> Option<f64> {
        let (mut peaks, mut trusted) = (Vec::new(), None);
        for day in 1..=days {
            let (first, last) = look.around(now, day, zone);
            peaks.extend(self.peak(first, last));
            let beyond_doubt = (first..=last).filter(|step| !self.doubts.has(*step));
            trusted = beyond_doubt.filter_map(|step| self.at(step)).chain(trusted).reduce(f64::max);
        }
        if let (1, [_]) = (days, &peaks[..]) {
            let (first, last) = look.around(now, 2, zone);
            peaks.extend(self.peak(first, last));
        }
        peaks.sort_by(|a, b| b.total_cmp(a));
        let agreed = peaks.get(1).or(peaks.first()).copied();
        agreed.into_iter().chain(trusted).reduce(f64::max)
    }

    /// The level that each of the last three days rose to around this time, by the clock of `zone`: a habit. `None` if too
    /// few of these days are known, or if no day rose within the slack or later.
    pub fn daily_rise(&self, now: i64, habit: &Habit, zone: &TimeZone) -> Option<f64> {
        let (mut least, mut known, mut rises) = (f64::INFINITY, 0, false);
        for day in 1..=RISE_DAYS {
            let (first, end) = habit.look.around(now, day, zone);
            let mut values: Vec<f64> = (first..=end).filter_map(|step| self.at(step)).collect();
            // Only one rank is asked for: it takes no sorting of the others.
            let place = habit.lasting_steps.checked_sub(1).filter(|place| *place < values.len());
            let level = place.map(|place| {
                let (_, level, _) = values.select_nth_unstable_by(place, |one, other| other.total_cmp(one));
                *level
            });
            // Noise has its peaks before, too.
            let before = self.peak(first - BEFORE_STEPS, first - 1);
            let Some((level, before)) = level.zip(before) else { continue };
            known += 1;
            rises |= before * habit.least_rise <= level;
            least = least.min(level);
        }
        (rises && habit.least_days <= known).then_some(least)
    }
}

/// What counts as a habit of each day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habit {
    /// Where it is looked for.
    pub(super) look: SeasonLook,
    /// For at least so many steps a day has it.
    pub(super) lasting_steps: usize,
    /// At least so many times as much as in the hour before.
    pub(super) least_rise: f64,
    /// So many of the days must be known.
    pub(super) least_days: usize,
}

/// Which part of earlier days is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeasonLook {
    /// So many steps from this time of day on,
    pub(super) ahead_steps: i64,
    /// and so many more on both sides, because people and timers are not punctual.
    pub(super) slack_steps: i64,
}

impl SeasonLook {
    /// The first and the last of these steps so many days before `now`.
    fn around(self, now: i64, days: i64, zone: &TimeZone) -> (i64, i64) {
        let Self { ahead_steps, slack_steps } = self;
        let then = days_before(now * STEP_SECONDS, days, zone).div_euclid(STEP_SECONDS);
        (then + 1 - slack_steps, (then + ahead_steps + slack_steps).min(now))
    }
}

/// Values that are compared at once.
pub(crate) const LANES: usize = 8;

/// The larger of the two; any known value is larger than an unknown one.
pub(crate) fn larger(largest: f32, value: f32) -> f32 {
    if largest < value { value } else { largest }
}

/// The largest known value; NaN when none is known.
pub(crate) fn peak_of(values: &[f32]) -> f32 {
    // The maximum does not depend on the order, so several lanes are computed at once.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        lanes = std::array::from_fn(|lane| larger(lanes[lane], chunk[lane]));
    }
    let largest = rest.iter().chain(&lanes).copied().fold(f32::NEG_INFINITY, larger);
    if largest == f32::NEG_INFINITY { f32::NAN } else { largest }
}

/// The values in a checkpoint: a complete ring, or none.
fn ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let values = packed::deserialize(deserializer)?;
    let is_ring = values.is_empty() || i64::try_from(values.len()) == Ok(KEPT_STEPS);
    if is_ring { Ok(values) } else { Err(D::Error::custom("a series of another length")) }
}

fn place(step: i64) -> usize {
    usize::try_from(step.rem_euclid(KEPT_STEPS)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
