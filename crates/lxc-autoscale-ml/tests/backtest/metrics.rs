//! A past as recorded by the monitor.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{ContainerRecord, MemoryEvents, NodeRecord, Snapshot, Summary};
use lxc_autoscale_core::{RecordTime, Vmid};

use crate::files::{backtest, refused};

/// The behaviour of container 104.
struct Past {
    config: Option<&'static str>,
    /// OOM kills so far, by minute.
    kills: fn(i64) -> u64,
}

/// Writes two days of container 104, a record a minute, and returns the path.
fn write(directory: &tempfile::TempDir, past: &Past) -> String {
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    let snapshot = |minute: i64| {
        let time = RecordTime::utc(begin + SignedDuration::from_mins(minute));
        let record = ContainerRecord {
            cpu_cores_used: Some(if minute % 60 < 5 { 0.8 } else { 0.1 }),
            cpu_throttled_share: Some(0.0),
            memory_usage_mb: Some(300.0),
            memory_events: Some(MemoryEvents {
                oom_kill: Some((past.kills)(minute)),
                ..MemoryEvents::default()
            }),
            configuration: past.config.map(|text| ContainerConfig::parse(text).0.into()),
            ..ContainerRecord::empty(time)
        };
        Snapshot {
            containers: [(Vmid::try_from(104).unwrap(), record)].into(),
            summary: Summary {
                collection_start_time: time,
                collection_end_time: time,
                total_containers: 1,
                total_duration_seconds: 0.01,
                monitor_cpu_percent: None,
                monitor_memory_usage_mb: None,
                schema_version: Some(1),
                stopped_containers: Vec::new(),
                node: Some(NodeRecord {
                    cpus: Some(8),
                    memory_total_mb: Some(32_768.0),
                    memory_available_mb: Some(16_384.0),
                    ..NodeRecord::default()
                }),
            },
        }
    };
    let lines: Vec<String> =
        (0..2 * 24 * 60).map(|minute| serde_json::to_string(&snapshot(minute)).unwrap()).collect();
    let path = directory.path().join("metrics.json");
    std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    path.to_str().unwrap().to_owned()
}

const WEB: Past = Past { config: Some("hostname: web<1>\ncores: 4\nmemory: 4096\n"), kills: |_| 0 };

fn total(path: &str, more: &[&str]) -> serde_json::Value {
    let arguments: Vec<&str> =
        ["--metrics", path, "--json"].into_iter().chain(more.iter().copied()).collect();
    serde_json::from_str(&backtest(&arguments)).unwrap()
}

#[test]
fn what_the_monitor_recorded_is_replayed_with_the_daemons_policy() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(&directory, &WEB);
    let shown = backtest(&["--metrics", &path]);
    assert!(shown.contains("CPU in whole cores") && shown.contains("104  web<1>"), "{shown}");
    let report = total(&path, &[]);
    let container = &report["containers"][0];
    assert_eq!((container["begin"][0].as_f64(), container["begin"][1].as_f64()), (Some(4.0), Some(4096.0)));
    assert_eq!(container["end"][0].as_f64(), Some(1.0), "{container}");
    assert!(container["end"][1].as_f64().unwrap() < 2048.0, "{container}");
    // Two days, a third of which is warm-up.
    let hours = container["hours"].as_f64().unwrap();
    assert!((31.9..32.1).contains(&hours), "{hours}");
}

#[test]
fn a_tag_keeps_a_container_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let tagged = Past { config: Some("cores: 4\nmemory: 4096\ntags: autoscale-off\n"), ..WEB };
    let report = total(&write(&directory, &tagged), &[]);
    assert_eq!(report["containers"][0]["end"][0].as_f64(), Some(4.0));
}

#[test]
fn memory_that_ran_out_was_wanted() {
    let directory = tempfile::tempdir().unwrap();
    // Off keeps its size: two kills, hours apart, are two shortages.
    let policy = directory.path().join("off.toml");
    std::fs::write(&policy, "[scaling]\nmode = \"off\"").unwrap();
    let killed = Past { kills: |minute| u64::from(1500 < minute) + u64::from(2000 < minute), ..WEB };
    let report = total(&write(&directory, &killed), &["--policy", policy.to_str().unwrap()]);
    assert_eq!(report["total"]["memory"]["shortages"].as_u64(), Some(2));
}

#[test]
fn without_a_size_there_is_nothing_to_compare_with() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(&["--metrics", &write(&directory, &Past { config: None, ..WEB })]);
    assert!(error.contains("tells what a container has"), "{error}");
}

#[test]
fn cpu_is_given_out_as_the_policy_of_the_container_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(&directory, &WEB);
    let policy = directory.path().join("web.toml");
    let text = "[policy.web]\nnames = [\"web*\"]\nscaling.cpu.control = \"cpulimit\"\nscaling.cpu.min_cores = 0.25\n";
    std::fs::write(&policy, text).unwrap();
    let named = ["--policy", policy.to_str().unwrap()];
    let cores = |more: &[&str]| total(&path, more)["containers"][0]["end"][0].as_f64().unwrap();
    let end = cores(&named);
    assert!((0.25..1.0).contains(&end), "{end}");
    assert!(backtest(&["--metrics", &path, named[0], named[1]]).contains("CPU in hundredths of a core"));
    assert!(1.0 <= cores(&[named[0], named[1], "--cpu-class", "integer"]), "it was asked for");
}

#[test]
fn a_backup_is_not_learnt_from_and_nothing_is_decided_during_it() {
    let directory = tempfile::tempdir().unwrap();
    let locked = Past { config: Some("cores: 4\nmemory: 4096\nlock: backup\n"), ..WEB };
    let report = total(&write(&directory, &locked), &[]);
    let end = &report["containers"][0]["end"];
    assert_eq!((end[0].as_f64(), end[1].as_f64()), (Some(4.0), Some(4096.0)));
}
