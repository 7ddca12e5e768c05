//! The rows of changes in the store, from the first to the last word, and those who are told of them.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use lxc_autoscale_core::api::{EventKind, JobInfo};
use lxc_autoscale_core::{ErrorChain, Vmid};
use tokio::task::JoinHandle;

use super::trail::Trail;
use super::{Changes, locked};
use crate::actions::ActionError;
use crate::audit::Event;
use crate::jobs::begun::{Beginning, Numbered};
use crate::jobs::table::{self, Asked, End};
use crate::ledger;
use crate::on_disk::OnDisk;
use crate::store::{Store, StoreError};

/// Changes after which old rows are looked for.
const PRUNE_EVERY: u64 = 64;
/// Changes after which the store's log is emptied: the disk is busy with that for a while. It has room for more of them.
const EMPTY_EVERY: u64 = 256;

/// An end that could not be written down when it came.
#[derive(Clone, Debug)]
pub(super) struct Unwritten {
    number: i64,
    end: End,
    at: Timestamp,
}

/// How a change is left when it is answered.
#[derive(Clone, Debug)]
pub(super) enum Left {
    /// It has ended so.
    Ended(End),
    /// It is answered so, and a call of it may be at work.
    Open(End),
}

impl Changes {
    /// Begins to write down that a change is asked for, and begins unless it was refused. What is written is kept before
    /// anything is called: the row first, so that one of which the audit log knows is known after a crash, too.
    /// In the audit log it is on the disk when `on_disk` says.
    pub(super) fn open(
        &self,
        trail: Trail,
        asked: Asked,
        queued: Option<i64>,
        begins: bool,
        on_disk: OnDisk,
    ) -> Opening {
        let (writing, beginning) = Beginning::new();
        let (store, counted_to) = (self.store.clone(), self.counted_to.load(Ordering::Relaxed));
        let written = tokio::task::spawn_blocking(move || {
            let now = Timestamp::now();
            // On the disk at the latest with the first call, before it is made.
            let numbered = store.soon(|connection| {
                let transaction = connection.transaction()?;
                let number = match queued {
                    None => table::insert(&transaction, &asked, begins, now)?,
                    Some(number) if begins => table::begin(&transaction, number, now).map(|()| number)?,
                    Some(number) => number,
                };
                let recent = |vmid: &Vmid| {
                    Ok((*vmid, ledger::changes_last_hour(&transaction, *vmid, counted_to, now)?))
                };
                let recent = asked.containers.iter().filter(|_| begins).map(recent);
                let recent = recent.collect::<rusqlite::Result<_>>()?;
                transaction.commit()?;
                Ok(Numbered { number, recent, counted_to })
            })?;
            let number = numbered.number;
            writing.has_row(numbered);
            if begins {
                trail.of(number).begins(on_disk)?;
            }
            writing.audited();
            Ok(())
        });
        Opening { beginning, written, store: self.store.clone() }
    }

    /// Gives a job its number, which its client is told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn queue(&self, asked: Asked) -> Result<i64, StoreError> {
        let now = Timestamp::now();
        self.store.with(move |connection| table::insert(connection, &asked, false, now)).await
    }

    /// Writes down how a change is left, and tells those who listen which sizes it has left different. In the audit log it
    /// is on the disk when `on_disk` says.
    pub(super) async fn close(&self, trail: Trail, outcome: Event, number: i64, left: Left, on_disk: OnDisk) {
        let changes = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            trail.ended(&outcome, on_disk);
            match left {
                Left::Ended(end) => changes.write_end(number, end),
                Left::Open(end) => changes.leave_open(number, &end),
            }
        });
        if let Err(error) = written.await {
            tracing::error!(number, %error, "writing down how a change ended was cut off");
        }
    }

    /// Writes down how a change ended, and before that what could not be written down earlier; what is done is done,
    /// whether that can be written down or not.
    ///
    /// An end that is lost with the power is found again: the change then counts as cut off, and is held against the
    /// node with the next start.
    pub(super) fn write_end(&self, number: i64, end: End) {
        let mut ends = std::mem::take(&mut *locked(&self.unwritten));
        ends.push(Unwritten { number, end, at: Timestamp::now() });
        let mut ends = ends.into_iter();
        while let Some(next) = ends.next() {
            let Unwritten { number, end, at } = &next;
            match self.store.soon(|connection| table::end(connection, *number, end, *at)) {
                Ok(entries) => {
                    let now = Timestamp::now();
                    for entry in entries {
                        self.events.publish(EventKind::Change(entry), now);
                    }
                }
                Err(error) => {
                    tracing::error!(number, error = %ErrorChain(&error), "the end of a change is not written down yet");
                    // No more than there are places for changes: nothing begins while nothing can be written.
                    locked(&self.unwritten).extend(std::iter::once(next).chain(ends));
                    return;
                }
            }
        }
    }

    /// Writes down what a change was answered with whose end is not known yet.
    fn leave_open(&self, number: i64, answered: &End) {
        let End { message, code, .. } = answered;
        let noted =
            self.store.soon(|connection| table::leave_open(connection, number, message, code.as_deref()));
        if let Err(error) = noted {
            tracing::warn!(number, error = %ErrorChain(&error), "why a change is not ended yet is not written down");
        }
    }

    /// Now and then, removes what is kept no longer and empties the store's log.
    pub(super) async fn tidy(&self) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if !ended.is_multiple_of(PRUNE_EVERY) {
            return;
        }
        let changes = self.clone();
        let tidied = tokio::task::spawn_blocking(move || {
            let Self { store, state, .. } = &changes;
            let pruned = store.soon(|connection| table::prune(connection, state, Timestamp::now()));
            let emptied = if ended.is_multiple_of(EMPTY_EVERY) { store.tidy() } else { Ok(()) };
            for error in [pruned, emptied].into_iter().filter_map(Result::err) {
                tracing::warn!(error = %ErrorChain(&error), "what is kept of changes cannot be tidied up");
            }
        });
        if let Err(error) = tidied.await {
            tracing::error!(%error, "tidying up what is kept of changes was cut off");
        }
    }

    /// Tells those who listen how a job stands.
    pub(super) async fn announce(&self, number: i64) {
        match self.store.with(move |connection| table::job(connection, number)).await {
            Ok(None) => {}
            Ok(Some((info, _))) => {
                let info = JobInfo { steps: Vec::new(), result: None, ..info };
                self.events.publish(EventKind::Job(info), Timestamp::now());
            }
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "nobody is told of a job");
            }
        }
    }
}

/// A change whose beginning is being written down.
pub(super) struct Opening {
    beginning: Beginning,
    written: JoinHandle<Result<(), ActionError>>,
    store: Store,
}

impl Opening {
    /// For those who wait for it.
    pub(super) fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Waits until all of it is written down.
    ///
    /// # Errors
    /// [`ActionError::NotRecorded`] and [`ActionError::NotAudited`].
    pub(super) async fn written(self) -> Result<(), ActionError> {
        self.written.await.unwrap_or_else(|_| Err(self.store.crashed().into()))
    }
}
