//! What one change writes down on its way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Vmid};

use tokio::sync::watch;

use super::begun::{Beginning, Step};
use super::{Before, table};
use crate::actions::ActionError;
use crate::backend::watch::{Call, Cancel, Noted, Watcher};
use crate::backend::{BackendError, Stored};
use crate::ledger::{self, Changed};
use crate::store::{Store, StoreError};

/// The journal of one change; copies are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    beginning: Beginning,
    counted: watch::Receiver<Option<Counted>>,
    store: Store,
    cancel: Cancel,
    kept: Arc<Mutex<Kept>>,
}

/// How many changes of their sizes containers have had within the last hour. They are free for one change: there are no more
/// of them until it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// By container.
    pub(crate) changes: Vec<(Vmid, u32)>,
    /// They were counted no further than this.
    pub(crate) to: u32,
}

#[derive(Debug, Default)]
struct Kept {
    /// Written down with the next call.
    before: Option<Before>,
    changed: Vec<Changed>,
    forgotten: Vec<Vmid>,
}

impl Journal {
    /// The journal of the change that begins so, before which the changes of its containers are `counted`.
    pub(crate) fn new(
        beginning: Beginning,
        counted: watch::Receiver<Option<Counted>>,
        store: Store,
        cancel: Cancel,
    ) -> Self {
        Self { beginning, counted, store, cancel, kept: Arc::default() }
    }

    /// The wish to give up, for [`crate::backend::watch::cancellable`].
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Ends a change that is to be given up, between two calls.
    ///
    /// # Errors
    /// [`ActionError::Cancelled`].
    pub fn go_on(&self) -> Result<(), ActionError> {
        if self.cancel.is_wanted() { Err(ActionError::Cancelled) } else { Ok(()) }
    }

    /// Waits until the beginning of the change is written down. Calls wait by themselves; what changes anything without
    /// one waits here.
    ///
    /// # Errors
    /// [`StoreError::NotBegun`]; whoever asked is told the cause.
    pub async fn begun(&self) -> Result<(), StoreError> {
        self.beginning.begun(None).await.map(drop)
    }

    /// How many changes of a container's sizes there were within the last hour, where up to `most` matter: none, when it is 0.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_last_hour(&self, vmid: Vmid, most: u32) -> Result<u32, StoreError> {
        if most == 0 {
            return Ok(0);
        }
        // Without a count, why is found out below.
        let counted =
            self.counted.clone().wait_for(Option::is_some).await.map_or(None, |counted| counted.clone());
        if let Some(Counted { changes, to }) = counted {
            let known = changes.iter().find(|(container, _)| *container == vmid).map(|(_, changes)| *changes);
            if let Some(changes) = known.filter(|changes| most <= to || *changes < to) {
                return Ok(changes);
            }
        }
        let now = Timestamp::now();
        self.store.with(move |connection| ledger::changes_last_hour(connection, vmid, most, now)).await
    }

    /// What this server must still know after a restart.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps what the node had before; it is written down before the first call is made.
    pub fn found(&self, vmid: Vmid, stored: &Stored, running: Option<bool>) {
        let (config, parent) = (stored.config.clone(), stored.parent.clone());
        self.kept().before = Some(Before { vmid, config, parent, running });
    }

    /// Keeps which sizes a change, done or not, has left different.
    pub fn compare(&self, vmid: Vmid, before: &ContainerConfig, after: &ContainerConfig) {
        self.kept().changed.extend(ledger::differences(vmid, before, after));
    }

    /// A container is gone, or new: what was known of that id was another one's.
    pub fn forget(&self, vmid: Vmid) {
        self.kept().forgotten.push(vmid);
    }

    /// What goes to the ledger.
    pub(crate) fn take_changes(&self) -> (Vec<Changed>, Vec<Vmid>) {
        let mut kept = self.kept();
        (std::mem::take(&mut kept.changed), std::mem::take(&mut kept.forgotten))
    }

    async fn write(&self, call: Call) -> Result<(), StoreError> {
        let step = Step { call, before: self.kept().before.take() };
        let begun = self.beginning.begun(Some(step.clone())).await?;
        if begun.has_step {
            return Ok(());
        }
        let at = Timestamp::now();
        self.store.with(move |connection| table::note(connection, begun.number, &step, at)).await
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every critical section is one assignment: nothing is half done when one panics.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Journal {
    /// Returns when the call and the beginning of its change are on the disk.
    fn note(&self, call: Call) -> Noted<'_> {
        Box::pin(async move {
            let command = call.command.clone();
            let not_recorded =
                |error| BackendError::NotRecorded { command, detail: ErrorChain(&error).to_string() };
            self.write(call).await.map_err(not_recorded)
        })
    }
}
