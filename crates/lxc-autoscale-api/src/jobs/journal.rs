//! What one change writes down on its way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::{Before, table};
use crate::actions::ActionError;
use crate::backend::watch::{Call, Cancel, Noted, Watcher};
use crate::backend::{BackendError, Stored};
use crate::ledger::{self, Changed};
use crate::store::{Store, StoreError};

/// The journal of one change; copies are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    number: i64,
    store: Store,
    cancel: Cancel,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Written down with the next call.
    before: Option<Before>,
    changed: Vec<Changed>,
    forgotten: Vec<Vmid>,
}

impl Journal {
    /// The journal of that change.
    pub(crate) fn new(number: i64, store: Store, cancel: Cancel) -> Self {
        Self { number, store, cancel, kept: Arc::default() }
    }

    /// The change's number.
    pub fn number(&self) -> i64 {
        self.number
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

    /// How many changes of a container's sizes there were within the hour before `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_last_hour(&self, vmid: Vmid, now: Timestamp) -> Result<u32, StoreError> {
        let since = now - SignedDuration::from_hours(1);
        self.store.with(move |connection| ledger::changes_since(connection, vmid, since)).await
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

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every critical section is one assignment: nothing is half done when one panics.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Journal {
    fn note(&self, call: Call) -> Noted<'_> {
        Box::pin(async move {
            let before = self.kept().before.take();
            let (number, written, at) = (self.number, call.clone(), Timestamp::now());
            let noted = self
                .store
                .with(move |connection| table::note(connection, number, &written, before.as_ref(), at));
            noted.await.map_err(|error| BackendError::NotRecorded {
                command: call.command,
                detail: ErrorChain(&error).to_string(),
            })
        })
    }
}
