//! The trail of one change: in the audit log, and as a line of the log.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::ErrorChain;
use serde::Serialize;

use super::Change;
use crate::actions::ActionError;
use crate::audit::{self, AuditError, AuditLog, Event, Subject};
use crate::error::ApiError;
use crate::exporter::{DONE, Instruments};

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

    /// Writes down that the change is begun; waits for the disk, as does all here.
    pub(super) fn begins(&self) -> Result<(), AuditError> {
        self.write(&Event::Begun).map(drop)
    }

    /// Writes down what became of it; what is done is done, whether that can be written down or not.
    pub(super) fn ended(&self, outcome: &Event) {
        match self.write(outcome) {
            Ok(Some(hash)) => tracing::info!(hash, change = self.subject.change, "written to the audit log"),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "the end of a change is not in the audit log");
            }
        }
    }

    fn write(&self, event: &Event) -> Result<Option<String>, AuditError> {
        let Some(audit) = &self.audit else { return Ok(None) };
        let written = audit.write(&self.subject, event, Timestamp::now());
        self.instruments.audited(written.is_ok());
        written.map(Some)
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
            Event::NotDone { code, message, duration_ms }
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
