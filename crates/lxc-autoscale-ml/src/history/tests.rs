//! What the history makes of snapshots.

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::metrics_file::parse_record;
use lxc_autoscale_core::snapshot::{MemoryEvents, Summary};

use super::*;
use crate::guard::disturbance::Disturbance;
use crate::observation::Observation;
use crate::recommend::{ContainerModel, RecommendConfig};

fn vmid(id: u32) -> Vmid {
    Vmid::try_from(id).unwrap()
}

fn snapshot(seconds: i64, running: &[u32], stopped: &[u32]) -> Snapshot {
    let time = RecordTime::utc(Timestamp::from_second(1_800_000_000 + seconds).unwrap());
    let record = ContainerRecord { memory_usage_mb: Some(100.0), ..ContainerRecord::empty(time) };
    Snapshot {
        containers: running.iter().map(|id| (vmid(*id), record.clone())).collect(),
        summary: Summary {
            collection_start_time: time,
            collection_end_time: time,
            total_containers: running.len() as u64,
            total_duration_seconds: 0.0,
            monitor_cpu_percent: None,
            monitor_memory_usage_mb: None,
            schema_version: None,
            stopped_containers: stopped.iter().map(|id| vmid(*id)).collect(),
            node: None,
        },
    }
}

fn history(snapshots: &[Snapshot]) -> History {
    let mut history = History::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())), 100);
    for snapshot in snapshots {
        history.take(snapshot.clone());
    }
    history
}

#[test]
fn stopped_and_vanished_containers_are_told_apart() {
    let history = history(&[snapshot(0, &[100, 101, 102], &[]), snapshot(60, &[100], &[101])]);
    let state = |id| history.container(vmid(id)).map(|container| (container.present, container.stopped));
    assert_eq!(state(100), Some((true, false)));
    assert_eq!(state(101), Some((true, true)));
    assert_eq!(state(102), Some((false, false)));
}

#[test]
fn what_vanished_is_forgotten_after_a_day_and_what_is_stopped_is_not() {
    let day = 86_400;
    let snapshots = [
        snapshot(0, &[100, 101, 102], &[]),
        snapshot(day / 2, &[100], &[101]),
        snapshot(day + 60, &[100], &[101]),
    ];
    let history = history(&snapshots);
    let known: Vec<u32> = history.containers().map(|(vmid, _)| vmid.get()).collect();
    assert_eq!(known, [100, 101]);
}

#[test]
fn a_container_that_starts_again_keeps_its_past() {
    let history = history(&[snapshot(0, &[100], &[]), snapshot(60, &[], &[100]), snapshot(120, &[100], &[])]);
    let container = history.container(vmid(100)).unwrap();
    assert!(!container.stopped);
    assert_eq!(container.features.len(), 2);
}

#[test]
fn a_clock_set_back_begins_the_history_anew() {
    let history =
        history(&[snapshot(7200, &[100], &[]), snapshot(7260, &[100], &[]), snapshot(0, &[100], &[])]);
    let container = history.container(vmid(100)).unwrap();
    assert_eq!(container.features.len(), 1);
    assert_eq!(container.observation.at, Timestamp::from_second(1_800_000_000).unwrap());
}

#[test]
fn the_same_record_twice_counts_once() {
    let history = history(&[snapshot(0, &[100], &[]), snapshot(0, &[100], &[])]);
    assert_eq!(history.container(vmid(100)).unwrap().features.len(), 1);
}

/// A snapshot of container 100 with this many OOM kills; `None` if they could not be read.
fn with_kills(seconds: i64, kills: Option<u64>) -> Snapshot {
    let mut snapshot = snapshot(seconds, &[100], &[]);
    let record = snapshot.containers.get_mut(&vmid(100)).unwrap();
    record.memory_events =
        kills.map(|kills| MemoryEvents { oom_kill: Some(kills), ..MemoryEvents::default() });
    snapshot
}

#[test]
fn an_oom_kill_shows_although_a_reading_in_between_failed() {
    let history = history(&[with_kills(0, Some(2)), with_kills(60, None), with_kills(120, Some(3))]);
    let container = history.container(vmid(100)).unwrap();
    assert_eq!(container.last_oom, Some(Timestamp::from_second(1_800_000_120).unwrap()));
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_remembered() {
    let mut first = snapshot(0, &[100], &[]);
    first.containers.get_mut(&vmid(100)).unwrap().configuration =
        Some(ContainerConfig::parse("hostname: web\n").0.into());
    let history = history(&[first, snapshot(60, &[100], &[])]);
    let container = history.container(vmid(100)).unwrap();
    assert_eq!((container.configuration(), container.name.as_deref()), (None, Some("web")));
}

#[test]
fn a_gap_is_counted() {
    let history =
        history(&[snapshot(0, &[100], &[]), snapshot(60, &[100], &[]), snapshot(7200, &[100], &[])]);
    assert_eq!(history.container(vmid(100)).unwrap().gaps, 1);
}

/// Behaviour while Proxmox holds `lock`, or in the five minutes after a start (`None`), does not change the state.
#[track_caller]
fn check_not_learnt_from(lock: Option<&str>) {
    let at_minute = |minute: i64, disturbed: bool| {
        let mut snapshot = snapshot(60 * minute, &[100], &[]);
        let record = snapshot.containers.get_mut(&vmid(100)).unwrap();
        let unrest = 10.0 * (minute % 7) as f64;
        record.memory_usage_mb = Some(if disturbed { 3000.0 } else { 300.0 + unrest });
        record.cpu_cores_used = Some(if disturbed { 3.5 } else { 0.3 });
        let started = if 600 <= minute && lock.is_none() { 600.0 } else { -1e4 };
        record.uptime_seconds = Some(60.0 * (minute as f64 - started));
        let lock = lock.filter(|_| disturbed).map(|lock| format!("lock: {lock}\n")).unwrap_or_default();
        record.configuration = Some(ContainerConfig::parse(&lock).0.into());
        snapshot
    };
    let disturbed = if lock.is_some() { 600..660 } else { 600..605 };
    // The step in which the lock was released was half under it.
    let left_out = 600..disturbed.end + i64::from(lock.is_some());
    let whole: Vec<Snapshot> =
        (0..900).map(|minute| at_minute(minute, disturbed.contains(&minute))).collect();
    let all = history(&whole);
    let container = all.container(vmid(100)).unwrap();
    let mut without = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    let mut previous = None;
    for minute in 0..900 {
        let snapshot = at_minute(minute, false);
        let record = snapshot.containers[&vmid(100)].clone();
        if !left_out.contains(&minute) {
            without.observe(&step(previous.as_ref(), &record).observation);
        }
        previous = Some(record);
    }
    let now = whole[899].summary.collection_start_time.instant();
    assert_eq!(container.model.recommend(now), without.recommend(now), "{lock:?}");
    let during = history(&whole[570..603]);
    assert_eq!(during.container(vmid(100)).unwrap().features.len(), 30, "{lock:?}");
    let want = match lock {
        Some(lock) => Disturbance::Lock { lock: lock.to_owned() },
        None => Disturbance::Start { uptime_seconds: 120.0, boot_seconds: 300 },
    };
    assert_eq!(during.container(vmid(100)).unwrap().disturbance, Some(want));
}

#[test]
fn a_backup_a_migration_and_a_start_are_not_learnt_from() {
    for lock in [Some("backup"), Some("migrate"), Some("rollback"), None] {
        check_not_learnt_from(lock);
    }
}

/// A record of container 100: its uptime and its name, as far as they could be read.
struct Read(Option<f64>, Option<&'static str>);

/// Whether the container of the last record is taken for the one that ran as `db` for an hour. Each step is a record, a
/// minute after the one before; `None` is one that does not list it.
fn is_still_db(steps: &[Option<Read>]) -> bool {
    let at_minute = |minute: i64, step: &Option<Read>| {
        let Some(Read(uptime_seconds, name)) = step else { return snapshot(60 * minute, &[], &[]) };
        let mut snapshot = snapshot(60 * minute, &[100], &[]);
        let record = snapshot.containers.get_mut(&vmid(100)).unwrap();
        record.uptime_seconds = *uptime_seconds;
        record.configuration =
            name.map(|name| ContainerConfig::parse(&format!("hostname: {name}\n")).0.into());
        snapshot
    };
    let mut history = history(&[]);
    for minute in 0..60 {
        history.take(at_minute(minute, &Some(Read(Some(1e6 + 60.0 * minute as f64), Some("db")))));
    }
    for (minute, step) in (60..).zip(steps) {
        history.take(at_minute(minute, step));
    }
    60 <= history.container(vmid(100)).unwrap().features.len()
}

#[test]
fn the_first_configuration_that_can_be_read_tells_whose_the_id_is() {
    let runs_on = |minute: i64, name| Some(Read(Some(1e6 + 60.0 * (60 + minute) as f64), name));
    let started = |seconds: i64, name| Some(Read(Some(seconds as f64), name));
    let unread = || Some(Read(None, None));
    for (why, is_db, steps) in [
        ("renamed while it ran", true, vec![runs_on(0, Some("web"))]),
        ("renamed while it could not be read", true, vec![runs_on(0, None), runs_on(1, Some("web"))]),
        ("restarted", true, vec![started(400, Some("db"))]),
        ("restarted, and not read at first", true, vec![started(400, None), started(460, Some("db"))]),
        ("away, and not read at first", true, vec![None, runs_on(1, None), runs_on(2, Some("db"))]),
        ("replaced", false, vec![started(20, Some("web"))]),
        ("not read at first", false, vec![started(20, None), started(80, Some("web"))]),
        ("not read twice", false, vec![started(20, None), started(80, None), started(140, Some("web"))]),
        ("away, and not read at first", false, vec![None, runs_on(1, None), runs_on(2, Some("web"))]),
        ("away while in doubt", false, vec![started(20, None), None, None, started(200, Some("web"))]),
        ("nothing read at first", false, vec![unread(), started(80, Some("web"))]),
        ("a record without anything, and the same", true, vec![unread(), started(80, Some("db"))]),
        ("decided once", true, vec![started(20, None), started(80, Some("db")), started(140, Some("web"))]),
    ] {
        assert_eq!(is_still_db(&steps), is_db, "{why}");
    }
}

/// A past that notes whom it was asked about.
#[derive(Debug, Default)]
struct AskedPast(Arc<std::sync::Mutex<Vec<Vmid>>>);

impl Past for AskedPast {
    fn of(&mut self, id: Vmid, _: Option<&str>, _: Timestamp, _: Timestamp) -> Option<Vec<Observation>> {
        self.0.lock().unwrap().push(id);
        Some(Vec::new())
    }

    fn hours_of(&mut self, _: Vmid, _: Option<&str>, _: Timestamp, _: Timestamp) -> Option<Vec<HourPeak>> {
        Some(Vec::new())
    }

    fn rest(&mut self) {}
}

/// Where there is no Proxmox, no record ever has a configuration. One that could not be read may name another container.
#[test]
fn the_stored_past_is_asked_for_unless_a_configuration_could_not_be_read() {
    for (why, missing, want) in
        [("there is none", None, vec![vmid(104)]), ("unreadable", Some("permission denied"), Vec::new())]
    {
        let past = AskedPast::default();
        let asked = Arc::clone(&past.0);
        let mut history = History::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())), 100);
        history.look_back_to(Box::new(past));
        for minute in 0..3 {
            let mut snapshot = snapshot(60 * minute, &[104], &[]);
            for record in snapshot.containers.values_mut() {
                if let Some(reason) = missing {
                    record.missing.insert("configuration", reason.into());
                }
            }
            history.take(snapshot);
        }
        assert_eq!(*asked.lock().unwrap(), want, "{why}");
    }
}

/// A file of the Python original has no configuration, no limits and none of our counters. What it calls memory is
/// no working set, and 105 could not be read: zeros.
#[test]
fn a_record_of_the_original_gives_what_it_has() {
    let text = include_str!("../../../core/tests/fixtures/record_of_the_original.json");
    let history = history(&[parse_record(text.as_bytes()).unwrap()]);
    for id in [104, 105] {
        let container = history.container(vmid(id)).unwrap();
        assert_eq!(container.observation, Observation::unknown(container.observation.at), "{id}");
        assert_eq!(container.features.len(), 1);
        assert_eq!(container.configuration(), None);
        let recommended = container.model.recommend(container.observation.at);
        assert_eq!((recommended.cpu, recommended.memory), (None, None), "{id}");
    }
}
