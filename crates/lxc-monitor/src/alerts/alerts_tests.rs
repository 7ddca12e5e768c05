use lxc_autoscale_core::notification::{Consumer, Kind, Notification, NotificationId};
use lxc_autoscale_core::snapshot::{ContainerRecord, Summary};
use lxc_autoscale_core::{RecordTime, Vmid};
use std::path::Path;

use super::*;

fn vmid() -> Vmid {
    Vmid::try_from(104).unwrap()
}

fn config(directory: &Path) -> MonitorConfig {
    let mut config = MonitorConfig::default();
    config.alerts.state_file = directory.join("alerts.json");
    config.notifications.directory = directory.join("notifications");
    let rule = config.alerts.rules.get_mut("cpu").unwrap();
    (rule.for_seconds, rule.clear_for_seconds) = (0, 0);
    config
}

fn cpu(second: i64, percent: f64) -> Snapshot {
    let time = RecordTime::utc(jiff::Timestamp::from_second(1_700_000_000 + second).unwrap());
    let record = ContainerRecord { cpu_usage_percent: Some(percent), ..ContainerRecord::empty(time) };
    let summary = Summary {
        collection_start_time: time,
        collection_end_time: time,
        total_containers: 1,
        total_duration_seconds: 0.0,
        monitor_cpu_percent: None,
        monitor_memory_usage_mb: None,
        schema_version: None,
        stopped_containers: Vec::new(),
        node: None,
    };
    Snapshot { containers: [(vmid(), record)].into(), summary }
}

/// Judges a value and returns the rules shown as firing.
fn apply(alerts: &mut Alerts, second: i64, percent: f64) -> Vec<String> {
    let mut snapshot = cpu(second, percent);
    alerts.apply(&mut snapshot);
    snapshot.containers[&vmid()].alerts.iter().map(|alert| alert.rule.clone()).collect()
}

/// The kinds of the queued notifications.
fn queued(directory: &Path) -> Vec<Kind> {
    let consumer = Consumer::open(directory.join("notifications")).unwrap();
    consumer.pending(usize::MAX).unwrap().notifications.iter().map(|one| one.kind).collect()
}

#[test]
fn it_fires_once_and_clears_once_over_restarts() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    for (second, percent, want) in
        [(0, 99.0, true), (60, 99.0, true), (120, 90.0, true), (180, 10.0, false), (240, 10.0, false)]
    {
        // A new one each time, as after a kill between any two cycles.
        let shown = apply(&mut Alerts::open(&config), second, percent);
        assert_eq!(!shown.is_empty(), want, "{second}");
    }
    assert_eq!(queued(scratch.path()), [Kind::Fired, Kind::Cleared]);
}

#[test]
fn what_was_saved_and_not_put_is_put_once_after_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    // The queue cannot be used, so the notification is saved with the state.
    std::fs::write(&config.notifications.directory, "in the way").unwrap();
    apply(&mut Alerts::open(&config), 0, 99.0);
    assert_eq!(store::load(&config.alerts.state_file).unwrap().unwrap().outbox.len(), 1);
    let killed_here = std::fs::read(&config.alerts.state_file).unwrap();

    std::fs::remove_file(&config.notifications.directory).unwrap();
    apply(&mut Alerts::open(&config), 60, 99.0);
    assert_eq!(queued(scratch.path()), [Kind::Fired]);
    // As if it had been killed after queueing and before saving that it was queued.
    std::fs::write(&config.alerts.state_file, killed_here).unwrap();
    apply(&mut Alerts::open(&config), 120, 99.0);
    assert_eq!(queued(scratch.path()), [Kind::Fired]);
    assert_eq!(store::load(&config.alerts.state_file).unwrap().unwrap().outbox, []);
}

#[test]
fn the_file_is_written_only_when_it_says_something_new() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let mut alerts = Alerts::open(&config);
    let inode = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&config.alerts.state_file).unwrap().ino()
    };
    apply(&mut alerts, 0, 10.0);
    let first = inode();
    let keep = std::fs::File::open(&config.alerts.state_file).unwrap();
    for second in 1..20 {
        apply(&mut alerts, second * 60, 10.0 + second as f64);
    }
    assert_eq!(inode(), first, "values are not state");
    apply(&mut alerts, 1200, 99.0);
    assert_ne!(inode(), first);
    drop(keep);
}

#[test]
fn a_state_that_cannot_be_saved_is_kept_in_memory() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(scratch.path());
    std::fs::write(scratch.path().join("file"), "").unwrap();
    config.alerts.state_file = scratch.path().join("file/alerts.json");
    let mut alerts = Alerts::open(&config);
    assert_eq!(apply(&mut alerts, 0, 99.0), ["cpu"]);
    assert_eq!(apply(&mut alerts, 60, 99.0), ["cpu"]);
    assert_eq!(queued(scratch.path()), [Kind::Fired]);
    std::fs::remove_file(scratch.path().join("file")).unwrap();
    apply(&mut alerts, 120, 99.0);
    assert_eq!(apply(&mut Alerts::open(&config), 180, 99.0), ["cpu"]);
    assert_eq!(queued(scratch.path()), [Kind::Fired]);
}

#[test]
fn a_damaged_state_is_put_aside_and_begun_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    std::fs::write(&config.alerts.state_file, "{\"version\":1,").unwrap();
    assert_eq!(apply(&mut Alerts::open(&config), 0, 99.0), ["cpu"]);
    let aside = std::fs::read_to_string(scratch.path().join("alerts.json.damaged")).unwrap();
    assert_eq!(aside, "{\"version\":1,");
    assert!(store::load(&config.alerts.state_file).unwrap().is_some());
}

#[test]
fn new_settings_apply_and_leave_the_rest_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(scratch.path());
    let mut alerts = Alerts::open(&config);
    apply(&mut alerts, 0, 99.0);
    config.alerts.rules.get_mut("memory").unwrap().enabled = false;
    config.alerts.state_file = scratch.path().join("moved.json");
    alerts.reconfigure(&config);
    assert_eq!(apply(&mut alerts, 60, 99.0), ["cpu"]);
    assert_eq!(queued(scratch.path()), [Kind::Fired]);
    assert!(config.alerts.state_file.exists());

    config.alerts.enabled = false;
    alerts.reconfigure(&config);
    assert_eq!(apply(&mut alerts, 120, 99.0), [""; 0]);
    assert_eq!(queued(scratch.path()), [Kind::Fired, Kind::Cleared]);
}

#[test]
fn alerts_of_containers_without_a_record_stand_with_the_nodes() {
    let mut snapshot = cpu(0, 1.0);
    let alert = Active {
        subject: Subject::Container(Vmid::try_from(105).unwrap()),
        name: None,
        rule: "cpu".to_owned(),
        metric: "cpu".to_owned(),
        severity: lxc_autoscale_core::notification::Severity::Info,
        value: None,
        trigger: 98.0,
        clear: Some(85.0),
        since: snapshot.summary.collection_start_time,
        no_data: true,
    };
    annotate(&mut snapshot, vec![alert]);
    let node = snapshot.summary.node.as_ref().unwrap();
    assert_eq!(node.alerts[0].container, Some(Vmid::try_from(105).unwrap()));
    let text = serde_json::to_string(&snapshot).unwrap();
    assert!(text.contains("\"no_data\":true") && !text.contains("null"), "{text}");
}

#[test]
fn a_notification_that_can_never_be_queued_keeps_no_other_waiting() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let mut alerts = Alerts::open(&config);
    let (Outcome { mut transitions, .. }, text) = (fired(&config), "x".repeat(100_000));
    let mut too_large = report::notification(&transitions.remove(0));
    too_large.text = text;
    alerts.now.outbox.push(too_large);
    apply(&mut alerts, 0, 99.0);
    assert_eq!(queued(scratch.path()), [Kind::Fired]);
    assert_eq!(alerts.now.outbox, []);
}

#[test]
fn what_there_is_no_time_for_is_put_in_the_next_cycles() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let mut alerts = Alerts::open(&config);
    alerts.put_time = Duration::ZERO;
    let waiting = report::notification(&fired(&config).transitions[0]);
    let another = || Notification { id: NotificationId::new(waiting.time), ..waiting.clone() };
    alerts.now.outbox = vec![another(), another(), another()];
    for n_put in 1..=3 {
        apply(&mut alerts, 60 * n_put, 10.0);
        assert_eq!(queued(scratch.path()).len(), usize::try_from(n_put).unwrap());
        let saved = store::load(&config.alerts.state_file).unwrap().unwrap();
        assert_eq!(saved.outbox.len(), usize::try_from(3 - n_put).unwrap(), "what waits survives a kill");
    }
}

/// The outcome for a container that is too busy.
fn fired(config: &MonitorConfig) -> Outcome {
    let settings = config.alerts.settings(config.interval());
    engine::evaluate(&settings, &cpu(0, 99.0), State::default())
}

#[test]
fn without_a_directory_nothing_is_queued_or_kept_for_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(scratch.path());
    config.notifications.directory = PathBuf::new();
    assert_eq!(apply(&mut Alerts::open(&config), 0, 99.0), ["cpu"]);
    assert_eq!(store::load(&config.alerts.state_file).unwrap().unwrap().outbox, []);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}
