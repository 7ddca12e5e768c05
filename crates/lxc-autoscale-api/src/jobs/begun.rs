//! Writing to the audit log that a change is begun, while the change is being prepared.
//!
//! What must be on the disk before the first call are two records in two files: the audit log's and the journal's. Each
//! takes the disk some time, so both are written at once, and the call waits for both.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::Journal;
use crate::audit::AuditError;
use crate::backend::BackendError;
use crate::backend::watch::{Call, Noted, Watcher};

/// A record that is being written.
pub(crate) type Writing = JoinHandle<Result<(), AuditError>>;

/// Lets no call be made before it and the beginning of its change are written down.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    journal: Journal,
    record: Arc<Mutex<Record>>,
}

#[derive(Debug)]
enum Record {
    Writing(Writing),
    Written,
    Failed(AuditError),
    /// The failure was taken.
    Reported,
}

impl Begun {
    /// Watches the calls of a change whose beginning is being written to the audit log.
    pub(crate) fn new(journal: Journal, writing: Writing) -> Self {
        Self { journal, record: Arc::new(Mutex::new(Record::Writing(writing))) }
    }

    /// Waits for the record.
    ///
    /// # Errors
    /// [`AuditError`] when it could not be written; told once.
    pub(crate) async fn written(&self) -> Result<(), AuditError> {
        let mut record = self.record.lock().await;
        record.settle().await;
        match std::mem::replace(&mut *record, Record::Reported) {
            Record::Failed(error) => Err(error),
            other => {
                *record = other;
                Ok(())
            }
        }
    }

    async fn is_written(&self) -> bool {
        let mut record = self.record.lock().await;
        record.settle().await;
        matches!(*record, Record::Written)
    }
}

impl Record {
    async fn settle(&mut self) {
        if let Self::Writing(writing) = self {
            *self = match writing.await {
                Ok(Ok(())) => Self::Written,
                Ok(Err(error)) => Self::Failed(error),
                Err(error) => Self::Failed(AuditError { path: PathBuf::new(), source: error.into() }),
            };
        }
    }
}

impl Watcher for Begun {
    fn note(&self, call: Call) -> Noted<'_> {
        Box::pin(async move {
            let command = call.command.clone();
            let (noted, is_written) = tokio::join!(self.journal.note(call), self.is_written());
            noted?;
            if is_written {
                return Ok(());
            }
            let detail = "the audit log cannot be written".to_owned();
            Err(BackendError::NotRecorded { command, detail })
        })
    }
}
