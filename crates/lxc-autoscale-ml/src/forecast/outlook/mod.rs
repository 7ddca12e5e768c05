//! A forecast of a day for people: a container's usage, step by step, with bands calibrated on its own past.
//!
//! Several simple methods ([`Method`]) are tried on the container's own past (`trials`); the one with the least pinball
//! loss is used, chosen separately for the coming hour and for the rest. Seasonal methods are tried only if days
//! (weeks) really repeat: if a season explains at least [`LEAST_STRENGTH`] of the variance out of sample. Times of day
//! are local ([`calendar`]).
//!
//! Unknown steps are gaps here, never zero. Sizes do not depend on this: they follow the demand model and its experts
//! ([`crate::recommend`]).

pub mod calendar;
mod method;
mod profile;
mod trials;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::ser::{Error as _, Serializer};

pub use method::Method;
pub use trials::pinball;

use crate::recommend::series::STEP_SECONDS;
use calendar::places;
use profile::{Season, strength};
use trials::{GROUP_ENDS, Scale, Trials, moments};

/// The levels of a band: the median, and the limits of 80 % and of 95 %.
pub const LEVELS: [f64; 5] = [0.025, 0.1, 0.5, 0.9, 0.975];
/// A season is used if it explains this share of the variance; noise explains 0.02 at most.
pub const LEAST_STRENGTH: f64 = 0.3;
/// Furthest step of a forecast: a day.
pub const MOST_AHEAD: usize = calendar::SLOTS;
/// Steps of the past that are used: four weeks.
pub const PAST_STEPS: usize = 28 * MOST_AHEAD;
/// Fewest steps of the past: two hours.
pub const LEAST_KNOWN: usize = 24;
/// The coming hour is the first four groups of steps ahead.
const NEAR_GROUPS: usize = 4;
/// Fewest steps for the weekly method: two weeks.
const WEEKS_STEPS: usize = 14 * MOST_AHEAD;

/// The past of one resource in steps of five minutes.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// Number of the first step: its beginning in seconds since the Unix epoch, divided by 300.
    pub first_step: i64,
    /// Values in the resource's unit, NaN is unknown.
    pub values: &'a [f32],
}

/// The forecast of one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// One per coming step, as far ahead as the past allows to test.
    pub steps: Vec<Ahead>,
    /// The method for the coming hour.
    pub hour_method: Method,
    /// The method for the rest.
    pub day_method: Option<Method>,
    /// The share of the variance explained by the time of day (0–1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_strength: Option<f64>,
    /// The share explained by the time of the week (0–1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub week_strength: Option<f64>,
    /// Known steps of the past.
    pub known_steps: usize,
}

/// The forecast of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ahead {
    /// Beginning of the step, in seconds since the Unix epoch; an instant in JSON.
    #[serde(serialize_with = "instant")]
    pub at: i64,
    /// A value for each of [`LEVELS`], ascending, in the resource's unit.
    pub band: [Quantile; LEVELS.len()],
}

/// A value that is not exceeded with a given probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// The probability (0–1).
    pub level: f64,
    /// The value.
    pub value: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn instant<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Timestamp::from_second(*at).map_err(S::Error::custom)?.serialize(serializer)
}

impl Ahead {
    /// The index of the median in the band.
    pub const MEDIAN: usize = LEVELS.len() / 2;

    /// The median.
    pub fn median(&self) -> f64 {
        self.band[Self::MEDIAN].value
    }
}

/// The share of the variance explained by the time of day (0–1); `None` if no two days can be compared.
pub fn day_strength(past: Past<'_>, zone: &TimeZone) -> Option<f64> {
    strength(past.values, &places(past.first_step, past.values.len(), zone), Season::Day)
}

/// Forecasts up to `ahead` steps after the last of `past`, at most a day; `None` while there is too little data.
pub fn look_ahead(past: Past<'_>, zone: &TimeZone, ahead: usize) -> Option<Outlook> {
    let values = past.values;
    let known_steps = values.iter().filter(|value| !value.is_nan()).count();
    if known_steps < LEAST_KNOWN {
        return None;
    }
    let here = &places(past.first_step, values.len(), zone);
    let day_strength = strength(values, here, Season::Day);
    let week_strength = if WEEKS_STEPS <= values.len() { strength(values, here, Season::Week) } else { None };
    let is_strong = |strength: Option<f64>| strength.is_some_and(|strength| LEAST_STRENGTH <= strength);
    let mut methods = Method::PLAIN.to_vec();
    if is_strong(day_strength) {
        methods.extend(Method::DAILY);
    }
    if is_strong(week_strength) {
        methods.push(Method::Week);
    }
    let outlook = follow(past, zone, ahead, &methods)?;
    Some(Outlook { day_strength, week_strength, ..outlook })
}

/// Like [`look_ahead`], with the best of these methods; does not compute strengths of seasons.
pub fn follow(past: Past<'_>, zone: &TimeZone, ahead: usize, methods: &[Method]) -> Option<Outlook> {
    let values = past.values;
    let ahead = ahead.min(MOST_AHEAD);
    // A group is judged as a whole, even if only a part of it is requested.
    let tried_ahead = GROUP_ENDS.into_iter().find(|end| ahead <= *end).unwrap_or(MOST_AHEAD);
    let all_places = places(past.first_step, values.len() + ahead, zone);
    let (here, coming) = all_places.split_at(values.len());
    let moments = moments(values.len());
    let tried: Vec<Trials> =
        methods.iter().map(|method| Trials::new(*method, values, here, &moments, tried_ahead)).collect();
    let groups = tried.iter().map(Trials::known_groups).max().unwrap_or_default();
    let near = best(&tried, 0, groups.min(NEAR_GROUPS))?;
    let far = best(&tried, NEAR_GROUPS, groups);
    let mut steps = Vec::with_capacity(ahead);
    let mut begin = 0;
    let first = past.first_step + i64::try_from(values.len()).ok()?;
    let next =
        [Some(near), far].map(|chosen| chosen.map(|(trials, _)| trials.method.go_on(values, here, coming)));
    'groups: for (group, end) in GROUP_ENDS.into_iter().enumerate().take(groups) {
        let which = usize::from(NEAR_GROUPS <= group);
        let Some(((trials, scale), next)) = [Some(near), far][which].zip(next[which].as_ref()) else { break };
        let errors = trials.group_errors(scale, group);
        for (lead, value) in next.iter().enumerate().take(end).skip(begin) {
            // An unknown time of day ends the forecast: it has no gaps.
            let band = value.and_then(|value| trials.band(scale, value, &errors));
            let Some(band) = band else { break 'groups };
            let step = first + i64::try_from(lead).ok()?;
            steps.push(Ahead { at: step * STEP_SECONDS, band });
        }
        begin = end;
    }
    let day_method =
        far.map(|(trials, _)| trials.method).filter(|_| GROUP_ENDS[NEAR_GROUPS - 1] < steps.len());
    (!steps.is_empty()).then(|| Outlook {
        steps,
        hour_method: near.0.method,
        day_method,
        day_strength: None,
        week_strength: None,
        known_steps: values.iter().filter(|value| !value.is_nan()).count(),
    })
}

/// The method and scale with the least loss in these groups; `None` if there are no groups or none could be tried.
fn best(tried: &[Trials], from: usize, to: usize) -> Option<(&Trials, Scale)> {
    let candidates = tried
        .iter()
        .filter(|trials| from < to && to <= trials.known_groups())
        .flat_map(|trials| [Scale::Absolute, Scale::Relative].map(|scale| (trials, scale)));
    candidates
        .map(|(trials, scale)| (trials.loss(scale, from, to), (trials, scale)))
        .filter(|(loss, _)| loss.is_finite())
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, chosen)| chosen)
}

#[cfg(test)]
mod tests;
