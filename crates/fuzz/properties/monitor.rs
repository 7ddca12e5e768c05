// What must hold for any bytes that reach the parsers of the monitor. The fuzz targets look for bytes for which it
// does not; `crates/lxc-monitor/tests/corpus.rs` replays what they found so far.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::config::{Validate, parse as parse_config};
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_monitor::alerts::{engine, store as alert_store};
use lxc_monitor::anomaly;
use lxc_monitor::block_devices::diskstats_line;
use lxc_monitor::cgroup::parse as cgroup_files;
use lxc_monitor::config::MonitorConfig;
use lxc_monitor::history::import::original::{self, LocalTimes};
use lxc_monitor::history::import::scan::{Element, Scanner};
use lxc_monitor::pools;
use lxc_monitor::procfs::parse as proc_files;

/// Any control group file gives values that make sense, or an error.
pub(crate) fn cgroup(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let text = &*text;
    let second = text.split_once('\0').map_or("", |(_, second)| second);
    match which % 31 {
        0 => check_round_trip(text),
        1 => drop(cgroup_files::limit(text)),
        2 => drop(cgroup_files::limit_v1(text)),
        3 => drop(cgroup_files::cpu_stat_v2(text)),
        4 => drop(cgroup_files::throttling(text)),
        5 => check_cores(cgroup_files::cpu_max(text).ok().flatten()),
        6 => drop(cgroup_files::cfs_quota(text)),
        7 => {
            if let Ok(cpus) = cgroup_files::cpu_list(text) {
                assert!((1..=65_536).contains(&cpus), "{cpus}");
            }
        }
        8 => {
            if let Ok((memory, _)) = cgroup_files::memory_stat_v2(text) {
                assert_eq!(cgroup_files::memory_stat_v2(text).map(|(again, _)| again).ok(), Some(memory));
            }
        }
        9 | 10 => drop(cgroup_files::memory_stat_v1(text)),
        11 => drop(cgroup_files::memory_events(text)),
        12 => {
            if let Ok(devices) = cgroup_files::io_stat(text) {
                assert!(devices.len() <= text.split_whitespace().count());
            }
        }
        13 => drop(cgroup_files::blkio(text, second)),
        14 => drop(cgroup_files::populated(text)),
        15 => {
            if let Ok(processes) = cgroup_files::processes(text) {
                assert!(processes.len() <= text.split_whitespace().count());
            }
        }
        16 => drop(cgroup_files::oom_kill_v1(text)),
        17 => drop(proc_files::network_devices(text)),
        18 => drop(proc_files::start_ticks(text)),
        19 => drop(proc_files::is_container_init(text)),
        20 => drop(proc_files::process_io(text)),
        21 => drop(proc_files::arc(text)),
        22 => drop(proc_files::vmstat(text)),
        23 => drop(cgroup_files::memory_swap_events(text)),
        24 => drop(cgroup_files::pids_events(text)),
        26 => {
            if let Ok((name, _)) = proc_files::dataset(text) {
                assert!(text.contains(&name));
            }
        }
        27 => drop(proc_files::threads(text)),
        28 => assert!(pools::parse(text).values().all(|pool| text.contains(pool))),
        29 => drop(proc_files::boot_id(text)),
        30 => {
            if let Some((_, name)) = diskstats_line(text) {
                assert!(!name.is_empty() && text.contains(name));
            }
        }
        _ => {
            if let Ok(ids) = cgroup_files::cpu_ids(text) {
                assert_eq!(cgroup_files::cpu_list(text).ok().map(|cpus| cpus as usize), Some(ids.len()));
            }
        }
    }
}

/// A configuration is refused with a reason or follows every rule.
pub(crate) fn monitor_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_config::<MonitorConfig>(text) {
        Ok(config) => {
            assert!(config.validate().is_ok());
            assert!(!config.interval().is_zero());
        }
        Err((line, problem)) => {
            assert!(line <= text.lines().count() + 1, "line {line}: {problem}");
            assert!(!problem.to_string().is_empty());
        }
    }
}

/// The elements of a metrics file lie in it one after the other, and each is read as a snapshot or not.
pub(crate) fn import_scan(bytes: &[u8]) {
    let mut scanner = Scanner::new(bytes);
    let mut times = LocalTimes::new(TimeZone::UTC);
    let (mut end, mut whole) = (0, Vec::new());
    while let Some(element) = scanner.next().unwrap() {
        match element {
            Element::Object { offset, text } => {
                let begin = usize::try_from(offset).unwrap();
                assert!(end <= begin, "an element begins within the one before it");
                end = begin + text.len();
                assert_eq!(bytes.get(begin..end), Some(text), "not what the file holds");
                if let Ok(Some((cycle, _))) = original::parse(text, &mut times) {
                    assert!(cycle.series.is_sorted_by_key(|(series, ..)| *series));
                }
                whole.push(text.to_vec());
            }
            Element::Damaged { offset } => assert!(usize::try_from(offset).unwrap() < bytes.len()),
        }
    }
    assert_eq!(scanner.position(), bytes.len() as u64, "the rest was not read");
    // On one line, where no line break can be taken for the beginning of an element, all of a whole array is found.
    let array = serde_json::from_slice::<Vec<&serde_json::value::RawValue>>(bytes);
    if let (Ok(elements), false) = (array, bytes.contains(&b'\n')) {
        let objects = elements.iter().map(|element| element.get().as_bytes());
        let objects = objects.filter(|element| element.starts_with(b"{"));
        assert!(objects.eq(whole.iter().map(Vec::as_slice)), "{}", String::from_utf8_lossy(bytes));
    }
}

/// A saved state of the alerts is refused, or can be gone on from and saved.
pub(crate) fn alert_state(bytes: &[u8]) {
    let Ok(saved) = alert_store::parse(bytes) else { return };
    check_saved(&saved);
    let config = MonitorConfig::default();
    let settings = config.alerts.settings(config.interval());
    let mut state = saved.state;
    for time in TIMES {
        let rules_before = rules_in(&state);
        let outcome = engine::evaluate(&settings, &snapshot(time), state);
        assert!(outcome.transitions.len() <= 2 * settings.rules.rules.len() + rules_before);
        state = outcome.state;
    }
    check_saved(&alert_store::Saved { state, outbox: saved.outbox });
}

/// What is saved is loaded; numbers of more than fifteen digits to the last but one.
fn check_saved(saved: &alert_store::Saved) {
    let again = alert_store::parse(&alert_store::encode(saved).unwrap()).unwrap();
    let without_runs = |saved: &alert_store::Saved| {
        let mut containers = saved.state.containers.clone();
        for remembered in containers.values_mut() {
            remembered.run = None;
        }
        containers
    };
    assert_eq!(without_runs(&again), without_runs(saved));
    assert_eq!(again.state.last_cycle, saved.state.last_cycle);
    assert_eq!(again.outbox.len(), saved.outbox.len());
    let alerts = |saved: &alert_store::Saved| {
        let rules = |(subject, alerts): (&_, &std::collections::BTreeMap<String, _>)| {
            (*subject, alerts.keys().cloned().collect::<Vec<_>>())
        };
        saved.state.alerts.iter().map(rules).collect::<Vec<_>>()
    };
    assert_eq!(alerts(&again), alerts(saved));
}

fn rules_in(state: &lxc_monitor::alerts::state::State) -> usize {
    state.alerts.values().map(std::collections::BTreeMap::len).sum()
}

/// What was learnt is refused, or can be gone on from; and whatever is measured, what is learnt of it can be kept.
pub(crate) fn anomaly_state(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    if which % 2 == 0 { check_learnt(bytes) } else { check_learning(bytes) }
}

fn check_learnt(content: &[u8]) {
    let checksum = content.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let bytes = [content, &checksum.to_le_bytes()].concat();
    let Ok(mut states) = anomaly::decode(&bytes) else { return };
    assert_eq!(anomaly::decode(&anomaly::encode(&states)).as_ref(), Ok(&states));
    let settings = MonitorConfig::default().anomaly.settings();
    for time in TIMES {
        let snapshot = snapshot(time);
        for (state, record) in states.values_mut().zip(snapshot.containers.values()) {
            state.take(&settings, record);
            let _ = state.anomalies();
        }
    }
}

/// Records made of eleven bytes each: seconds since the one before, and two values.
fn check_learning(bytes: &[u8]) {
    let settings =
        anomaly::Settings { least_history_seconds: 0.0, ..MonitorConfig::default().anomaly.settings() };
    let mut state = anomaly::ContainerState::default();
    let mut record = snapshot(TIMES[0]).containers.into_values().next().unwrap();
    let mut second = record.timestamp.instant().as_second();
    for piece in bytes.chunks_exact(11) {
        let step = i16::from_le_bytes([piece[0], piece[1]]);
        // A little as a rule; days, and back, too.
        second += if piece[10] % 16 == 0 { i64::from(step) * 1000 } else { i64::from(step % 100) };
        record.timestamp = RecordTime::utc(Timestamp::from_second(second).unwrap());
        record.memory_usage_mb =
            Some(f64::from(f32::from_le_bytes([piece[2], piece[3], piece[4], piece[5]])));
        record.cpu_cores_used =
            Some(f64::from(u32::from_le_bytes([piece[6], piece[7], piece[8], piece[9]])) / 1e3);
        record.uptime_seconds = Some(f64::from(piece[10]) * 100.0);
        state.take(&settings, &record);
        assert!(
            state.anomalies().iter().all(|anomaly| anomaly.score.is_finite() && anomaly.observed.is_finite())
        );
    }
    let states = [("104".parse().unwrap(), state.into())].into();
    assert_eq!(anomaly::decode(&anomaly::encode(&states)).as_ref(), Ok(&states), "what was learnt is lost");
}

/// Forward, far forward, and back.
const TIMES: [&str; 5] = [
    "2026-11-23T17:20:00Z",
    "2026-11-23T17:21:00Z",
    "2026-11-23T18:21:00Z",
    "2099-01-01T00:00:00Z",
    "2026-11-23T17:22:00Z",
];

/// A container that does something, at a time.
fn snapshot(time: &str) -> Snapshot {
    serde_json::from_str(&format!(
        r#"{{"summary":{{"collection_start_time":"{time}","collection_end_time":"{time}","total_containers":1,
        "total_duration_seconds":0.5,"schema_version":1}},"104":{{"timestamp":"{time}","cpu_usage_percent":99.0,
        "cpu_cores_used":1.5,"memory_usage_mb":500.0,"process_count":20,"uptime_seconds":86400.0}}}}"#
    ))
    .unwrap()
}

fn check_round_trip(text: &str) {
    if let Ok(number) = cgroup_files::number(text) {
        assert_eq!(cgroup_files::number(&number.to_string()).ok(), Some(number));
    }
}

fn check_cores(cores: Option<f64>) {
    assert!(cores.is_none_or(|cores| cores.is_finite() && 0.0 <= cores), "{cores:?}");
}
