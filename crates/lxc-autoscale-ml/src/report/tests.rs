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
    let made =
        |resource, from, to| Made { at: at(24), resource, from, to, is_revert: false, by_people: false };
    Known {
        id: Vmid::try_from(104).unwrap(),
        name: None,
        first_cores: Some(First { size: 4.0, at: at(0) }),
        first_memory: Some(First { size: 4096.0, at: at(0) }),
        hours: (0..48).map(hour).collect(),
        changes: vec![made(Resource::Cpu, 4.0, 1.0), made(Resource::Memory, 4096.0, 1024.0)],
        failed: 2,
    }
}

#[test]
fn what_is_held_less_than_at_first_is_freed() {
    let got = account(&known(), at(0), at(48));
    let want = Held { covered_hours: 48.0, provisioned: 192.0, held: 24.0 * 5.0, used: 24.0 };
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

#[test]
fn a_container_that_grew_has_freed_less_than_nothing() {
    let mut known = known();
    known.first_cores = Some(First { size: 0.5, at: at(0) });
    assert!(account(&known, at(24), at(48)).cpu.freed() < 0.0);
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
