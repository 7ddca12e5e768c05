//! The usual value at a time of day: a smoothed mean over the days, weighted towards recent ones.

use super::calendar::{Place, SLOTS};

/// Half-life of a day's weight, in days: an old habit is forgotten within a week or two.
const HALF_LIFE_DAYS: f64 = 4.0;
/// People and timers are not punctual: so many neighbouring slots on both sides count for a slot, too.
const SMOOTHING_SLOTS: usize = 2;
/// Days needed for a slot: a single day does not show what is usual.
const LEAST_DAYS: f64 = 1.5;

/// Which days form a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Season {
    /// All days.
    Day,
    /// The same day of the week.
    Week,
}

impl Season {
    fn alike(self, a: Place, b: Place) -> bool {
        match self {
            Self::Day => true,
            Self::Week => a.weekday() == b.weekday(),
        }
    }
}

/// The usual value at each of 288 slots, for one kind of day; `None` where there is too little data.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    slots: Vec<Option<f64>>,
}

/// Sums by slot, from which one day can be excluded.
struct Sums {
    weighted: Vec<f64>,
    weight: Vec<f64>,
    days: Vec<f64>,
}

impl Profile {
    /// The profile for days like that of `like`, from all days but `without`.
    ///
    /// `values` in the order of time, NaN is unknown; `places` are their places.
    pub(super) fn new(
        values: &[f32],
        places: &[Place],
        season: Season,
        like: Place,
        without: Option<i64>,
    ) -> Self {
        let mut sums = Sums { weighted: vec![0.0; SLOTS], weight: vec![0.0; SLOTS], days: vec![0.0; SLOTS] };
        let (mut day, mut weight) = (i64::MIN, 0.0);
        for (value, place) in values.iter().zip(places) {
            if value.is_nan() || Some(place.day) == without || !season.alike(*place, like) {
                continue;
            }
            if place.day != day {
                day = place.day;
                let age = (like.day - day).abs() as f64;
                weight = (-age / season.half_life_days()).exp2();
            }
            sums.weighted[place.slot] += weight * f64::from(*value);
            sums.weight[place.slot] += weight;
            sums.days[place.slot] += 1.0;
        }
        Self { slots: (0..SLOTS).map(|slot| sums.smoothed(slot)).collect() }
    }

    /// The usual value at this place.
    pub(super) fn at(&self, place: Place) -> Option<f64> {
        self.slots.get(place.slot).copied().flatten()
    }
}

impl Season {
    fn half_life_days(self) -> f64 {
        match self {
            Self::Day => HALF_LIFE_DAYS,
            Self::Week => 7.0 * HALF_LIFE_DAYS,
        }
    }
}

impl Sums {
    fn smoothed(&self, slot: usize) -> Option<f64> {
        let (mut weighted, mut weight, mut days) = (0.0, 0.0, 0.0_f64);
        for near in 0..=2 * SMOOTHING_SLOTS {
            let other = (slot + SLOTS + near - SMOOTHING_SLOTS) % SLOTS;
            let closeness = 1.0 / (1.0 + near.abs_diff(SMOOTHING_SLOTS) as f64);
            weighted += closeness * self.weighted[other];
            weight += closeness * self.weight[other];
            days = days.max(self.days[other]);
        }
        (LEAST_DAYS <= days && 0.0 < weight).then(|| weighted / weight)
    }
}

/// The share of the variance that a season explains (0–1): `1 − Var(remainder) / Var(value)`, each day predicted from
/// the others, so that noise explains nothing (R. Hyndman, G. Athanasopoulos, "Forecasting: principles and practice",
/// section 4.3, but out of sample). `None` if no two days can be compared.
pub(super) fn strength(values: &[f32], places: &[Place], season: Season) -> Option<f64> {
    let (mut number, mut sum, mut squares, mut left) = (0.0, 0.0, 0.0, 0.0);
    let mut begin = 0;
    while begin < places.len() {
        let like = places[begin];
        let end = begin + places[begin..].iter().take_while(|place| place.day == like.day).count();
        let profile = Profile::new(values, places, season, like, Some(like.day));
        for (value, place) in values[begin..end].iter().zip(&places[begin..end]) {
            let Some(usual) = profile.at(*place).filter(|_| !value.is_nan()) else { continue };
            let value = f64::from(*value);
            number += 1.0;
            sum += value;
            squares += value * value;
            left += (value - usual).powi(2);
        }
        begin = end;
    }
    let all = squares - sum * sum / number;
    let enough = SLOTS as f64 <= number && 1e-12 * squares < all;
    enough.then(|| (1.0 - left / all).clamp(0.0, 1.0))
}
