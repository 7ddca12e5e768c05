//! Level shifts are found, and nothing else is.

#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use proptest::prelude::*;

use super::*;

fn shift(steps: &[f32], least: f64) -> Option<Shift> {
    Hours::of(steps).shift(least)
}

/// Steps of five minutes, from hours.
fn steps(hours: impl IntoIterator<Item = f64>) -> Vec<f32> {
    let steps = hours.into_iter().enumerate().flat_map(|(hour, value)| {
        // Noise within an hour, and one burst that does not affect the median.
        (0..12).map(move |step| match (step, hour % 5) {
            (7, 0) => value * 6.0,
            _ => value * (1.0 + ((step * 7 + hour * 3) % 11) as f64 / 200.0),
        })
    });
    steps.map(|value| value as f32).collect()
}

fn day(hour: usize) -> f64 {
    if (9..18).contains(&(hour % 24)) { 2.0 } else { 0.3 }
}

#[test]
fn a_level_that_lasts_six_hours_is_a_shift_and_its_begin_is_known() {
    for (lasted, want) in [(0, None), (5, None), (6, Some(6)), (20, Some(20)), (72, Some(72))] {
        let hours = (0..120).map(|hour| if 120 - lasted <= hour { 1.5 } else { 0.4 });
        let found = shift(&steps(hours), 0.05);
        assert_eq!(found.map(|shift| shift.hours), want, "{lasted} hours");
        if let Some(found) = found {
            assert!((found.before - 0.41).abs() < 0.02 && (found.after - 1.54).abs() < 0.05, "{found:?}");
        }
    }
    let falls = (0..120).map(|hour| if 108 <= hour { 0.4 } else { 1.5 });
    let found = shift(&steps(falls), 0.05).unwrap();
    assert!(found.after < found.before && found.hours == 12, "{found:?}");
}

#[test]
fn a_day_like_the_days_before_is_none_and_one_that_is_not_is_one() {
    let usual = || (0..7 * 24).map(day);
    assert_eq!(shift(&steps(usual()), 0.05), None);
    for begin in 0..24 {
        assert_eq!(shift(&steps(usual().chain((0..begin).map(day))), 0.05), None, "{begin}");
    }
    // A night as busy as a day.
    let night = usual().chain((0..8).map(|_| 2.0));
    assert_eq!(shift(&steps(night), 0.05).unwrap().hours, 8);
}

#[test]
fn what_is_small_or_unknown_is_none() {
    let small = (0..120).map(|hour| if 100 <= hour { 0.45 } else { 0.4 });
    assert_eq!(shift(&steps(small), 0.05), None);
    let idle = (0..120).map(|hour| if 100 <= hour { 0.03 } else { 0.002 });
    assert_eq!(shift(&steps(idle), 0.05), None);
    let young = (0..20).map(|hour| if 10 <= hour { 2.0 } else { 0.4 });
    assert_eq!(shift(&steps(young), 0.05), None);
    assert_eq!(shift(&[], 0.05), None);
    assert_eq!(shift(&[f32::NAN; 2304], 0.05), None);
    let gap = (0..120).map(|hour| if 100 <= hour { f64::NAN } else { 0.4 });
    assert_eq!(shift(&steps(gap), 0.05), None);
}

#[test]
fn a_loop_that_never_ends_is_told_from_work() {
    let then = |value: fn(usize) -> f64| {
        let steps: Vec<f32> =
            (0..120 * 12).map(|step| if step < 100 * 12 { 0.1 } else { value(step) as f32 }).collect();
        let hours = Hours::of(&steps);
        hours.shift(0.05).map(|shift| hours.hangs_since(&shift))
    };
    assert_eq!(then(|_| 0.998), Some(true));
    assert_eq!(then(|step| 1.99 + (step % 3) as f64 / 200.0), Some(true));
    assert_eq!(then(|_| 0.6), Some(false), "a core is not busy");
    assert_eq!(then(|_| 1.5), Some(false), "no whole number of loops");
    assert_eq!(
        then(|step| 1.0 + f64::from(u8::from(step % 48 < 24)) / 4.0),
        Some(false),
        "it comes and goes"
    );
}

proptest! {
    /// Whatever the noise, hours from one distribution are no shift except by bad luck.
    #[test]
    fn unrest_is_no_shift(seed in 0u64..1000, unrest in 0.01..0.9) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let hours: Vec<f64> = (0..168).map(|_| 1.0 + unrest * (random() - 0.5)).collect();
        prop_assert_eq!(shift(&steps(hours), 0.05), None);
    }

    #[test]
    fn nothing_panics(values in prop::collection::vec(prop_oneof![Just(f32::NAN), 0f32..1e9], 0..900)) {
        if let Some(found) = shift(&values, 0.05) {
            let _ = Hours::of(&values).hangs_since(&found);
            prop_assert!(found.before.is_finite() && found.after.is_finite() && found.hours <= values.len() / 12);
        }
    }
}
