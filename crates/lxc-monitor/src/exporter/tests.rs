//! The exposition as a whole, compared with the fields of a snapshot, with golden files and with the documentation.

mod complete;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::exposition::{Format, Kind};
use lxc_autoscale_core::snapshot::Snapshot;
use serde_json::Value;

use self::complete::missing_fields;
use super::families;
use super::page::{Cycle, Exposition, Page};

/// A snapshot in which one container and the node have every possible field, one container has hostile names, and one
/// has nothing.
const FULL: &str = include_str!("testdata/full.json");

/// Numbers that are not exported, each with the reason; `*` stands for any name.
const NOT_SERVED: &[(&str, &str)] = &[
    ("*.pressure.*.*.avg10", "rate() of the stall time gives the average of any window"),
    ("*.pressure.*.*.avg60", "the same"),
    ("*.pressure.*.*.avg300", "the same"),
    ("summary.node.pressure.*.*.avg10", "the same"),
    ("summary.node.pressure.*.*.avg60", "the same"),
    ("summary.node.pressure.*.*.avg300", "the same"),
    ("*.alerts.*.value", "is a series of its own, whatever the rule"),
    ("*.alerts.*.level", "belongs to the configuration of the rule"),
    ("*.anomalies.*.observed", "is a series of its own"),
    ("*.anomalies.*.expected_low", "has the unit of whichever metric it is; the metrics file tells it"),
    ("*.anomalies.*.expected_high", "the same"),
    ("*.alerts.*.container", "is the id of the series"),
    ("summary.node.alerts.*.value", "the same"),
    ("summary.node.alerts.*.level", "the same"),
    ("summary.monitor_cpu_percent", "rate(process_cpu_seconds_total) gives it for any window"),
    ("summary.schema_version", "belongs to the file, not to what is measured"),
];

const SINCE_BOOT: Duration = Duration::from_secs(1000);

fn page(snapshot: Value) -> Page {
    let snapshot: Snapshot = serde_json::from_value(snapshot).unwrap();
    let vmid = Vmid::try_from(110).unwrap();
    let cycle = Cycle {
        snapshot: Arc::new(snapshot),
        stopped: [(vmid, ContainerConfig::parse("hostname: off\ntags: prod\n").0.into())].into(),
        kept: None,
        is_written: false,
        interval: Duration::from_mins(1),
    };
    Page::empty("2026-11-23T16:00:00Z".parse().unwrap(), Duration::from_mins(1)).after(cycle, SINCE_BOOT)
}

fn render(page: &Page, format: Format) -> String {
    Exposition::begin(page, format, SINCE_BOOT, Duration::from_millis(1250)).collect()
}

fn full() -> Value {
    serde_json::from_str(FULL).unwrap()
}

/// The dotted path of every number, and its JSON pointer.
fn numbers(value: &Value, path: &str, pointer: &str, found: &mut Vec<(String, String)>) {
    let mut inner = |key: &str, value| {
        let dot = if path.is_empty() { "" } else { "." };
        numbers(value, &format!("{path}{dot}{key}"), &format!("{pointer}/{key}"), found);
    };
    match value {
        Value::Number(_) => found.push((path.to_owned(), pointer.to_owned())),
        Value::Object(members) => members.iter().for_each(|(key, value)| inner(key, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| inner(&index.to_string(), item));
        }
        _ => {}
    }
}

fn is_listed(path: &str, pattern: &str) -> bool {
    let (path, pattern): (Vec<_>, Vec<_>) = (path.split('.').collect(), pattern.split('.').collect());
    path.len() == pattern.len()
        && path.iter().zip(pattern).all(|(part, pattern)| pattern == "*" || *part == pattern)
}

/// A new field of a snapshot must be given a value there, and then be exported or be listed.
#[test]
fn every_number_of_a_snapshot_is_served_or_has_a_reason_not_to_be() {
    assert_eq!(missing_fields::<Snapshot>(&full(), &["105", "106"]), [""; 0], "fields without a value");
    let original = render(&page(full()), Format::Plain);
    let mut found = Vec::new();
    numbers(&full(), "", "", &mut found);
    assert!(100 < found.len(), "{found:?}");
    let mut used: BTreeSet<&(&str, &str)> = BTreeSet::new();
    for (path, pointer) in found {
        let mut changed = full();
        let number = changed.pointer_mut(&pointer).unwrap();
        *number = match number.as_u64() {
            Some(whole) => (whole + 1).into(),
            None => (number.as_f64().unwrap() + 0.125).into(),
        };
        let is_served = render(&page(changed), Format::Plain) != original;
        let listed = NOT_SERVED.iter().find(|(pattern, _)| is_listed(&path, pattern));
        used.extend(listed);
        assert_eq!(is_served, listed.is_none(), "`{path}` is served: {is_served}; listed: {listed:?}");
    }
    assert_eq!(used.len(), NOT_SERVED.len(), "reasons for fields that do not exist: {used:?}");
}

/// A missing value is not zero: removing a number only removes series.
#[test]
fn an_absent_number_is_an_absent_series() {
    let text = render(&page(full()), Format::Plain);
    let original: BTreeSet<_> = text.lines().collect();
    let mut found = Vec::new();
    numbers(&full(), "", "", &mut found);
    let mut n_taken = 0;
    for (path, pointer) in found {
        let mut changed = full();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let Some(parent) = changed.pointer_mut(parent).unwrap().as_object_mut() else { continue };
        parent.remove(key);
        // Some fields are required, and an id is not a measurement.
        if serde_json::from_value::<Snapshot>(changed.clone()).is_err() || key == "container" {
            continue;
        }
        let text = render(&page(changed), Format::Plain);
        let new: Vec<_> = text.lines().filter(|line| !original.contains(line)).collect();
        // A key missing from the configuration has a meaning of its own.
        assert!(new.is_empty(), "without `{path}`: {new:?}");
        n_taken += 1;
    }
    assert!(60 < n_taken, "{n_taken}");
}

#[track_caller]
fn check_golden(name: &str, text: &str) {
    let text = &text.replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "\"VERSION\"");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/exporter/testdata").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(golden == *text, "differs from {name}; UPDATE_GOLDEN=1 writes it anew:\n{text}");
}

#[test]
fn both_formats_are_as_in_the_golden_files() {
    let page = page(full());
    check_golden("full.prom", &render(&page, Format::Plain));
    check_golden("full.openmetrics", &render(&page, Format::OpenMetrics));
}

#[test]
fn every_line_is_a_comment_or_one_sample_whatever_containers_are_called() {
    for format in [Format::Plain, Format::OpenMetrics] {
        for line in render(&page(full()), format).lines() {
            let is_sample = line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(line.starts_with("# ") || is_sample, "{line}");
            assert!(!line.starts_with("lxc_fake"), "{line}");
        }
    }
}

#[test]
fn names_keep_the_rules_of_prometheus() {
    let mut names = BTreeSet::new();
    for family in families::all() {
        let description = &family.description;
        let name = description.name;
        assert!(names.insert(name), "`{name}` twice");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{name}"
        );
        assert!(name.starts_with("lxc_") || name.starts_with("process_"), "{name}");
        assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}");
        assert!(description.kind != Kind::Info || description.unit().is_none(), "{name}");
        assert!(
            !description.help.contains(['\\', '"', '\n', '|']) && description.help.ends_with('.'),
            "{name}"
        );
    }
}

#[test]
fn the_documentation_lists_every_metric() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/prometheus.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (own, _) = document.split_once("\n## The API server\n").unwrap();
    let rows: Vec<_> = own.lines().filter(|line| line.starts_with("| `")).collect();
    let want: Vec<_> = families::all()
        .map(|family| {
            let description = &family.description;
            format!("| `{}{}` | {} |", description.name, description.suffix(), description.help)
        })
        .collect();
    assert!(rows == want, "the table must read:\n{}", want.join("\n"));
}
