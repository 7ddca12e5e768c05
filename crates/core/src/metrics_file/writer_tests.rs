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

#[test]
fn what_could_not_be_published_is_taken_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 1 << 20, max_age: Duration::from_hours(1) };
    let (mut writer, _) = MetricsWriter::open(directory.path().join("metrics.json"), bounds).unwrap();
    let records = [b",\n{\"a\":1}".to_vec(), b",\n{\"b\":2}".to_vec()];
    for (count, is_first, want) in [
        (1, true, "\n{\"a\":1}\n]\n"),
        (1, false, ",\n{\"a\":1}\n]\n"),
        (2, true, "\n{\"a\":1},\n{\"b\":2}\n]\n"),
        (2, false, ",\n{\"a\":1},\n{\"b\":2}\n]\n"),
    ] {
        writer.backlog = records[..count].to_vec();
        let addition = writer.take_addition(is_first);
        assert_eq!(String::from_utf8_lossy(&addition), want);
        writer.put_back(addition, is_first);
        assert_eq!(writer.backlog, records[..count], "{count} records, {is_first}");
    }
}
