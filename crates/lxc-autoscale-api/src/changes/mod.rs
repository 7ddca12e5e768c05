//! Runs changes: bounded in number, one at a time per container, to their end whatever becomes of the client.
//!
//! A change runs in a task of its own, so that a client that disconnects, or a request that times out, cannot
//! stop a sequence half way (`errand`). A client that left while its change was still waiting gets it no more. The
//! server ends when all changes have. What became of a change is written down at its end, or, where a call is still at
//! work then or a defect ended it in between, when a look at the node has told (`ends`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore, TryAcquireError, oneshot, watch};

use crate::actions::ActionError;
use crate::audit::{self, AuditLog, Subject};
use crate::auth::caller::Caller;
use crate::backend::ContainerHost;
use crate::backend::watch::Cancel;
use crate::config::{AuditConfig, Config, LimitsConfig, StateConfig};
use crate::events::Events;
use crate::exporter::Instruments;
use crate::gate::{Gate, Ticket};
use crate::invariants;
use crate::jobs::table::Asked;
use crate::jobs::{Journal, Order, Task};
use crate::store::Store;

mod ends;
mod errand;
mod overdue;
mod rows;
mod sequence;
#[cfg(test)]
mod tests;
mod trail;

pub(crate) use ends::Lack;
use errand::{Client, Errand};
use overdue::Overdue;
use rows::Unwritten;
use sequence::Sequence;
use trail::Trail;

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
    host: Arc<dyn ContainerHost>,
    cancels: Arc<Cancels>,
    overdue: Overdue,
    unwritten: Arc<Mutex<Vec<Unwritten>>>,
    protected: Arc<Mutex<Vec<Vmid>>>,
    /// Changes of a container within an hour that matter.
    counted_to: Arc<AtomicU32>,
    permits: Arc<Semaphore>,
    capacity: u32,
    /// Held by each sequence of changes.
    sequences: Arc<RwLock<()>>,
    patience: Duration,
    instruments: Arc<Instruments>,
    /// Changes that have ended since the start.
    ended: Arc<AtomicU64>,
}

/// The jobs that can be given up, and how each is told.
type Cancels = Mutex<HashMap<i64, watch::Sender<bool>>>;

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

/// What whoever asks waits for; a change is not begun if they leave before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The answer.
    ForAnswer,
    /// The number of the job.
    ForNumber,
}

/// A change that is on its way.
struct Begun<T> {
    /// The number of a job; nothing when it could not even be queued.
    number: oneshot::Receiver<i64>,
    outcome: oneshot::Receiver<Result<T, ActionError>>,
}

impl<T> Begun<T> {
    async fn ended(self) -> Result<T, ActionError> {
        self.outcome.await.unwrap_or(Err(ActionError::Crashed))
    }
}

impl Changes {
    /// As many changes at once, waiting as long, written down where and kept as long as `config` says. They are done to
    /// `host`, kept in `store`, told to `events` and counted by `instruments`.
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
            unwritten: Arc::default(),
            protected: Arc::default(),
            counted_to: Arc::new(AtomicU32::new(config.limits.max_changes_per_hour)),
            permits: Arc::new(Semaphore::new(permits)),
            capacity,
            sequences: Arc::default(),
            patience: Duration::from_secs(config.server.queue_timeout_seconds),
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

    /// Keeps to these limits from now on: nobody changes the protected containers, and changes within an hour are counted
    /// as far as matters.
    pub fn keep_to(&self, limits: &LimitsConfig) {
        locked(&self.protected).clone_from(&limits.protected_containers);
        self.counted_to.store(limits.max_changes_per_hour, Ordering::Relaxed);
    }

    /// Keeps changes of the same container apart.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The containers.
    pub(crate) fn host(&self) -> &dyn ContainerHost {
        &*self.host
    }

    /// Where changes are kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
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
        let begin = async move |journal: Journal| {
            journal.begun().await?;
            work.await
        };
        self.record(change, Order::requested(Task::Other), begin).await
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
        self.begin(change, asked, Waits::ForAnswer, |_| String::new(), work)?.ended().await
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
        self.begin(change, asked, Waits::ForAnswer, say, work)?.ended().await
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
        let mut begun = self.begin(change, asked, Waits::ForNumber, say, work)?;
        match (&mut begun.number).await {
            Ok(number) => Ok(number),
            Err(_) => Err(begun.ended().await.err().unwrap_or(ActionError::Crashed)),
        }
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

    /// Begins a change in a task of its own, which a client that leaves does not end.
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

    /// Waits until containers are free, and takes them.
    async fn enter(&self, vmids: &[Vmid], cancel: &Cancel) -> Result<Vec<Ticket>, ActionError> {
        self.overdue.refuse(vmids)?;
        let mut given_up = cancel.clone();
        let _waiting = self.instruments.waits();
        tokio::select! {
            entered = self.gate.enter(vmids, self.patience) => Ok(entered?),
            () = given_up.wanted() => Err(ActionError::Cancelled),
        }
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

    /// The trail of a change that has no number yet.
    fn trail(&self, change: &Change, why: &str) -> Trail {
        let subject = Subject {
            change: 0,
            caller: change.caller.identity.to_string(),
            action: audit::bounded(&change.summary),
            why: audit::bounded(why),
            containers: change.vmids.clone(),
            happened: None,
        };
        self.trail_about(subject)
    }

    /// The trail of a change that is known.
    fn trail_about(&self, subject: Subject) -> Trail {
        Trail { audit: self.audit_log(), subject, instruments: Arc::clone(&self.instruments) }
    }

    /// Refuses new changes and waits until those under way have ended, and all is on the disk in the audit log.
    pub async fn finish(&self) {
        if 0 < self.in_progress() {
            tracing::info!(changes = self.in_progress(), "waiting for changes to end");
        }
        // No sequence ends half way; one that begins while this waits finds the permits closed.
        let _none = self.sequences.write().await;
        // A change that asks while this waits finds no permit left; one that asks later finds them closed.
        let _all = self.permits.acquire_many(self.capacity).await;
        self.permits.close();
        if let Some(audit) = self.audit_log() {
            trail::sync(audit, Arc::clone(&self.instruments)).await;
        }
    }
}

/// The log that is written to; none where the configuration names no file.
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
    // Every critical section is one map operation: nothing is half done when one panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
