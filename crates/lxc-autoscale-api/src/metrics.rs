//! The newest measurements of the monitor, if they are current.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_autoscale_core::{ErrorChain, RecordTime, Vmid};

use crate::config::MetricsConfig;
use crate::memory_guard::Need;

/// How far a record may lie in the future. The same machine's clock writes and reads it, so this only allows for a
/// clock that is being corrected.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(5);

/// The newest snapshot, or the reason why there is no current one.
pub type Newest = Result<Snapshot, String>;

/// Reads the newest snapshot of the metrics file and checks its age. Blocks on files, so not for async code.
///
/// # Errors
/// The reason why the current measurements are not known.
pub fn newest(config: &MetricsConfig, now: Timestamp) -> Newest {
    let snapshot = latest(config)?;
    is_present(snapshot.summary.collection_end_time, config, now)?;
    Ok(snapshot)
}

/// Reads the newest snapshot of the metrics file, whatever its age. Blocks on files, so not for async code.
///
/// # Errors
/// The reason why there is none.
pub fn latest(config: &MetricsConfig) -> Newest {
    let believed = Believed::own().and_monitor(&config.owner);
    let read = MetricsReader::read_newest_by(&config.file, &believed);
    let read = read.map_err(|error| ErrorChain(&error).to_string())?;
    read.ok_or_else(|| format!("the metrics file `{}` holds no record yet", config.file.display()))
}

/// When the newest snapshot was taken, whatever its age, and the snapshot itself if it is current. Blocks on files,
/// so not for async code.
pub fn taken(config: &MetricsConfig, now: Timestamp) -> (Option<Timestamp>, Option<Snapshot>) {
    match latest(config) {
        Ok(snapshot) => {
            let taken = snapshot.summary.collection_end_time;
            let present = is_present(taken, config, now).is_ok();
            (Some(taken.instant()), present.then_some(snapshot))
        }
        Err(reason) => {
            tracing::debug!(reason, "a scrape lacks the newest snapshot");
            (None, None)
        }
    }
}

/// Checks that a measurement taken at `taken` is current; the modification time of the file does not matter.
///
/// # Errors
/// The reason why it is not.
pub fn is_present(taken: RecordTime, config: &MetricsConfig, now: Timestamp) -> Result<(), String> {
    let age = now.duration_since(taken.instant());
    let allowed = SignedDuration::from_secs(i64::try_from(config.max_age_seconds).unwrap_or(i64::MAX));
    let shown = config.file.display();
    if allowed < age {
        return Err(format!(
            "the newest record of `{shown}` is {} s old; does lxc-monitor run?",
            age.as_secs()
        ));
    }
    // If the clock was set back, past records seem to be in the future; they are not current.
    if age < -CLOCK_SLACK {
        return Err(format!(
            "the newest record of `{shown}` lies {} s in the future; was the clock set?",
            -age.as_secs()
        ));
    }
    Ok(())
}

/// The record of one container in the newest snapshot, if that is current.
///
/// # Errors
/// The reason why there is none.
pub fn record_of(
    newest: Newest,
    vmid: Vmid,
    config: &MetricsConfig,
    now: Timestamp,
) -> Result<ContainerRecord, String> {
    let mut snapshot = newest?;
    let missing = || format!("the newest record of the monitor does not have container {vmid}");
    let record = snapshot.containers.remove(&vmid).ok_or_else(missing)?;
    is_present(record.timestamp, config, now)?;
    Ok(record)
}

/// What a running container needs according to its newest record.
pub fn need_of(record: Result<ContainerRecord, String>) -> Need {
    match record {
        Err(reason) => Need::Unknown { reason },
        Ok(ContainerRecord { memory_usage_mb: Some(held), .. }) => Need::WorkingSet(held),
        Ok(record) => {
            let why = record.missing.reason("memory_usage_mb").unwrap_or("no reason was given");
            Need::Unknown { reason: format!("the monitor could not read its working set: {why}") }
        }
    }
}

/// What a container has taken of its memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TakenMemory {
    /// What the node's available memory does not tell of any more: anonymous and shared memory. Page cache is left out,
    /// even if it is in use, because the kernel counts it as available.
    pub taken_mib: f64,
    /// What its configuration gave it then.
    pub has_mib: Option<f64>,
}

/// What the running containers had taken of their memory when they were measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// The node's available memory then, in MiB.
    pub node_available_mib: Option<f64>,
    /// The containers of which it is known.
    pub containers: BTreeMap<Vmid, TakenMemory>,
}

/// What the containers have taken of their memory according to this snapshot; those whose measurement is not current are
/// left out.
pub fn taken_memory(snapshot: &Snapshot, config: &MetricsConfig, now: Timestamp) -> Taken {
    let containers = snapshot.containers.iter().filter_map(|(vmid, record)| {
        is_present(record.timestamp, config, now).ok()?;
        let memory = record.memory?;
        let has_mib = record.configuration.as_ref().map(|config| config.memory_mb.get() as f64);
        Some((*vmid, TakenMemory { taken_mib: memory.anon_mb + memory.shmem_mb, has_mib }))
    });
    let node_available_mib = snapshot.summary.node.as_ref().and_then(|node| node.memory_available_mb);
    Taken { node_available_mib, containers: containers.collect() }
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
            "collection_end_time": "2027-01-15T09:00:00+00:00", "total_containers": 2, "total_duration_seconds": 0.1}}"#;
        serde_json::from_str(text).unwrap()
    }

    fn id(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    #[track_caller]
    fn check_age(seconds: i64, want: Option<&str>) {
        let record = record_of(Ok(snapshot()), id(104), &MetricsConfig::default(), at(seconds));
        match want {
            None => assert_eq!(record.map(|record| record.memory_usage_mb), Ok(Some(300.5))),
            Some(reason) => assert!(record.clone().is_err_and(|error| error.contains(reason)), "{record:?}"),
        }
    }

    /// The summary and the file may be newer; what counts is when the container was measured.
    #[test]
    fn a_record_tells_the_present_for_its_own_time() {
        check_age(180, None);
        check_age(181, Some("is 181 s old"));
        check_age(-5, None);
        check_age(-6, Some("lies 6 s in the future"));
    }

    #[test]
    fn what_is_not_known_has_a_reason_and_is_not_zero() {
        let need = |number| need_of(record_of(Ok(snapshot()), id(number), &MetricsConfig::default(), at(0)));
        assert_eq!(need(104), Need::WorkingSet(300.5));
        assert!(matches!(need(105), Need::Unknown { reason } if reason.ends_with("working set: gone")));
        assert!(matches!(need(106), Need::Unknown { reason } if reason.contains("container 106")));
    }

    /// The conditions for trusting the file before memory may shrink: its owner, who can write it, its layout, and
    /// its age.
    #[test]
    fn a_file_that_others_could_have_written_or_that_is_old_is_a_reason() {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::{PermissionsExt, chown};

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics.json");
        let write = |more: &str| {
            let time = "2027-01-15T08:00:00+00:00";
            let record = format!(
                r#"{{"summary":{{"collection_start_time":"{time}","collection_end_time":"{time}","total_containers":0,"total_duration_seconds":0.1{more}}}}}"#
            );
            std::fs::write(&file, format!("[\n{record}\n]\n")).unwrap();
        };
        // On every Debian, user 1 is `daemon` and user 2 is `bin`.
        let config =
            MetricsConfig { file: file.clone(), owner: "daemon".to_owned(), ..MetricsConfig::default() };
        let refused = |seconds: i64| newest(&config, at(seconds)).err().unwrap_or_default();
        let mode = |mode: u32| set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        write("");
        mode(0o640);
        assert_eq!(refused(180), "");
        assert!(refused(181).contains("is 181 s old; does lxc-monitor run?"), "{}", refused(181));
        mode(0o646);
        assert!(refused(0).contains("others may write to it (mode 0646)"), "{}", refused(0));
        mode(0o640);
        if chown(&file, Some(1), None).is_ok() {
            assert_eq!(refused(0), "");
            chown(&file, Some(2), None).unwrap();
            let reason = refused(0);
            assert!(reason.contains("belongs to user 2, and must belong to root"), "{reason}");
            assert!(reason.contains("monitor's user `daemon` (1)"), "{reason}");
            chown(&file, Some(0), None).unwrap();
        }
        write(r#","schema_version":99"#);
        assert!(refused(0).contains("schema version is 99"), "{}", refused(0));
    }

    #[test]
    fn a_file_that_is_not_there_is_a_reason() {
        let config = MetricsConfig { file: "/nonexistent/metrics.json".into(), ..MetricsConfig::default() };
        assert!(newest(&config, at(0)).unwrap_err().contains("/nonexistent/metrics.json"));
    }
}
