//! Events from the metrics file: a new record, and alerts that start or stop firing.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{AlertEvent, EventKind, SnapshotEvent, UsageEvent};
use lxc_autoscale_core::snapshot::{ActiveAlert, Snapshot};

use crate::metrics;
use crate::state::AppState;

/// How often the file is checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells two states of the file apart; `None` if there is no file.
type Version = Option<(u64, i64, i64, u64)>;

/// Publishes events for what the monitor writes, for as long as the server runs.
pub async fn watch(state: AppState) {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    let mut seen: (Version, Option<Snapshot>) = (None, None);
    loop {
        interval.tick().await;
        let config = state.config().metrics.clone();
        let known = seen.0;
        let read = tokio::task::spawn_blocking(move || {
            let version = version(&config.file);
            let is_new = version.is_some() && version != known;
            (version, if is_new { metrics::latest(&config).ok() } else { None })
        });
        // `/health/check` reports a file that cannot be read; it is tried again.
        let Ok((version, newest)) = read.await else { continue };
        seen.0 = version;
        let Some(newest) = newest else { continue };
        let now = Timestamp::now();
        for event in news(seen.1.as_ref(), &newest) {
            state.events().publish(event, now);
        }
        seen.1 = Some(newest);
    }
}

fn version(path: &Path) -> Version {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

/// The events of a record, compared with the one before it. Alerts that fire in the first record count as firing
/// before. Pure.
fn news(before: Option<&Snapshot>, newest: &Snapshot) -> Vec<EventKind> {
    if before.is_some_and(|before| before.summary.collection_end_time == newest.summary.collection_end_time) {
        return Vec::new();
    }
    let mut news = vec![EventKind::Snapshot(summary(newest))];
    let Some(before) = before else { return news };
    let (then, now) = (alerts(before), alerts(newest));
    let is_in = |list: &[(Option<Vmid>, &ActiveAlert)], vmid: Option<Vmid>, alert: &ActiveAlert| {
        list.iter().any(|(other, known)| *other == vmid && is_same(known, alert))
    };
    for (list, others, firing) in [(&then, &now, false), (&now, &then, true)] {
        for (vm_id, alert) in list {
            if !is_in(others, *vm_id, alert) {
                news.push(EventKind::Alert(AlertEvent { firing, vm_id: *vm_id, alert: (*alert).clone() }));
            }
        }
    }
    news
}

/// Whether this is the same alert, even if its value has changed.
fn is_same(one: &ActiveAlert, other: &ActiveAlert) -> bool {
    (&one.rule, &one.metric, one.since) == (&other.rule, &other.metric, other.since)
}

fn alerts(snapshot: &Snapshot) -> Vec<(Option<Vmid>, &ActiveAlert)> {
    let of_containers = snapshot
        .containers
        .iter()
        .flat_map(|(vmid, record)| record.alerts.iter().map(move |alert| (Some(*vmid), alert)));
    let of_node = snapshot.summary.node.iter().flat_map(|node| &node.alerts);
    of_containers.chain(of_node.map(|alert| (alert.container, alert))).collect()
}

fn summary(snapshot: &Snapshot) -> SnapshotEvent {
    let node = snapshot.summary.node.as_ref();
    let usage = |vmid: &Vmid, record: &lxc_autoscale_core::snapshot::ContainerRecord| {
        let usage = UsageEvent {
            cpu_cores_used: record.cpu_cores_used,
            cpu_usage_percent: record.cpu_usage_percent,
            memory_usage_mb: record.memory_usage_mb,
            swap_usage_mb: record.swap_usage_mb,
        };
        (*vmid, usage)
    };
    SnapshotEvent {
        taken: snapshot.summary.collection_end_time,
        node_cpu_cores_used: node.and_then(|node| node.cpu_cores_used),
        node_memory_available_mb: node.and_then(|node| node.memory_available_mb),
        containers: snapshot.containers.iter().map(|(vmid, record)| usage(vmid, record)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(minute: u32, alerts: &str) -> Snapshot {
        let time = format!("2027-01-15T08:{minute:02}:00+00:00");
        let text = format!(
            r#"{{"104": {{"timestamp": "{time}", "memory_usage_mb": 300.5, "alerts": [{alerts}]}},
                "summary": {{"collection_start_time": "{time}", "collection_end_time": "{time}",
                "total_containers": 1, "total_duration_seconds": 0.1}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn alert(value: f64) -> String {
        format!(
            r#"{{"rule": "memory", "severity": "warning", "metric": "memory_usage_percent", "value": {value},
                "level": 90.0, "since": "2027-01-15T08:00:00+00:00"}}"#
        )
    }

    fn words(before: Option<&Snapshot>, newest: &Snapshot) -> Vec<&'static str> {
        let word = |event: EventKind| match event {
            EventKind::Snapshot(_) => "snapshot",
            EventKind::Alert(AlertEvent { firing: true, .. }) => "fires",
            EventKind::Alert(_) => "clear",
            _ => "other",
        };
        news(before, newest).into_iter().map(word).collect()
    }

    #[test]
    fn a_record_is_told_once_and_an_alert_when_it_begins_and_ends() {
        let [quiet, loud, louder] = [snapshot(1, ""), snapshot(2, &alert(91.0)), snapshot(3, &alert(97.0))];
        assert_eq!(words(None, &loud), ["snapshot"]);
        assert_eq!(words(Some(&quiet), &quiet), [""; 0]);
        assert_eq!(words(Some(&quiet), &loud), ["snapshot", "fires"]);
        assert_eq!(words(Some(&loud), &louder), ["snapshot"]);
        assert_eq!(words(Some(&louder), &snapshot(4, "")), ["snapshot", "clear"]);
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let told = serde_json::to_value(summary(&snapshot(1, ""))).unwrap();
        assert_eq!(told["containers"], serde_json::json!({"104": {"memory_usage_mb": 300.5}}));
        assert!(told.get("node_cpu_cores_used").is_none());
    }
}
