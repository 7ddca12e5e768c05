//! Whether a container's behaviour has changed for good: a level shift that lasts, or a stuck load. Pure.
//!
//! Sizes follow a new level within the hour without this, because recent costs of the experts count most. This only
//! tells people that there is a new level, since when, and the previous one; no decision depends on it.
//!
//! Levels are compared by the medians of whole hours, which bursts do not affect. An hour is expected to be like the
//! same hour of the days before, with the deviation that those hours have among each other: 1.4826 times the median
//! distance, which is the standard deviation of normally distributed values (Rousseeuw and Croux, "Alternatives to the
//! Median Absolute Deviation", 1993).

mod watch;

use serde::Serialize;

use crate::median::median;

pub use watch::{RegimeWatch, Shifted, shifts};

/// Steps of five minutes in an hour, and how many of them must be known.
const HOUR_STEPS: usize = 12;
const KNOWN_STEPS: usize = 6;
/// A level that lasts this long is not temporary: it is longer than any lunch break.
const LASTING_HOURS: usize = 6;
/// Without a day before, the hours cannot be compared.
const BEFORE_HOURS: usize = 24;
/// An older shift has become the habit that everything is compared with.
const LONGEST_HOURS: usize = 72;
const DAY_HOURS: usize = 24;
/// An hour is off its level if it is this many standard deviations away; one in two hundred series of 72 normal hours
/// has such an hour.
const OFF: f64 = 4.0;
/// A smaller change of level is not worth anybody's attention.
const LEAST_CHANGE: f64 = 0.25;
/// Median absolute deviation to standard deviation.
const MAD_SCALE: f64 = 1.4826;
/// A stuck load keeps a core busy, apart from what the kernel takes.
const BUSY_CORES: f64 = 0.95;
/// All its hours are within this share of each other.
const EVEN: f64 = 0.02;

/// A new level that has lasted for hours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// Number of whole hours for which it has lasted.
    pub hours: usize,
    /// The expected level, in cores or MiB.
    pub before: f64,
    /// The actual level.
    pub after: f64,
}

/// Medians of whole hours, newest last; `None` where too little is known.
#[derive(Clone, Debug)]
pub struct Hours(Vec<Option<f64>>);

impl Hours {
    /// From steps of five minutes, newest last (NaN is unknown).
    pub fn of(steps: &[f32]) -> Self {
        let median_of = |steps: &[f32]| {
            let known = || steps.iter().filter(|step| !step.is_nan());
            if known().count() < KNOWN_STEPS { None } else { median(known().map(|step| f64::from(*step))) }
        };
        Self(steps.rchunks_exact(HOUR_STEPS).rev().map(median_of).collect())
    }

    /// The level shift in them; a change of less than `least` is none.
    pub fn shift(&self, least: f64) -> Option<Shift> {
        let longest = LONGEST_HOURS.min(self.0.len().saturating_sub(BEFORE_HOURS));
        // The longest stretch is the complete new level.
        (LASTING_HOURS..=longest).rev().find_map(|length| shifted(&self.0, length, least))
    }

    /// Whether CPU has stayed at one level of whole cores since its `shift` to it, as an endless loop does.
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

/// Whether the last `length` hours are all off their expected values, in the same direction.
fn shifted(hours: &[Option<f64>], length: usize, least: f64) -> Option<Shift> {
    let begin = hours.len() - length;
    let (before, after) = hours.split_at(begin);
    // A level begins with a known hour, otherwise its beginning is unknown.
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
        // Usually hours lie on both sides of the expected values, so this exits early.
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

/// The median of the same hour of the days before; `None` if there are fewer than two.
fn of_other_days(before: &[Option<f64>], hour: usize) -> Option<f64> {
    let is_other_day = |other: &usize| *other != hour && (hour.abs_diff(*other)).is_multiple_of(DAY_HOURS);
    let others: Vec<f64> = (0..before.len()).filter(is_other_day).filter_map(|other| before[other]).collect();
    if others.len() < 2 { None } else { median(others) }
}

#[cfg(test)]
mod tests;
