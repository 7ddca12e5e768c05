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

/// The disturbance in the step between two records; unknown values are none.
pub fn between(
    previous: Option<&ContainerRecord>,
    current: &ContainerRecord,
    boot_seconds: u64,
) -> Option<Disturbance> {
    let lock_of = |record: &ContainerRecord| record.configuration.as_ref()?.lock.clone();
    if let Some(lock) = lock_of(current).or_else(|| previous.and_then(lock_of)) {
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
        let got = between(previous, current, 300);
        assert_eq!(got.map(|got| got.to_string()).as_deref(), want);
    }

    #[test]
    fn a_step_that_touches_a_lock_or_a_start_is_disturbed() {
        let quiet = record(None, Some(9000.0));
        let backup = "Proxmox held the lock `backup` on it";
        check(None, &quiet, None);
        check(Some(&quiet), &quiet, None);
        for lock in ["backup", "snapshot-delete", "rollback", "migrate", "create", "disk"] {
            assert!(between(Some(&quiet), &record(Some(lock), Some(9000.0)), 300).is_some(), "{lock}");
        }
        check(Some(&quiet), &record(Some("backup"), Some(9000.0)), Some(backup));
        // It was released within the step.
        check(Some(&record(Some("backup"), Some(8940.0))), &quiet, Some(backup));
        let started = "it started 60 s ago, and its first 300 s do not count";
        check(Some(&quiet), &record(None, Some(60.0)), Some(started));
        check(Some(&quiet), &record(None, Some(300.0)), None);
    }

    #[test]
    fn what_is_unknown_disturbs_nothing() {
        let original = ContainerRecord { configuration: None, ..record(None, None) };
        check(Some(&original), &original, None);
    }
}
