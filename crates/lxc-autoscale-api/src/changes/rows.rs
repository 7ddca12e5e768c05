//! The rows of changes in the store, from the first to the last word, and those who are told of them.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::api::{EventKind, JobInfo};

use super::{Changes, locked};
use crate::actions::ActionError;
use crate::jobs::table::{self, Asked, End};
use crate::ledger;
use crate::store::StoreError;

/// Changes after which old rows are looked for, and the store's log is emptied.
const TIDY_EVERY: u64 = 64;

/// An end that could not be written down when it came.
#[derive(Clone, Debug)]
pub(super) struct Unwritten {
    number: i64,
    end: End,
    at: Timestamp,
}

impl Changes {
    /// Writes down that a change begins, and returns its number.
    ///
    /// # Errors
    /// [`ActionError::NotRecorded`].
    pub(super) async fn number(
        &self,
        queued: Option<i64>,
        asked: Asked,
        begins: bool,
    ) -> Result<i64, ActionError> {
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
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn queue(&self, asked: Asked) -> Result<i64, StoreError> {
        let now = Timestamp::now();
        self.store.with(move |connection| table::insert(connection, &asked, false, now)).await
    }

    /// Writes down how a change ended, and before that what could not be written down earlier; what is done is done,
    /// whether that can be written down or not.
    ///
    /// An end that is lost with the power is found again: the change then counts as cut off, and is held against the
    /// node with the next start.
    pub(super) async fn write_end(&self, number: i64, end: End) {
        let mut ends = std::mem::take(&mut *locked(&self.unwritten));
        ends.push(Unwritten { number, end, at: Timestamp::now() });
        let mut ends = ends.into_iter();
        while let Some(next) = ends.next() {
            let Unwritten { number, end, at } = next.clone();
            let written = self.store.soon(move |connection| table::end(connection, number, &end, at));
            if let Err(error) = written.await {
                tracing::error!(number, error = %ErrorChain(&error), "the end of a change is not written down yet");
                // No more than there are places for changes: nothing begins while nothing can be written.
                locked(&self.unwritten).extend(std::iter::once(next).chain(ends));
                return;
            }
        }
    }

    /// Writes down what a change was answered with whose end is not known yet.
    pub(super) async fn leave_open(&self, number: i64, answered: End) {
        let End { message, code, .. } = answered;
        let noted = self
            .store
            .soon(move |connection| table::leave_open(connection, number, &message, code.as_deref()));
        if let Err(error) = noted.await {
            tracing::warn!(number, error = %ErrorChain(&error), "why a change is not ended yet is not written down");
        }
    }

    /// Now and then, removes what is kept no longer and empties the store's log.
    pub(super) async fn tidy(&self) {
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

    /// Tells those who listen how a job stands, and which sizes a change has left different.
    pub(super) async fn announce(&self, number: i64, is_job: bool, is_changed: bool) {
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
}
