//! What the monitor measured last, if that is the present.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_autoscale_core::{ErrorChain, Vmid};

use crate::config::MetricsConfig;
use crate::memory_guard::Need;

/// The newest snapshot, or the reason why there is none that tells the present.
pub type Newest = Result<Snapshot, String>;

/// Reads the newest snapshot of the metrics file and holds it to its age; reads files, so not for async code.
///
/// # Errors
/// The reason why what is measured is not known.
pub fn newest(config: &MetricsConfig, now: Timestamp) -> Newest {
    let shown = config.file.display();
    let snapshot =
        read(&config.file)?.ok_or_else(|| format!("the metrics file `{shown}` holds no record yet"))?;
    fresh(snapshot, config, now)
}

fn read(path: &Path) -> Result<Option<Snapshot>, String> {
    MetricsReader::read_newest(path).map_err(|error| ErrorChain(&error).to_string())
}

fn fresh(snapshot: Snapshot, config: &MetricsConfig, now: Timestamp) -> Newest {
    let age = now.duration_since(snapshot.summary.collection_end_time.instant());
    let allowed = SignedDuration::from_secs(i64::try_from(config.max_age_seconds).unwrap_or(i64::MAX));
    let shown = config.file.display();
    if allowed < age {
        return Err(format!(
            "the newest record of `{shown}` is {} s old; does lxc-monitor run?",
            age.as_secs()
        ));
    }
    // A clock that was put back makes the past look like the future; neither is the present.
    if age < -allowed {
        return Err(format!("the newest record of `{shown}` lies {} s in the future", -age.as_secs()));
    }
    Ok(snapshot)
}

/// The record of one container in the newest snapshot.
///
/// # Errors
/// The reason why there is none.
pub fn record_of(newest: Newest, vmid: Vmid) -> Result<ContainerRecord, String> {
    let mut snapshot = newest?;
    let missing = || format!("the newest record of the monitor does not have container {vmid}");
    snapshot.containers.remove(&vmid).ok_or_else(missing)
}

/// What a running container needs, by its newest record.
pub fn need_of(record: Result<ContainerRecord, String>) -> Need {
    match record {
        Err(reason) => Need::Unknown { reason },
        Ok(ContainerRecord { memory_usage_mb: Some(held), .. }) => Need::WorkingSet(held),
        Ok(record) => {
            let why = record.missing.get("memory_usage_mb").map_or("no reason was given", String::as_str);
            Need::Unknown { reason: format!("the monitor could not read its working set: {why}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn snapshot() -> Snapshot {
        let text = r#"{"104": {"timestamp": "2027-01-15T08:00:00+00:00", "memory_usage_mb": 300.5},
            "105": {"timestamp": "2027-01-15T08:00:00+00:00", "missing": {"memory_usage_mb": "gone"}},
            "summary": {"collection_start_time": "2027-01-15T08:00:00+00:00",
            "collection_end_time": "2027-01-15T08:00:00+00:00", "total_containers": 2, "total_duration_seconds": 0.1}}"#;
        serde_json::from_str(text).unwrap()
    }

    fn id(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    #[test]
    fn a_record_tells_the_present_for_its_time() {
        let config = MetricsConfig::default();
        assert!(fresh(snapshot(), &config, at(180)).is_ok());
        assert!(fresh(snapshot(), &config, at(181)).unwrap_err().contains("is 181 s old"));
        assert!(fresh(snapshot(), &config, at(-181)).unwrap_err().contains("lies 181 s in the future"));
    }

    #[test]
    fn what_is_not_known_has_a_reason_and_is_not_zero() {
        let need = |number| need_of(record_of(Ok(snapshot()), id(number)));
        assert_eq!(need(104), Need::WorkingSet(300.5));
        assert!(matches!(need(105), Need::Unknown { reason } if reason.ends_with("working set: gone")));
        assert!(matches!(need(106), Need::Unknown { reason } if reason.contains("container 106")));
    }

    #[test]
    fn a_file_that_is_not_there_is_a_reason() {
        let config = MetricsConfig { file: "/nonexistent/metrics.json".into(), max_age_seconds: 180 };
        assert!(newest(&config, at(0)).unwrap_err().contains("/nonexistent/metrics.json"));
    }
}
