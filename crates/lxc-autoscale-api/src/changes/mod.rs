//! Runs changes: limited in number, one at a time per container, and to their end even if the client leaves.
//!
//! Each change runs in a task of its own, so that neither a client that disconnects nor a request that times out can
//! stop a sequence half way (`errand`). If the client leaves while its change still waits for its containers, the
//! change is dropped. The server exits only when all changes have ended.
//!
//! The outcome of a change is recorded when it ends. If a call is still running at that time, or a defect ended the
//! change, the outcome is read from the node later (`ends`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore, TryAcquireError, oneshot, watch};

use crate::actions::ActionError;
use crate::audit::{self, Attempt, AuditLog, Event, Subject};
use crate::auth::caller::{Caller, Role};
use crate::auth::keys::KeyFile;
use crate::backend::ContainerHost;
use crate::backend::watch::Cancel;
use crate::budget::Budget;
use crate::config::{AuditConfig, Config, LimitsConfig, ServerConfig, StateConfig};
use crate::events::Events;
use crate::exporter::Instruments;
use crate::gate::{Gate, Ticket};
use crate::invariants;
use crate::jobs::table::Asked;
use crate::jobs::{Journal, Order, Task};
use crate::store::Store;

mod ends;
mod errand;
mod error;
mod overdue;
mod rows;
mod sequence;
#[cfg(test)]
mod tests;
mod trail;

pub(crate) use ends::Lack;
use errand::{Client, Errand};
pub use error::ChangeError;
use overdue::Overdue;
use rows::Unwritten;
use sequence::Sequence;
use trail::Trail;

/// A change that was asked for.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is to be done, for the log, such as `set cores of container 104 to 4`.
    pub summary: String,
    /// The containers it changes.
    pub vmids: Vec<Vmid>,
    /// Who asked for it.
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
    host: Arc<dyn ContainerHost>,
    cancels: Arc<Cancels>,
    overdue: Overdue,
    budget: Budget,
    unwritten: Arc<Mutex<Vec<Unwritten>>>,
    protected: Arc<Mutex<Vec<Vmid>>>,
    /// Who is let in without a key.
    trusted: Arc<Mutex<ServerConfig>>,
    keys: Arc<KeyFile>,
    /// The hourly limit of changes per container; nothing beyond it is counted.
    counted_to: Arc<AtomicU32>,
    permits: Arc<Semaphore>,
    capacity: u32,
    /// The permits are gone because the server stops.
    is_finishing: Arc<AtomicBool>,
    /// Held for reading by each sequence of changes.
    sequences: Arc<RwLock<()>>,
    /// Held for reading by each change until all of it is recorded, which is after its answer.
    unrecorded: Arc<RwLock<()>>,
    patience: Duration,
    instruments: Arc<Instruments>,
    /// Changes that have ended since the server started.
    ended: Arc<AtomicU64>,
}

/// The jobs that can be cancelled, each with the sender of its cancel signal.
type Cancels = Mutex<HashMap<i64, watch::Sender<bool>>>;

/// Why a job cannot be cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelRefused {
    /// There is no job with that number, or it has ended.
    #[error("the job has ended already")]
    Ended,
    /// Stopping half way would do more harm than finishing.
    #[error("the job is under way and cannot be stopped half way without harm")]
    NotCancellable,
    /// It could not be recorded, or the server failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What the client waits for. A change does not begin if the client leaves before receiving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The answer.
    ForAnswer,
    /// The number of the job.
    ForNumber,
}

/// A change that is under way.
struct Begun<T> {
    /// The number of the job; the sender is dropped if the job could not be queued.
    number: oneshot::Receiver<i64>,
    outcome: oneshot::Receiver<Result<T, ActionError>>,
}

impl<T> Begun<T> {
    async fn ended(self) -> Result<T, ActionError> {
        self.outcome.await.unwrap_or(Err(ChangeError::Crashed.into()))
    }
}

impl Changes {
    /// Changes with the limits, waiting times, audit log and retention of `config`. They are made on `host`, stored
    /// in `store`, published to `events` and counted by `instruments`.
    pub fn new(
        config: &Config,
        host: Arc<dyn ContainerHost>,
        store: Store,
        events: Events,
        instruments: Arc<Instruments>,
    ) -> Self {
        let capacity = config.server.max_changes;
        let permits = usize::try_from(capacity).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            gate: Gate::default(),
            audit: Arc::new(Mutex::new(open_audit(&config.audit))),
            store,
            state: config.state.clone(),
            events,
            host,
            cancels: Arc::default(),
            overdue: Overdue::default(),
            budget: Budget::default(),
            unwritten: Arc::default(),
            protected: Arc::default(),
            trusted: Arc::new(Mutex::new(config.server.clone())),
            keys: Arc::new(KeyFile::new(config.server.keys_file.clone())),
            counted_to: Arc::new(AtomicU32::new(config.limits.max_changes_per_hour)),
            permits: Arc::new(Semaphore::new(permits)),
            is_finishing: Arc::default(),
            capacity,
            sequences: Arc::default(),
            unrecorded: Arc::default(),
            patience: Duration::from_secs(config.server.queue_timeout_seconds),
            instruments,
            ended: Arc::default(),
        }
    }

    /// Uses this audit configuration from now on; a change that is under way finishes in the file it began in.
    pub fn audit(&self, config: &AuditConfig) {
        let mut slot = locked(&self.audit);
        match &*slot {
            Some(log) if log.path() == config.file => log.bound(config.max_size_mib, config.backup_count),
            _ => *slot = open_audit(config),
        }
    }

    /// The audit log for a change that begins now.
    pub(crate) fn audit_log(&self) -> Option<Arc<AuditLog>> {
        locked(&self.audit).clone()
    }

    /// The number of changes that are running or waiting for their answer.
    pub fn in_progress(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX).saturating_sub(self.permits.available_permits())
    }

    /// Uses these limits from now on: the protected containers, and the hourly limit that changes are counted up to.
    pub fn keep_to(&self, limits: &LimitsConfig) {
        locked(&self.protected).clone_from(&limits.protected_containers);
        self.counted_to.store(limits.max_changes_per_hour, Ordering::Relaxed);
    }

    /// Lets these users in without a key from now on.
    pub fn trust(&self, config: &ServerConfig) {
        locked(&self.trusted).clone_from(config);
    }

    /// The gate that lets only one change of a container run at a time.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The back end that holds the containers.
    pub(crate) fn host(&self) -> &dyn ContainerHost {
        &*self.host
    }

    /// The memory that is promised to containers.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Where changes are stored.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Runs `work` when its containers are free, logs it, and returns its result. After a crash the outcome cannot be
    /// determined; see [`Changes::record`].
    ///
    /// # Errors
    /// The error of `work`, or why it did not begin.
    pub async fn run<T, W>(&self, change: Change, work: W) -> Result<T, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
    {
        let begin = async move |journal: Journal| {
            journal.begun().await?;
            work.await
        };
        self.record(change, Order::requested(Task::Other), begin).await
    }

    /// As [`Changes::run`], for a change whose outcome can be read from the node after a crash.
    ///
    /// # Errors
    /// The error of `work`, or why it did not begin.
    pub async fn record<T, W, F>(&self, change: Change, order: Order, work: F) -> Result<T, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let asked = asked(&change, order, false);
        self.begin(change, asked, Waits::ForAnswer, |_| String::new(), work)?.ended().await
    }

    /// As [`Changes::record`], for a change that may take an hour; `say` words the outcome.
    ///
    /// # Errors
    /// The error of `work`, or why it did not begin.
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
        self.begin(change, asked, Waits::ForAnswer, say, work)?.ended().await
    }

    /// Starts a change that may take an hour, and returns the number of its job at once.
    ///
    /// # Errors
    /// Why it could not be queued.
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
        let mut begun = self.begin(change, asked, Waits::ForNumber, say, work)?;
        match (&mut begun.number).await {
            Ok(number) => Ok(number),
            Err(_) => Err(begun.ended().await.err().unwrap_or(ChangeError::Crashed.into())),
        }
    }

    /// Asks a job to cancel; the job then ends by itself. Who asked is recorded first.
    ///
    /// # Errors
    /// [`CancelRefused`] if it has ended, cannot be stopped at this point, or the request cannot be recorded.
    pub async fn cancel(
        &self,
        number: i64,
        summary: &str,
        caller: &Caller,
        is_cancellable: bool,
    ) -> Result<(), CancelRefused> {
        if !is_cancellable {
            return Err(CancelRefused::NotCancellable);
        }
        let sender = locked(&self.cancels).get(&number).cloned().ok_or(CancelRefused::Ended)?;
        let subject = Attempt {
            caller: caller.identity.to_string(),
            address: caller.origin.map(|origin| origin.to_string()),
            action: audit::bounded(&format!("cancel job {number}: {summary}")),
        };
        let (audit, instruments) = (self.audit_log(), Arc::clone(&self.instruments));
        // Recorded and told in one go, so that a client that leaves in between leaves no record of a cancel that was
        // never told.
        let told = tokio::task::spawn_blocking(move || {
            if let Some(audit) = audit {
                let event = Event::CancelAsked { job: number.unsigned_abs() };
                let written = audit.write(&subject, &event, Timestamp::now());
                instruments.audited(written.is_ok());
                written.map_err(ChangeError::from)?;
            }
            let Attempt { caller, address, action } = subject;
            tracing::info!(caller, address, "{action}");
            sender.send(true).map_err(|_| CancelRefused::Ended)
        });
        told.await.unwrap_or(Err(ChangeError::Crashed.into()))
    }

    /// Whether a job can be asked to cancel by this server: one that was begun before it started goes on without it.
    pub fn can_cancel(&self, number: i64) -> bool {
        locked(&self.cancels).contains_key(&number)
    }

    /// Starts a change in a task of its own, which outlives the client.
    fn begin<T, W, F>(
        &self,
        change: Change,
        asked: Asked,
        waits: Waits,
        say: impl Fn(&T) -> String + Send + 'static,
        work: F,
    ) -> Result<Begun<T>, ActionError>
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let place = self.admit(&change).inspect_err(|refused| {
            self.instruments.change_counted(&asked.order.task, trail::code(Err(refused)));
        })?;
        let (tell, number) = oneshot::channel();
        let (answer, outcome) = oneshot::channel();
        let client = Client { number: tell, answer, sequence: Sequence::current() };
        let errand = Errand { change, asked, waits, place, say, work };
        tokio::spawn(self.clone().carry_out(errand, client));
        Ok(Begun { number, outcome })
    }

    /// Waits until the containers are free, and takes them.
    async fn enter(&self, change: &Change, cancel: &Cancel) -> Result<Vec<Ticket>, ActionError> {
        let vmids = &change.vmids;
        self.overdue.refuse(vmids)?;
        let patience = change.caller.queue_timeout.map_or(self.patience, |wanted| wanted.min(self.patience));
        let mut given_up = cancel.clone();
        let _waiting = self.instruments.waits();
        tokio::select! {
            entered = self.gate.enter(vmids, patience) => Ok(entered?),
            () = given_up.wanted() => Err(ChangeError::Cancelled.into()),
        }
    }

    /// Admits a change: checks what it may touch, and takes one of the limited places.
    fn admit(&self, change: &Change) -> Result<OwnedSemaphorePermit, ActionError> {
        change
            .caller
            .may_touch(&change.vmids)
            .map_err(|_| ChangeError::OutOfScope { caller: change.caller.identity.clone() })?;
        invariants::unprotected(&locked(&self.protected), &change.vmids)?;
        let place = Arc::clone(&self.permits).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits if self.is_finishing.load(Ordering::Relaxed) => {
                ChangeError::ShuttingDown
            }
            TryAcquireError::NoPermits => ChangeError::TooManyChanges,
            TryAcquireError::Closed => ChangeError::ShuttingDown,
        });
        Ok(place?)
    }

    /// Checks once more what was checked when a change was admitted, now that it has its containers: it may have waited
    /// long, and what its caller may do, and which containers are protected, may be different by now.
    async fn still_allowed(&self, change: &Change, needed: Role) -> Result<(), ActionError> {
        let identity = || change.caller.identity.clone();
        let trusted = locked(&self.trusted).clone();
        let caller = change.caller.as_of(&trusted, &self.keys, Timestamp::now()).await;
        let caller = caller.map_err(|error| {
            tracing::error!(error = %ErrorChain(&error), "cannot check keys");
            ChangeError::RightsUnknown
        })?;
        let Some(caller) = caller.filter(|caller| needed <= caller.role) else {
            return Err(ChangeError::RightsEnded { caller: identity() }.into());
        };
        caller.may_touch(&change.vmids).map_err(|_| ChangeError::OutOfScope { caller: identity() })?;
        Ok(invariants::unprotected(&locked(&self.protected), &change.vmids)?)
    }

    /// The trail of a change that has no number yet.
    fn trail(&self, change: &Change, why: &str) -> Trail {
        let subject = Subject {
            address: change.caller.origin.map(|origin| origin.to_string()),
            change: 0,
            caller: change.caller.identity.to_string(),
            action: audit::bounded(&change.summary),
            why: audit::bounded(why),
            containers: change.vmids.clone(),
            happened: None,
        };
        self.trail_about(subject)
    }

    /// The trail of a change whose subject is known.
    fn trail_about(&self, subject: Subject) -> Trail {
        Trail { audit: self.audit_log(), subject, instruments: Arc::clone(&self.instruments) }
    }

    /// Refuses new changes, then waits until those under way have ended and the audit log is on the disk.
    pub async fn finish(&self) {
        if 0 < self.in_progress() {
            tracing::info!(changes = self.in_progress(), "waiting for changes to end");
        }
        // No sequence is cut in half; one that begins during this wait finds the permits closed.
        let _none = self.sequences.write().await;
        // A change that asks during this wait finds no permit left; one that asks later finds them closed.
        self.is_finishing.store(true, Ordering::Relaxed);
        let _all = self.permits.acquire_many(self.capacity).await;
        self.permits.close();
        let _recorded = self.unrecorded.write().await;
        if let Some(audit) = self.audit_log() {
            trail::sync(audit, Arc::clone(&self.instruments)).await;
        }
    }
}

/// Opens the audit log; `None` if the configuration names no file.
fn open_audit(config: &AuditConfig) -> Option<Arc<AuditLog>> {
    AuditLog::configured(config).map(Arc::new)
}

fn asked(change: &Change, order: Order, is_job: bool) -> Asked {
    let Order { task, why } = order;
    let why = match &change.caller.purpose {
        Some(purpose) => format!("{why}: {purpose}"),
        None => why,
    };
    Asked {
        order: Order { task, why },
        summary: change.summary.clone(),
        containers: change.vmids.clone(),
        caller: change.caller.identity.to_string(),
        is_job,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is a single map operation, so a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
