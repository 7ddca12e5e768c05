use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

#[track_caller]
fn check_steady(seconds: &[i64], want_seconds: u64) {
    let mut clock = Clock::default();
    for second in seconds {
        clock.pass(at(*second));
    }
    assert_eq!(clock.steady, Duration::from_secs(want_seconds));
}

#[test]
fn a_clock_is_believed_for_as_long_as_its_records_came_evenly() {
    check_steady(&[0], 0);
    check_steady(&[0, 60, 120], 120);
    // A step in either direction begins anew.
    check_steady(&[0, 60, 1_000_000, 1_000_060], 60);
    check_steady(&[0, 60, -1_000_000, -999_900], 100);
}
