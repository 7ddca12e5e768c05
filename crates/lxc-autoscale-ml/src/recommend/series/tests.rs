//! What is known of the last days.

use proptest::prelude::*;

use super::*;

/// A series with one value per step, from step 0; `None` is a gap.
fn series(values: &[Option<f64>]) -> Series {
    let mut series = Series::new(Within::Largest);
    for (step, value) in (0..).zip(values) {
        if let Some(value) = value {
            series.push((step + 1) * STEP_SECONDS, 300.0, *value);
        }
    }
    series
}

fn look(ahead_steps: i64, slack_steps: i64) -> SeasonLook {
    SeasonLook { ahead_steps, slack_steps }
}

const HABIT: Habit = Habit {
    look: SeasonLook { ahead_steps: 6, slack_steps: 4 },
    lasting_steps: 6,
    least_rise: 1.5,
    least_days: 3,
};

/// Days that are busy from step 100 on for so many steps, except the one that is not; asked at this step of the last.
fn daily(days: i64, without: Option<i64>, busy: i64, asked_at: i64) -> Option<f64> {
    let end = days * DAY_STEPS + asked_at;
    let value = |step: i64| {
        let is_busy = Some(step / DAY_STEPS) != without && (100..100 + busy).contains(&(step % DAY_STEPS));
        Some(if is_busy { 2.0 + (step / DAY_STEPS) as f64 } else { 0.5 })
    };
    let seen = series(&(0..=end).map(value).collect::<Vec<_>>());
    seen.daily_rise(end, &HABIT, &TimeZone::UTC)
}

#[test]
fn a_habit_is_what_each_of_the_last_days_rose_to_for_a_while() {
    // The least of the days 1, 2 and 3.
    assert_eq!(daily(4, None, 96, 95), Some(3.0));
    assert_eq!(daily(4, Some(0), 96, 95), Some(3.0));
    assert_eq!(daily(4, Some(2), 96, 95), Some(0.5));
    // A burst of 25 minutes is too short.
    assert_eq!(daily(4, None, 5, 95), None);
    assert_eq!(daily(2, None, 96, 95), None);
    // Where one day is enough, so is one of the three.
    let one = Habit { least_days: 1, ..HABIT };
    let value =
        |step: i64| (step < 96 || (100..200).contains(&step)).then_some(if step < 96 { 0.5 } else { 2.0 });
    let seen = series(&(0..DAY_STEPS + 95).map(value).collect::<Vec<_>>());
    assert_eq!(seen.daily_rise(DAY_STEPS + 95, &one, &TimeZone::UTC), Some(2.0));
}

#[test]
fn a_habit_is_waited_for_until_all_days_had_it_for_the_slack() {
    let held = |asked_at| daily(4, None, 96, asked_at).is_some();
    let steps: Vec<i64> = (0..DAY_STEPS).filter(|step| held(*step)).collect();
    assert_eq!(steps, (95..=103).collect::<Vec<_>>());
    // Three days of the same, of which it is not known when it ends, are no habit of an hour.
    let lasts = |step: i64| Some(if (DAY_STEPS..4 * DAY_STEPS).contains(&step) { 4.0 } else { 0.5 });
    for asked_at in 4 * DAY_STEPS + 4..5 * DAY_STEPS {
        let seen = series(&(0..=asked_at).map(lasts).collect::<Vec<_>>());
        assert_eq!(seen.daily_rise(asked_at, &HABIT, &TimeZone::UTC), None);
    }
}

#[test]
fn a_gap_is_unknown_and_not_idle() {
    let seen = series(&[Some(3.0), None, None, Some(1.0)]);
    assert_eq!([0, 1, 3].map(|step| seen.at(step)), [Some(3.0), None, Some(1.0)]);
    assert_eq!(seen.recent_peak(3, 3), Some(1.0));
    assert_eq!(seen.recent_peak(3, 4), Some(3.0));
    assert_eq!(seen.recent_peak(2, 2), None);
}

#[test]
fn the_step_of_an_observation_is_the_one_it_ends() {
    assert_eq!([1, 300, 301].map(step_of), [0, 0, 1]);
}

#[test]
fn short_observations_count_by_their_busiest_minute() {
    let mut cpu = Series::new(Within::BusiestMinute);
    for second in (2..=60).step_by(2) {
        cpu.push(second, 2.0, if second <= 2 { 4.0 } else { 0.1 });
    }
    let peak = cpu.at(0).unwrap();
    // A burst of two seconds: far less than its height, but not nothing.
    assert!((0.1..0.5).contains(&peak), "{peak}");
    for second in (62..=120).step_by(2) {
        cpu.push(second, 2.0, 2.0);
    }
    assert!((cpu.at(0).unwrap() - 2.0).abs() < 1e-6);
}

#[test]
fn a_step_that_has_just_begun_is_no_fall() {
    let mut cpu = Series::new(Within::BusiestMinute);
    let mut at = 0;
    let mut push = |cpu: &mut Series, until: i64, value: f64| {
        while at < until {
            at += 2;
            cpu.push(at, 2.0, value);
        }
    };
    push(&mut cpu, 300, 3.0);
    push(&mut cpu, 302, 3.0);
    assert!(cpu.at(1).unwrap() < 1.0, "two seconds are no minute");
    assert_eq!((cpu.settled(1), cpu.window(1).last()), (Some(3.0), Some(&3.0)));
    push(&mut cpu, 480, 0.5);
    assert!(cpu.settled(1).unwrap() < 1.0 && *cpu.window(1).last().unwrap() < 1.0);
}

#[test]
fn the_season_is_the_coming_hour_of_days_ago() {
    let day = usize::try_from(DAY_STEPS).unwrap();
    let mut values = vec![Some(1.0); 2 * day];
    values[day + 20] = Some(7.0);
    let seen = series(&values);
    let now = i64::try_from(values.len()).unwrap() - 1;
    // Step `day + 20` lies 20 steps after the same time yesterday, `now - day`, plus one.
    assert_eq!(seen.season_peak(now, 1, look(12, 6), &TimeZone::UTC), Some(1.0));
    assert_eq!(seen.season_peak(now, 1, look(12, 9), &TimeZone::UTC), Some(7.0));
    assert_eq!(seen.season_peak(now, 0, look(12, 6), &TimeZone::UTC), None);
}

/// Four days with something unusual at these steps; the expectation for that time on the fifth.
fn expected(unusual: &[(i64, std::ops::Range<i64>)], value: f64) -> Option<f64> {
    let mut seen = Series::new(Within::Largest);
    for step in 0..4 * DAY_STEPS + 90 {
        let is_unusual = unusual.iter().any(|(day, steps)| steps.contains(&(step - day * DAY_STEPS)));
        seen.push((step + 1) * STEP_SECONDS, 300.0, if is_unusual { value } else { 1.0 });
        if is_unusual {
            seen.doubt_newest();
        }
    }
    seen.season_peak(4 * DAY_STEPS + 89, 3, look(12, 6), &TimeZone::UTC)
}

#[test]
fn what_was_unusual_and_came_once_is_no_habit() {
    assert_eq!(expected(&[], 9.0), Some(1.0));
    assert_eq!(expected(&[(3, 95..98)], 9.0), Some(1.0));
    // Twice is a habit, however unusual each of them was.
    assert_eq!(expected(&[(2, 96..99), (3, 95..98)], 9.0), Some(9.0));
    // Lasting behaviour is the new normal: after an hour all of it counts.
    assert_eq!(expected(&[(3, 95..106)], 9.0), Some(1.0));
    assert_eq!(expected(&[(3, 95..109)], 9.0), Some(9.0));
}

/// With `season_days = 1`, the day before tells whether yesterday was usual, and is no reason by itself.
#[test]
fn a_season_of_one_day_is_confirmed_by_the_day_before() {
    let peak = |unusual: &[(i64, f64)]| {
        let mut seen = Series::new(Within::Largest);
        for step in 0..4 * DAY_STEPS + 90 {
            let value = unusual.iter().find(|(day, _)| day * DAY_STEPS + 96 == step);
            seen.push((step + 1) * STEP_SECONDS, 300.0, value.map_or(1.0, |(_, value)| *value));
            if value.is_some() {
                seen.doubt_newest();
            }
        }
        seen.season_peak(4 * DAY_STEPS + 89, 1, look(12, 6), &TimeZone::UTC)
    };
    assert_eq!(peak(&[(3, 9.0)]), Some(1.0));
    assert_eq!(peak(&[(2, 9.0)]), Some(1.0));
    assert_eq!(peak(&[(2, 5.0), (3, 9.0)]), Some(5.0));
    assert_eq!(peak(&[(2, 9.0), (3, 5.0)]), Some(5.0));
}

#[test]
fn of_one_day_nobody_knows_whether_it_was_usual() {
    let mut seen = Series::new(Within::Largest);
    for step in 0..DAY_STEPS {
        seen.push((step + 1) * STEP_SECONDS, 300.0, if step == 30 { 5.0 } else { 1.0 });
        if step == 30 {
            seen.doubt_newest();
        }
    }
    assert_eq!(seen.season_peak(DAY_STEPS + 20, 3, look(12, 6), &TimeZone::UTC), Some(5.0));
}

proptest! {
    /// The ring agrees with a plain list of all values, whatever is missing.
    #[test]
    fn the_ring_agrees_with_a_plain_list(
        steps in proptest::collection::vec((0i64..400, 0.0f32..100.0), 1..60),
        count in 1i64..3000,
    ) {
        let mut series = Series::new(Within::Largest);
        let (mut now, mut all) = (0, Vec::new());
        for (ahead, value) in steps {
            now += ahead;
            series.push((now + 1) * STEP_SECONDS, 300.0, f64::from(value));
            all.push((now, f64::from(value)));
        }
        let count = count.min(KEPT_STEPS);
        let want = all.iter().filter(|(step, _)| now - count < *step).map(|(_, value)| *value).reduce(f64::max);
        prop_assert_eq!(series.recent_peak(now, count), want);
    }
}
