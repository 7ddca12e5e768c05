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
use crate::jobs::begun::Writing;

/// The trail of one change in the audit log.
#[derive(Clone)]
pub(super) struct Trail {
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) subject: Subject,
    pub(super) instruments: Arc<Instruments>,
}

impl Trail {
    /// Begins to write down that the change is begun.
    pub(super) fn begins(&self) -> Writing {
        let trail = self.clone();
        tokio::spawn(async move { trail.write(Event::Begun).await.map(drop) })
    }

    /// Writes down what became of it; what is done is done, whether that can be written down or not.
    pub(super) async fn ended(&self, outcome: Event) {
        match self.write(outcome).await {
            Ok(Some(hash)) => tracing::info!(hash, change = self.subject.change, "written to the audit log"),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "the end of a change is not in the audit log");
            }
        }
    }

    async fn write(&self, event: Event) -> Result<Option<String>, AuditError> {
        let Some(audit) = self.audit.clone() else { return Ok(None) };
        let subject = self.subject.clone();
        let path = audit.path().to_owned();
        let written = tokio::task::spawn_blocking(move || audit.write(&subject, &event, Timestamp::now()));
        let written = written.await.unwrap_or_else(|error| Err(AuditError { path, source: error.into() }));
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
