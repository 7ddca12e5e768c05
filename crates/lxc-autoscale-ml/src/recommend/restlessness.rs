//! How restless the last day was: what size it would have taken for how long.
//!
//! A size that was outgrown every half an hour of the last day will be outgrown within half an hour again: what looks like a
//! lower level is the lower side of noise. A size that the whole day stayed below needs no more because a
//! forecast wavers.

use serde::{Deserialize, Serialize};

use super::series::STEP_SECONDS;
use crate::guard::unpaid::LEAST_PAID_HOURS;

/// Half a day at least must be known.
const LEAST_HOURS: f64 = 12.0;
/// A load that rose above a size less often comes and goes for a reason, as people do at night.
const LEAST_TIMES: usize = 3;
/// Where sizes are looked at: so many steps of the day lie above them.
const ABOVE: [usize; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 192, 256, 280];
/// Sizes are the same within their four digits.
const SAME: f64 = 1e-3;
/// What was hardly ever outgrown lasted the day.
const DAY_HOURS: f64 = 24.0;
/// What a shrink must be expected to save before it is outgrown, in hours of the whole size: a shrink by half must last
/// half an hour on average, one by a tenth two and a half hours. Half as much as a shrink must have saved not to count as
/// unpaid afterwards, because this is an average, and half of the shrinks do better. Twice as much costs 1 % more on 20
/// recorded machines. It was found with the default prices and grows with that of a change
/// ([`super::RecommendConfig::price_of_a_change`]).
const LEAST_SAVED_HOURS: f64 = LEAST_PAID_HOURS / 2.0;

/// The last day of one resource, as far as a change of its size is judged by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restlessness {
    /// The size that was enough all day, headroom included.
    #[serde(alias = "peak")]
    pub enough: f64,
    /// Smaller and equal sizes, headroom included, with the hours for which each was enough on average until it was
    /// outgrown; the smallest first.
    lasted: Vec<(f64, f64)>,
    /// What a shrink must be expected to save before it is outgrown, in hours of the whole size.
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    least_saved_hours: f64,
}

fn usual() -> f64 {
    LEAST_SAVED_HOURS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_usual(hours: &f64) -> bool {
    (hours - LEAST_SAVED_HOURS).abs() < f64::EPSILON
}

impl Restlessness {
    /// Of the steps of a day, the oldest first, NaN is unknown; sizes are demands with this factor of headroom, and a change
    /// costs so many times what it usually does. `None` where too little is known.
    pub(crate) fn of(day: &[f32], headroom: f64, price_of_a_change: f64) -> Option<Self> {
        let known: Vec<f32> = day.iter().copied().filter(|value| !value.is_nan()).collect();
        if hours(known.len()) < LEAST_HOURS {
            return None;
        }
        let mut sorted = known.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let from_above = |above: &usize| sorted.len().checked_sub(above + 1).map(|place| sorted[place]);
        let mut demands: Vec<f32> = ABOVE.iter().rev().filter_map(from_above).collect();
        demands.dedup();
        let enough = digits(f64::from(*demands.last()?) * headroom);
        let times = Time::of_all(&known, &demands);
        let size = |demand: f32| digits(f64::from(demand) * headroom);
        let lasts = |Time { enough, outgrown }: Time| {
            if outgrown < LEAST_TIMES { DAY_HOURS } else { hours(enough) / outgrown as f64 }
        };
        let mut lasted: Vec<(f64, f64)> =
            demands.iter().zip(times).map(|(demand, times)| (size(*demand), digits(lasts(times)))).collect();
        // Of sizes that lasted as long the smallest says it for all.
        lasted.dedup_by(|larger, smaller| (larger.1 - smaller.1).abs() < f64::EPSILON);
        Some(Self { enough, lasted, least_saved_hours: LEAST_SAVED_HOURS * price_of_a_change })
    }

    /// For how many hours a size was enough on average until it was outgrown; `None` where it hardly ever was enough, which
    /// says nothing about a level that is new.
    pub fn lasted(&self, size: f64) -> Option<f64> {
        let smaller = self.lasted.iter().rev().find(|(known, _)| *known <= size * (1.0 + SAME))?;
        Some(smaller.1)
    }

    /// Whether a shrink between these sizes is worth its price before it is likely to be outgrown.
    pub fn pays(&self, from: f64, to: f64) -> bool {
        // No more than a day is known, so what lasted the day may last for as long as any price asks for.
        let pays = |hours: f64| DAY_HOURS <= hours || self.least_saved_hours <= hours * (from - to) / from;
        self.lasted(to).is_none_or(pays)
    }

    /// The sizes at which it changes for how long one is enough, the smallest first.
    pub fn sizes(&self) -> impl Iterator<Item = f64> {
        self.lasted.iter().map(|(size, _)| *size)
    }
}

/// How often a demand was enough, in steps, and how often it was outgrown then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Time {
    enough: usize,
    outgrown: usize,
}

impl Time {
    /// Of each of the `demands`, the smallest first, in one pass over the `values`.
    fn of_all(values: &[f32], demands: &[f32]) -> Vec<Self> {
        // A value is enough for the demands from a place on; only these places change from one value to the next.
        let (mut begin, mut rise) = (vec![0_usize; demands.len() + 1], vec![0_isize; demands.len() + 1]);
        let mut last = None;
        for value in values {
            let place = demands.partition_point(|demand| demand < value);
            begin[place] += 1;
            if let Some(last) = last.filter(|last| *last < place) {
                rise[last] += 1;
                rise[place] -= 1;
            }
            last = Some(place);
        }
        let (mut enough, mut outgrown) = (0, 0);
        let sums = begin.iter().zip(&rise).map(|(begin, rise)| {
            enough += begin;
            outgrown += rise;
            Self { enough, outgrown: usize::try_from(outgrown).unwrap_or_default() }
        });
        sums.take(demands.len()).collect()
    }
}

fn hours(steps: usize) -> f64 {
    steps as f64 * STEP_SECONDS as f64 / 3600.0
}

/// Four digits are enough, and what is decided from them can be decided again from what is kept.
fn digits(value: f64) -> f64 {
    /// Powers of ten up to this one are exact.
    const EXACT: f64 = 22.0;
    let places = 3.0 - value.abs().log10().floor();
    if !(-EXACT..=EXACT).contains(&places) {
        return value;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within the bounds")]
    let power = 10_f64.powi(places.abs() as i32);
    if 0.0 <= places { (value * power).round() / power } else { (value / power).round() * power }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    /// A day in steps of five minutes, as `at` says of each.
    fn day(at: impl Fn(usize) -> f32) -> Restlessness {
        let steps: Vec<f32> = (0..288).map(at).collect();
        Restlessness::of(&steps, 1.0, 1.0).unwrap()
    }

    #[test]
    fn what_alternates_is_outgrown_soon_and_what_comes_once_a_day_is_not() {
        // Ten minutes high, fifty low: outgrown 23 times, after the first.
        let hourly = day(|step| if step % 12 < 2 { 3.0 } else { 1.0 });
        assert_eq!((hourly.enough, hourly.lasted(3.0)), (3.0, Some(24.0)));
        assert_eq!(hourly.lasted(1.5), Some(digits(20.0 / 23.0)));
        assert_eq!(hourly.lasted(0.5), None, "never enough");
        // People by day, noise on top of them; the night is a level of its own.
        let people = day(|step| if (100..220).contains(&step) { [2.0, 3.0][step % 2] } else { 0.4 });
        assert_eq!((people.lasted(0.5), people.lasted(3.1)), (Some(24.0), Some(24.0)));
        assert!(people.lasted(2.5).unwrap() < 0.5);
    }

    #[test]
    fn the_dearer_a_change_the_longer_a_shrink_must_last() {
        // Ten minutes high, fifty low: a size in between was enough for fifty minutes on average.
        let steps: Vec<f32> = (0..288).map(|step| if step % 12 < 2 { 3.0 } else { 1.0 }).collect();
        for (price, to, want) in
            [(1.0, 2.0, true), (2.0, 2.0, false), (2.0, 1.2, true), (3.0, 1.2, false), (0.0, 2.9, true)]
        {
            let day = Restlessness::of(&steps, 1.0, price).unwrap();
            assert_eq!(day.pays(3.0, to), want, "{price} times the price, to {to}");
            let kept: Restlessness = serde_json::from_str(&serde_json::to_string(&day).unwrap()).unwrap();
            assert_eq!(kept, day);
        }
        // What was kept before says nothing of the price.
        let kept: Restlessness =
            serde_json::from_str(r#"{"enough": 3.0, "lasted": [[1.0, 0.87], [3.0, 24.0]]}"#).unwrap();
        assert!(kept.pays(3.0, 2.0) && !kept.pays(3.0, 2.5));
    }

    #[test]
    fn what_was_not_outgrown_all_day_may_shrink_whatever_a_change_costs() {
        let idle: Vec<f32> = vec![0.05; 288];
        let day = Restlessness::of(&idle, 1.0, 100.0).unwrap();
        assert!(day.pays(4.0, 0.1) && day.pays(0.06, 0.05));
    }

    #[test]
    fn too_little_is_no_day() {
        let steps: Vec<f32> = (0..288).map(|step| if step < 150 { f32::NAN } else { 1.0 }).collect();
        assert_eq!(Restlessness::of(&steps, 1.0, 1.0), None);
    }

    #[test]
    fn four_digits_are_kept() {
        for (value, want) in [
            (0.0, 0.0),
            (1.0, 1.0),
            (0.123_456, 0.1235),
            (1999.6, 2000.0),
            (12_345.6, 12_350.0),
            (0.000_999_96, 0.001),
            (24.0, 24.0),
        ] {
            assert!((digits(value) - want).abs() < 1e-12, "{value}: {}", digits(value));
            assert!(digits(value).to_string().len() <= 8, "{}", digits(value));
        }
    }

    proptest::proptest! {
        /// One pass says the same as a look at each size.
        #[test]
        fn all_sizes_are_looked_at_at_once(
            values in proptest::collection::vec((0..20_u8).prop_map(f32::from), 0..80),
            mut demands in proptest::collection::vec((0..20_u8).prop_map(f32::from), 1..8),
        ) {
            demands.sort_unstable_by(f32::total_cmp);
            demands.dedup();
            for (demand, got) in demands.iter().zip(Time::of_all(&values, &demands)) {
                let enough: Vec<bool> = values.iter().map(|value| value <= demand).collect();
                let want = Time {
                    enough: enough.iter().filter(|is_enough| **is_enough).count(),
                    outgrown: enough.windows(2).filter(|pair| pair[0] && !pair[1]).count(),
                };
                proptest::prop_assert_eq!(got, want);
            }
        }
    }
}
