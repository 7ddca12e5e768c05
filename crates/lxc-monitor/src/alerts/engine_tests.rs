use std::collections::BTreeMap;
use std::sync::Arc;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::missing::Missing;
use lxc_autoscale_core::notification::Severity;
use lxc_autoscale_core::snapshot::{ContainerRecords, Limits, MemoryEvents, NodeRecord, Summary};
use proptest::prelude::*;

use super::*;
use crate::alerts::config::AlertsConfig;
use crate::alerts::rule::{Overrides, RuleEdit};

/// Fires at 90 % CPU after 100 s, clears at 50 % after 50 s.
const CPU: Rule = Rule {
    metric: Metric::Cpu,
    trigger: 90.0,
    clear: 50.0,
    for_seconds: 100,
    clear_for_seconds: 50,
    severity: Severity::Warning,
    enabled: true,
};

fn vmid(id: u32) -> Vmid {
    Vmid::try_from(id).unwrap()
}

fn at(second: i64) -> RecordTime {
    RecordTime::utc(jiff::Timestamp::from_second(1_700_000_000 + second).unwrap())
}

fn settings(rules: &[(&str, Rule)]) -> Settings {
    let rules = rules.iter().map(|(name, rule)| ((*name).to_owned(), *rule)).collect();
    Settings { rules: RuleSet { rules, ..RuleSet::default() }, no_data_after: SignedDuration::from_secs(600) }
}

/// A snapshot without any container.
fn empty(second: i64) -> Snapshot {
    let summary = Summary {
        collection_start_time: at(second),
        collection_end_time: at(second),
        total_containers: 0,
        total_duration_seconds: 0.0,
        monitor_cpu_percent: None,
        monitor_memory_usage_mb: None,
        schema_version: None,
        stopped_containers: Vec::new(),
        node: Some(NodeRecord::default()),
    };
    Snapshot { containers: ContainerRecords::new(), summary }
}

fn record(second: i64) -> ContainerRecord {
    let (configuration, _) = ContainerConfig::parse("hostname: web\nonboot: 1\ntags: db\n");
    ContainerRecord { configuration: Some(configuration.into()), ..ContainerRecord::empty(at(second)) }
}

fn with_record(second: i64, record: ContainerRecord) -> Snapshot {
    Snapshot { containers: [(vmid(104), record)].into(), ..empty(second) }
}

/// Container 104 with this CPU usage.
fn cpu(second: i64, percent: impl Into<Option<f64>>) -> Snapshot {
    with_record(second, ContainerRecord { cpu_usage_percent: percent.into(), ..record(second) })
}

fn oom_kills(second: i64, kills: u64) -> Snapshot {
    let events = MemoryEvents { oom_kill: Some(kills), ..MemoryEvents::default() };
    with_record(second, ContainerRecord { memory_events: Some(events), ..record(second) })
}

/// The same, with the container's uptime, on a node that has been running since second -1000.
fn oom_kills_after(second: i64, uptime_seconds: f64, kills: u64) -> Snapshot {
    let mut snapshot = oom_kills(second, kills);
    let record = snapshot.containers.get_mut(&vmid(104)).unwrap();
    record.uptime_seconds = Some(uptime_seconds);
    snapshot.summary.node.as_mut().unwrap().uptime_seconds = Some(1000.0 + second as f64);
    snapshot
}

/// No container, on the same node.
fn none_after(second: i64) -> Snapshot {
    let mut snapshot = empty(second);
    snapshot.summary.node.as_mut().unwrap().uptime_seconds = Some(1000.0 + second as f64);
    snapshot
}

/// The same by a clock that was set ahead.
fn clock_set(mut snapshot: Snapshot, seconds: i64) -> Snapshot {
    let time = &mut snapshot.summary.collection_start_time;
    *time = time.later_by(SignedDuration::from_secs(seconds));
    snapshot
}

fn stopped(second: i64) -> Snapshot {
    let mut snapshot = empty(second);
    snapshot.summary.stopped_containers.push(vmid(104));
    snapshot
}

fn blind(second: i64) -> Snapshot {
    let mut snapshot = empty(second);
    let missing = [("containers", "no control groups".into())].into_iter().collect();
    snapshot.summary.node = Some(NodeRecord { missing, ..NodeRecord::default() });
    snapshot
}

/// `/etc/pve/lxc` could not be read since the monitor started, and the container does not run.
fn unlisted(second: i64) -> Snapshot {
    let mut snapshot = empty(second);
    let node = snapshot.summary.node.as_mut().unwrap();
    node.missing.insert("stopped_containers", "pmxcfs is away".into());
    snapshot
}

/// A transition as written in the tables below: second, rule, and `fired` or the reason it cleared.
fn shown(transition: &Transition) -> String {
    let second = transition.at.instant().as_second() - 1_700_000_000;
    let change = match transition.change {
        Change::Fired => "fired",
        Change::Cleared(reason) => reason.name(),
    };
    format!("{second} {} {change}", transition.alert.rule)
}

/// Evaluates snapshots one after the other; returns the transitions and the last outcome.
fn run(settings: &Settings, snapshots: &[Snapshot]) -> (Vec<String>, Outcome) {
    let mut last = Outcome::default();
    let mut seen = Vec::new();
    for snapshot in snapshots {
        last = evaluate(settings, snapshot, last.state);
        seen.extend(last.transitions.iter().map(shown));
    }
    (seen, last)
}

/// Compares the transitions with the expected ones.
#[track_caller]
fn check(rules: &[(&str, Rule)], snapshots: &[Snapshot], want: &[&str]) {
    assert_eq!(run(&settings(rules), snapshots).0, want);
}

#[track_caller]
fn check_cpu(values: &[(i64, f64)], want: &[&str]) {
    let snapshots: Vec<_> = values.iter().map(|(second, percent)| cpu(*second, *percent)).collect();
    check(&[("cpu", CPU)], &snapshots, want);
}

#[test]
fn it_fires_when_the_trigger_level_was_held_and_clears_when_the_clear_level_was() {
    check_cpu(&[(0, 95.0), (60, 95.0)], &[]);
    check_cpu(&[(0, 95.0), (100, 90.0)], &["100 cpu fired"]);
    check_cpu(&[(0, 95.0), (60, 89.0), (100, 95.0), (199, 95.0)], &[]);
    check_cpu(&[(0, 95.0), (100, 95.0), (200, 50.0), (249, 20.0)], &["100 cpu fired"]);
    check_cpu(&[(0, 95.0), (100, 95.0), (200, 50.0), (250, 50.0)], &["100 cpu fired", "250 cpu recovered"]);
}

#[test]
fn between_the_levels_nothing_changes() {
    check_cpu(&[(0, 70.0), (200, 89.9), (400, 51.0)], &[]);
    // Up and down across the trigger level, and once below the clear level for too short a time.
    let swinging = [(0, 95.0), (100, 95.0), (160, 70.0), (220, 99.0), (280, 40.0), (320, 60.0), (400, 40.0)];
    check_cpu(&swinging, &["100 cpu fired"]);
}

#[test]
fn without_hold_times_one_value_is_enough() {
    let rule = Rule { for_seconds: 0, clear_for_seconds: 0, ..CPU };
    let snapshots = [cpu(0, 90.0), cpu(60, 50.0), cpu(120, 90.0)];
    check(&[("cpu", rule)], &snapshots, &["0 cpu fired", "60 cpu recovered", "120 cpu fired"]);
}

#[test]
fn low_values_are_the_bad_ones_of_available_memory() {
    let rule = Rule {
        metric: Metric::NodeMemoryAvailable,
        trigger: 5.0,
        clear: 10.0,
        for_seconds: 0,
        clear_for_seconds: 0,
        ..CPU
    };
    let node = |second, available| {
        let mut snapshot = empty(second);
        let node = snapshot.summary.node.as_mut().unwrap();
        (node.memory_total_mb, node.memory_available_mb) = (Some(100.0), Some(available));
        snapshot
    };
    let snapshots = [node(0, 50.0), node(60, 5.0), node(120, 9.0), node(180, 10.0)];
    check(&[("low", rule)], &snapshots, &["60 low fired", "180 low recovered"]);
}

#[test]
fn a_missing_value_neither_fires_nor_clears() {
    let none = |second| cpu(second, None);
    check(&[("cpu", CPU)], &[cpu(0, 95.0), none(60), cpu(120, 95.0)], &["120 cpu fired"]);
    check(&[("cpu", CPU)], &[cpu(0, 95.0), none(60), none(500)], &[]);
    // Unknown for too long: the hold time starts anew.
    let gap = [cpu(0, 95.0), none(60), none(600), cpu(661, 95.0), cpu(700, 95.0)];
    check(&[("cpu", CPU)], &gap, &[]);

    let snapshots = [cpu(0, 95.0), cpu(100, 95.0), none(160), none(700), none(761)];
    let (seen, last) = run(&settings(&[("cpu", CPU)]), &snapshots);
    assert_eq!(seen, ["100 cpu fired"]);
    assert_eq!((last.active[0].value, last.active[0].no_data), (None, true));
    let (_, before) = run(&settings(&[("cpu", CPU)]), &snapshots[..4]);
    assert_eq!((before.active[0].value, before.active[0].no_data), (None, false));
}

#[test]
fn a_level_that_nobody_saw_held_was_not_held() {
    // The monitor was away, or the clock was changed, for longer than data may be missing.
    check_cpu(&[(0, 95.0), (5000, 95.0), (5060, 95.0)], &[]);
    check_cpu(&[(0, 95.0), (5000, 95.0), (5100, 95.0)], &["5100 cpu fired"]);
    check_cpu(&[(0, 95.0), (60, 95.0), (-5000, 95.0), (-4950, 95.0)], &[]);
    check_cpu(&[(0, 95.0), (60, 95.0), (-5000, 95.0), (-4900, 95.0)], &["-4900 cpu fired"]);
}

/// The node lost its power soon after it was started, and was up again for longer than it had been: its uptimes alone look
/// as if only the clock had been set ahead, so that a hold time would stand still.
#[test]
fn a_reboot_is_not_a_clock_that_was_set() {
    let look = |second: i64, uptime: f64, boot: &str| {
        let mut snapshot = cpu(second, 95.0);
        let node = snapshot.summary.node.get_or_insert_default();
        node.uptime_seconds = Some(uptime);
        node.boot_id = Some(boot.parse().unwrap());
        snapshot
    };
    let (first, second) = ("0a9cb1de7a5e4f7c", "7777b1de7a5e4f7c");
    let settings = settings(&[("cpu", Rule { for_seconds: 500, ..CPU })]);
    let looks = |boot| [look(0, 100.0, first), look(500, 130.0, boot)];
    assert_eq!(run(&settings, &looks(second)).0, ["500 cpu fired"]);
    assert_eq!(run(&settings, &looks(first)).0, [""; 0], "the clock was set ahead by 470 s");
}

/// Seconds of the wall clock and of the node's uptime, with CPU usage.
#[track_caller]
fn check_clock(looks: &[(i64, f64, f64)], want: &[&str]) {
    let look = |(second, uptime, percent): &(i64, f64, f64)| {
        let mut snapshot = cpu(*second, *percent);
        snapshot.summary.node.as_mut().unwrap().uptime_seconds = Some(*uptime);
        snapshot
    };
    let snapshots: Vec<_> = looks.iter().map(look).collect();
    check(&[("cpu", CPU)], &snapshots, want);
}

#[test]
fn a_hold_time_is_that_of_the_node_and_not_of_a_clock_that_is_set() {
    // Set ahead by nine minutes, and by two months.
    check_clock(&[(0, 1000.0, 95.0), (541, 1001.0, 95.0), (639, 1099.0, 95.0)], &[]);
    check_clock(&[(0, 1000.0, 95.0), (541, 1001.0, 95.0), (640, 1100.0, 95.0)], &["640 cpu fired"]);
    let months = [(0, 1000.0, 95.0), (5_000_060, 1060.0, 95.0), (5_000_100, 1100.0, 95.0)];
    check_clock(&months, &["5000100 cpu fired"]);
    // Set back.
    check_clock(&[(0, 1000.0, 95.0), (-500, 1060.0, 95.0), (-460, 1100.0, 95.0)], &["-460 cpu fired"]);
    // The time to clear, too.
    let fired = [(0, 1000.0, 95.0), (100, 1100.0, 95.0), (160, 1160.0, 20.0)];
    let then = |more: [(i64, f64, f64); 2]| [fired.as_slice(), &more].concat();
    check_clock(&then([(300, 1161.0, 20.0), (348, 1209.0, 20.0)]), &["100 cpu fired"]);
    let cleared = then([(300, 1161.0, 20.0), (349, 1210.0, 20.0)]);
    check_clock(&cleared, &["100 cpu fired", "349 cpu recovered"]);
    // The node was restarted: the wall clock tells how long that took.
    check_clock(&[(0, 1000.0, 95.0), (60, 30.0, 95.0), (100, 70.0, 95.0)], &["100 cpu fired"]);
    // The monitor was away for longer than data may be missing, though the clock says otherwise.
    check_clock(&[(0, 1000.0, 95.0), (60, 6000.0, 95.0), (120, 6060.0, 95.0)], &[]);
}

#[test]
fn a_state_of_an_earlier_version_goes_on() {
    let (_, before) = run(&settings(&[("cpu", CPU)]), &[cpu(0, 95.0), cpu(60, 95.0)]);
    let mut saved = serde_json::to_value(&before.state).unwrap();
    assert!(saved.as_object_mut().unwrap().remove("last_uptime").is_none());
    let mut snapshot = cpu(100, 95.0);
    snapshot.summary.node.as_mut().unwrap().uptime_seconds = Some(5000.0);
    let state = serde_json::from_value(saved).unwrap();
    let outcome = evaluate(&settings(&[("cpu", CPU)]), &snapshot, state);
    assert_eq!(outcome.transitions.iter().map(shown).collect::<Vec<_>>(), ["100 cpu fired"]);
    assert_eq!(outcome.state.last_uptime, Some(Uptime { at: at(100), seconds: 5000.0, boot: None }));
}

#[test]
fn a_container_that_stops_or_vanishes_ends_its_alerts() {
    let fired = || vec![cpu(0, 95.0), cpu(100, 95.0)];
    let then = |more: Vec<Snapshot>| [fired(), more].concat();
    check(
        &[("cpu", CPU)],
        &then(vec![stopped(160), stopped(220)]),
        &["100 cpu fired", "160 cpu container-stopped"],
    );
    check(&[("cpu", CPU)], &then(vec![empty(160), empty(500)]), &["100 cpu fired"]);
    let vanished = then(vec![empty(160), empty(500), empty(761), empty(820)]);
    check(&[("cpu", CPU)], &vanished, &["100 cpu fired", "761 cpu container-gone"]);
    let (_, last) = run(&settings(&[("cpu", CPU)]), &vanished);
    assert!(last.state.containers.is_empty() && last.state.alerts.is_empty(), "nothing is kept of it");
    // The containers could not be listed.
    let unseen = then(vec![blind(160), blind(500), blind(1000), blind(1500), cpu(1560, 95.0)]);
    check(&[("cpu", CPU)], &unseen, &["100 cpu fired"]);
    // Those that are stopped could not be listed, because Proxmox's configuration could not be read.
    let unlisted = [unlisted(160), unlisted(500), unlisted(1000), unlisted(1500), cpu(1560, 95.0)];
    check(&[("cpu", CPU)], &then(unlisted.to_vec()), &["100 cpu fired"]);
    // It came back: the short absence does not count.
    let back = then(vec![empty(160), empty(500), cpu(560, 95.0), empty(620), empty(1000)]);
    check(&[("cpu", CPU)], &back, &["100 cpu fired"]);
}

#[test]
fn oom_kills_are_counted_from_the_first_look() {
    let rule = Rule {
        metric: Metric::OomKills,
        trigger: 1.0,
        clear: 0.0,
        for_seconds: 0,
        clear_for_seconds: 600,
        ..CPU
    };
    let check = |snapshots: &[Snapshot], want: &[&str]| check(&[("oom", rule)], snapshots, want);
    check(&[oom_kills(0, 7), oom_kills(60, 7)], &[]);
    check(&[oom_kills(0, 7), oom_kills(60, 8), oom_kills(120, 9)], &["60 oom fired"]);
    // The container was restarted: its counter starts at zero, whatever it was before.
    let run = |before, after| [oom_kills_after(0, 500.0, before), oom_kills_after(60, 30.0, after)];
    check(&run(7, 2), &["60 oom fired"]);
    check(&run(7, 0), &[]);
    check(&run(1, 1), &["60 oom fired"]);
    // It was young, and has a longer uptime now, and yet it is another run.
    check(&[oom_kills_after(0, 10.0, 1), oom_kills_after(60, 30.0, 1)], &["60 oom fired"]);
    check(&[oom_kills_after(0, 10.0, 1), oom_kills_after(60, 70.0, 1)], &[]);
    // Restarted while the counter was unreadable.
    let mut uncounted = oom_kills_after(60, 30.0, 1);
    uncounted.containers.get_mut(&vmid(104)).unwrap().memory_events = None;
    check(&[oom_kills_after(0, 500.0, 1), uncounted, oom_kills_after(120, 90.0, 1)], &["120 oom fired"]);
    let no_uptime = oom_kills(60, 1);
    check(&[oom_kills_after(0, 500.0, 1), no_uptime, oom_kills_after(120, 90.0, 1)], &["120 oom fired"]);
    // On cgroup v1 the sum falls when systemd removes the group of a service that ended.
    check(&[oom_kills_after(0, 500.0, 5), oom_kills_after(60, 560.0, 2)], &[]);
    check(&[oom_kills(0, 5), oom_kills(60, 2)], &[]);
    let again = [oom_kills_after(0, 500.0, 5), oom_kills_after(60, 560.0, 2), oom_kills_after(120, 620.0, 3)];
    check(&again, &["120 oom fired"]);
    check(&[oom_kills(0, 7), stopped(60), oom_kills(120, 8)], &["120 oom fired"]);
    // It was stopped when it was seen for the first time, or is younger than the last cycle: its first count is of kills
    // since then.
    check(&[stopped(0), oom_kills(60, 4)], &["60 oom fired"]);
    check(&[stopped(0), oom_kills(60, 0)], &[]);
    check(&[none_after(0), oom_kills_after(60, 30.0, 4)], &["60 oom fired"]);
    check(&[blind(0), oom_kills_after(60, 30.0, 4)], &["60 oom fired"]);
    // It may have been running, and could not be looked at; or this monitor is new.
    check(&[none_after(0), oom_kills_after(60, 500.0, 4)], &[]);
    check(&[none_after(0), oom_kills(60, 4)], &[]);
    check(&[oom_kills_after(0, 0.1, 4), oom_kills_after(60, 60.1, 4)], &[]);
    // A kill between two looks is not lost when the counter was unreadable in between.
    check(&[oom_kills(0, 7), cpu(60, 1.0), oom_kills(120, 8)], &["120 oom fired"]);
    let quiet = [oom_kills(0, 0), oom_kills(60, 1), oom_kills(120, 1), oom_kills(700, 1), oom_kills(720, 1)];
    check(&quiet, &["60 oom fired", "720 oom recovered"]);
}

#[test]
fn a_container_that_starts_with_the_node_and_does_not_run_is_stopped() {
    let rule = Rule {
        metric: Metric::Stopped,
        trigger: 1.0,
        clear: 0.0,
        for_seconds: 60,
        clear_for_seconds: 0,
        ..CPU
    };
    let check = |snapshots: &[Snapshot], want: &[&str]| check(&[("stopped", rule)], snapshots, want);
    check(&[stopped(0), stopped(60), stopped(120)], &[]);
    check(
        &[cpu(0, 1.0), stopped(60), stopped(120), stopped(180), cpu(240, 1.0)],
        &["120 stopped fired", "240 stopped recovered"],
    );
    let manual = |second| {
        let mut snapshot = cpu(second, 1.0);
        let record = snapshot.containers.get_mut(&vmid(104)).unwrap();
        Arc::make_mut(record.configuration.as_mut().unwrap()).onboot = false;
        snapshot
    };
    check(&[manual(0), stopped(60), stopped(120), stopped(180)], &[]);
}

/// A limit that is not there is known, and an alert on the share of it is over; one that cannot be read is not.
#[test]
fn an_alert_on_a_share_is_over_when_the_limit_is_taken_away() {
    let limits = |pids, memory_mb| Some(Limits { pids, memory_mb, ..Limits::default() });
    let processes = |second, limit, missing: &[(&'static str, Missing)]| {
        let mut record =
            ContainerRecord { process_count: Some(90), limits: limits(limit, None), ..record(second) };
        for (field, why) in missing {
            record.missing.insert(*field, why.clone());
        }
        with_record(second, record)
    };
    let rule = |metric| Rule { metric, for_seconds: 0, clear_for_seconds: 0, ..CPU };
    let full = || processes(0, Some(100), &[]);
    let unread = [("limits.pids", Missing::because("no answer"))];
    for (then, want) in [
        (processes(60, None, &[]), &["0 r fired", "60 r no-limit"][..]),
        (processes(60, None, &unread), &["0 r fired"]),
        (processes(60, Some(1000), &[]), &["0 r fired", "60 r recovered"]),
    ] {
        check(&[("r", rule(Metric::Processes))], &[full(), then], want);
    }
    let memory = |second, limit| {
        let limits = limits(None, limit);
        with_record(second, ContainerRecord { memory_usage_mb: Some(95.0), limits, ..record(second) })
    };
    let gone = ["0 r fired", "60 r no-limit"];
    check(&[("r", rule(Metric::Memory))], &[memory(0, Some(100.0)), memory(60, None)], &gone);
    let swap = |second, total| {
        let (swap_usage_mb, swap_total_mb) = (Some(95.0), Some(total));
        with_record(second, ContainerRecord { swap_usage_mb, swap_total_mb, ..record(second) })
    };
    check(&[("r", rule(Metric::Swap))], &[swap(0, 100.0), swap(60, 0.0)], &gone);
    let node = |second, total| {
        let mut snapshot = empty(second);
        let (swap_used_mb, swap_total_mb) = (Some(95.0), Some(total));
        snapshot.summary.node = Some(NodeRecord { swap_used_mb, swap_total_mb, ..NodeRecord::default() });
        snapshot
    };
    check(&[("r", rule(Metric::NodeSwap))], &[node(0, 100.0), node(60, 0.0)], &gone);
    // A hold time that was running ends, too.
    let held = Rule { for_seconds: 100, ..rule(Metric::Swap) };
    check(&[("r", held)], &[swap(0, 100.0), swap(60, 0.0), swap(120, 100.0), swap(180, 100.0)], &[]);
}

/// The effect of a changed rule on an alert that fired at 95 % under [`CPU`], with the value now at `now` percent.
#[track_caller]
fn check_change(rules: &[(&str, Rule)], now: f64, want: &[&str]) {
    let (_, fired) = run(&settings(&[("cpu", CPU)]), &[cpu(0, 95.0), cpu(100, 95.0)]);
    let outcome = evaluate(&settings(rules), &cpu(160, now), fired.state);
    assert_eq!(outcome.transitions.iter().map(shown).collect::<Vec<_>>(), want);
}

/// The state is saved, and synced to disk, only if a restart would lose something.
#[test]
fn only_what_a_restart_would_lose_is_a_change() {
    let settings = settings(&[("cpu", CPU)]);
    let mut state = State::default();
    for (what, snapshot, want) in [
        ("seen for the first time", oom_kills_after(0, 500.0, 0), true),
        ("time goes by", oom_kills_after(60, 560.0, 0), false),
        ("the clock is set", clock_set(oom_kills_after(60, 560.0, 0), 7), true),
        ("and back", oom_kills_after(60, 560.0, 0), true),
        ("a kill", oom_kills_after(120, 620.0, 1), true),
        ("a restart with as many kills", oom_kills_after(180, 10.0, 1), false),
        ("a level is reached", cpu(240, 95.0), true),
        ("and held", cpu(260, 95.0), false),
        ("it fires", cpu(340, 95.0), true),
        ("it goes on", cpu(400, 95.0), false),
        ("it stops, and its alert is over", stopped(460), true),
        ("it stays so", stopped(520), false),
        ("it is away", empty(580), true),
        ("it stays so", empty(640), false),
        ("it is gone", empty(1200), true),
        ("nothing is left", empty(1260), false),
    ] {
        let outcome = evaluate(&settings, &snapshot, state);
        assert_eq!(outcome.is_changed, want, "{what}");
        state = outcome.state;
    }
}

#[test]
fn alerts_follow_the_rules_as_they_are_now() {
    check_change(&[("cpu", CPU)], 95.0, &[]);
    check_change(&[], 95.0, &["160 cpu rule-off"]);
    check_change(&[("cpu", Rule { enabled: false, ..CPU })], 95.0, &["160 cpu rule-off"]);
    check_change(&[("cpu", Rule { trigger: 99.0, ..CPU })], 95.0, &["160 cpu rule-changed"]);
    check_change(&[("cpu", Rule { trigger: 94.0, ..CPU })], 95.0, &[]);
    check_change(&[("cpu", Rule { for_seconds: 900, ..CPU })], 95.0, &[]);
    check_change(&[("cpu", CPU), ("other", CPU)], 95.0, &[]);
}

/// The state file of the previous version has the metrics under their former names.
#[test]
fn an_alert_that_was_saved_under_a_former_name_of_its_metric_goes_on() {
    let (_, mut fired) = run(&settings(&[("cpu", CPU)]), &[cpu(0, 95.0), cpu(100, 95.0)]);
    for alert in fired.state.alerts.values_mut().flat_map(BTreeMap::values_mut) {
        alert.metric = "cpu".to_owned();
    }
    let outcome = evaluate(&settings(&[("cpu", CPU)]), &cpu(160, 70.0), fired.state);
    assert_eq!(outcome.transitions.iter().map(shown).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(outcome.active[0].metric, "cpu_percent");
}

#[test]
fn a_hold_time_under_other_levels_does_not_count() {
    let before = run(&settings(&[("cpu", CPU)]), &[cpu(0, 95.0), cpu(60, 95.0)]).1;
    let stricter = settings(&[("cpu", Rule { trigger: 93.0, ..CPU })]);
    let outcome = evaluate(&stricter, &cpu(120, 95.0), before.state);
    assert!(outcome.transitions.is_empty());
    let outcome = evaluate(&stricter, &cpu(220, 95.0), outcome.state);
    assert_eq!(outcome.transitions.len(), 1);
}

#[test]
fn a_tag_that_cannot_be_read_is_the_one_that_was() {
    let mut settings = settings(&[("cpu", Rule { for_seconds: 0, ..CPU })]);
    let off = RuleEdit { enabled: Some(false), ..RuleEdit::default() };
    settings.rules.tags.insert("db".to_owned(), Overrides { rules: [("cpu".to_owned(), off)].into() });
    let unread = |second| {
        let mut snapshot = cpu(second, 95.0);
        let record = snapshot.containers.get_mut(&vmid(104)).unwrap();
        record.configuration = None;
        record.missing.insert("configuration", "pmxcfs hangs".into());
        snapshot
    };
    assert_eq!(run(&settings, &[cpu(0, 95.0), unread(60)]).0, [""; 0]);
    // Seen for the first time, and it is unknown whether it has the tag.
    assert_eq!(run(&settings, &[unread(0), unread(60)]).0, [""; 0]);
    settings.rules.tags.clear();
    assert_eq!(run(&settings, &[unread(0)]).0, ["0 cpu fired"]);
}

const STOPPED: Rule =
    Rule { metric: Metric::Stopped, trigger: 1.0, clear: 0.0, for_seconds: 0, clear_for_seconds: 0, ..CPU };

/// What a notification calls it, and whether it starts with the node, must not depend on whether Proxmox answers just now.
#[test]
fn a_name_that_cannot_be_read_is_the_one_that_was() {
    let settings = settings(&[("cpu", Rule { for_seconds: 0, ..CPU }), ("stopped", STOPPED)]);
    let configured = |second, percent, text: Option<&str>| {
        let mut snapshot = cpu(second, percent);
        let record = snapshot.containers.get_mut(&vmid(104)).unwrap();
        record.configuration = text.map(|text| ContainerConfig::parse(text).0.into());
        if text.is_none() {
            record.missing.insert("configuration", "pmxcfs hangs".into());
        }
        snapshot
    };
    let mut state = State::default();
    let mut named = Vec::new();
    let mut stopped = empty(180);
    stopped.summary.stopped_containers.push(vmid(104));
    for snapshot in [
        configured(0, 10.0, Some("hostname: web\nonboot: 1\n")),
        configured(60, 95.0, None),
        configured(120, 10.0, None),
        stopped,
    ] {
        // As over a restart.
        let kept = serde_json::to_string(&state).unwrap();
        let outcome = evaluate(&settings, &snapshot, serde_json::from_str(&kept).unwrap());
        let alert = |transition: &Transition| (transition.alert.rule.clone(), transition.alert.name.clone());
        named.extend(outcome.transitions.iter().map(alert));
        state = outcome.state;
    }
    assert!(named.contains(&("cpu".to_owned(), Some("web".to_owned()))), "{named:?}");
    assert!(named.contains(&("stopped".to_owned(), Some("web".to_owned()))), "{named:?}");
}

#[test]
fn a_healthy_node_is_quiet_under_the_default_rules() {
    let settings = AlertsConfig::default().settings(std::time::Duration::from_mins(1));
    let snapshots: Vec<_> = (0..200)
        .map(|cycle| {
            let mut snapshot = cpu(cycle * 60, if cycle % 40 < 30 { 100.0 } else { 20.0 });
            let node = snapshot.summary.node.as_mut().unwrap();
            (node.cpus, node.load) = (Some(4), Some([9.0, 6.0, 5.0]));
            (node.memory_total_mb, node.memory_available_mb) = (Some(100.0), Some(30.0));
            snapshot
        })
        .collect();
    assert_eq!(run(&settings, &snapshots).0, [""; 0]);
}

#[test]
fn quiet_containers_take_little_room() {
    let settings = AlertsConfig::default().settings(std::time::Duration::from_mins(1));
    let mut snapshot = empty(0);
    for id in 100..1100 {
        let events = MemoryEvents { oom_kill: Some(0), ..MemoryEvents::default() };
        let record =
            ContainerRecord { memory_events: Some(events), cpu_usage_percent: Some(1.0), ..record(0) };
        snapshot.containers.insert(vmid(id), record);
    }
    let state = evaluate(&settings, &snapshot, State::default()).state;
    assert!(state.alerts.is_empty());
    // A map's nodes are at least half full.
    let of = |container: &Remembered| {
        let tags = container.tags.as_deref().unwrap_or_default();
        let tags: usize = tags.iter().map(|tag| size_of::<String>() + tag.capacity()).sum();
        2 * (size_of::<Remembered>() + size_of::<Vmid>()) + tags
    };
    let largest = state.containers.values().map(of).max().unwrap();
    assert!(largest <= 350, "{largest} bytes");
}

/// One cycle of the property tests: a value, none, a stop, or no list of containers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Value(u8),
    Unknown,
    Stopped,
    Absent,
    Blind,
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        12 => (0u8..=100).prop_map(Step::Value),
        8 => (88u8..=92).prop_map(Step::Value),
        8 => (48u8..=52).prop_map(Step::Value),
        3 => Just(Step::Unknown),
        1 => Just(Step::Stopped),
        1 => Just(Step::Absent),
        1 => Just(Step::Blind),
    ];
    let pause = prop_oneof![20 => 1i64..=120, 1 => 500i64..=5000, 1 => -300i64..=0];
    proptest::collection::vec((pause, step), 1..80)
}

fn snapshots(steps: &[(i64, Step)]) -> Vec<Snapshot> {
    let mut second = 0;
    let mut snapshots = Vec::new();
    for (pause, step) in steps {
        second += pause;
        snapshots.push(match step {
            Step::Value(percent) => cpu(second, f64::from(*percent)),
            Step::Unknown => cpu(second, None),
            Step::Stopped => stopped(second),
            Step::Absent => empty(second),
            Step::Blind => blind(second),
        });
    }
    snapshots
}

proptest! {
    /// Firing and clearing alternate, whatever happens.
    #[test]
    fn an_alert_fires_once_and_clears_once(steps in steps()) {
        let settings = settings(&[("cpu", CPU), ("now", Rule { for_seconds: 0, clear_for_seconds: 0, ..CPU })]);
        let mut state = State::default();
        let mut firing = BTreeMap::new();
        for snapshot in snapshots(&steps) {
            let outcome = evaluate(&settings, &snapshot, state);
            for transition in &outcome.transitions {
                let is_firing: &mut bool = firing.entry(transition.alert.rule.clone()).or_default();
                let fires = transition.change == Change::Fired;
                prop_assert_ne!(fires, *is_firing, "{}", shown(transition));
                *is_firing = fires;
            }
            let mut active: Vec<_> = outcome.active.iter().map(|alert| alert.rule.clone()).collect();
            active.sort_unstable();
            let want: Vec<_> = firing.iter().filter(|(_, fires)| **fires).map(|(rule, _)| rule.clone()).collect();
            prop_assert_eq!(active, want, "what is shown as firing is what fired");
            state = outcome.state;
        }
    }

    /// A restart after any cycle changes nothing: everything relevant is saved.
    #[test]
    fn a_restart_at_any_point_changes_nothing(steps in steps(), restart in 0usize..80) {
        let settings = settings(&[("cpu", CPU)]);
        let snapshots = snapshots(&steps);
        let (want, _) = run(&settings, &snapshots);
        let (before, after) = snapshots.split_at(restart.min(snapshots.len()));
        let (mut seen, last) = run(&settings, before);
        let saved = serde_json::to_string(&last.state).unwrap();
        let mut state: State = serde_json::from_str(&saved).unwrap();
        prop_assert_eq!(&state, &last.state);
        for snapshot in after {
            let outcome = evaluate(&settings, snapshot, state);
            seen.extend(outcome.transitions.iter().map(shown));
            state = outcome.state;
        }
        prop_assert_eq!(seen, want);
    }

    /// It fires only after the trigger level was seen and held for the time of the rule.
    #[test]
    fn nothing_fires_without_reason(steps in steps()) {
        let settings = settings(&[("cpu", CPU)]);
        let mut state = State::default();
        for (snapshot, (_, step)) in snapshots(&steps).iter().zip(&steps) {
            let outcome = evaluate(&settings, snapshot, state);
            for transition in outcome.transitions {
                match (transition.change, step) {
                    (Change::Fired, Step::Value(percent)) => {
                        prop_assert!(90 <= *percent);
                        let held = elapsed(transition.alert.since, transition.at).as_secs();
                        prop_assert!(100 <= held, "{}", held);
                    }
                    (Change::Cleared(ClearReason::Recovered), Step::Value(percent)) => {
                        prop_assert!(*percent <= 50);
                    }
                    (Change::Cleared(ClearReason::ContainerStopped), Step::Stopped)
                    | (Change::Cleared(ClearReason::ContainerGone), Step::Absent) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            state = outcome.state;
        }
    }
}
