//! What one change records while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::begun::{Beginning, Numbered};
use super::{Before, CopyStage, table};
use crate::actions::ActionError;
use crate::backend::watch::{Call, Cancel, Noted, Watcher};
use crate::backend::{BackendError, ContainerHost, ContainerIdentity, Stored};
use crate::budget::{Budget, Wish};
use crate::changes::ChangeError;
use crate::config::Config;
use crate::ledger::{self, Changed};
use crate::store::{Store, StoreError};

/// The journal of one change; clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    beginning: Beginning,
    store: Store,
    budget: Budget,
    cancel: Cancel,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Recorded with the next call.
    before: Option<Before>,
    /// Recorded with the next call, too.
    copy: Option<CopyStage>,
    changed: Vec<Changed>,
    /// Which container each id had.
    identities: BTreeMap<Vmid, ContainerIdentity>,
    forgotten: Vec<Vmid>,
}

impl Journal {
    /// The journal of the change with this start; what it promises to containers counts in `budget`.
    pub(crate) fn new(beginning: Beginning, store: Store, budget: Budget, cancel: Cancel) -> Self {
        Self { beginning, store, budget, cancel, kept: Arc::default() }
    }

    /// The journal of a change that was interrupted and is being settled: its own calls are added to the row.
    pub(crate) fn of_interrupted(number: i64, store: Store) -> Self {
        let (writing, beginning) = Beginning::new();
        writing.has_row(Numbered { number, recent: Vec::new(), counted_to: 0 });
        writing.audited();
        let (_, cancel) = Cancel::new();
        // It is settled, and grants nothing; what was granted before counts until its end is recorded.
        Self::new(beginning, store, Budget::default(), cancel)
    }

    /// The signal to cancel, for [`crate::backend::watch::cancellable`].
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Checks between two calls whether the change is to be cancelled.
    ///
    /// # Errors
    /// [`ChangeError::Cancelled`] if it is.
    pub fn go_on(&self) -> Result<(), ChangeError> {
        if self.cancel.is_wanted() { Err(ChangeError::Cancelled) } else { Ok(()) }
    }

    /// Waits until the start of the change is recorded. Calls wait for that by themselves; anything that has an
    /// effect without a call waits here.
    ///
    /// # Errors
    /// [`StoreError::NotBegun`]; the client receives the cause.
    pub async fn begun(&self) -> Result<(), StoreError> {
        self.beginning.begun().await.map(drop).ok_or(StoreError::NotBegun)
    }

    /// How many size changes a container had within the last hour, counted up to `most`; always 0 if `most` is 0.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_last_hour(&self, vmid: Vmid, most: u32) -> Result<u32, StoreError> {
        if most == 0 {
            return Ok(0);
        }
        let numbered = self.beginning.numbered().await.ok_or(StoreError::NotBegun)?;
        let is_enough = |changes: &u32| most <= numbered.counted_to || *changes < numbered.counted_to;
        let known = numbered.recent.iter().find(|(container, _)| *container == vmid);
        if let Some(changes) = known.map(|(_, changes)| *changes).filter(is_enough) {
            return Ok(changes);
        }
        let now = Timestamp::now();
        self.store.with(move |connection| ledger::changes_last_hour(connection, vmid, most, now)).await
    }

    /// Promises a running container more memory until the change ends, if it is there ([`Budget::grant`]).
    ///
    /// # Errors
    /// [`ActionError`] if it is not, or that cannot be determined.
    pub(crate) async fn grant_memory(
        &self,
        host: &dyn ContainerHost,
        config: &Config,
        wish: Wish<'_>,
    ) -> Result<(), ActionError> {
        let number = self.beginning.numbered().await.ok_or(StoreError::NotBegun)?.number;
        self.budget.grant((host, &self.store), config, number, wish).await
    }

    /// The store, for what must be known after a restart.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps the state that the node had before; it is recorded before the first call is made.
    pub fn found(&self, vmid: Vmid, stored: &Stored, running: Option<bool>) {
        let (config, parent) = (stored.config.clone(), stored.parent.clone());
        let identity = stored.known_identity(vmid).ok().cloned();
        let mut kept = self.kept();
        if let Some(identity) = &identity {
            kept.identities.insert(vmid, identity.clone());
        }
        kept.before = Some(Before { vmid, config, parent, running, identity, home: stored.home.clone() });
    }

    /// Keeps how far a copy has come; it is recorded with the next call, before that is made.
    pub fn copy_is(&self, stage: CopyStage) {
        self.kept().copy = Some(stage);
    }

    /// Keeps which sizes differ after the change, whether it succeeded or not.
    pub fn compare(&self, vmid: Vmid, before: &ContainerConfig, after: &ContainerConfig) {
        let mut kept = self.kept();
        let differences = ledger::differences(vmid, before, after, kept.identities.get(&vmid));
        kept.changed.extend(differences);
    }

    /// Forgets what is known of an id: its container is gone, or a new one has it.
    pub fn forget(&self, vmid: Vmid) {
        self.kept().forgotten.push(vmid);
    }

    /// Takes what goes to the ledger.
    pub(crate) fn take_changes(&self) -> (Vec<Changed>, Vec<Vmid>) {
        let mut kept = self.kept();
        (std::mem::take(&mut kept.changed), std::mem::take(&mut kept.forgotten))
    }

    async fn write(&self, call: Call) -> Result<(), StoreError> {
        let number = self.beginning.numbered().await.ok_or(StoreError::NotBegun)?.number;
        let (before, copy) = {
            let mut kept = self.kept();
            (kept.before.take(), kept.copy.take())
        };
        let at = Timestamp::now();
        let written = move |connection: &mut rusqlite::Connection| {
            table::note(connection, number, &call, (before.as_ref(), copy), at)
        };
        self.store.in_place(written).await
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No critical section can panic half way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Journal {
    /// Returns when both the call and the start of its change are on the disk; both are written at the same time.
    fn note(&self, call: Call) -> Noted<'_> {
        Box::pin(async move {
            let command = call.command.clone();
            let (written, begun) = tokio::join!(self.write(call), self.begun());
            written.and(begun).map_err(|error| BackendError::NotRecorded {
                command,
                detail: ErrorChain(&error).to_string(),
            })
        })
    }
}
