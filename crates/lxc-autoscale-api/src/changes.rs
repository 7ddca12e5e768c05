//! Runs changes: bounded in number, one at a time per container, to their end whatever becomes of the client.
//!
//! A change runs in a task of its own, so that a client that disconnects, or a request that times out, cannot
//! stop a sequence half way. A client that left while its change was still waiting gets it no more. The server
//! ends when all changes have.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::api::{EventKind, JobInfo, JobState};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};

use crate::actions::ActionError;
use crate::audit::{self, AuditError, AuditLog, Event, Subject};
use crate::auth::caller::Caller;
use crate::backend::watch::Cancel;
use crate::backend::{self, BackendError};
use crate::config::{AuditConfig, StateConfig};
use crate::error::ApiError;
use crate::events::Events;
use crate::exporter::{DONE, Instruments};
use crate::gate::Gate;
use crate::invariants;
use crate::jobs::begun::{Begun, Writing};
use crate::jobs::table::{self, Asked, End, Open};
use crate::jobs::{Journal, Order, Task};
use crate::ledger;
use crate::store::{Store, StoreError};

/// Changes after which old rows are looked for, and the store's log is emptied.
const TIDY_EVERY: u64 = 64;

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
    audit: Arc<Mutex<Option<Arc<AuditLog>>>>,
    store: Store,
    state: StateConfig,
    events: Events,
    cancels: Arc<Mutex<HashMap<i64, watch::Sender<bool>>>>,
    protected: Arc<Mutex<Vec<Vmid>>>,
    permits: Arc<Semaphore>,
    capacity: u32,
    patience: Duration,
    instruments: Arc<Instruments>,
    /// Changes that have ended since the start.
    ended: Arc<AtomicU64>,
}

/// Why a job cannot be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelRefused {
    /// There is none of that number, or it has ended.
    #[error("the job has ended already")]
    Ended,
    /// Half of it would be worse than all of it.
    #[error("the job is under way and cannot be stopped half way without harm")]
    NotCancellable,
}

/// Whether somebody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// If they leave before it begins, it is not begun.
    ForAnswer,
    /// They were told that it will be done.
    No,
}

type Outcome<T> = oneshot::Receiver<Result<T, ActionError>>;

impl Changes {
    /// At most `capacity` changes at once, each waiting at most `patience` for its containers; all are written down as
    /// `audit` says, kept in `store` as long as `state` says, told to `events` and counted by `instruments`.
    pub fn new(
        capacity: u32,
        patience: Duration,
        audit: &AuditConfig,
        store: Store,
        state: StateConfig,
        events: Events,
        instruments: Arc<Instruments>,
    ) -> Self {
        let permits = usize::try_from(capacity).unwrap_or(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        Self {
            gate: Gate::default(),
            audit: Arc::new(Mutex::new(open_audit(audit))),
            store,
            state,
            events,
            cancels: Arc::default(),
            protected: Arc::default(),
            permits,
            capacity,
            patience,
            instruments,
            ended: Arc::default(),
        }
    }

    /// Writes down as `config` says from now on; a change that is under way ends in the file it was begun in.
    pub fn audit(&self, config: &AuditConfig) {
        let mut slot = locked(&self.audit);
        match &*slot {
            Some(log) if log.path() == config.file => log.bound(config.max_size_mib, config.backup_count),
            _ => *slot = open_audit(config),
        }
    }

    /// The log that a change which begins now is written to.
    pub(crate) fn audit_log(&self) -> Option<Arc<AuditLog>> {
        locked(&self.audit).clone()
    }

    /// How many are under way or waiting.
    pub fn in_progress(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX).saturating_sub(self.permits.available_permits())
    }

    /// Names the containers that nobody changes from now on.
    pub fn protect(&self, containers: &[Vmid]) {
        *locked(&self.protected) = containers.to_vec();
    }

    /// Keeps changes of the same container apart.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Does `work` when its containers are free, logs it, and returns what became of it. What became of it after a
    /// crash cannot be told; see [`Changes::record`].
    ///
    /// # Errors
    /// That of `work`, or why it was not begun.
    pub async fn run<T, W>(&self, change: Change, work: W) -> Result<T, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
    {
        self.record(change, Order::requested(Task::Other), |_| work).await
    }

    /// As [`Changes::run`], for what can be held against the node after a crash.
    ///
    /// # Errors
    /// That of `work`, or why it was not begun.
    pub async fn record<T, W, F>(&self, change: Change, order: Order, work: F) -> Result<T, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let asked = asked(&change, order, false);
        let (_, outcome) = self.begin(change, asked, Waits::ForAnswer, |_| String::new(), work).await?;
        outcome.await.unwrap_or(Err(ActionError::Crashed))
    }

    /// As [`Changes::record`], for what may take an hour; `say` words the outcome.
    ///
    /// # Errors
    /// That of `work`, or why it was not begun.
    pub async fn wait_for_job<T, W, F>(
        &self,
        change: Change,
        order: Order,
        say: impl Fn(&T) -> String + Send + 'static,
        work: F,
    ) -> Result<T, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let asked = asked(&change, order, true);
        let (_, outcome) = self.begin(change, asked, Waits::ForAnswer, say, work).await?;
        outcome.await.unwrap_or(Err(ActionError::Crashed))
    }

    /// Begins what may take an hour and returns its number at once.
    ///
    /// # Errors
    /// Why it is not even queued.
    pub async fn start_job<T, W, F>(
        &self,
        change: Change,
        order: Order,
        say: impl Fn(&T) -> String + Send + 'static,
        work: F,
    ) -> Result<i64, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let asked = asked(&change, order, true);
        let (number, _) = self.begin(change, asked, Waits::No, say, work).await?;
        number.ok_or(ActionError::Crashed)
    }

    /// Asks a job to give up; it ends by itself then.
    ///
    /// # Errors
    /// [`CancelRefused`] when it has ended, or cannot be stopped where it is.
    pub fn cancel(&self, number: i64, is_cancellable: bool) -> Result<(), CancelRefused> {
        if !is_cancellable {
            return Err(CancelRefused::NotCancellable);
        }
        let sender = locked(&self.cancels).get(&number).cloned().ok_or(CancelRefused::Ended)?;
        sender.send(true).map_err(|_| CancelRefused::Ended)
    }

    async fn begin<T, W, F>(
        &self,
        change: Change,
        asked: Asked,
        waits: Waits,
        say: impl Fn(&T) -> String + Send + 'static,
        work: F,
    ) -> Result<(Option<i64>, Outcome<T>), ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let task = asked.order.task.clone();
        let permit = self
            .admit(&change)
            .inspect_err(|refused| self.instruments.change_counted(&task, code(Err(refused))))?;
        // A job has its number before it waits, so that it can be looked at and given up; all else gets one when it
        // is begun, which saves a write.
        let is_job = asked.is_job;
        let queued = if is_job { Some(self.queue(asked.clone()).await?) } else { None };
        let (cancel_sender, cancel) = Cancel::new();
        if let Some(number) = queued {
            locked(&self.cancels).insert(number, cancel_sender.clone());
            self.announce(number, true, false).await;
        }
        let (sender, receiver) = oneshot::channel();
        let this = self.clone();
        tokio::spawn(async move {
            let (_permit, _cancel_sender) = (permit, cancel_sender);
            let begun = Instant::now();
            let mut given_up = cancel.clone();
            let waiting = this.instruments.waits();
            let entered = tokio::select! {
                entered = this.gate.enter(&change.vmids, this.patience) => entered.map_err(ActionError::from),
                () = given_up.wanted() => Err(ActionError::Cancelled),
            };
            drop(waiting);
            let (tickets, refused) = match entered {
                Err(refused) => (Vec::new(), Some(refused)),
                Ok(tickets) if waits == Waits::ForAnswer && sender.is_closed() => {
                    (tickets, Some(ActionError::Abandoned))
                }
                Ok(tickets) => (tickets, None),
            };
            let mut ended_with_changes = None;
            let result = match this.number(queued, asked, refused.is_none()).await {
                Err(error) => Err(error),
                Ok(number) => {
                    let journal = Journal::new(number, this.store.clone(), cancel);
                    let trail = this.trail(number, &change);
                    let result = if let Some(refused) = refused {
                        Err(refused)
                    } else {
                        let begun = Begun::new(journal.clone(), trail.begins());
                        this.announce(number, is_job, false).await;
                        let watcher = Arc::new(begun.clone());
                        let done = backend::watch::watched(watcher, work(journal.clone())).await;
                        // What is not in the audit log has made no call.
                        begun.written().await.map_err(ActionError::from).and(done)
                    };
                    trail.ended(outcome(begun.elapsed(), &result)).await;
                    let end = ended(&journal, &result, say);
                    ended_with_changes = Some((number, !end.changed.is_empty()));
                    this.write_end(number, end).await;
                    locked(&this.cancels).remove(&number);
                    result
                }
            };
            // Not before all is written down.
            drop(tickets);
            this.instruments.change_ended(&task, code(result.as_ref().map(drop)), begun.elapsed());
            log(&change, begun.elapsed(), result.as_ref().err());
            // The client may have left meanwhile; the log has the outcome.
            let _ = sender.send(result);
            if let Some((number, is_changed)) = ended_with_changes {
                this.announce(number, is_job, is_changed).await;
            }
            this.tidy().await;
        });
        Ok((queued, receiver))
    }

    /// A place among the changes, for what may be done at all.
    fn admit(&self, change: &Change) -> Result<OwnedSemaphorePermit, ActionError> {
        change
            .caller
            .may_touch(&change.vmids)
            .map_err(|_| ActionError::OutOfScope { caller: change.caller.identity.clone() })?;
        invariants::unprotected(&locked(&self.protected), &change.vmids)?;
        Arc::clone(&self.permits).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => ActionError::TooManyChanges,
            TryAcquireError::Closed => ActionError::ShuttingDown,
        })
    }

    async fn number(&self, queued: Option<i64>, asked: Asked, begins: bool) -> Result<i64, ActionError> {
        let now = Timestamp::now();
        let Some(number) = queued else {
            // On the disk at the latest with the first call, before it is made.
            let insert = self.store.soon(move |connection| table::insert(connection, &asked, true, now));
            return Ok(insert.await?);
        };
        if begins {
            self.store.soon(move |connection| table::begin(connection, number, now)).await?;
        }
        Ok(number)
    }

    /// Gives a job its number, which its client is told.
    async fn queue(&self, asked: Asked) -> Result<i64, StoreError> {
        let now = Timestamp::now();
        self.store.with(move |connection| table::insert(connection, &asked, false, now)).await
    }

    /// Writes down how a change ended; what is done is done, whether that can be written down or not.
    ///
    /// An end that is lost with the power is found again: the change then counts as cut off, and is held against the
    /// node with the next start.
    async fn write_end(&self, number: i64, end: End) {
        let now = Timestamp::now();
        let written = self.store.soon(move |connection| table::end(connection, number, &end, now));
        if let Err(error) = written.await {
            tracing::error!(number, error = %ErrorChain(&error), "the end of a change is not written down");
        }
    }

    /// Now and then, removes what is kept no longer and empties the store's log.
    async fn tidy(&self) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if !ended.is_multiple_of(TIDY_EVERY) {
            return;
        }
        let (state, now) = (self.state.clone(), Timestamp::now());
        let pruned = self.store.soon(move |connection| table::prune(connection, &state, now)).await;
        for done in [pruned, self.store.tidy().await] {
            if let Err(error) = done {
                tracing::warn!(error = %ErrorChain(&error), "what is kept of changes cannot be tidied up");
            }
        }
    }

    /// Writes down what a look at the node told of a change that an earlier process had begun.
    pub(crate) async fn settle(&self, open: &Open, end: End) {
        let subject = Subject {
            change: open.number.unsigned_abs(),
            caller: open.asked.caller.clone(),
            action: audit::bounded(&open.asked.summary),
            containers: open.asked.containers.clone(),
        };
        let (event, result) = if end.code.is_none() {
            let event = Event::Done { result: end.result.clone().unwrap_or_default(), duration_ms: 0 };
            (event, DONE)
        } else {
            let code = if end.state == JobState::Unknown { "unknown" } else { "interrupted" };
            (Event::NotDone { code, message: audit::bounded(&end.message), duration_ms: 0 }, code)
        };
        self.instruments.change_counted(&open.asked.order.task, result);
        let trail = Trail { audit: self.audit_log(), subject, instruments: Arc::clone(&self.instruments) };
        trail.ended(event).await;
        let is_changed = !end.changed.is_empty();
        self.write_end(open.number, end).await;
        self.announce(open.number, open.asked.is_job, is_changed).await;
    }

    /// Tells those who listen how a job stands, and which sizes a change has left different.
    async fn announce(&self, number: i64, is_job: bool, is_changed: bool) {
        if !is_job && !is_changed {
            return;
        }
        let read = self.store.with(move |connection| {
            let entries = if is_changed { ledger::of_change(connection, number)? } else { Vec::new() };
            Ok((entries, if is_job { table::job(connection, number)? } else { None }))
        });
        match read.await {
            Ok((entries, job)) => {
                let now = Timestamp::now();
                for entry in entries {
                    self.events.publish(EventKind::Change(entry), now);
                }
                if let Some((info, _)) = job {
                    let info = JobInfo { steps: Vec::new(), result: None, ..info };
                    self.events.publish(EventKind::Job(info), now);
                }
            }
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "nobody is told of a change");
            }
        }
    }

    fn trail(&self, number: i64, change: &Change) -> Trail {
        let subject = Subject {
            change: number.unsigned_abs(),
            caller: change.caller.identity.to_string(),
            action: audit::bounded(&change.summary),
            containers: change.vmids.clone(),
        };
        Trail { audit: self.audit_log(), subject, instruments: Arc::clone(&self.instruments) }
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

/// The log that is written to; none where the configuration names no file.
fn open_audit(config: &AuditConfig) -> Option<Arc<AuditLog>> {
    AuditLog::configured(config).map(Arc::new)
}

fn asked(change: &Change, order: Order, is_job: bool) -> Asked {
    Asked {
        order,
        summary: change.summary.clone(),
        containers: change.vmids.clone(),
        caller: change.caller.identity.to_string(),
        is_job,
    }
}

/// How a change ended, with what it left.
fn ended<T: Serialize>(
    journal: &Journal,
    result: &Result<T, ActionError>,
    say: impl Fn(&T) -> String,
) -> End {
    let (changed, forgotten) = journal.take_changes();
    match result {
        Ok(done) => End {
            state: JobState::Done,
            result: serde_json::to_value(done).ok(),
            message: say(done),
            code: None,
            changed,
            forgotten,
        },
        Err(error) => End {
            state: ended_as(error),
            result: None,
            message: ErrorChain(error).to_string(),
            code: Some(ApiError::status_and_code(error).1.to_owned()),
            changed,
            forgotten,
        },
    }
}

/// How a change stands that ended with an error.
fn ended_as(error: &ActionError) -> JobState {
    match error {
        ActionError::Cancelled
        | ActionError::Abandoned
        | ActionError::Backend(BackendError::Cancelled { .. }) => JobState::Cancelled,
        ActionError::Backend(BackendError::TimedOut { running: true, .. }) => JobState::Unknown,
        ActionError::HalfWay { cause, .. } => ended_as(cause),
        ActionError::LeftBehind { cause, .. } => match ended_as(cause) {
            JobState::Unknown => JobState::Unknown,
            _ => JobState::Failed,
        },
        _ => JobState::Failed,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is one map operation: nothing is half done when one panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The trail of one change in the audit log.
#[derive(Clone)]
struct Trail {
    audit: Option<Arc<AuditLog>>,
    subject: Subject,
    instruments: Arc<Instruments>,
}

impl Trail {
    /// Begins to write down that the change is begun.
    fn begins(&self) -> Writing {
        let trail = self.clone();
        tokio::spawn(async move { trail.write(Event::Begun).await.map(drop) })
    }

    /// Writes down what became of it; what is done is done, whether that can be written down or not.
    async fn ended(&self, outcome: Event) {
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

/// What the result of a change is counted as.
fn code(result: Result<(), &ActionError>) -> &'static str {
    result.map_or_else(|error| ApiError::status_and_code(error).1, |()| DONE)
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
    use std::path::PathBuf;
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;

    use super::*;

    fn change(id: u32) -> Change {
        Change {
            summary: "test".to_owned(),
            vmids: vec![Vmid::try_from(id).unwrap()],
            caller: Caller::user(0),
        }
    }

    fn changes(capacity: u32) -> (tempfile::TempDir, Changes) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let (patience, events) = (Duration::from_mins(1), Events::new(Timestamp::UNIX_EPOCH));
        let unaudited = AuditConfig { file: PathBuf::new(), ..AuditConfig::default() };
        let changes = Changes::new(
            capacity,
            patience,
            &unaudited,
            store,
            StateConfig::default(),
            events,
            Arc::default(),
        );
        (directory, changes)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn a_change_ends_though_its_client_leaves() {
        runtime().block_on(async {
            let (_directory, changes) = changes(4);
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
            let (_directory, changes) = changes(4);
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
            let (_directory, changes) = changes(1);
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
            let (_directory, changes) = changes(1);
            let crashed = changes.run(change(104), async { panic!("a defect") }).await;
            assert!(matches!(crashed, Err::<(), _>(ActionError::Crashed)));
            changes.finish().await;
        });
    }
}
