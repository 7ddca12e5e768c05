use jiff::Timestamp;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const DAY: usize = MOST_AHEAD;

fn rome() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn step_at(utc: &str) -> i64 {
    utc.parse::<Timestamp>().unwrap().as_second() / STEP_SECONDS
}

/// Values of `count` steps from `first` on.
fn values(
    first: i64,
    count: usize,
    use_at: impl Fn(calendar::Place) -> f64,
    noise: f64,
    zone: &TimeZone,
) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    #[expect(clippy::cast_possible_truncation, reason = "the engine keeps no more digits")]
    let value = |place| (use_at(place) + noise * rng.gen_range(-1.0..1.0)).max(0.0) as f32;
    places(first, count, zone).into_iter().map(value).collect()
}

fn office(place: calendar::Place) -> f64 {
    if (9 * 12..17 * 12).contains(&place.slot) { 8.0 } else { 1.0 }
}

/// The local time of the first coming step that is expected above 4.
fn rises_at(first: &str, last: &str) -> (usize, usize) {
    let (first, last) = (step_at(first), step_at(last));
    let count = usize::try_from(last - first).unwrap();
    let seen = values(first, count, office, 0.2, &rome());
    let outlook = look_ahead(Past { first_step: first, values: &seen }, &rome(), DAY).unwrap();
    // Both follow local time.
    assert!(matches!(outlook.day_method, Some(Method::Day | Method::Yesterday)), "{:?}", outlook.day_method);
    let rises = outlook.steps.iter().find(|ahead| 4.0 < ahead.median()).unwrap();
    let slot = places(rises.at / STEP_SECONDS, 1, &rome())[0].slot;
    (slot / 12, slot % 12 * 5)
}

#[test]
fn a_habit_follows_the_clock_on_the_wall_over_both_changes() {
    // A week until the midnight before the clocks change, and until the one after.
    for (first, last) in [
        ("2026-03-20T23:00:00Z", "2026-03-28T23:00:00Z"),
        ("2026-03-21T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("2026-10-16T22:00:00Z", "2026-10-24T22:00:00Z"),
        ("2026-10-17T22:00:00Z", "2026-10-25T23:00:00Z"),
    ] {
        let (hour, minute) = rises_at(first, last);
        let minutes = hour * 60 + minute;
        assert!((8 * 60 + 50..=9 * 60 + 5).contains(&minutes), "{last}: {hour}:{minute:02}");
    }
}

#[test]
fn a_season_counts_where_days_repeat_themselves_and_not_in_noise() {
    let seen = values(0, 8 * DAY, office, 0.5, &TimeZone::UTC);
    let outlook = look_ahead(Past { first_step: 0, values: &seen }, &TimeZone::UTC, DAY).unwrap();
    assert!(0.9 < outlook.day_strength.unwrap(), "{:?}", outlook.day_strength);
    let noise = values(0, 8 * DAY, |_| 5.0, 2.0, &TimeZone::UTC);
    let outlook = look_ahead(Past { first_step: 0, values: &noise }, &TimeZone::UTC, DAY).unwrap();
    assert!(outlook.day_strength.unwrap() < 0.05, "{:?}", outlook.day_strength);
    assert!(!matches!(outlook.day_method, Some(Method::Day | Method::Yesterday)), "{outlook:?}");
}

#[test]
fn weeks_count_from_two_of_them_on() {
    let working = |place: calendar::Place| if place.is_weekend() { 1.0 } else { office(place) };
    let outlook = |days: usize| {
        // Until midnight at the beginning of a Saturday.
        let first = step_at("2026-05-16T00:00:00Z") - i64::try_from(days * DAY).unwrap();
        let seen = values(first, days * DAY, working, 0.3, &TimeZone::UTC);
        look_ahead(Past { first_step: first, values: &seen }, &TimeZone::UTC, DAY).unwrap()
    };
    let four_weeks = outlook(28);
    assert_eq!(four_weeks.day_method, Some(Method::Week), "{:?}", four_weeks.week_strength);
    let noon = |outlook: &Outlook| outlook.steps[144].median();
    assert!(noon(&four_weeks) < 2.0, "{}", noon(&four_weeks));
    assert!(outlook(8).week_strength.is_none());
}

#[test]
fn a_gap_is_not_idleness_and_too_little_is_no_forecast() {
    let mut seen = values(0, 4 * DAY, |_| 6.0, 0.3, &TimeZone::UTC);
    seen[3 * DAY..3 * DAY + 200].fill(f32::NAN);
    let outlook = look_ahead(Past { first_step: 0, values: &seen }, &TimeZone::UTC, DAY).unwrap();
    assert!(outlook.steps.iter().all(|ahead| 5.0 < ahead.band[0].value), "{outlook:?}");
    assert_eq!(outlook.known_steps, 4 * DAY - 200);
    assert!(look_ahead(Past { first_step: 0, values: &seen[..20] }, &TimeZone::UTC, DAY).is_none());
    let gap = [f32::NAN; 100];
    assert!(look_ahead(Past { first_step: 0, values: &gap }, &TimeZone::UTC, DAY).is_none());
}

#[test]
fn it_reaches_as_far_as_its_past_lets_it_be_tested() {
    let seen = values(0, 60, |_| 6.0, 0.3, &TimeZone::UTC);
    let outlook = look_ahead(Past { first_step: 0, values: &seen }, &TimeZone::UTC, DAY).unwrap();
    assert!((1..48).contains(&outlook.steps.len()), "{}", outlook.steps.len());
    assert_eq!(outlook.steps[0].at, 60 * STEP_SECONDS);
}

#[test]
fn as_many_steps_are_forecast_as_are_asked_for_and_they_are_those_of_a_longer_forecast() {
    let seen = values(0, 8 * DAY, office, 0.5, &TimeZone::UTC);
    let past = Past { first_step: 0, values: &seen };
    let day = look_ahead(past, &TimeZone::UTC, DAY).unwrap();
    for hours in 1..=24 {
        let outlook = look_ahead(past, &TimeZone::UTC, hours * 12).unwrap();
        assert_eq!(outlook.steps.len(), hours * 12);
        assert_eq!(outlook.steps[..12], day.steps[..12], "{hours} hours");
    }
    let some_minutes = look_ahead(past, &TimeZone::UTC, 2).unwrap();
    assert_eq!(some_minutes.steps.len(), 2);
}

/// Of bands made at many moments, the stated share of values lies within.
#[test]
fn bands_hold_what_they_say() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut level = 5.0_f64;
    let seen: Vec<f32> = (0..20 * DAY)
        .map(|_| {
            level = (level + rng.gen_range(-0.2..0.2)).clamp(2.0, 9.0);
            #[expect(clippy::cast_possible_truncation, reason = "the engine keeps no more digits")]
            let value = (level + rng.gen_range(-1.0..1.0)) as f32;
            value
        })
        .collect();
    let (mut within_80, mut within_95, mut all) = (0.0, 0.0, 0.0);
    for now in (8 * DAY..19 * DAY).step_by(101) {
        let past = Past { first_step: 0, values: &seen[now - 8 * DAY..now] };
        let outlook = look_ahead(past, &TimeZone::UTC, 12).unwrap();
        for (ahead, came) in outlook.steps.iter().zip(&seen[now..]) {
            let came = f64::from(*came);
            let within = |low: usize, high: usize| {
                if (ahead.band[low].value..=ahead.band[high].value).contains(&came) { 1.0 } else { 0.0 }
            };
            within_80 += within(1, 3);
            within_95 += within(0, 4);
            all += 1.0;
        }
    }
    assert!((0.75..0.87).contains(&(within_80 / all)), "{}", within_80 / all);
    assert!((0.91..0.985).contains(&(within_95 / all)), "{}", within_95 / all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// For any past: finite, not negative, ascending by level, and in the order of time.
    #[test]
    fn bands_make_sense(
        seen in proptest::collection::vec(prop_oneof![3 => 0.0f32..1e6, 1 => Just(f32::NAN), 1 => Just(0.0f32)], 0..900),
        first in -1_000_000_000i64..1_000_000_000,
        ahead in 1usize..400,
    ) {
        let Some(outlook) = look_ahead(Past { first_step: first, values: &seen }, &rome(), ahead) else { return Ok(()) };
        prop_assert!(outlook.steps.len() <= ahead);
        for pair in outlook.steps.windows(2) {
            prop_assert_eq!(pair[0].at + STEP_SECONDS, pair[1].at);
        }
        for ahead in &outlook.steps {
            prop_assert!(ahead.band.iter().all(|one| one.value.is_finite() && 0.0 <= one.value));
            prop_assert!(ahead.band.windows(2).all(|pair| pair[0].value <= pair[1].value));
        }
    }
}
