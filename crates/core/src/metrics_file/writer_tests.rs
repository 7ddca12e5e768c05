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
    // A step in either direction starts again from zero.
    check_steady(&[0, 60, 1_000_000, 1_000_060], 60);
    check_steady(&[0, 60, -1_000_000, -999_900], 100);
}

/// What follows the last record is the backlog and the newest snapshot. Afterwards the same is known of it, and if it
/// could not be published, the backlog is unchanged.
#[test]
fn an_addition_is_the_backlog_and_the_newest_each_behind_a_separator() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 1 << 20, max_age: Duration::from_hours(1) };
    let (mut writer, _) = MetricsWriter::open(directory.path().join("metrics.json"), bounds).unwrap();
    let text = r#"{"summary":{"collection_start_time":"2026-11-23T17:20:00+00:00","collection_end_time":"2026-11-23T17:20:01+00:00","total_containers":0,"total_duration_seconds":1.0}}"#;
    let newest: Arc<Snapshot> = serde_json::from_str::<Snapshot>(text).unwrap().into();
    let records = [b",\n{\"a\":1}".to_vec(), b",\n{\"b\":2}".to_vec()];
    for (count, has_newest, is_first, want) in [
        (1, false, true, "\n{\"a\":1}\n]\n".to_owned()),
        (1, false, false, ",\n{\"a\":1}\n]\n".to_owned()),
        (2, false, true, "\n{\"a\":1},\n{\"b\":2}\n]\n".to_owned()),
        (2, false, false, ",\n{\"a\":1},\n{\"b\":2}\n]\n".to_owned()),
        (0, true, true, format!("\n{text}\n]\n")),
        (0, true, false, format!(",\n{text}\n]\n")),
    ] {
        writer.backlog = Backlog::of(&records[..count]);
        writer.newest = has_newest.then(|| Arc::clone(&newest));
        let mut written = Vec::new();
        writer.write_addition(&mut written, is_first).unwrap();
        assert_eq!(String::from_utf8_lossy(&written), want);
        assert_eq!(writer.backlog.records(), &records[..count], "{count} records, {is_first}");
        let addition = writer.take_addition(is_first);
        assert_eq!(String::from_utf8_lossy(&addition.bytes().unwrap()), want);
        assert!(writer.backlog.is_empty() && writer.newest.is_none());
    }
}
