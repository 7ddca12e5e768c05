//! Shapes that leak and shapes that do not.

use super::*;

const LIMIT: f64 = 4096.0;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 / 86_400 * 86_400 + seconds).unwrap()
}

/// Deterministic noise of up to ± 1 %.
fn noise(step: i64) -> f64 {
    1.0 + 0.01 * (step as f64 * 12.9898).sin()
}

/// Hours after which a leak is noticed in a container measured every five minutes for `days`.
fn noticed(days: i64, used: impl Fn(f64) -> f64) -> Option<i64> {
    let mut hours = Hours::default();
    for step in 0..days * 288 {
        let seconds = 300 * step;
        let is_over = hours.push(at(seconds), used(seconds as f64 / 3600.0) * noise(step));
        if is_over && hours.growth(LIMIT).is_some() {
            return Some(seconds / 3600);
        }
    }
    None
}

#[track_caller]
fn check_leak(within: std::ops::RangeInclusive<i64>, used: impl Fn(f64) -> f64) {
    let hours = noticed(10, used);
    assert!(hours.is_some_and(|hours| within.contains(&hours)), "{hours:?}");
}

#[track_caller]
fn check_none(used: impl Fn(f64) -> f64) {
    assert_eq!(noticed(21, used), None);
}

fn sine(hour: f64) -> f64 {
    (hour / 24.0 * std::f64::consts::TAU).sin()
}

#[test]
fn leaks_are_noticed() {
    // From its start: after 30 hours, when nothing daily can explain it.
    check_leak(30..=32, |hour| 300.0 + 20.0 * hour);
    // After two quiet days, 100 MiB an hour: within half a day.
    check_leak(52..=60, |hour| 500.0 + 100.0 * (hour - 48.0).max(0.0));
    // 100 MiB a day under a daily cycle of 400: within three days.
    check_leak(48..=84, |hour| 800.0 + 100.0 / 24.0 * hour + 200.0 * sine(hour));
    // Slow, 40 MiB a day beside 500.
    check_leak(48..=84, |hour| 500.0 + 40.0 / 24.0 * hour);
}

#[test]
fn what_comes_and_goes_is_no_leak() {
    check_none(|_| 500.0);
    check_none(|hour| 500.0 + 300.0 * sine(hour));
    check_none(|hour| 500.0 - 300.0 * sine(hour));
    // Rising all day, emptied every night, for each hour of the day.
    for start in 0..24 {
        check_none(|hour| 200.0 + 60.0 * ((hour + f64::from(start)) % 24.0));
    }
    // A nightly job and a weekly one.
    check_none(|hour| if (2.0..5.0).contains(&(hour % 24.0)) { 2000.0 } else { 300.0 });
    check_none(|hour| if (50.0..60.0).contains(&(hour % 168.0)) { 2500.0 } else { 300.0 });
    // Busy on workdays.
    check_none(|hour| if (hour / 24.0) % 7.0 < 5.0 { 900.0 + 300.0 * sine(hour) } else { 500.0 });
    // A garbage collector: rises for hours, then falls.
    check_none(|hour| 300.0 + 80.0 * (hour % 9.0));
    // A new service is added.
    check_none(|hour| if hour < 100.0 { 400.0 } else { 1400.0 });
    check_none(|hour| (if hour < 100.0 { 400.0 } else { 1400.0 }) + 200.0 * sine(hour));
    // A cache fills once.
    for hours in [3.0, 5.0, 8.0, 16.0] {
        check_none(|hour| 200.0 + 1500.0 * (1.0 - (-hour / hours).exp()));
    }
    check_none(|hour| 200.0 + 1500.0 * (1.0 - (-(hour - 60.0).max(0.0) / 3.0).exp()));
}

#[test]
fn it_is_told_when_it_will_be_full() {
    let mut hours = Hours::default();
    for step in 0..40 * 12 {
        hours.push(at(300 * step), 400.0 + 10.0 * (300 * step) as f64 / 3600.0);
    }
    let growth = hours.growth(LIMIT).unwrap();
    assert!((growth.mib_per_hour - 10.0).abs() < 0.1, "{growth:?}");
    let leak = Leak::new(at(40 * 3600), 1000.0, 1000.0, growth);
    let hours_left = leak.full_at.duration_since(at(40 * 3600)).as_secs_f64() / 3600.0;
    // (1000 − 400) / 10 − 40 hours.
    assert!((19.0..23.0).contains(&hours_left), "{hours_left}");
    assert!((leak.most_mib(50.0) - 1500.0).abs() < 1e-9);
    // How small we made it says nothing: somebody gave it more.
    let made_small = Leak::new(at(40 * 3600), 1000.0, 4000.0, growth).given(Some(4000.0));
    assert!(leak.full_at.duration_since(at(300 * 3600)).is_negative());
    assert!(made_small.full_at.duration_since(at(300 * 3600)).is_positive());
    assert!((made_small.most_mib(50.0) - 4000.0).abs() < 1e-9);
}

#[test]
fn a_restart_begins_anew_and_a_gap_is_no_rise() {
    let mut hours = Hours::default();
    for step in 0..40 * 12 {
        hours.push(at(300 * step), 400.0 + f64::from(i32::try_from(step).unwrap()));
    }
    assert!(hours.growth(LIMIT).is_some());
    hours.clear();
    assert_eq!(hours.growth(LIMIT), None);
    // Measured in every second hour only.
    for hour in 0..90 {
        hours.push(at(2 * 3600 * hour), 400.0 + 20.0 * hour as f64);
    }
    assert_eq!(steady(&hours.minima.iter().copied().collect::<Vec<_>>(), LIMIT), None);
}

#[test]
fn a_leak_is_over_when_it_was_normal_for_a_week() {
    let growth = Growth { mib_per_hour: 10.0, level_mib: 700.0 };
    let mut leak = Leak::new(at(0), 1000.0, 1000.0, growth);
    // An OOM kill empties it; it fills again.
    for hour in 0..300 {
        let used = 300.0 + 10.0 * f64::from(hour % 60);
        assert!(!leak.is_over(at(3600 * i64::from(hour)), used), "{hour}");
    }
    let day = 24 * 3600;
    assert!(!leak.is_over(at(18 * day), 300.0));
    assert!(leak.is_over(at(20 * day), 300.0));
}
