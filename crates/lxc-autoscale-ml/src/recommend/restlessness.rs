//! How restless the last day was: what size it would have taken for how long.
//!
//! A size that was outgrown every half an hour of the last day will be outgrown within half an hour again: what looks like a
//! lower level is the lower side of noise. A size that the whole day stayed below needs no more because a
//! forecast wavers.

use serde::{Deserialize, Serialize};

use super::series::STEP_SECONDS;

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

/// The last day of one resource, as far as a change of its size is judged by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restlessness {
    /// The most that was needed.
    pub peak: f64,
    /// Sizes, head-room included, with the hours for which each was enough on average until it was outgrown; the smallest
    /// first.
    pub lasted: Vec<(f64, f64)>,
}

impl Restlessness {
    /// Of the steps of a day, the oldest first, NaN is unknown; sizes are demands with this factor of head-room. `None` where
    /// too little is known.
    pub(super) fn of(day: &[f32], headroom: f64) -> Option<Self> {
        let known: Vec<f32> = day.iter().copied().filter(|value| !value.is_nan()).collect();
        if hours(known.len()) < LEAST_HOURS {
            return None;
        }
        let lasts = |demand: f32| {
            let (mut enough, mut outgrown, mut was_enough) = (0, 0, false);
            for value in &known {
                let is_enough = *value <= demand;
                enough += usize::from(is_enough);
                outgrown += usize::from(was_enough && !is_enough);
                was_enough = is_enough;
            }
            if outgrown < LEAST_TIMES { DAY_HOURS } else { hours(enough) / outgrown as f64 }
        };
        let mut sorted = known.clone();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let mut demands: Vec<f32> = ABOVE.iter().filter_map(|above| sorted.get(*above).copied()).collect();
        demands.dedup();
        let peak = f64::from(*demands.first()?);
        let size = |demand: f32| digits(f64::from(demand) * headroom);
        let mut lasted: Vec<(f64, f64)> =
            demands.into_iter().rev().map(|demand| (size(demand), digits(lasts(demand)))).collect();
        // Of sizes that lasted as long the smallest says it for all.
        lasted.dedup_by(|larger, smaller| (larger.1 - smaller.1).abs() < f64::EPSILON);
        Some(Self { peak: digits(peak), lasted })
    }

    /// For how many hours a size was enough on average until it was outgrown; `None` where it hardly ever was enough, which
    /// says nothing about a level that is new.
    pub fn lasted(&self, size: f64) -> Option<f64> {
        let smaller = self.lasted.iter().rev().find(|(known, _)| *known <= size * (1.0 + SAME))?;
        Some(smaller.1)
    }
}

fn hours(steps: usize) -> f64 {
    steps as f64 * STEP_SECONDS as f64 / 3600.0
}

/// Four digits are enough, and what is decided from them can be decided again from what is kept.
fn digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day in steps of five minutes, as `at` says of each.
    fn day(at: impl Fn(usize) -> f32) -> Restlessness {
        let steps: Vec<f32> = (0..288).map(at).collect();
        Restlessness::of(&steps, 1.0).unwrap()
    }

    #[test]
    fn what_alternates_is_outgrown_soon_and_what_comes_once_a_day_is_not() {
        // Ten minutes high, fifty low: outgrown 23 times, after the first.
        let hourly = day(|step| if step % 12 < 2 { 3.0 } else { 1.0 });
        assert_eq!((hourly.peak, hourly.lasted(3.0)), (3.0, Some(24.0)));
        assert_eq!(hourly.lasted(1.5), Some(digits(20.0 / 23.0)));
        assert_eq!(hourly.lasted(0.5), None, "never enough");
        // People by day, noise on top of them; the night is a level of its own.
        let people = day(|step| if (100..220).contains(&step) { [2.0, 3.0][step % 2] } else { 0.4 });
        assert_eq!((people.lasted(0.5), people.lasted(3.1)), (Some(24.0), Some(24.0)));
        assert!(people.lasted(2.5).unwrap() < 0.5);
    }

    #[test]
    fn too_little_is_no_day() {
        let steps: Vec<f32> = (0..288).map(|step| if step < 150 { f32::NAN } else { 1.0 }).collect();
        assert_eq!(Restlessness::of(&steps, 1.0), None);
    }
}
