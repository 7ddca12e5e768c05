//! One container, through the public interface.

use std::sync::LazyLock;

use jiff::Timestamp;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{ContainerRecord, Pressure, PressureLine, PressureSet};
use proptest::prelude::*;
use serde_json::json;

use super::codec::{Form, Reader, Writer};
use super::*;

const SETTINGS: Settings =
    Settings { false_alarm_share: 0.01, least_history_seconds: 86_400.0, step_seconds: 60.0 };
const DAY: i64 = 86_400;
/// Midnight at the beginning of a Monday.
const BEGIN: i64 = 1_763_942_400;

fn record(second: f64) -> ContainerRecord {
    #[expect(clippy::cast_possible_truncation, reason = "a test's times")]
    let time = Timestamp::from_microsecond((second * 1e6) as i64).unwrap();
    ContainerRecord::empty(RecordTime::utc(time))
}

fn memory(second: i64, mib: f64) -> ContainerRecord {
    ContainerRecord { memory_usage_mb: Some(mib), ..record(second as f64) }
}

/// Deterministic noise from -1 to 1.
fn noise(n: i64) -> f64 {
    let mixed = n.cast_unsigned().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// Feeds memory every `every` seconds from `from` to `to`; returns the times of the flags.
fn feed(
    state: &mut ContainerState,
    (from, to, every): (i64, i64, i64),
    value: impl Fn(i64) -> f64,
) -> Vec<i64> {
    let mut flagged = Vec::new();
    for second in (from..to).step_by(usize::try_from(every).unwrap()) {
        state.take(&SETTINGS, &memory(BEGIN + second, value(second)));
        if !state.anomalies().is_empty() {
            flagged.push(second);
        }
    }
    flagged
}

/// 500 MiB and a little noise.
fn steady(second: i64) -> f64 {
    500.0 + 10.0 * noise(second)
}

/// A container that was steady for two days.
fn learnt() -> ContainerState {
    static LEARNT: LazyLock<ContainerState> = LazyLock::new(|| {
        let mut state = ContainerState::default();
        let flagged = feed(&mut state, (0, 2 * DAY, 60), steady);
        assert!(flagged.len() < 29, "1 % of 2880: {}", flagged.len());
        state
    });
    LEARNT.clone()
}

#[test]
fn a_shift_is_found_within_five_samples_said_once_and_then_taken_for_usual() {
    let mut state = learnt();
    let mut events = Vec::new();
    let mut flagged = Vec::new();
    for second in (2 * DAY..2 * DAY + 3 * 3600).step_by(60) {
        events.extend(state.take(&SETTINGS, &memory(BEGIN + second, 2.0 * steady(second))));
        flagged.extend(state.anomalies().into_iter().map(|anomaly| (second - 2 * DAY, anomaly)));
    }
    let (first, anomaly) = &flagged[0];
    assert!(*first < 5 * 60, "{first}");
    assert_eq!(anomaly.metric, "memory_usage_mb");
    assert!((980.0..1020.0).contains(&anomaly.observed), "{anomaly:?}");
    assert!(400.0 < anomaly.expected_low && anomaly.expected_low < 500.0, "{anomaly:?}");
    assert!(500.0 < anomaly.expected_high && anomaly.expected_high < 600.0, "{anomaly:?}");
    assert!(4.0 < anomaly.score, "{anomaly:?}");
    assert!(anomaly.reason.starts_with("the working set is unusually high at "), "{}", anomaly.reason);
    // Half an hour, and not for ever.
    assert!((25..=32).contains(&flagged.len()), "{}", flagged.len());
    let told: Vec<&str> = events
        .iter()
        .map(|event| match event {
            Event::Begun(_) => "begun",
            Event::Accepted(_) => "accepted",
            Event::Ended(_) => "ended",
        })
        .collect();
    assert_eq!(told, ["begun", "accepted"]);
}

#[test]
fn a_short_burst_begins_and_ends() {
    let mut state = learnt();
    let mut told = Vec::new();
    for second in (2 * DAY..2 * DAY + 3600).step_by(60) {
        let burst = (600..720).contains(&(second - 2 * DAY));
        let value = if burst { 2000.0 } else { steady(second) };
        for event in state.take(&SETTINGS, &memory(BEGIN + second, value)) {
            told.push((second - 2 * DAY, matches!(event, Event::Begun(_)), matches!(event, Event::Ended(_))));
        }
    }
    assert_eq!(told, [(600, true, false), (960, false, true)]);
}

#[test]
fn nothing_is_flagged_before_there_is_history() {
    let mut state = ContainerState::default();
    let wild = |second: i64| if second % 7200 < 3600 { 100.0 } else { 4000.0 };
    assert_eq!(feed(&mut state, (0, DAY, 60), wild), [0_i64; 0]);
}

#[test]
fn what_comes_each_day_at_its_hour_is_usual_there_and_not_elsewhere() {
    let backup = |second: i64| {
        let at = second % DAY;
        if (2 * 3600..2 * 3600 + 1800).contains(&at) { 1500.0 + noise(second) } else { steady(second) }
    };
    let mut state = ContainerState::default();
    feed(&mut state, (0, 2 * DAY, 60), backup);
    let third = feed(&mut state, (2 * DAY, 3 * DAY, 60), backup);
    assert!(third.len() < 15, "1 % of a day: {third:?}");
    feed(&mut state, (3 * DAY, 7 * DAY, 60), backup);
    let eighth = feed(&mut state, (7 * DAY, 8 * DAY, 60), backup);
    assert!(eighth.len() < 15, "1 % of a day: {eighth:?}");
    // At noon the same is flagged.
    let noon = 8 * DAY + 12 * 3600;
    feed(&mut state, (8 * DAY, noon, 60), backup);
    let found = feed(&mut state, (noon, noon + 300, 60), |_| 1500.0);
    assert!(!found.is_empty());
}

#[test]
fn a_gap_another_cadence_and_a_clock_that_is_set_do_not_flood() {
    let usual = |state: &mut ContainerState, from: i64, every: i64| {
        let flagged = feed(state, (from, from + 400 * every, every), steady);
        assert!(flagged.len() <= 4, "from {from} every {every} s: {flagged:?}");
    };
    usual(&mut learnt(), 2 * DAY + 5 * 3600, 60);
    usual(&mut learnt(), 2 * DAY, 300);
    usual(&mut learnt(), 2 * DAY, 10);
    usual(&mut learnt(), DAY, 60);
    let mut slow = ContainerState::default();
    feed(&mut slow, (0, 5 * DAY, 300), steady);
    usual(&mut slow, 5 * DAY, 60);
    // After a gap another level is not flagged, because nobody saw the change.
    let mut state = learnt();
    assert_eq!(feed(&mut state, (3 * DAY, 3 * DAY + 3600, 60), |second| 2.0 * steady(second)), [0_i64; 0]);
}

#[test]
fn a_faster_cadence_sees_the_same_shift() {
    let mut state = ContainerState::default();
    feed(&mut state, (0, 2 * DAY, 10), steady);
    let found = feed(&mut state, (2 * DAY, 2 * DAY + 300, 10), |second| 2.0 * steady(second));
    assert!(!found.is_empty());
}

#[test]
fn a_restart_is_no_anomaly_and_a_missing_value_is_no_zero() {
    let mut state = learnt();
    let mut at = |second: i64, memory: Option<f64>, uptime: i64| {
        let uptime_seconds = Some(uptime as f64);
        let record = ContainerRecord {
            memory_usage_mb: memory,
            uptime_seconds,
            ..record((BEGIN + 2 * DAY + second) as f64)
        };
        state.take(&SETTINGS, &record);
        state.anomalies()
    };
    for minute in 0..30 {
        assert_eq!(at(60 * minute, None, 2 * DAY + 60 * minute), [], "minute {minute}");
    }
    for minute in 30..60 {
        // After a restart, it uses a tenth of what it used before.
        assert_eq!(at(60 * minute, Some(50.0), 60 * (minute - 30) + 20), [], "minute {minute}");
    }
}

#[test]
fn counters_are_watched_as_rates_and_a_reset_is_no_rate() {
    let mut state = ContainerState::default();
    let mut total: u64 = 0;
    let mut flagged = Vec::new();
    for minute in 0..2 * 1440 + 60_i64 {
        // 100 kB/s, a reset, then ten times as much.
        total += if minute < 2 * 1440 + 30 { 6_000_000 } else { 60_000_000 };
        if minute == 2 * 1440 {
            total = 0;
        }
        let mut record = record((BEGIN + 60 * minute) as f64);
        record.network_usage =
            Some(serde_json::from_value(json!({"rx_bytes": total, "tx_bytes": 0})).unwrap());
        state.take(&SETTINGS, &record);
        flagged.extend(state.anomalies().iter().map(|anomaly| (minute - 2 * 1440, anomaly.metric.clone())));
    }
    assert_eq!(flagged.first(), Some(&(30, "network_bytes_per_second".to_owned())));
}

/// State → bytes → state.
fn reread(state: &ContainerState) -> ContainerState {
    let mut writer = Writer::default();
    state.encode(&mut writer, Form::WithDoubt);
    let mut reader = Reader(&writer.0);
    let read = ContainerState::decode(&mut reader, Form::WithDoubt).unwrap();
    assert!(reader.0.is_empty());
    read
}

#[test]
fn the_state_has_a_size_that_is_stated() {
    assert!(size_of::<ContainerState>() <= 256, "{}", size_of::<ContainerState>());
    // Idle or busy in all of its metrics, each of which varies by a third.
    for (strays, at_most) in [(0.0, 800), (0.3, 1600)] {
        let mut state = ContainerState::default();
        for minute in 0..3 * 1440 {
            let level = |metric: i64| 1.0 + strays * noise(8 * minute + metric);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            let counter = |metric: i64| ((minute as f64 + level(metric)) * strays * 1e6) as u64;
            let mut made = record((BEGIN + 60 * minute) as f64);
            made.cpu_cores_used = Some(strays * level(0));
            made.memory_usage_mb = Some(500.0 * level(1));
            made.process_count = Some(20 + counter(2) % 10);
            made.io_stats = Some(serde_json::from_value(json!({"reads": counter(3), "writes": 0})).unwrap());
            made.network_usage =
                Some(serde_json::from_value(json!({"rx_bytes": counter(4), "tx_bytes": 0})).unwrap());
            let stalled = |metric| {
                let some = PressureLine { avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: counter(metric) };
                Some(Pressure { some, full: None })
            };
            made.pressure = PressureSet { cpu: stalled(5), memory: stalled(6), io: stalled(7) };
            state.take(&SETTINGS, &made);
        }
        let at_rest = state.bytes_at_rest();
        assert!((at_most / 2..=at_most).contains(&at_rest), "{at_rest} where it strays by {strays}");
    }
    let mut writer = Writer::default();
    learnt().encode(&mut writer, Form::WithDoubt);
    assert!(writer.0.len() <= 2560, "{}", writer.0.len());
}

#[test]
fn the_file_is_read_as_written_and_damage_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("below/anomaly.state");
    let vmid = lxc_autoscale_core::Vmid::try_from(104).unwrap();
    assert!(load(&path).unwrap().is_empty());
    let states = std::collections::BTreeMap::from([(vmid, Box::new(learnt()))]);
    save(&path, &states).unwrap();
    assert_eq!(load(&path).unwrap(), states);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&path, &flipped).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Damaged { .. })), "byte {at}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Damaged { .. })), "cut at {at}");
    }
}

/// State from before the levels of the week were in the file; the first byte says what the fuzzer makes of the rest.
#[test]
fn a_file_of_the_first_form_is_taken_over() {
    let learnt = include_bytes!("../../../fuzz/corpus/anomaly_state/learnt");
    let content = &learnt[1..];
    assert!(content.starts_with(b"lxc-anomal01"));
    let checksum = codec::checksum(content).to_le_bytes();
    let states = decode(&[content, &checksum].concat()).unwrap();
    assert_eq!(states.len(), 1);
    let written = encode(&states);
    assert!(written.starts_with(b"lxc-anomal03"), "what an older program reads, while there is no doubt");
    assert_eq!(decode(&written).unwrap(), states);
}

/// States from before the doubt, and before the names, were in the file, which ends with that of its only container.
#[test]
fn files_of_the_second_and_third_form_are_taken_over() {
    let vmid = lxc_autoscale_core::Vmid::try_from(104).unwrap();
    let states = std::collections::BTreeMap::from([(vmid, Box::new(learnt()))]);
    let whole = encode(&states);
    // Without the checksum and the mark of the name, of eight bytes each.
    for (magic, less) in [(b"lxc-anomal03", 8), (b"lxc-anomal02", 16)] {
        let content = [magic, &whole[12..whole.len() - less]].concat();
        let checksum = codec::checksum(&content).to_le_bytes();
        assert_eq!(decode(&[content.as_slice(), &checksum].concat()).unwrap(), states);
    }
}

/// Whether a record is taken for that of another container, after one of `old` that had been up for 500 s a minute ago.
#[track_caller]
fn check_another(old: &str, new: &str, uptime: Option<f64>, was_absent: bool, want: bool) {
    let named = |second: f64, name: &str, uptime| {
        let (stored, _) = ContainerConfig::parse(&format!("hostname: {name}\n"));
        let configuration = Some(stored).filter(|_| !name.is_empty()).map(Into::into);
        ContainerRecord { configuration, uptime_seconds: uptime, ..record(second) }
    };
    let mut state = learnt();
    state.take(&SETTINGS, &named((BEGIN + 2 * DAY) as f64, old, Some(500.0)));
    let mut state = reread(&state);
    let found = state.is_of_another(&named((BEGIN + 2 * DAY + 60) as f64, new, uptime), was_absent);
    assert_eq!(found, want, "{old} {new} {uptime:?} {was_absent}");
}

#[test]
fn an_id_that_was_given_to_another_container_is_told_from_a_renamed_one() {
    check_another("web", "db", Some(30.0), true, true);
    check_another("web", "db", Some(30.0), false, true);
    check_another("web", "web", Some(30.0), true, false);
    // Renamed while it ran, also if it could not be looked at for a while.
    check_another("web", "db", Some(560.0), false, false);
    check_another("web", "db", Some(560.0), true, false);
    // It is unknown whether it was started.
    check_another("web", "db", None, true, true);
    check_another("web", "db", None, false, false);
    // A name is unknown.
    check_another("", "db", Some(30.0), true, false);
    check_another("web", "", Some(30.0), true, false);
}

/// The other container was started while its name could not be read.
#[test]
fn an_id_that_was_given_away_while_no_name_could_be_read_is_found_out_later() {
    let named = |minute: i64, name: Option<&str>, uptime| {
        let configuration = name.map(|name| ContainerConfig::parse(&format!("hostname: {name}\n")).0.into());
        let second = (BEGIN + 2 * DAY + 60 * minute) as f64;
        ContainerRecord { configuration, uptime_seconds: Some(uptime), ..record(second) }
    };
    // The name that is read in the end, the uptime in the dark, and whether the other one was away before that.
    let rows = [
        ("db", 30.0, false, true),
        ("web", 30.0, false, false),
        ("db", 560.0, false, false),
        // Renamed, and it could not be looked at for a while.
        ("db", 560.0, true, false),
    ];
    for (name, uptime, was_absent, want) in rows {
        let mut state = learnt();
        state.take(&SETTINGS, &named(0, Some("web"), 500.0));
        for (minute, was_absent) in [(1, was_absent), (2, false)] {
            let dark = named(minute, None, uptime + 60.0 * (minute - 1) as f64);
            assert!(!state.is_of_another(&dark, was_absent), "its name is not known");
            state.take(&SETTINGS, &dark);
            state = reread(&state);
        }
        let bright = named(3, Some(name), uptime + 120.0);
        assert_eq!(state.is_of_another(&bright, false), want, "{name} {uptime}");
        state.take(&SETTINGS, &bright);
        // Once: from now on, another name is a rename.
        assert!(!state.is_of_another(&named(4, Some("www"), uptime + 180.0), false));
    }
}

/// A series that jumps between two levels each hour: no jump is flagged, a third level is, though it is no farther
/// away.
#[test]
fn a_level_that_was_never_held_is_found_in_a_restless_series() {
    let restless = |second: i64| if second / 1800 % 2 == 0 { 100.0 } else { 4000.0 };
    let mut state = ContainerState::default();
    feed(&mut state, (0, 4 * DAY, 60), restless);
    let usual = feed(&mut state, (4 * DAY, 6 * DAY, 60), restless);
    assert!(usual.len() < 29, "1 % of 2880: {usual:?}");
    for level in [20.0, 9000.0] {
        let mut state = state.clone();
        let found = feed(&mut state, (6 * DAY, 6 * DAY + 300, 60), |_| level);
        assert!(!found.is_empty(), "{level}");
    }
}

/// Work of a minute in every five, and once of six: the longer time is flagged, and nothing that was usual before.
#[test]
fn a_longer_burst_does_not_make_the_usual_unusual() {
    let bursts = |second: i64| {
        let is_long = (7 * DAY..7 * DAY + 360).contains(&second);
        let level = if is_long || second / 60 % 5 == 0 { 4000.0 } else { 100.0 };
        level * (1.0 + 0.1 * noise(second))
    };
    let mut state = ContainerState::default();
    feed(&mut state, (0, 8 * DAY, 60), bursts);
    let after = feed(&mut state, (8 * DAY, 12 * DAY, 60), bursts);
    assert!(after.len() < 57, "1 % of 5760: {}", after.len());
}

fn any_number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        Just(Some(f64::INFINITY)),
        Just(Some(f64::MAX)),
        (-10.0..1e6).prop_map(Some),
        any::<f64>().prop_map(Some),
    ]
}

fn any_record() -> impl Strategy<Value = ContainerRecord> {
    let numbers = (any_number(), any_number(), any_number());
    let counters = (any::<Option<u64>>(), any::<u64>(), any::<u64>());
    (prop_oneof![-4000.0..40_000.0, Just(60.0), Just(0.0)], numbers, counters).prop_map(
        |(after, (cpu, memory, uptime), (processes, io, network))| {
            let mut made = record(BEGIN as f64 + after);
            made.cpu_cores_used = cpu;
            made.memory_usage_mb = memory;
            made.uptime_seconds = uptime;
            made.process_count = processes;
            made.io_stats = Some(serde_json::from_value(json!({"reads": io, "writes": io})).unwrap());
            made.network_usage =
                Some(serde_json::from_value(json!({"rx_bytes": network, "tx_bytes": io})).unwrap());
            let some = PressureLine { avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: network };
            made.pressure =
                PressureSet { cpu: Some(Pressure { some, full: None }), ..PressureSet::default() };
            made
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in: the output is finite, outside of its own range, repeatable, and the same if the state was on
    /// disk in between.
    #[test]
    fn any_input_gives_finite_and_repeatable_flags(
        records in proptest::collection::vec(any_record(), 1..80),
        stop_at in 0_usize..80,
    ) {
        let settings = Settings { least_history_seconds: 0.0, step_seconds: 1.0, false_alarm_share: 0.2 };
        let (mut one, mut other) = (ContainerState::default(), ContainerState::default());
        for (index, record) in records.iter().enumerate() {
            if index == stop_at {
                other = reread(&other);
            }
            let events = one.take(&settings, record);
            prop_assert_eq!(&events, &other.take(&settings, record));
            prop_assert_eq!(&one.anomalies(), &other.anomalies());
            for anomaly in one.anomalies() {
                let numbers = [anomaly.observed, anomaly.expected_low, anomaly.expected_high, anomaly.score];
                prop_assert!(numbers.iter().all(|number| number.is_finite()), "{:?}", anomaly);
                let range = anomaly.expected_low..=anomaly.expected_high;
                prop_assert!(!range.contains(&anomaly.observed), "{:?}", anomaly);
            }
        }
    }

    /// The same over a learnt series with shifts, stopped at any moment.
    #[test]
    fn a_stop_and_start_changes_no_flag(stop_at in 0_i64..400, shift_at in 0_i64..400, factor in 0.2..5.0_f64) {
        let value = |second: i64| {
            let factor = if 2 * DAY + 60 * shift_at <= second { factor } else { 1.0 };
            factor * steady(second)
        };
        let mut one = learnt();
        let mut other = one.clone();
        let stop = 2 * DAY + 60 * stop_at;
        let whole = feed(&mut one, (2 * DAY, 2 * DAY + 24_000, 60), value);
        let mut parts = feed(&mut other, (2 * DAY, stop, 60), value);
        parts.extend(feed(&mut reread(&other), (stop, 2 * DAY + 24_000, 60), value));
        prop_assert_eq!(whole, parts);
    }

    /// Any bytes are read or refused with an error.
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let _ = ContainerState::decode(&mut Reader(&bytes), Form::WithDoubt);
    }
}
