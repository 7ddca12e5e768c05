use super::*;

/// The beginning of an hour.
const START: i64 = 1_800_000_000;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(START + 3600 * hour).unwrap()
}

/// A container with 4 cores and 4 GiB that was set to 1 core and 1 GiB at hour 24, and used half a core and 512 MiB.
fn known() -> Known {
    let hour = |hour: i64| {
        let before = hour < 24;
        Hour {
            start_seconds: START + 3600 * hour,
            cores: Some(if before { 4.0 } else { 1.0 }),
            cores_used: Some(0.5),
            memory_mib: Some(if before { 4096.0 } else { 1024.0 }),
            memory_used_mib: Some(512.0),
            throttled_percent: Some(if before { 0.0 } else { 3.0 }),
            pressure_percent: Some(0.1),
            oom_kills: Some(if hour == 30 { 1.0 } else { 0.0 }),
        }
    };
    let made = |resource, from, to| Made {
        at: at(24),
        resource,
        from,
        to,
        is_revert: false,
        by_people: false,
        is_unsure: false,
    };
    Known {
        id: Vmid::try_from(104).unwrap(),
        name: None,
        first_cores: Some(First { size: 4.0, at: at(0) }),
        first_memory: Some(First { size: 4096.0, at: at(0) }),
        hours: (0..48).map(hour).collect(),
        changes: vec![made(Resource::Cpu, 4.0, 1.0), made(Resource::Memory, 4096.0, 1024.0)],
        forgotten_before: at(-24),
        failed: 2,
    }
}

#[test]
fn what_is_held_less_than_at_first_is_freed() {
    let got = account(&known(), at(0), at(48));
    let want = Held {
        covered_hours: 48.0,
        provisioned: 192.0,
        held: 24.0 * 5.0,
        used: 24.0,
        given_more: 0.0,
        fitting: 24.0,
    };
    assert_eq!(got.cpu, want);
    assert_eq!((got.cpu.freed(), got.cpu.slack_before_percent()), (72.0, Some(87.5)));
    assert_eq!(got.cpu.slack_after_percent(), Some(80.0));
    assert_eq!((got.memory.freed(), got.memory.used), (72.0, 24.0));
    assert_eq!((got.grown, got.shrunk, got.reverted, got.failed), (0, 2, 0, 2));
    // In the second day alone, all changes are at its beginning.
    let second = account(&known(), at(24), at(48));
    assert_eq!((second.cpu.freed(), second.shrunk), (72.0, 2));
    assert_eq!(account(&known(), at(25), at(48)).shrunk, 0);
}

#[test]
fn what_was_not_measured_does_not_count() {
    let mut known = known();
    known.hours.retain(|hour| hour.start_seconds < START + 3600 * 30);
    known.hours[3].cores_used = None;
    known.hours[4].memory_mib = None;
    let got = account(&known, at(0), at(48));
    assert_eq!((got.cpu.covered_hours, got.memory.covered_hours), (29.0, 29.0));
    assert_eq!((got.cpu.provisioned, got.cpu.used), (29.0 * 4.0, 29.0 * 0.5));
    known.first_cores = None;
    assert_eq!(
        account(&known, at(0), at(48)).cpu,
        Held::default(),
        "without a first size nothing is claimed"
    );
}

/// The sizes of a CPU by hour, and our changes of it at the beginning of an hour.
fn cpu(first: f64, size: impl Fn(i64) -> f64, ours: &[(i64, f64, f64)]) -> Known {
    let mut known = known();
    known.first_cores = Some(First { size: first, at: at(0) });
    for (hour, it) in (0..).zip(&mut known.hours) {
        it.cores = Some(size(hour));
    }
    let made = |(hour, from, to): &(i64, f64, f64)| Made {
        at: at(*hour),
        resource: Resource::Cpu,
        from: *from,
        to: *to,
        is_revert: false,
        by_people: false,
        is_unsure: false,
    };
    known.changes = ours.iter().map(made).collect();
    known
}

#[test]
fn a_container_that_grew_has_freed_less_than_nothing_and_had_no_slack() {
    let mut known = cpu(0.5, |hour| if hour < 24 { 0.5 } else { 1.0 }, &[(24, 0.5, 1.0)]);
    for hour in &mut known.hours {
        hour.cores_used = Some(0.75);
    }
    let grown = account(&known, at(24), at(48)).cpu;
    assert_eq!((grown.freed(), grown.used), (-12.0, 24.0 * 0.75));
    // With what it had at first, it could not have used more than that.
    assert_eq!(grown.slack_before_percent(), Some(0.0));
    assert_eq!(grown.slack_after_percent(), Some(25.0));
}

/// Core-hours freed by us, and given more by others: in all 48 hours, and in the second day.
#[test]
fn only_our_changes_free_something() {
    let shrunk = |hour: i64| if hour < 24 { 4.0 } else { 1.0 };
    let by_hand = |hour: i64| if hour < 10 { 4.0 } else { 8.0 };
    let cases: [(&str, Known, [f64; 2], [f64; 2]); 6] = [
        ("ours", cpu(4.0, shrunk, &[(24, 4.0, 1.0)]), [72.0, 0.0], [72.0, 0.0]),
        ("by hand", cpu(4.0, shrunk, &[]), [0.0, -72.0], [0.0, -72.0]),
        (
            "made larger by hand, then made smaller by us",
            cpu(4.0, |hour| if hour < 24 { by_hand(hour) } else { 2.0 }, &[(24, 8.0, 2.0)]),
            [144.0, 4.0 * 38.0],
            [144.0, 96.0],
        ),
        (
            "made larger by hand within the hour in which we made it smaller",
            cpu(4.0, |hour| if hour < 24 { 4.0 } else { 2.0 }, &[(24, 8.0, 2.0)]),
            [144.0, 96.0],
            [144.0, 96.0],
        ),
        (
            "what we set was made smaller still by hand",
            cpu(4.0, |hour| if hour < 12 { 2.0 } else { 1.0 }, &[(0, 4.0, 2.0)]),
            [24.0, -3.0 * 36.0],
            [0.0, -72.0],
        ),
        (
            "a boost for six hours, and then what we had set",
            cpu(4.0, |hour| if (30..36).contains(&hour) { 3.0 } else { shrunk(hour) }, &[(24, 4.0, 1.0)]),
            [3.0 * 18.0, -6.0],
            [3.0 * 18.0, -6.0],
        ),
    ];
    for (what, known, all, second) in cases {
        for (since, want) in [(0, all), (24, second)] {
            let held = account(&known, at(since), at(48)).cpu;
            assert_eq!(Some([held.freed(), held.given_more]), Some(want), "{what}, from hour {since}");
        }
    }
}

#[test]
fn what_our_forgotten_changes_freed_stays_freed() {
    // It had 4 cores long ago, and was set to 2 by a change that is not stored any more.
    let mut known = cpu(4.0, |hour| if hour < 24 { 2.0 } else { 1.0 }, &[(24, 2.0, 1.0)]);
    known.forgotten_before = at(1);
    let held = account(&known, at(0), at(48)).cpu;
    assert_eq!((held.freed(), held.given_more), (2.0 * 24.0 + 3.0 * 24.0, 0.0));
    // While all are stored, somebody else set the 2 cores.
    known.forgotten_before = at(0);
    let held = account(&known, at(0), at(48)).cpu;
    assert_eq!((held.freed(), held.given_more), (24.0, -2.0 * 48.0));
}

#[test]
fn changes_of_the_container_that_had_the_id_before_are_not_its_own() {
    let mut known = cpu(4.0, |hour| if hour < 24 { 4.0 } else { 1.0 }, &[(-30, 8.0, 6.0), (24, 4.0, 1.0)]);
    known.changes[0].by_people = true;
    let got = account(&known, at(-48), at(48));
    assert_eq!((got.cpu.freed(), got.cpu.given_more), (72.0, 0.0));
    assert_eq!((got.shrunk, got.by_people), (1, 0));
    assert_eq!(got.compared, 1, "with what was before its own first change");
    // Not even where what it set is the size that somebody else gives this one.
    let known = cpu(4.0, |hour| if hour < 24 { 4.0 } else { 6.0 }, &[(-30, 8.0, 6.0)]);
    let held = account(&known, at(0), at(48)).cpu;
    assert_eq!((held.freed(), held.given_more), (0.0, 48.0));
}

#[test]
fn a_change_that_may_have_been_made_is_ours_if_its_size_shows() {
    let shrunk = |hour: i64| if hour < 24 { 4.0 } else { 1.0 };
    let cases: [(&str, Known, [f64; 2]); 4] = [
        ("it was made", cpu(4.0, shrunk, &[(24, 4.0, 1.0)]), [72.0, 0.0]),
        ("it was not", cpu(4.0, |_| 4.0, &[(24, 4.0, 1.0)]), [0.0, 0.0]),
        (
            "it was not, and somebody set that size later",
            cpu(4.0, |hour| if hour < 30 { 4.0 } else { 1.0 }, &[(24, 4.0, 1.0)]),
            [0.0, -3.0 * 18.0],
        ),
        (
            "somebody set another size",
            cpu(4.0, |hour| if hour < 24 { 4.0 } else { 2.0 }, &[(24, 4.0, 1.0)]),
            [2.0, -2.0 * 23.0],
        ),
    ];
    for (what, mut known, want) in cases {
        known.changes[0].is_unsure = true;
        let got = account(&known, at(0), at(48));
        assert_eq!(Some([got.cpu.freed(), got.cpu.given_more]), Some(want), "{what}");
        assert_eq!(got.shrunk, 0, "{what}");
    }
}

#[test]
fn what_got_worse_since_our_first_change_is_named() {
    let got = account(&known(), at(24), at(48));
    assert_eq!(got.compared, 3);
    let [throttling, kills] = got.worse.as_slice() else { panic!("{:?}", got.worse) };
    assert_eq!((throttling.sign, throttling.before, throttling.after), (Sign::Throttling, 0.0, 3.0));
    assert_eq!((kills.sign, kills.before, kills.after), (Sign::OomKills, 0.0, 1.0));
    assert_eq!((kills.hours_before, kills.hours_after), (24, 24));
    // Too short to compare: five hours after it.
    let short = account(&known(), at(24), at(29));
    assert_eq!((short.compared, short.worse.len()), (0, 0));
}

#[test]
fn the_sum_is_that_of_its_parts() {
    let one = account(&known(), at(0), at(48));
    let sum = total(&[one.clone(), one.clone()]);
    assert_eq!((sum.cpu.freed(), sum.shrunk, sum.cpu.covered_hours), (144.0, 4, 96.0));
    assert_eq!(sum.cpu.slack_before_percent(), one.cpu.slack_before_percent());
}
