//! Simple forecasting methods: each computes one value per coming step from the past alone.

use std::fmt;

use serde::Serialize;

use super::calendar::Place;
use super::profile::{Profile, Season};
use crate::median::median;

/// Half-life of the level of the last hours, in steps.
const LEVEL_HALF_LIFE_STEPS: f64 = 6.0;
/// Holt's damped trend (E. Gardner, E. McKenzie, Management Science 31, 1985): weight of a new value, of a new slope,
/// and the damping of the slope per step. A trend of five minutes is gone after some hours.
const LEVEL_WEIGHT: f64 = 0.2;
const SLOPE_WEIGHT: f64 = 0.02;
const SLOPE_KEPT: f64 = 0.99;
/// Half-life of a deviation from the profile, in steps.
const DEVIATION_HALF_LIFE_STEPS: f64 = 12.0;
/// The present deviation is the mean over so many steps.
const DEVIATION_STEPS: usize = 6;
const DAY_STEPS: usize = 288;

/// A forecasting method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The last value continues.
    Last,
    /// The level of the last hour continues.
    Level,
    /// The median of the last day.
    DayMedian,
    /// The damped trend continues.
    Trend,
    /// The values of the same time yesterday.
    Yesterday,
    /// The profile of the time of day plus the present deviation, which decays.
    Day,
    /// The profile of the time of the week plus the present deviation, which decays.
    Week,
}

impl Method {
    /// The methods without a season.
    pub(super) const PLAIN: [Self; 4] = [Self::Last, Self::Level, Self::DayMedian, Self::Trend];
    /// The methods that need a daily season.
    pub(super) const DAILY: [Self; 2] = [Self::Yesterday, Self::Day];

    /// One value for each of `coming`, the places after the last of `values`, whose places are `places`; `None` without
    /// data.
    pub(super) fn go_on(self, values: &[f32], places: &[Place], coming: &[Place]) -> Vec<Option<f64>> {
        let flat = |value: Option<f64>| vec![value; coming.len()];
        match self {
            Self::Last => flat(known(values).next()),
            Self::Level => flat(level(values)),
            Self::DayMedian => flat(median(known(values))),
            Self::Trend => trend(values, coming.len()),
            Self::Yesterday => same_time(values, places, coming),
            Self::Day => usual(values, places, coming, Season::Day),
            Self::Week => usual(values, places, coming, Season::Week),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "as it is now",
            Self::Level => "the level of the last hour",
            Self::DayMedian => "the middle of the last day",
            Self::Trend => "its trend, damped",
            Self::Yesterday => "the same time yesterday",
            Self::Day => "what is usual at this time of day",
            Self::Week => "what is usual at this time of this weekday",
        })
    }
}

/// The known values of the last day, newest first.
fn known(values: &[f32]) -> impl Iterator<Item = f64> {
    values.iter().rev().take(DAY_STEPS).filter(|value| !value.is_nan()).map(|value| f64::from(*value))
}

fn level(values: &[f32]) -> Option<f64> {
    let (mut weighted, mut weight) = (0.0, 0.0);
    for (back, value) in (0_u32..).zip(values.iter().rev().take(DAY_STEPS)) {
        if !value.is_nan() {
            let one = (-f64::from(back) / LEVEL_HALF_LIFE_STEPS).exp2();
            weighted += one * f64::from(*value);
            weight += one;
        }
    }
    (f64::MIN_POSITIVE < weight).then(|| weighted / weight)
}

fn trend(values: &[f32], count: usize) -> Vec<Option<f64>> {
    // Older values have no weight.
    let recent = &values[values.len().saturating_sub(2 * DAY_STEPS)..];
    let mut state: Option<(f64, f64)> = None;
    for value in recent {
        state = match (state, f64::from(*value)) {
            (None, value) => (!value.is_nan()).then_some((value, 0.0)),
            // An unknown step is assumed to follow the trend.
            (Some((level, slope)), value) if value.is_nan() => {
                Some((level + SLOPE_KEPT * slope, SLOPE_KEPT * slope))
            }
            (Some((level, slope)), value) => {
                let foreseen = level + SLOPE_KEPT * slope;
                let new = foreseen + LEVEL_WEIGHT * (value - foreseen);
                Some((new, SLOPE_KEPT * slope + SLOPE_WEIGHT * (new - level - SLOPE_KEPT * slope)))
            }
        };
    }
    let Some((level, slope)) = state else { return vec![None; count] };
    let mut kept = 1.0;
    let mut reach = 0.0;
    let mut next = || {
        kept *= SLOPE_KEPT;
        reach += kept;
        Some((level + reach * slope).max(0.0))
    };
    (0..count).map(|_| next()).collect()
}

fn same_time(values: &[f32], places: &[Place], coming: &[Place]) -> Vec<Option<f64>> {
    // The newest known value of each slot.
    let mut newest = vec![None; super::calendar::SLOTS];
    for (value, place) in values.iter().zip(places) {
        if !value.is_nan() {
            newest[place.slot] = Some(f64::from(*value));
        }
    }
    coming.iter().map(|place| newest.get(place.slot).copied().flatten()).collect()
}

fn usual(values: &[f32], places: &[Place], coming: &[Place], season: Season) -> Vec<Option<f64>> {
    let mut profile: Option<(i64, Profile)> = None;
    let mut kind = |place: Place| {
        let kind = if season == Season::Week { place.weekday() } else { 0 };
        if profile.as_ref().is_none_or(|(known, _)| *known != kind) {
            profile = Some((kind, Profile::new(values, places, season, place, None)));
        }
        profile.as_ref().and_then(|(_, profile)| profile.at(place))
    };
    let from = values.len().saturating_sub(DEVIATION_STEPS);
    let (mut number, mut deviation) = (0.0, 0.0);
    for (value, place) in values[from..].iter().zip(&places[from..]) {
        if let Some(usual) = kind(*place).filter(|_| !value.is_nan()) {
            number += 1.0;
            deviation += f64::from(*value) - usual;
        }
    }
    let deviation = if 0.0 < number { deviation / number } else { 0.0 };
    let fading = |ahead: usize| (-(ahead as f64 + 1.0) / DEVIATION_HALF_LIFE_STEPS).exp2();
    let one = |(ahead, place): (usize, &Place)| {
        kind(*place).map(|usual| (usual + deviation * fading(ahead)).max(0.0))
    };
    coming.iter().enumerate().map(one).collect()
}
