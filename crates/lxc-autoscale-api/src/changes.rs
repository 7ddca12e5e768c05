//! Runs changes: bounded in number, one at a time per container, to their end whatever becomes of the client.
//!
//! A change runs in a task of its own, so that a client that disconnects, or a request that times out, cannot
//! stop a sequence half way. A client that left while its change was still waiting gets it no more. The server
//! ends when all changes have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use crate::actions::ActionError;
use crate::audit::{self, AuditError, AuditLog, Event, Subject};
use crate::auth::caller::Caller;
use crate::error::ApiError;
use crate::gate::Gate;

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is to be done, for the log: `set cores of container 104 to 4`.
    pub summary: String,
    /// The containers it touches.
    pub vmids: Vec<Vmid>,
    /// Who asks.
    pub caller: Caller,
}

/// All changes of this server.
#[derive(Clone, Debug)]
pub struct Changes {
    gate: Gate,
    audit: Option<Arc<AuditLog>>,
    begun: Arc<AtomicU64>,
    permits: Arc<Semaphore>,
    capacity: u32,
    patience: Duration,
}

impl Changes {
    /// At most `capacity` changes at once, each waiting at most `patience` for its containers; all are written to
    /// `audit`.
    pub fn new(capacity: u32, patience: Duration, audit: Option<AuditLog>) -> Self {
        let permits = usize::try_from(capacity).unwrap_or(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        let (audit, begun) = (audit.map(Arc::new), Arc::default());
        Self { gate: Gate::default(), audit, begun, permits, capacity, patience }
    }

    /// How many are under way or waiting.
    pub fn in_progress(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX).saturating_sub(self.permits.available_permits())
    }

    /// Does `work` when its containers are free, logs it, and returns what became of it.
    ///
    /// # Errors
    /// That of `work`, or why it was not begun.
    pub async fn run<T, W>(&self, change: Change, work: W) -> Result<T, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
    {
        change
            .caller
            .may_touch(&change.vmids)
            .map_err(|_| ActionError::OutOfScope { caller: change.caller.identity.clone() })?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => ActionError::TooManyChanges,
            TryAcquireError::Closed => ActionError::ShuttingDown,
        })?;
        let (sender, receiver) = oneshot::channel();
        let (gate, patience) = (self.gate.clone(), self.patience);
        let trail = Trail { audit: self.audit.clone(), subject: self.subject(&change) };
        tokio::spawn(async move {
            let _permit = permit;
            let begun = Instant::now();
            let result = match gate.enter(&change.vmids, patience).await {
                Err(occupied) => Err(occupied.into()),
                Ok(_) if sender.is_closed() => Err(ActionError::Abandoned),
                Ok(_tickets) => match trail.begun().await {
                    Ok(()) => work.await,
                    Err(error) => Err(error.into()),
                },
            };
            let outcome = outcome(begun.elapsed(), &result);
            trail.ended(outcome).await;
            log(&change, begun.elapsed(), result.as_ref().err());
            // The client may have left meanwhile; the log has the outcome.
            let _ = sender.send(result);
        });
        receiver.await.unwrap_or(Err(ActionError::Crashed))
    }

    /// What the audit log calls a change.
    fn subject(&self, change: &Change) -> Subject {
        Subject {
            change: self.begun.fetch_add(1, Ordering::Relaxed) + 1,
            caller: change.caller.identity.to_string(),
            action: audit::bounded(&change.summary),
            containers: change.vmids.clone(),
        }
    }

    /// Refuses new changes and waits until those under way have ended.
    pub async fn finish(&self) {
        if 0 < self.in_progress() {
            tracing::info!(changes = self.in_progress(), "waiting for changes to end");
        }
        // A change that asks while this waits finds no permit left; one that asks later finds them closed.
        let _all = self.permits.acquire_many(self.capacity).await;
        self.permits.close();
    }
}

/// The trail of one change in the audit log.
struct Trail {
    audit: Option<Arc<AuditLog>>,
    subject: Subject,
}

impl Trail {
    /// Writes down that the change is begun.
    async fn begun(&self) -> Result<(), AuditError> {
        self.write(Event::Begun).await.map(drop)
    }

    /// Writes down what became of it; what is done is done, whether that can be written down or not.
    async fn ended(&self, outcome: Event) {
        match self.write(outcome).await {
            Ok(Some(hash)) => tracing::debug!(hash, change = self.subject.change, "written to the audit log"),
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
        written.map(Some)
    }
}

/// What became of a change, for the audit log.
fn outcome<T: Serialize>(took: Duration, result: &Result<T, ActionError>) -> Event {
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

/// One line for each change: what, its outcome, who asked, how long it took.
fn log(change: &Change, took: Duration, failure: Option<&ActionError>) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn change(id: u32) -> Change {
        Change {
            summary: "test".to_owned(),
            vmids: vec![Vmid::try_from(id).unwrap()],
            caller: Caller::user(0),
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn a_change_ends_though_its_client_leaves() {
        runtime().block_on(async {
            let changes = Changes::new(4, Duration::from_mins(1), None);
            let (go, done) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
            let started = Arc::new(Notify::new());
            let client = tokio::spawn({
                let (changes, go, done, started) =
                    (changes.clone(), go.clone(), done.clone(), started.clone());
                async move {
                    let work = async move {
                        started.notify_one();
                        go.notified().await;
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    };
                    changes.run(change(104), work).await
                }
            });
            started.notified().await;
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            assert_eq!(changes.in_progress(), 1);
            go.notify_one();
            changes.finish().await;
            assert_eq!(done.load(Ordering::SeqCst), 1);
            assert!(matches!(
                changes.run(change(104), async { Ok(()) }).await,
                Err(ActionError::ShuttingDown)
            ));
        });
    }

    #[test]
    fn a_change_whose_client_left_while_it_waited_is_not_begun() {
        runtime().block_on(async {
            let changes = Changes::new(4, Duration::from_mins(1), None);
            let ticket = changes.gate.enter(&change(104).vmids, Duration::ZERO).await.unwrap();
            let done = Arc::new(AtomicU32::new(0));
            let client = tokio::spawn({
                let (changes, done) = (changes.clone(), done.clone());
                async move {
                    let work = async move {
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    };
                    changes.run(change(104), work).await
                }
            });
            while changes.in_progress() == 0 {
                tokio::task::yield_now().await;
            }
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            drop(ticket);
            changes.finish().await;
            assert_eq!(done.load(Ordering::SeqCst), 0);
        });
    }

    #[test]
    fn changes_are_bounded() {
        runtime().block_on(async {
            let changes = Changes::new(1, Duration::from_mins(1), None);
            let held = changes.permits.acquire().await.unwrap();
            assert!(matches!(
                changes.run(change(104), async { Ok(()) }).await,
                Err(ActionError::TooManyChanges)
            ));
            drop(held);
            assert!(changes.run(change(104), async { Ok(()) }).await.is_ok());
        });
    }

    #[test]
    fn a_panic_in_a_change_is_an_error_and_frees_the_container() {
        runtime().block_on(async {
            let changes = Changes::new(1, Duration::from_mins(1), None);
            let crashed = changes.run(change(104), async { panic!("a defect") }).await;
            assert!(matches!(crashed, Err::<(), _>(ActionError::Crashed)));
            changes.finish().await;
        });
    }
}
