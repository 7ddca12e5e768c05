//! Rates and events between two cycles.

use super::*;

fn reading(at_seconds: f64, uptime: Option<f64>, rx: u64, oom_kills: u64) -> Readings {
    #[expect(clippy::cast_possible_truncation, reason = "small test times")]
    let mut readings = Readings::empty((at_seconds * 1000.0) as i64);
    readings.run.uptime_seconds = uptime;
    readings.count(Metric::NetRx, Some(rx));
    readings.count(Metric::OomKills, Some(oom_kills));
    readings
}

/// The same on a node with this uptime.
fn on_node(node_uptime: f64, mut reading: Readings) -> Readings {
    reading.run.node_uptime_seconds = Some(node_uptime);
    reading
}

/// The network rate and the OOM kills between two readings.
#[track_caller]
fn check(before: &Readings, now: &Readings, want_rate: Option<f64>, want_kills: Option<f64>) {
    let codes = sample(Some(&Last::of(before, 0)), None, now);
    let value = |metric: Metric| {
        codes
            .get(metric)
            .map(|code| lxc_autoscale_core::history_store::code::decode(code, metric.resolution()))
    };
    assert_eq!((value(Metric::NetRx), value(Metric::OomKills)), (want_rate, want_kills));
}

#[test]
fn a_rate_is_one_of_the_same_run_and_the_same_clock() {
    let before = reading(0.0, Some(1000.0), 1_600_000, 1);
    check(&before, &reading(60.0, Some(1060.0), 1_600_000 + 96_000, 1), Some(1600.0), Some(0.0));
    check(&before, &reading(60.0, None, 1_600_000, 3), Some(0.0), Some(2.0));
    // A restart: both counters started anew.
    check(&before, &reading(60.0, Some(30.0), 5000, 2), None, Some(2.0));
    // A restart that the counter does not show.
    check(&before, &reading(60.0, Some(30.0), 9_000_000, 4), None, Some(4.0));
    // The counter went back without a restart, as the sum of cgroup v1 does when a group is removed.
    check(&before, &reading(60.0, Some(1060.0), 16, 0), None, None);
    // The clock was set forward and back; events are counted all the same.
    let before = on_node(5000.0, before);
    check(&before, &on_node(5060.0, reading(7200.0, Some(1060.0), 1_700_000, 2)), None, Some(1.0));
    check(&before, &on_node(5060.0, reading(-600.0, Some(1060.0), 1_700_000, 2)), None, Some(1.0));
    // Too long, and too short.
    check(&before, &on_node(12300.0, reading(7300.0, Some(8300.0), 1_700_000, 1)), None, Some(0.0));
    check(&before, &on_node(5000.0, reading(0.0, Some(1000.0), 1_700_000, 1)), None, Some(0.0));
}

/// A restarted container can soon have a longer uptime than before, and higher counters.
#[test]
fn no_kill_of_a_young_container_is_lost_with_its_restart() {
    let before = on_node(5000.0, reading(0.0, Some(10.0), 1000, 1));
    check(&before, &on_node(5060.0, reading(60.0, Some(30.0), 5000, 1)), None, Some(1.0));
    check(&before, &on_node(5060.0, reading(60.0, Some(70.0), 97_000, 1)), Some(1600.0), Some(0.0));
    // Records without the node's uptime.
    let (before, after) = (reading(0.0, Some(10.0), 1000, 1), reading(60.0, Some(30.0), 5000, 3));
    check(&before, &after, None, Some(3.0));
}

/// The kills of a container that was not in the previous cycle, which had a node that was up for 5000 s.
#[test]
fn a_run_that_began_after_the_previous_cycle_counts_from_zero() {
    let kills = |before: &Cycle, now: Readings| {
        let mut rates = Rates::default();
        rates.samples(before);
        let series = vec![(Series::from_raw(104), None, now)];
        let codes = rates.samples(&Cycle { at_ms: 60_000, series })[0].1;
        let code = codes.get(Metric::OomKills)?;
        Some(lxc_autoscale_core::history_store::code::decode(code, Metric::OomKills.resolution()))
    };
    let node = on_node(5000.0, Readings::empty(0));
    let before = Cycle { at_ms: 0, series: vec![(Series::NODE, None, node)] };
    let at_60 = |uptime, kills| on_node(5060.0, reading(60.0, uptime, 1000, kills));
    assert_eq!(kills(&before, at_60(Some(30.0), 4)), Some(4.0));
    assert_eq!(kills(&before, at_60(Some(30.0), 0)), Some(0.0));
    assert_eq!(kills(&before, at_60(Some(70.0), 4)), None, "it ran, and could not be looked at");
    assert_eq!(kills(&before, at_60(None, 4)), None);
    let without_uptime = Cycle { at_ms: 0, series: Vec::new() };
    assert_eq!(kills(&without_uptime, reading(60.0, Some(30.0), 1000, 4)), Some(4.0));
    // The first cycle of a new monitor.
    let series = vec![(Series::from_raw(104), None, at_60(Some(0.1), 4))];
    assert_eq!(Rates::default().samples(&Cycle { at_ms: 60_000, series })[0].1, Codes::NONE);
}

/// The node lost its power soon after a boot, and is up for longer than then.
#[test]
fn another_boot_is_another_run_whatever_the_uptimes_say() {
    let in_boot = |boot: &str, mut reading: Readings| {
        reading.run.boot = Some(boot.parse().unwrap());
        reading
    };
    let before = on_node(100.0, reading(0.0, Some(90.0), 1000, 1));
    let after = on_node(200.0, reading(100.0, Some(190.0), 9000, 3));
    let (one, other) = ("0a9cb1de7a5e4f7c", "7777b1de7a5e4f7c");
    check(&in_boot(one, before.clone()), &in_boot(one, after.clone()), Some(80.0), Some(2.0));
    check(&in_boot(one, before), &in_boot(other, after), None, Some(3.0));
}

/// Its counter could not be read in the previous cycle.
#[test]
fn kills_of_a_new_run_are_counted_where_those_of_the_last_were_unknown() {
    let mut before = on_node(5000.0, reading(0.0, Some(500.0), 1000, 1));
    before.count(Metric::OomKills, None);
    check(&before, &on_node(5060.0, reading(60.0, Some(30.0), 5000, 3)), None, Some(3.0));
    check(&before, &on_node(5060.0, reading(60.0, Some(560.0), 97_000, 3)), Some(1600.0), None);
}

#[test]
fn the_rates_of_the_node_are_absent_when_the_clock_was_set() {
    let stalled = |at_seconds: i64, node_uptime: f64, microseconds: u64| {
        let text = format!(
            r#"{{"summary":{{"collection_start_time":"{0}","collection_end_time":"{0}","total_containers":0,
            "total_duration_seconds":0.1,"node":{{"name":"pve","uptime_seconds":{node_uptime},
            "pressure":{{"cpu":{{"some":{{"avg10":0.0,"avg60":0.0,"avg300":0.0,"total_usec":{microseconds}}}}}}}}}}}}}"#,
            jiff::Timestamp::from_second(1_700_000_000 + at_seconds).unwrap()
        );
        Cycle::from(&serde_json::from_str::<Snapshot>(&text).unwrap())
    };
    // Of 60 s it was stalled for 30; the clock continues, or is set back or ahead by half a minute.
    for (at_seconds, want) in [(60, Some(50.0)), (30, None), (90, None)] {
        let mut rates = Rates::default();
        rates.samples(&stalled(0, 1000.0, 0));
        let found = rates.samples(&stalled(at_seconds, 1060.0, 30_000_000));
        let (metric, codes) = (Metric::PressureCpuSome, found[0].1);
        let percent = codes
            .get(metric)
            .map(|code| lxc_autoscale_core::history_store::code::decode(code, metric.resolution()));
        assert_eq!(percent, want, "{at_seconds}");
    }
}

/// The state for the next rates is most of the history's memory: some hundred bytes per container.
#[test]
fn little_is_kept_of_a_series_and_series_come_and_go() {
    assert!(size_of::<(Series, Last)>() <= 248, "{} bytes", size_of::<(Series, Last)>());
    let cycle = |second: i64, ids: &[u32]| {
        let reading = |id: &u32| {
            let rx = u64::from(*id) * 1600 * u64::try_from(second).unwrap();
            (Series::from_raw(*id), None, reading(second as f64, None, rx, 0))
        };
        Cycle { at_ms: 1000 * second, series: ids.iter().map(reading).collect() }
    };
    let mut rates = Rates::default();
    let mut ids_with_a_rate = |second: i64, ids: &[u32]| {
        let samples = rates.samples(&cycle(second, ids));
        let with_rate = samples.iter().filter(|(_, codes)| codes.get(Metric::NetRx).is_some());
        with_rate.map(|(series, _)| series.get()).collect::<Vec<_>>()
    };
    assert_eq!(ids_with_a_rate(0, &[0, 105, 200]), [0; 0]);
    assert_eq!(ids_with_a_rate(60, &[0, 104, 105]), [0, 105]);
    assert_eq!(ids_with_a_rate(120, &[0, 104, 200]), [0, 104, 200]);
    // A day later there is no state of any of them.
    assert_eq!(ids_with_a_rate(100_000, &[104]), [0; 0]);
    assert_eq!(ids_with_a_rate(100_060, &[104, 105]), [104]);
}

#[test]
fn without_a_previous_cycle_there_is_no_rate_and_no_zero() {
    let codes = sample(None, None, &reading(0.0, Some(5.0), 7, 7));
    assert_eq!(codes, Codes::NONE);
}

#[test]
fn a_record_becomes_levels_with_what_it_has_and_nothing_else() {
    let text = r#"{"104":{"timestamp":"2026-11-23T17:20:00+00:00","cpu_cores_used":1.5,"cpu_throttled_share":0.25,
        "memory_usage_mb":512.25,"filesystem_usage_gb":2.0,"limits":{"cores":2.0,"memory_mb":1024.0},
        "memory":{"current_mb":700.0,"anon_mb":400.0,"file_mb":200.0,"shmem_mb":0.0,"inactive_file_mb":0.0,"active_file_mb":0.0,"dirty_mb":0.0}},
        "summary":{"collection_start_time":"2026-11-23T17:20:00+00:00","collection_end_time":"2026-11-23T17:20:00+00:00",
        "total_containers":1,"total_duration_seconds":0.1,"schema_version":1}}"#;
    let snapshot: Snapshot = serde_json::from_str(text).unwrap();
    let cycle = Cycle::from(&snapshot);
    let [(series, None, readings)] = cycle.series.as_slice() else { panic!("{cycle:?}") };
    assert_eq!(series.get(), 104);
    let found: Vec<_> = Metric::ALL
        .iter()
        .filter_map(|metric| {
            let code = readings.levels.get(*metric)?;
            Some((metric.name(), lxc_autoscale_core::history_store::code::decode(code, metric.resolution())))
        })
        .collect();
    assert_eq!(found.len(), 7, "{found:?}");
    let of = |name| found.iter().find(|(found, _)| *found == name).unwrap().1;
    assert!((of("cpu") - 1.5).abs() < 1e-9 && (of("throttled") - 25.0).abs() < 1e-9);
    assert!((of("memory") - 512.25).abs() < 0.26 && (of("memory_without_cache") - 500.0).abs() < 1e-9);
    assert!((of("rootfs_used") - 2048.0).abs() < 1e-9 && (of("memory_limit") - 1024.0).abs() < 1e-9);
}

#[test]
fn another_container_may_be_one_that_was_away_or_has_restarted() {
    const OTHER: Series = Series::from_raw(105);
    let cycle = |readings: Option<Readings>| Cycle {
        at_ms: 0,
        series: readings.into_iter().map(|readings| (OTHER, None, readings)).collect(),
    };
    // Its uptime at second 0, whether it was there at second 60, its uptime at second 120.
    let rows = [
        ("it ran on", Some(1000.0), true, Some(1120.0), false),
        ("it has restarted", Some(1000.0), true, Some(20.0), true),
        ("it was away", Some(1000.0), false, Some(20.0), true),
        ("it could not be read for a while, but ran on", Some(1000.0), false, Some(1120.0), false),
        ("it was away, and nothing else is known", None, false, None, true),
        ("nothing is known, but it was there", None, true, None, false),
    ];
    for (what, before, was_there, now, want) in rows {
        let mut rates = Rates::default();
        assert!(rates.may_be_another(OTHER, &reading(0.0, before, 0, 0)), "{what}: nothing was known before");
        rates.samples(&cycle(Some(reading(0.0, before, 0, 0))));
        let between = reading(60.0, before.map(|seconds| seconds + 60.0), 0, 0);
        rates.samples(&cycle(was_there.then_some(between)));
        assert_eq!(rates.may_be_another(OTHER, &reading(120.0, now, 0, 0)), want, "{what}");
    }
}
