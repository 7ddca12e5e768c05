//! Times that say nothing about a container: a backup, a restore, a migration, its start. Pure.
//!
//! Proxmox holds a lock while it works on a container (`backup`, `snapshot`, `snapshot-delete`, `rollback`, `migrate`,
//! `disk`, `create`, …). Whatever the lock is for, the container's behaviour is not typical meanwhile: it is frozen,
//! copied or read from end to end. Nor is that of the first minutes after a start. A step that touches such a time is
//! not learnt from, and no decision is based on it; only running out of memory during the start is answered, because
//! otherwise the container might never get beyond it.

use std::fmt;

use lxc_autoscale_core::snapshot::ContainerRecord;
use serde::{Deserialize, Serialize};

/// What disturbed a container during a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Disturbance {
    /// Proxmox held a lock on it.
    Lock {
        /// The lock.
        lock: String,
    },
    /// It has just started.
    Start {
        /// Its uptime, in seconds.
        uptime_seconds: f64,
        /// The uptime from which it counts, in seconds.
        boot_seconds: u64,
    },
}

/// The disturbance in the step between two records, after the step that ended with `previous` and its disturbance;
/// unknown values are none. A lock holds until a configuration without it is read.
pub fn between(
    previous: Option<(&ContainerRecord, Option<&Disturbance>)>,
    current: &ContainerRecord,
    boot_seconds: u64,
) -> Option<Disturbance> {
    let lock_of = |record: &ContainerRecord| record.configuration.as_ref()?.lock.clone();
    let lock_before = previous.and_then(|(record, disturbance)| match disturbance {
        Some(Disturbance::Lock { lock }) if record.configuration.is_none() => Some(lock.clone()),
        _ => lock_of(record),
    });
    if let Some(lock) = lock_of(current).or(lock_before) {
        return Some(Disturbance::Lock { lock });
    }
    let uptime_seconds = current.uptime_seconds?;
    let is_young = uptime_seconds < boot_seconds as f64;
    is_young.then_some(Disturbance::Start { uptime_seconds, boot_seconds })
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock { lock } => write!(f, "Proxmox held the lock `{lock}` on it"),
            Self::Start { uptime_seconds, boot_seconds } => {
                write!(f, "it started {uptime_seconds:.0} s ago, and its first {boot_seconds} s do not count")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lxc_autoscale_core::RecordTime;
    use lxc_autoscale_core::container_config::ContainerConfig;

    use super::*;

    fn record(lock: Option<&str>, uptime_seconds: Option<f64>) -> ContainerRecord {
        let text = lock.map(|lock| format!("lock: {lock}\n")).unwrap_or_default();
        ContainerRecord {
            configuration: Some(ContainerConfig::parse(&text).0.into()),
            uptime_seconds,
            ..ContainerRecord::empty(RecordTime::utc(Timestamp::UNIX_EPOCH))
        }
    }

    #[track_caller]
    fn check(previous: Option<&ContainerRecord>, current: &ContainerRecord, want: Option<&str>) {
        let got = between(previous.map(|record| (record, None)), current, 300);
        assert_eq!(got.map(|got| got.to_string()).as_deref(), want);
    }

    #[test]
    fn a_step_that_touches_a_lock_or_a_start_is_disturbed() {
        let quiet = record(None, Some(9000.0));
        let backup = "Proxmox held the lock `backup` on it";
        check(None, &quiet, None);
        check(Some(&quiet), &quiet, None);
        for lock in ["backup", "snapshot-delete", "rollback", "migrate", "create", "disk"] {
            assert!(
                between(Some((&quiet, None)), &record(Some(lock), Some(9000.0)), 300).is_some(),
                "{lock}"
            );
        }
        check(Some(&quiet), &record(Some("backup"), Some(9000.0)), Some(backup));
        // It was released within the step.
        check(Some(&record(Some("backup"), Some(8940.0))), &quiet, Some(backup));
        let started = "it started 60 s ago, and its first 300 s do not count";
        check(Some(&quiet), &record(None, Some(60.0)), Some(started));
        check(Some(&quiet), &record(None, Some(300.0)), None);
    }

    /// While its configuration cannot be read, a container is as locked as it was last known to be.
    #[test]
    fn a_lock_holds_until_a_configuration_without_it_is_read() {
        use crate::history::History;
        use crate::recommend::{RecommendConfig, Shared};

        let snapshot = |minute: i64, lock: Option<&str>, is_read: bool| {
            let at = Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap();
            let text = format!(
                r#"{{"summary":{{"collection_start_time":"{at}","collection_end_time":"{at}","total_containers":1,
                "total_duration_seconds":0.1,"schema_version":1}}}}"#
            );
            let mut snapshot: lxc_autoscale_core::snapshot::Snapshot = text.parse().unwrap();
            let record = record(lock, Some(90_000.0 + 60.0 * minute as f64));
            let configuration = record.configuration.clone().filter(|_| is_read);
            let record = ContainerRecord { timestamp: RecordTime::utc(at), configuration, ..record };
            let id = lxc_autoscale_core::Vmid::try_from(100).unwrap();
            snapshot.containers = [(id, record)].into_iter().collect();
            (id, snapshot)
        };
        let mut history = History::new(Shared::with_shipped(&RecommendConfig::default()).into(), 100);
        let mut disturbed = Vec::new();
        for (minute, (lock, is_read)) in (0..).zip([
            (None, false),
            (None, true),
            (Some("backup"), true),
            (None, false),
            (None, false),
            (None, false),
            (None, true),
            (None, true),
            (None, false),
        ]) {
            let (id, snapshot) = snapshot(minute, lock, is_read);
            history.take(snapshot);
            disturbed.push(history.container(id).unwrap().disturbance.is_some());
        }
        assert_eq!(disturbed, [false, false, true, true, true, true, true, false, false]);
    }

    #[test]
    fn what_is_unknown_disturbs_nothing() {
        let original = ContainerRecord { configuration: None, ..record(None, None) };
        check(Some(&original), &original, None);
    }
}
