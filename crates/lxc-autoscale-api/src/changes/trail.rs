//! The trail of one change: in the audit log, and as a line of the log.
//!
//! Both its records are in the file before anybody waits for them, and on the disk a second later or before. That a change is begun is on
//! the disk before its first call in `api.sqlite`; a record that the power took from the audit log is written there again with the next
//! start, from what `api.sqlite` has. How the change ended is found again by holding it against the node, where
//! that is lost, too. What no configuration could tell is on the disk in the audit log at once ([`on_disk`]).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::ErrorChain;
use serde::Serialize;

use super::Change;
use crate::actions::ActionError;
use crate::audit::{self, AuditError, AuditLog, Event, Newest, Subject};
use crate::error::ApiError;
use crate::exporter::{DONE, Instruments};
use crate::jobs::Task;
use crate::on_disk::OnDisk;

/// How long a record may be in the audit log and not on the disk.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// The trail of one change in the audit log.
#[derive(Clone)]
pub(super) struct Trail {
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) subject: Subject,
    pub(super) instruments: Arc<Instruments>,
}

impl Trail {
    /// The trail of the change with that number.
    #[must_use]
    pub(super) fn of(mut self, number: i64) -> Self {
        self.subject.change = number.unsigned_abs();
        self
    }

    /// The same for a record that is written later than what it tells happened.
    #[must_use]
    pub(super) fn completed(&self, happened: Option<Timestamp>) -> Self {
        let mut completed = self.clone();
        completed.subject.happened = happened;
        completed
    }

    /// Writes down that the change is begun; on the disk when `on_disk` says.
    pub(super) fn begins(&self, on_disk: OnDisk) -> Result<(), AuditError> {
        self.write(&Event::Begun, on_disk)
    }

    /// Writes down what became of it, on the disk when `on_disk` says; what is done is done, whether that can be written
    /// down or not.
    pub(super) fn ended(&self, outcome: &Event, on_disk: OnDisk) {
        if let Err(error) = self.write(outcome, on_disk) {
            tracing::error!(error = %ErrorChain(&error), "the end of a change is not in the audit log");
        }
    }

    fn write(&self, event: &Event, on_disk: OnDisk) -> Result<(), AuditError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let written = audit.append(&self.subject, event, Timestamp::now(), on_disk);
        self.instruments.audited(written.is_ok());
        sync_soon(Arc::clone(audit), Arc::clone(&self.instruments));
        written.map(drop)
    }
}

/// When the records of a change must be on the disk. What the configuration of its container tells after a power cut need not
/// wait. What runs then does not tell: the power cut has stopped it, and the node has started what it starts by itself.
pub(super) fn on_disk(task: &Task) -> OnDisk {
    match task {
        Task::SetCores { .. }
        | Task::SetCpulimit { .. }
        | Task::SetMemory { .. }
        | Task::GrowRootfs { .. }
        | Task::CreateSnapshot { .. }
        | Task::DeleteSnapshot { .. }
        | Task::CreateClone { .. }
        | Task::DeleteClone { .. } => OnDisk::Soon,
        // Which snapshots were pruned, or whether it was taken back to the one that it descended from before, nothing tells.
        Task::PruneSnapshots { .. }
        | Task::Rollback { .. }
        | Task::Start { .. }
        | Task::Stop { .. }
        | Task::Shutdown { .. }
        | Task::Reboot { .. }
        | Task::Other => OnDisk::AtOnce,
    }
}

/// Has records on the disk a little later, with those that come until then.
fn sync_soon(audit: Arc<AuditLog>, instruments: Arc<Instruments>) {
    if !audit.promise_sync() {
        return;
    }
    tokio::spawn(async move {
        tokio::time::sleep(SYNC_AFTER).await;
        sync(audit, instruments).await;
    });
}

/// Has all records on the disk, and tells the log of the service the newest hash.
pub(super) async fn sync(audit: Arc<AuditLog>, instruments: Arc<Instruments>) {
    let synced = tokio::task::spawn_blocking(move || match audit.sync() {
        Ok(None) => {}
        Ok(Some(Newest { seq, hash })) => tracing::info!(seq, hash, "written to the audit log"),
        Err(error) => {
            instruments.audited(false);
            tracing::error!(error = %ErrorChain(&error), "records of changes are not on the disk in the audit log");
        }
    });
    if let Err(error) = synced.await {
        tracing::error!(%error, "waiting for the audit log ended unexpectedly");
    }
}

/// What became of a change, for the audit log.
pub(super) fn outcome<T: Serialize>(took: Duration, result: &Result<T, ActionError>) -> Event {
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(done) => Event::Done { result: serde_json::to_value(done).unwrap_or_default(), duration_ms },
        Err(error) => {
            let (_, code) = ApiError::status_and_code(error);
            let message = audit::bounded(&ErrorChain(error).to_string());
            Event::NotDone { code: code.into(), message, is_open: error.is_open(), duration_ms }
        }
    }
}

/// What the result of a change is counted as.
pub(super) fn code(result: Result<(), &ActionError>) -> &'static str {
    result.map_or_else(|error| ApiError::status_and_code(error).1, |()| DONE)
}

/// One line for each change: what, its outcome, who asked, how long it took.
pub(super) fn log(change: &Change, took: Duration, failure: Option<&ActionError>) {
    let (summary, caller) = (&change.summary, &change.caller.identity);
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match failure {
        None => tracing::info!(%caller, duration_ms, "{summary}: done"),
        Some(error) => {
            let (status, code) = ApiError::status_and_code(error);
            if status.is_server_error() {
                tracing::error!(%caller, duration_ms, code, %error, "{summary}: failed");
            } else {
                tracing::warn!(%caller, duration_ms, code, %error, "{summary}: refused");
            }
        }
    }
}
