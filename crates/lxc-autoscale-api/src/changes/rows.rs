//! The rows of changes in the store, and the events published when they change.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use lxc_autoscale_core::api::{EventKind, JobInfo};
use lxc_autoscale_core::{ErrorChain, Vmid};
use tokio::task::JoinHandle;

use super::trail::Trail;
use super::{ChangeError, Changes, locked};
use crate::audit::Event;
use crate::blocking::in_place;
use crate::jobs::begun::{Beginning, Numbered};
use crate::jobs::table::{self, Asked, End};
use crate::ledger;
use crate::on_disk::OnDisk;
use crate::store::{Store, StoreError, Turn};

/// Number of changes after which old rows are pruned.
const PRUNE_EVERY: u64 = 64;
/// Number of changes after which the store's write-ahead log is emptied. That keeps the disk busy for a while; the
/// log has room for more changes than these.
const EMPTY_EVERY: u64 = 256;

/// An end that could not be stored when it happened.
#[derive(Clone, Debug)]
pub(super) struct Unwritten {
    number: i64,
    end: End,
    at: Timestamp,
}

/// The state of a change when it is answered.
#[derive(Clone, Debug)]
pub(super) enum Left {
    /// It has ended like this.
    Ended(End),
    /// It was answered like this, but a call of it may still be running.
    Open(End),
}

impl Changes {
    /// Starts to record a requested change; `begins` is false if it was refused. The row is written before the audit
    /// record, so that after a crash no change is known to the audit log alone, and both before any call. `on_disk`
    /// says when the audit record must be on the disk.
    pub(super) async fn open(
        &self,
        trail: Trail,
        asked: Asked,
        queued: Option<i64>,
        begins: bool,
        on_disk: OnDisk,
    ) -> Opening {
        let (writing, beginning) = Beginning::new();
        let counted_to = self.counted_to.load(Ordering::Relaxed);
        // Not waited for in the thread: whoever has the turn may need one of the threads, of which there are not enough
        // for all changes that may wait here.
        let mut turn = self.store.turn().await;
        let written = tokio::task::spawn_blocking(move || {
            let now = Timestamp::now();
            // It is on the disk at the latest with the first call, before that is made.
            let numbered = turn.soon(|connection| {
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
            drop(turn);
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

    /// Gives a job its number, which the client receives.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn queue(&self, asked: Asked) -> Result<i64, StoreError> {
        let now = Timestamp::now();
        self.store.with(move |connection| table::insert(connection, &asked, false, now)).await
    }

    /// Records how a change was left in the audit log, and takes a turn with the store, which is written last
    /// ([`Changes::store_end`]). `on_disk` says when the audit record must be on the disk.
    pub(super) async fn close(
        &self,
        trail: &Trail,
        outcome: &Event,
        number: i64,
        left: Left,
        on_disk: OnDisk,
    ) -> Closing {
        let is_audited = in_place(|| trail.ended(outcome, on_disk));
        Closing { turn: self.store.turn().await, number, left, is_audited }
    }

    /// Stores how a change was left. Not in a thread of its own: if the client is answered already, this one has
    /// nothing else to do, and nobody has to be woken.
    pub(super) fn store_end(&self, closing: Closing) {
        let Closing { mut turn, number, left, .. } = closing;
        in_place(move || match left {
            Left::Ended(end) => self.write_end(&mut turn, number, end),
            Left::Open(end) => leave_open(&mut turn, number, &end),
        });
    }

    /// Stores how a change ended, after any ends that could not be stored earlier, and publishes the sizes that were
    /// changed. A failure here is only logged: the change itself has already happened.
    ///
    /// An end that is lost in a power cut is found again: the change then counts as interrupted, and is compared with
    /// the node at the next start.
    pub(super) fn write_end(&self, turn: &mut Turn, number: i64, end: End) {
        let mut ends = std::mem::take(&mut *locked(&self.unwritten));
        ends.push(Unwritten { number, end, at: Timestamp::now() });
        let mut ends = ends.into_iter();
        while let Some(next) = ends.next() {
            let Unwritten { number, end, at } = &next;
            match turn.soon(|connection| table::end(connection, *number, end, *at)) {
                Ok(entries) => {
                    self.budget.release(*number);
                    let now = Timestamp::now();
                    for entry in entries {
                        self.events.publish(EventKind::Change(entry), now);
                    }
                }
                Err(error) => {
                    tracing::error!(number, error = %ErrorChain(&error), "cannot store the end of a change yet");
                    // At most as many as there are places for changes: nothing begins while nothing can be stored.
                    locked(&self.unwritten).extend(std::iter::once(next).chain(ends));
                    return;
                }
            }
        }
    }

    /// Every `PRUNE_EVERY` changes, removes rows past their retention; less often, also empties the store's log.
    pub(super) async fn tidy(&self) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if !ended.is_multiple_of(PRUNE_EVERY) {
            return;
        }
        let mut turn = self.store.turn().await;
        let changes = self.clone();
        let tidied = tokio::task::spawn_blocking(move || {
            let Self { store, state, .. } = &changes;
            let pruned = turn.soon(|connection| table::prune(connection, state, Timestamp::now()));
            drop(turn);
            let emptied = if ended.is_multiple_of(EMPTY_EVERY) { store.tidy() } else { Ok(()) };
            for error in [pruned, emptied].into_iter().filter_map(Result::err) {
                tracing::warn!(error = %ErrorChain(&error), "cannot prune the stored changes");
            }
        });
        if let Err(error) = tidied.await {
            tracing::error!(%error, "pruning the stored changes was interrupted");
        }
    }

    /// Publishes the state of a job.
    pub(super) async fn announce(&self, number: i64) {
        match self.store.with(move |connection| table::job(connection, number)).await {
            Ok(None) => {}
            Ok(Some((info, _))) => {
                let info = JobInfo { steps: Vec::new(), result: None, ..info };
                self.events.publish(EventKind::Job(info), Timestamp::now());
            }
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "cannot publish the state of a job");
            }
        }
    }
}

/// Stores the answer to a change whose end is not known yet.
fn leave_open(turn: &mut Turn, number: i64, answered: &End) {
    let End { message, code, .. } = answered;
    let noted = turn.soon(|connection| table::leave_open(connection, number, message, code.as_deref()));
    if let Err(error) = noted {
        tracing::warn!(number, error = %ErrorChain(&error), "cannot store why a change is still open");
    }
}

/// A change whose end the audit log has, and that has its turn to store it.
pub(super) struct Closing {
    turn: Turn,
    number: i64,
    left: Left,
    is_audited: bool,
}

impl Closing {
    /// Whether the client may be answered before the end is stored: whoever reads the store waits for this turn to end,
    /// and if this process ends before, the next start copies the end from the audit log.
    pub(super) fn may_answer(&self) -> bool {
        self.is_audited && matches!(&self.left, Left::Ended(end) if end.forgotten.is_empty())
    }
}

/// A change whose start is being recorded.
pub(super) struct Opening {
    beginning: Beginning,
    written: JoinHandle<Result<(), ChangeError>>,
    store: Store,
}

impl Opening {
    /// The start, for those who wait for it.
    pub(super) fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Waits until the start is recorded completely.
    ///
    /// # Errors
    /// [`ChangeError::NotRecorded`] and [`ChangeError::NotAudited`].
    pub(super) async fn written(self) -> Result<(), ChangeError> {
        self.written.await.unwrap_or_else(|_| Err(self.store.crashed().into()))
    }
}
