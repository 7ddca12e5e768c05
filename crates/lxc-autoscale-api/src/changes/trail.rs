//! The trail of one change: its records in the audit log, and its line in the service log.
//!
//! Each change has two audit records. Both are in the file before the client is answered, and on the disk at most a
//! second later. The start of a change is on the disk in `api.sqlite` before its first call. If a power cut takes a
//! record from the audit log, the next start writes it again from `api.sqlite`. If the end is lost there, too, it is
//! determined by comparing the change with the node. Changes whose outcome no configuration shows are on the disk in
//! the audit log at once ([`on_disk`]).

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
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

/// How long a record may be in the audit log before it is on the disk.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// The trail of one change in the audit log.
#[derive(Clone)]
pub(super) struct Trail {
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) subject: Subject,
    pub(super) instruments: Arc<Instruments>,
}

impl Trail {
    /// The same trail with the number of the change.
    #[must_use]
    pub(super) fn of(mut self, number: i64) -> Self {
        self.subject.change = number.unsigned_abs();
        self
    }

    /// The same trail, for a record that is written later than the event it describes.
    #[must_use]
    pub(super) fn completed(&self, happened: Option<Timestamp>) -> Self {
        let mut completed = self.clone();
        completed.subject.happened = happened;
        completed
    }

    /// Records that the change has begun; `on_disk` says when that must be on the disk.
    pub(super) fn begins(&self, on_disk: OnDisk) -> Result<(), AuditError> {
        self.write(&Event::Begun, on_disk)
    }

    /// Records how the change ended; `on_disk` says when that must be on the disk. Returns whether the audit log has
    /// it. A failure is only logged: the change itself has already happened.
    pub(super) fn ended(&self, outcome: &Event, on_disk: OnDisk) -> bool {
        let written = self.write(outcome, on_disk);
        if let Err(error) = &written {
            tracing::error!(error = %ErrorChain(error), "cannot write the end of a change to the audit log");
        }
        self.audit.is_some() && written.is_ok()
    }

    fn write(&self, event: &Event, on_disk: OnDisk) -> Result<(), AuditError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let written = audit.append(&self.subject, event, Timestamp::now(), on_disk);
        self.instruments.audited(written.is_ok());
        sync_soon(Arc::clone(audit), Arc::clone(&self.instruments));
        written.map(drop)
    }
}

/// When the records of a change must be on the disk.
///
/// Records of a change that the container's configuration still shows after a power cut may wait. Whether a container
/// runs shows nothing then: the power cut has stopped it, and the node has started what it starts at boot.
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
        // Nothing shows which snapshots were pruned, or whether the container was rolled back to the snapshot it
        // already descended from.
        Task::PruneSnapshots { .. }
        | Task::Rollback { .. }
        | Task::Start { .. }
        | Task::Stop { .. }
        | Task::Shutdown { .. }
        | Task::Reboot { .. }
        | Task::Other => OnDisk::AtOnce,
    }
}

/// Syncs the audit log a little later, together with the records written until then.
fn sync_soon(audit: Arc<AuditLog>, instruments: Arc<Instruments>) {
    if !audit.promise_sync() {
        return;
    }
    tokio::spawn(async move {
        tokio::time::sleep(SYNC_AFTER).await;
        sync(audit, instruments).await;
    });
}

/// Syncs the audit log, and writes its newest hash to the service log.
pub(super) async fn sync(audit: Arc<AuditLog>, instruments: Arc<Instruments>) {
    let synced = tokio::task::spawn_blocking(move || match audit.sync() {
        Ok(None) => {}
        Ok(Some(Newest { seq, hash })) => tracing::info!(seq, hash, "written to the audit log"),
        Err(error) => {
            instruments.audited(false);
            tracing::error!(error = %ErrorChain(&error), "cannot sync the audit log to the disk");
        }
    });
    if let Err(error) = synced.await {
        tracing::error!(%error, "waiting for the audit log ended unexpectedly");
    }
}

/// The outcome of a change, for the audit log.
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

/// The result that a change is counted under.
pub(super) fn code(result: Result<(), &ActionError>) -> &'static str {
    result.map_or_else(|error| ApiError::status_and_code(error).1, |()| DONE)
}

/// The line of one change in the service log: what, the outcome, who asked, and how long it took. Made before the client
/// is answered, and written afterwards, because the client does not wait for it.
pub(super) struct LogLine<'a> {
    change: &'a Change,
    duration_ms: u64,
    failure: Option<(StatusCode, &'static str, String)>,
}

impl<'a> LogLine<'a> {
    pub(super) fn new(change: &'a Change, took: Duration, failure: Option<&ActionError>) -> Self {
        let failure = failure.map(|error| {
            let (status, code) = ApiError::status_and_code(error);
            (status, code, ErrorChain(error).to_string())
        });
        Self { change, duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX), failure }
    }

    pub(super) fn write(self) {
        let Self { change, duration_ms, failure } = self;
        let (summary, caller) = (&change.summary, &change.caller.identity);
        let address = change.caller.origin.map(tracing::field::display);
        match failure {
            None => tracing::info!(%caller, address, duration_ms, "{summary}: done"),
            Some((status, code, error)) if status.is_server_error() => {
                tracing::error!(%caller, address, duration_ms, code, %error, "{summary}: failed");
            }
            Some((_, code, error)) => {
                tracing::warn!(%caller, address, duration_ms, code, %error, "{summary}: refused");
            }
        }
    }
}
