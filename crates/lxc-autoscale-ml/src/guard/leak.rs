//! Tells a memory leak from memory that comes and goes. Pure.
//!
//! A leak shows in what a container **never gives back**, so each hour is represented by its lowest working set. Two
//! tests are applied to these minima; either of them finds a leak.
//!
//! - **Is each hour above the same hour of the day before, for two days in a row?** Differences over a day exclude
//!   everything that recurs daily, and a step up (a new service) is in them for one day only. At least nine tenths of
//!   them must be rises: Kendall's τ ≥ 0.8 of the seasonal test of Hirsch, Slack & Smith, "Techniques of trend analysis
//!   for monthly water quality data", Water Resources Research 18 (1982), with the day as the year; the slope is their
//!   seasonal estimator, the median of the differences. It must not be slowing down.
//! - **Has it risen steadily for hours, to a new maximum?** Over the last 6, 12 or 24 hours τ of Mann (Econometrica
//!   13, 1945) must be at least 0.9, the slope of Sen (JASA 63, 1968) a tenth of the working set over the window, not
//!   slowing down (a filling cache does) nor in one step, a tenth above the highest hour of a day or more before, and
//!   full within two days. A container without such a past needs 30 hours, which is longer than any daily pattern.
//!
//! ## Consequences
//!
//! The leak is reported with the time at which the container will be full. Growth, even after running out of memory,
//! ends at [`super::GuardPolicy::leak_growth_percent`] above the size at the time when the leak was noticed, or at what
//! somebody gave it if that is more: feeding a leak would end with all memory of the node in it. Full means that all of
//! what it was given is used, too: how small we made it says nothing. This lasts until the container restarts, somebody
//! sets its size, or its working set was back to normal for a week.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::push_newest;
use crate::clock;
use crate::median::median;

const HOUR_SECONDS: i64 = 3600;
const DAY_HOURS: i64 = 24;
/// Hours that are kept: four days are enough for both tests.
const KEPT_HOURS: usize = 96;

/// Number of differences over a day that are looked at, and the fewest that must be known.
const DAILY_HOURS: i64 = 48;
const LEAST_DAILY: usize = 36;
const LEAST_DAILY_TAU: f64 = 0.8;
/// A smaller difference over a day, as a part of the working set, counts as none.
const NOISE: f64 = 0.002;

/// Windows of a steady rise, in hours, with a past; and the one without.
const WINDOWS: [usize; 3] = [6, 12, 24];
const WINDOW_WITHOUT_PAST: usize = 30;
/// A past has at least this many hours.
const PAST_HOURS: usize = 24;
const LEAST_TAU: f64 = 0.9;
/// A rise of less than a tenth is not worth a report, …
const MATERIAL: f64 = 0.1;
/// … nor is one of so few MiB in all.
const MATERIAL_MIB: f64 = 32.0;
/// The last third must rise at least this fast, relative to the whole: a filling cache slows down.
const NOT_SLOWING: f64 = 0.7;
/// No hour may rise by more than this multiple of the slope: a step up is no leak.
const MOST_OF_ONE_HOUR: f64 = 3.0;
/// A rise over hours counts if the container would be full this soon.
const SOON_HOURS: f64 = 48.0;

/// A working set that stayed below the level of the leak for this long is normal again.
const CALM: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The lowest working set of each of the last hours.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hours {
    /// (Hour since 1970, MiB), newest last; the newest is not complete yet.
    minima: VecDeque<(i64, f64)>,
}

/// How fast the working set grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// MiB per hour.
    pub mib_per_hour: f64,
    /// The working set of the last full hour, in MiB.
    pub level_mib: f64,
}

/// A leak that was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// When it was noticed.
    pub noticed: Timestamp,
    /// The memory limit at that time, in MiB.
    pub size_mib: f64,
    /// The memory that somebody gave it, in MiB, as known when a size is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_mib: Option<f64>,
    /// The working set at that time, in MiB.
    pub level_mib: f64,
    /// The last known growth of the working set, in MiB per hour.
    pub mib_per_hour: f64,
    /// When the container will be full at this rate.
    pub full_at: Timestamp,
    /// When the working set was last above the level.
    last_above: Timestamp,
}

impl Hours {
    /// Forgets everything: the container restarted.
    pub fn clear(&mut self) {
        self.minima.clear();
    }

    /// The clock was set back: hours after `now` would keep new ones out.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        let begins = |hour: i64| Timestamp::from_second(hour.saturating_mul(HOUR_SECONDS)).ok();
        let newest = self.minima.back().and_then(|(hour, _)| begins(*hour));
        if newest.is_some_and(|newest| clock::ahead(newest, now).is_some()) {
            self.clear();
        }
    }

    /// Takes in a working set; returns whether an hour ended with it.
    pub fn push(&mut self, at: Timestamp, used_mib: f64) -> bool {
        let hour = at.as_second().div_euclid(HOUR_SECONDS);
        match self.minima.back_mut() {
            Some((newest, least)) if *newest == hour => {
                *least = least.min(used_mib);
                false
            }
            Some((newest, _)) if hour < *newest => false,
            newest => {
                let is_over = newest.is_some();
                push_newest(&mut self.minima, (hour, used_mib), KEPT_HOURS);
                is_over
            }
        }
    }

    /// The rate of the leak, if there is one; at `limit_mib` the container is full.
    pub fn growth(&self, limit_mib: f64) -> Option<Growth> {
        let over = self.minima.len().checked_sub(1)?;
        let hours: Vec<(i64, f64)> = self.minima.iter().take(over).copied().collect();
        let level_mib = hours.last()?.1;
        let mib_per_hour = daily(&hours).or_else(|| steady(&hours, limit_mib))?;
        Some(Growth { mib_per_hour, level_mib })
    }
}

/// The growth from day to day, in MiB per hour.
fn daily(hours: &[(i64, f64)]) -> Option<f64> {
    let newest = hours.last()?.0;
    let at = |hour: i64| {
        let index = hours.binary_search_by_key(&hour, |(hour, _)| *hour).ok()?;
        hours.get(index).map(|(_, mib)| *mib)
    };
    let differences: Vec<(f64, f64)> = (newest - DAILY_HOURS + 1..=newest)
        .filter_map(|hour| at(hour).zip(at(hour - DAY_HOURS)))
        .map(|(now, then)| (now - then, now))
        .collect();
    if differences.len() < LEAST_DAILY {
        return None;
    }
    let signs: f64 = differences
        .iter()
        .map(|(difference, now)| if difference.abs() <= NOISE * now { 0.0 } else { difference.signum() })
        .sum();
    let tau = signs / differences.len() as f64;
    let rises: Vec<f64> = differences.into_iter().map(|(difference, _)| difference).collect();
    let newest = median(rises.get(rises.len() - rises.len() / 3..)?.iter().copied())?;
    let per_day = median(rises)?;
    let is_material = MATERIAL_MIB.min(MATERIAL * hours.last()?.1) <= per_day;
    let goes_on = NOT_SLOWING * per_day <= newest;
    (LEAST_DAILY_TAU <= tau && is_material && goes_on).then_some(per_day / DAY_HOURS as f64)
}

/// The steady growth over the last hours to a new maximum, in MiB per hour.
fn steady(hours: &[(i64, f64)], limit_mib: f64) -> Option<f64> {
    let rising = |window: usize| {
        let (past, recent) = hours.split_at(hours.len().checked_sub(window)?);
        rise(recent).map(|slope| (past, slope))
    };
    let level = hours.last()?.1;
    let full_hours = |slope: f64| (limit_mib - level).max(0.0) / slope;
    let with_past = WINDOWS.iter().find_map(|window| {
        let (past, slope) = rising(*window)?;
        let highest = past.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
        let is_new = PAST_HOURS <= past.len() && highest * (1.0 + MATERIAL) < level;
        (is_new && full_hours(slope) <= SOON_HOURS).then_some(slope)
    });
    let without_past = || rising(WINDOW_WITHOUT_PAST).map(|(_, slope)| slope);
    with_past.or_else(without_past)
}

/// The slope of a window without gaps that rises steadily, by a relevant amount, and up to its end.
fn rise(window: &[(i64, f64)]) -> Option<f64> {
    let ((first, start), (last, _)) = (*window.first()?, *window.last()?);
    let span = usize::try_from(last - first).ok()?;
    if span + 1 != window.len() {
        return None;
    }
    let (tau, slope) = trend(window)?;
    let gained = slope * span as f64;
    let (_, end_slope) = trend(window.get(window.len() - window.len().div_ceil(3)..)?)?;
    let largest = window.windows(2).map(|pair| pair[1].1 - pair[0].1).fold(0.0, f64::max);
    let is_steady =
        LEAST_TAU <= tau && NOT_SLOWING * slope <= end_slope && largest <= MOST_OF_ONE_HOUR * slope;
    (is_steady && MATERIAL * start <= gained && MATERIAL_MIB <= gained).then_some(slope)
}

/// Kendall's τ against time, and the median slope of all pairs, in units per step (here MiB per hour).
pub(crate) fn trend(points: &[(i64, f64)]) -> Option<(f64, f64)> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    let mut signs = 0.0;
    for (index, (then, before)) in points.iter().enumerate() {
        for (now, after) in points.iter().skip(index + 1) {
            let difference = after - before;
            signs += if difference == 0.0 { 0.0 } else { difference.signum() };
            slopes.push(difference / (now - then) as f64);
        }
    }
    let pairs = slopes.len() as f64;
    Some((signs / pairs, median(slopes)?))
}

impl Leak {
    /// A leak noticed at `at` in a container with this memory limit, which is full at `full_mib`.
    pub fn new(at: Timestamp, size_mib: f64, full_mib: f64, growth: Growth) -> Self {
        Self {
            noticed: at,
            size_mib,
            given_mib: None,
            level_mib: growth.level_mib,
            mib_per_hour: growth.mib_per_hour,
            full_at: full_at(at, full_mib, growth),
            last_above: at,
        }
    }

    /// Notes that the leak continues; at `limit_mib` the container is full.
    pub fn goes_on(&mut self, at: Timestamp, limit_mib: f64, growth: Growth) {
        self.mib_per_hour = growth.mib_per_hour;
        self.full_at = full_at(at, limit_mib, growth);
    }

    /// Takes in a working set; returns whether it has been normal long enough for the leak to be over.
    pub fn is_over(&mut self, at: Timestamp, used_mib: f64) -> bool {
        if self.level_mib < used_mib {
            self.last_above = at;
        }
        CALM < at.duration_since(self.last_above)
    }

    /// The clock was set back: what lies after `now` was now, and the time until full stays the same. `noticed`
    /// identifies the leak and stays.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        if let Some(ahead) = clock::ahead(self.last_above, now) {
            self.last_above = now;
            self.full_at = self.full_at.checked_sub(ahead).unwrap_or(now);
        }
    }

    /// The same in a container that somebody gave this much memory, in MiB.
    #[must_use]
    pub fn given(self, given_mib: Option<f64>) -> Self {
        Self { given_mib, ..self }
    }

    /// The most memory it may get, in MiB.
    pub fn most_mib(&self, growth_percent: f64) -> f64 {
        (self.size_mib * (1.0 + growth_percent / 100.0)).max(self.given_mib.unwrap_or_default())
    }
}

fn full_at(at: Timestamp, limit_mib: f64, growth: Growth) -> Timestamp {
    let hours = (limit_mib - growth.level_mib).max(0.0) / growth.mib_per_hour;
    let left = SignedDuration::try_from_secs_f64(hours * 3600.0);
    left.ok().and_then(|left| at.checked_add(left).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "leak_tests.rs"]
mod tests;
