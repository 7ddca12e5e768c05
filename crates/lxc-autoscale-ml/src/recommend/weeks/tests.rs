use proptest::prelude::*;

use super::*;

/// Midnight in UTC of a Monday: 2027-01-18.
const MONDAY: i64 = 1_800_230_400 / HOUR_SECONDS;
/// The hour of the week at which something is: Sunday from three to four.
const SUNDAY: i64 = 6 * DAY_HOURS + 3;

/// The weeks before `until` (an hour), as `at` says of each hour.
fn known(until: i64, at: impl Fn(i64) -> Option<f64>) -> Weeks {
    let mut weeks = Weeks::default();
    for hour in until - 5 * WEEK_HOURS..until {
        if let Some(value) = at(hour) {
            weeks.note(hour, value);
        }
    }
    weeks
}

/// What is foreseen for an hour, by the code of its peak, the weeks that had it, and those that are known.
fn foreseen(weeks: &Weeks, hour: i64) -> Option<(u8, u32, u32)> {
    let begin = hour * HOUR_SECONDS;
    let peak = weeks.foreseen(begin, begin + HOUR_SECONDS, &TimeZone::UTC)?;
    assert_eq!(peak.at.as_second(), begin);
    Some((code(peak.value), peak.weeks, peak.of))
}

/// Four weeks, the oldest first, in which a load of 1 has these peaks: where each begins against Sunday at three, in hours, and
/// how high it is. Asked for that Sunday's hour of the next week.
#[track_caller]
fn check(why: &str, peaks: [&[(i64, f64)]; 4], want: Option<(f64, u32, u32)>) {
    let weeks = known(MONDAY + SUNDAY - 1, |hour| {
        let week = 4 - (MONDAY - hour - 1).div_euclid(WEEK_HOURS) - 1;
        let peaks = usize::try_from(week).ok().and_then(|week| peaks.get(week)).copied().unwrap_or_default();
        let offset = (hour - MONDAY).rem_euclid(WEEK_HOURS) - SUNDAY;
        let peak = peaks.iter().find(|(at, _)| *at == offset);
        peak.map_or(Some(1.0), |(_, value)| Some(*value).filter(|value| 0.0 < *value))
    });
    let want = want.map(|(value, had, of)| (code(value), had, of));
    assert_eq!(foreseen(&weeks, MONDAY + SUNDAY), want, "{why}");
}

#[test]
fn what_weeks_agree_on_is_foreseen() {
    let (three, unknown) = (&[(0, 3.0)][..], &[(0, 0.0)][..]);
    check("each week", [three; 4], Some((3.0, 4, 4)));
    check("never", [&[]; 4], None);
    check("once is no habit", [&[], &[], &[], three], None);
    check("the first two weeks of its life", [unknown, unknown, three, three], Some((3.0, 2, 2)));
    check("the first two weeks of a new job", [&[], &[], three, three], None);
    check("the first three weeks of a new job", [&[], three, three, three], Some((3.0, 3, 4)));
    check("not twice as high, twice", [&[(0, 1.6)], &[(0, 1.6)], &[], &[]], None);
    check("not twice as high, three times", [&[(0, 1.6)], &[(0, 1.6)], &[(0, 1.6)], &[]], Some((1.6, 3, 4)));
    check("a holiday", [three, three, three, &[]], Some((3.0, 3, 4)));
    check("two of four", [three, &[], three, &[]], None);
    check("two of three that are known", [three, &[], three, unknown], Some((3.0, 2, 3)));
    check("an hour later once", [three, &[(1, 3.0)], three, three], Some((3.0, 4, 4)));
    check("only the hour before", [&[(-1, 3.0)][..]; 4], None);
    check("not measured once", [three, three, three, unknown], Some((3.0, 3, 3)));
    check("twice as high once, which is no habit", [three, three, &[(0, 6.0)], three], Some((3.0, 4, 4)));
    check("a little more each week", [three, &[(0, 3.3)], &[(0, 3.6)], &[(0, 4.0)]], Some((4.0, 3, 4)));
}

#[test]
fn what_other_days_have_too_is_no_matter_of_the_week() {
    let three = |day: i64| (day * DAY_HOURS, 3.0);
    let daily: Vec<_> = (-6..=0).map(three).collect();
    check("every day", [&daily[..]; 4], None);
    check("twice a week, all four weeks", [&[three(0), three(-3)][..]; 4], Some((3.0, 4, 4)));
    check(
        "another day once",
        [&[three(0), three(-2)], &[three(0)], &[three(0)], &[three(0)]],
        Some((3.0, 4, 4)),
    );
    check(
        "two of four, and other days as often",
        [&[three(0)], &[three(-1)], &[three(0)], &[three(-5)]],
        None,
    );
    // Workdays are foreseen by the days before.
    let workdays: Vec<_> = (-4..=0).map(three).collect();
    check("workdays", [&workdays[..]; 4], None);
}

#[test]
fn a_peak_is_there_for_as_long_as_it_lasted() {
    let weeks = known(MONDAY, |hour| {
        let offset = (hour - MONDAY).rem_euclid(WEEK_HOURS) - SUNDAY;
        Some(if (0..3).contains(&offset) { 4.0 } else { 0.5 })
    });
    let hours: Vec<i64> = (-5..8).filter(|hour| foreseen(&weeks, MONDAY + SUNDAY + hour).is_some()).collect();
    assert_eq!(hours, [0, 1, 2]);
}

/// A job on Sundays at three by the clock in Rome, over both changes of the clocks of 2027 (28 March and 31 October).
#[test]
fn the_clock_on_the_wall_counts() {
    let rome = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let local = |hour: i64| {
        let at = Timestamp::from_second(hour * HOUR_SECONDS).unwrap();
        rome.to_datetime(at)
    };
    for change in ["2027-03-28T12:00:00Z", "2027-10-31T12:00:00Z"] {
        let change = change.parse::<Timestamp>().unwrap().as_second() / HOUR_SECONDS;
        for weeks_after in 0..6 {
            let until = change + weeks_after * WEEK_HOURS + 3 * DAY_HOURS;
            let is_job =
                |hour: i64| local(hour).weekday() == jiff::civil::Weekday::Sunday && local(hour).hour() == 3;
            let weeks = known(until, |hour| Some(if is_job(hour) { 3.0 } else { 1.0 }));
            let foreseen: Vec<i64> = (until..until + WEEK_HOURS - 2)
                .filter(|hour| {
                    weeks.foreseen(hour * HOUR_SECONDS, (hour + 1) * HOUR_SECONDS, &rome).is_some()
                })
                .collect();
            assert!(foreseen.iter().any(|hour| is_job(*hour)), "{weeks_after} weeks after {change}");
            // For the hour that the clocks skipped the next one is asked.
            assert!(foreseen.len() <= 2, "{:?}", foreseen.into_iter().map(local).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_gap_is_unknown_and_not_idle() {
    let peak = |hour: i64| (hour - MONDAY).rem_euclid(WEEK_HOURS) == SUNDAY;
    // Measured on Sundays alone: nobody knows whether the other days are like that.
    let sundays = known(MONDAY, |hour| {
        (144..168).contains(&(hour - MONDAY).rem_euclid(WEEK_HOURS)).then_some(if peak(hour) {
            3.0
        } else {
            1.0
        })
    });
    assert_eq!(foreseen(&sundays, MONDAY + SUNDAY), None);
    // Off for five weeks: nothing is left.
    let mut away = known(MONDAY, |hour| Some(if peak(hour) { 3.0 } else { 1.0 }));
    assert!(foreseen(&away, MONDAY + SUNDAY).is_some());
    away.note(MONDAY + 5 * WEEK_HOURS, 1.0);
    assert_eq!(foreseen(&away, MONDAY + 5 * WEEK_HOURS + SUNDAY), None);
}

/// Of 400 weeks, those in which one hour at least is prepared for because peaks met by chance: bursts of one to four hours at any
/// time, so many a week, or none and noise of half the level.
fn weeks_in_vain(bursts_a_week: f64) -> usize {
    const JUDGED: i64 = 40;
    let mut bits = 7_u64;
    let mut chance = move || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut in_vain = std::collections::BTreeSet::new();
    for container in 0..10 {
        let (mut weeks, mut burst) = (Weeks::default(), (0, 0.0));
        for hour in 0..(WEEKS + JUDGED) * WEEK_HOURS {
            let week = hour / WEEK_HOURS;
            if WEEKS <= week && foreseen(&weeks, hour).is_some() {
                in_vain.insert((container, week));
            }
            if chance() < bursts_a_week / WEEK_HOURS as f64 {
                burst = (
                    hour + 1 + i64::from(0.5 < chance()) + 2 * i64::from(0.75 < chance()),
                    3.0 * (1.4 * (chance() - 0.5)).exp(),
                );
            }
            let level = 1.0 + (chance() - 0.5);
            weeks.note(hour, 0.3 * level + if hour < burst.0 { burst.1 } else { 0.0 });
        }
    }
    in_vain.len()
}

#[test]
fn chance_peaks_are_seldom_prepared_for() {
    for (bursts_a_week, most) in [(0.0, 0), (0.5, 12), (2.0, 48), (3.5, 72)] {
        let in_vain = weeks_in_vain(bursts_a_week);
        println!("{bursts_a_week} bursts a week: {in_vain} of 400 weeks");
        assert!(in_vain <= most, "{bursts_a_week} bursts a week: {in_vain} of 400 weeks");
    }
}

/// Whatever is noted in between, what is remembered of an answer is what would be found again.
#[test]
fn an_answer_that_is_remembered_is_the_answer() {
    let mut weeks = Weeks::default();
    let mut peaks = 0;
    for step in 0..6 * 7 * 288 {
        let at = MONDAY * HOUR_SECONDS + step * 300;
        let hour = hour_of(at + 300);
        let busy = (hour - MONDAY).rem_euclid(WEEK_HOURS) == SUNDAY;
        weeks.note(hour, if busy { 3.0 + (step % 12) as f64 } else { 1.0 });
        if step % 5000 == 0 {
            // What the monitor recorded comes late.
            weeks.note(hour - 7 * DAY_HOURS, 2.0);
        }
        let want = weeks.foreseen(at, at + 2700, &TimeZone::UTC);
        assert_eq!(weeks.foreseen_by_hour(at, at + 2700, &TimeZone::UTC), want);
        peaks += i32::from(want.is_some());
    }
    assert!(peaks > 20, "{peaks}");
}

#[test]
fn the_binomial_distribution_adds_up() {
    for (times, of, likely, want) in
        [(0, 4, 0.3, 1.0), (1, 1, 0.3, 0.3), (2, 2, 0.5, 0.25), (2, 4, 0.5, 11.0 / 16.0), (3, 2, 0.9, 0.0)]
    {
        let got = at_least(times, of, likely);
        assert!((got - want).abs() < 1e-12, "{times} of {of}: {got}");
    }
}

#[test]
fn what_is_kept_is_read_again_and_nothing_else() {
    let weeks = known(MONDAY, |hour| Some((hour % 100) as f64));
    let mut bytes = Vec::new();
    ciborium::into_writer(&weeks, &mut bytes).unwrap();
    assert!(bytes.len() < 760, "{} bytes", bytes.len());
    let again: Weeks = ciborium::from_reader(&bytes[..]).unwrap();
    assert_eq!((again.codes, again.newest), (weeks.codes, weeks.newest));
    let ring = vec![1; usize::try_from(KEPT_HOURS).unwrap()];
    for damaged in [
        Weeks { codes: vec![1; 7], newest: Some(3), asked: None },
        Weeks { codes: Vec::new(), newest: Some(3), asked: None },
        Weeks { codes: ring.clone(), newest: None, asked: None },
        Weeks { codes: ring, newest: Some(i64::MIN), asked: None },
    ] {
        let mut bytes = Vec::new();
        ciborium::into_writer(&damaged, &mut bytes).unwrap();
        assert!(ciborium::from_reader::<Weeks, _>(&bytes[..]).is_err(), "{damaged:?}");
    }
}

proptest! {
    /// What is kept of a value is not less, and 7.5 % more at most, from two hundredths of a core to a TiB.
    #[test]
    fn a_code_is_near_its_value(amount in 0.02f64..1.0e6) {
        let kept = value(code(amount));
        prop_assert!(amount <= kept * (1.0 + 1e-6) && kept < GROWTH * amount * (1.0 + 1e-6), "{kept}");
        prop_assert_eq!(code(kept), code(amount));
    }

    /// The ring says the same as a list of everything, whatever is missing.
    #[test]
    fn the_ring_agrees_with_a_plain_list(
        hours in proptest::collection::vec((0i64..90, 0.02f64..1000.0), 1..60),
    ) {
        let mut weeks = Weeks::default();
        let (mut now, mut all) = (0, std::collections::BTreeMap::<i64, u8>::new());
        for (ahead, amount) in hours {
            now += ahead;
            weeks.note(now, amount);
            let kept = all.entry(now).or_default();
            *kept = (*kept).max(code(amount));
        }
        for hour in now - KEPT_HOURS - 3..=now + 3 {
            let want = all.get(&hour).copied().filter(|_| now - KEPT_HOURS < hour);
            prop_assert_eq!(weeks.at(hour), want);
        }
    }
}
