//! Whether a container has become another: a level that has shifted and stays, and a load that hangs. Pure.
//!
//! The sizes follow a new level within the hour by themselves, because what the last hours cost each expert counts
//! most. This tells people that there is a new level, since when, and what it was before; nothing is decided by it.
//!
//! A level is looked for in the medians of whole hours, which no burst moves. An hour is expected to be like the same
//! hour of the days before, and unlike it by as much as those hours were unlike each other: 1.4826 times the median
//! distance, which is the standard deviation where the unrest is normal (Rousseeuw and Croux, "Alternatives to the
//! Median Absolute Deviation", 1993).

mod watch;

use serde::Serialize;

use crate::median::median;

pub use watch::{RegimeWatch, Shifted, shifts};

/// Steps of five minutes in an hour, and how many of them must be known.
const HOUR_STEPS: usize = 12;
const KNOWN_STEPS: usize = 6;
/// A level that lasts this long is no episode; a working day is longer than the longest lunch.
const LASTING_HOURS: usize = 6;
/// Without a day before there is nothing to compare the hours with.
const BEFORE_HOURS: usize = 24;
/// A shift that is older has become the habit that everything is compared with.
const LONGEST_HOURS: usize = 72;
const DAY_HOURS: usize = 24;
/// An hour is off its level when it is this many standard deviations away; of 72 normal hours, one in two hundred
/// has one.
const OFF: f64 = 4.0;
/// A new level that differs by less is nothing anybody would look after.
const LEAST_CHANGE: f64 = 0.25;
/// Median absolute deviation to standard deviation.
const MAD_SCALE: f64 = 1.4826;
/// A load that hangs keeps a core busy, give or take what the kernel takes.
const BUSY_CORES: f64 = 0.95;
/// All its hours are within this part of each other.
const EVEN: f64 = 0.02;

/// A level that has lasted for hours and is not the one before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// Whole hours that it has lasted.
    pub hours: usize,
    /// The level that was expected, in cores or MiB.
    pub before: f64,
    /// The level that came instead.
    pub after: f64,
}

/// Medians of whole hours, the newest last; `None` where too little is known.
#[derive(Clone, Debug)]
pub struct Hours(Vec<Option<f64>>);

impl Hours {
    /// Of steps of five minutes, the newest last (NaN is unknown).
    pub fn of(steps: &[f32]) -> Self {
        let median_of = |steps: &[f32]| {
            let known = || steps.iter().filter(|step| !step.is_nan());
            if known().count() < KNOWN_STEPS { None } else { median(known().map(|step| f64::from(*step))) }
        };
        Self(steps.rchunks_exact(HOUR_STEPS).rev().map(median_of).collect())
    }

    /// The shift of level in them; a change of less than `least` is none.
    pub fn shift(&self, least: f64) -> Option<Shift> {
        let longest = LONGEST_HOURS.min(self.0.len().saturating_sub(BEFORE_HOURS));
        // The longest stretch is the whole of the new level.
        (LASTING_HOURS..=longest).rev().find_map(|length| shifted(&self.0, length, least))
    }

    /// Whether CPU has stood at one level of whole cores since its `shift` up to it: a loop that never ends looks so.
    pub fn hangs_since(&self, shift: &Shift) -> bool {
        let begin = self.0.len().saturating_sub(shift.hours);
        let (low, high) = self.0[begin..]
            .iter()
            .flatten()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), hour| (low.min(*hour), high.max(*hour)));
        let is_whole = (shift.after - shift.after.round()).abs() <= (1.0 - BUSY_CORES) * shift.after.round();
        shift.before < shift.after && BUSY_CORES <= shift.after && is_whole && high - low <= EVEN * high
    }
}

/// Whether the last `length` hours are all off what was expected, to the same side.
fn shifted(hours: &[Option<f64>], length: usize, least: f64) -> Option<Shift> {
    let begin = hours.len() - length;
    let (before, after) = hours.split_at(begin);
    // A level begins with an hour that is known, or nobody knows when it began.
    after.first()?.as_ref()?;
    if before.iter().flatten().count() < BEFORE_HOURS {
        return None;
    }
    let level = median(before.iter().flatten().copied())?;
    let expected = |hour: usize| of_other_days(before, hour).unwrap_or(level);
    let mut pairs: Vec<(f64, f64)> = Vec::with_capacity(length);
    for (hour, value) in (begin..).zip(after) {
        let Some(value) = *value else { continue };
        let pair = (value, expected(hour));
        // Most hours lie on both sides of what was expected, which is soon seen.
        let side = |(value, expected): &(f64, f64)| (value - expected).signum();
        if pairs.first().is_some_and(|first| side(first) * side(&pair) < 0.0) {
            return None;
        }
        pairs.push(pair);
    }
    let distances = (0..begin).filter_map(|hour| Some((before[hour]? - expected(hour)).abs()));
    let off = OFF * MAD_SCALE * median(distances)?;
    if pairs.len() < LASTING_HOURS || pairs.iter().any(|(value, expected)| (value - expected).abs() <= off) {
        return None;
    }
    let (found, expectations): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let (before, after) = (median(expectations)?, median(found)?);
    let is_worth_telling = least.max(LEAST_CHANGE * before) <= (after - before).abs();
    is_worth_telling.then_some(Shift { hours: length, before, after })
}

/// The median of the same hour of the other days before; `None` where there are fewer than two.
fn of_other_days(before: &[Option<f64>], hour: usize) -> Option<f64> {
    let is_other_day = |other: &usize| *other != hour && (hour.abs_diff(*other)).is_multiple_of(DAY_HOURS);
    let others: Vec<f64> = (0..before.len()).filter(is_other_day).filter_map(|other| before[other]).collect();
    if others.len() < 2 { None } else { median(others) }
}

#[cfg(test)]
mod tests;
