//! One change, from the request to its end.
//!
//! A task of its own does all of it, including the row of a job. So a client that leaves at any moment never leaves a
//! row behind that nobody will end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::ends::ended;
use super::rows::Left;
use super::sequence::Sequence;
use super::trail::{on_disk, outcome};
use super::{Cancels, Change, ChangeError, Changes, Waits, locked};
use crate::actions::ActionError;
use crate::backend::watch::{Cancel, watched};
use crate::gate::Ticket;
use crate::jobs::table::Asked;
use crate::jobs::{Journal, Order};

/// A change that has been admitted.
pub(super) struct Errand<S, F> {
    pub(super) change: Change,
    pub(super) asked: Asked,
    pub(super) waits: Waits,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) say: S,
    pub(super) work: F,
}

/// The client that asked for the change, and how to answer it.
pub(super) struct Client<T> {
    pub(super) number: oneshot::Sender<i64>,
    pub(super) answer: oneshot::Sender<Result<T, ActionError>>,
    pub(super) sequence: Option<Sequence>,
}

/// A job that can be cancelled for as long as this value lives.
struct Listed {
    number: i64,
    cancels: Arc<Cancels>,
}

impl Listed {
    fn new(cancels: &Arc<Cancels>, number: i64, wish: watch::Sender<bool>) -> Self {
        locked(cancels).insert(number, wish);
        Self { number, cancels: Arc::clone(cancels) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        locked(&self.cancels).remove(&self.number);
    }
}

impl Changes {
    /// Carries out a change, from its first row to its last.
    pub(super) async fn carry_out<T, W, S, F>(self, errand: Errand<S, F>, client: Client<T>)
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        S: Fn(&T) -> String + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let Errand { change, asked, waits, place, say, work } = errand;
        let _unrecorded = Arc::clone(&self.unrecorded).read_owned().await;
        let Client { number: tell, answer, sequence } = client;
        let (asked_at, Order { task, why }, is_job) = (Instant::now(), asked.order.clone(), asked.is_job);
        let (wish, cancel) = Cancel::new();
        // A job gets its number before it waits, so that clients can look it up and cancel it. Any other change gets
        // one when it begins, which saves a write.
        let mut listed = None;
        if is_job {
            match self.queue(asked.clone()).await {
                Ok(number) => listed = Some(Listed::new(&self.cancels, number, wish)),
                Err(error) => {
                    let error = ActionError::from(error);
                    self.answered(&change, &task, asked_at, Some(&error)).write();
                    // The client may have left, here and below; the outcome is in the log anyway.
                    let _ = answer.send(Err(error));
                    return;
                }
            }
        }
        let queued = listed.as_ref().map(|listed| listed.number);
        // A client that wanted only the number of the job counts as gone if nobody received that number.
        let is_told = queued.is_none_or(|number| tell.send(number).is_ok());
        if let Some(number) = queued {
            self.announce(number).await;
        }
        let may_begin = || match (waits, &sequence) {
            (Waits::ForAnswer, None) => !answer.is_closed(),
            (Waits::ForAnswer, Some(sequence)) => sequence.begins(),
            (Waits::ForNumber, _) => is_told,
        };
        let entered = self.enter(&change, &cancel).await;
        let entered = match entered {
            Ok(tickets) => self.still_allowed(&change, task.role()).await.map(|()| tickets),
            refused => refused,
        };
        let entered = entered
            .and_then(|tickets| if may_begin() { Ok(tickets) } else { Err(ChangeError::Abandoned.into()) });

        let on_disk = on_disk(&task);
        let opening = self.open(self.trail(&change, &why), asked, queued, entered.is_ok(), on_disk).await;
        let journal =
            Journal::new(opening.beginning().clone(), self.store.clone(), self.budget.clone(), cancel);
        let (tickets, result) = match entered {
            Ok(tickets) => (tickets, self.work(&journal, queued, work).await),
            Err(refused) => (Vec::<Ticket>::new(), Err(refused)),
        };
        let numbered = opening.beginning().numbered().await;
        // If the start could not be recorded, no call was made.
        let result = opening.written().await.map_err(ActionError::from).and(result);
        // A queued job already has a row that says it waits; that row must be ended, too.
        let Some(number) = numbered.map(|numbered| numbered.number).or(queued) else {
            self.answered(&change, &task, asked_at, result.as_ref().err()).write();
            let _ = answer.send(result);
            return;
        };
        let event = outcome(asked_at.elapsed(), &result);
        let end = ended(&journal, &result, say);
        let failure = result.as_ref().err();
        let is_open = failure.is_some_and(ActionError::is_open);
        let at_work = failure.and_then(ActionError::at_work).map(str::to_owned);
        let left = if is_open { Left::Open(end) } else { Left::Ended(end) };
        let closing = self.close(&self.trail(&change, &why).of(number), &event, number, left, on_disk).await;
        let line = self.answered(&change, &task, asked_at, failure);
        // Whoever asks for the next change once this is answered finds the place free.
        drop(place);
        let unanswered = if closing.may_answer() {
            let _ = answer.send(result);
            None
        } else {
            Some((answer, result))
        };
        line.write();
        self.store_end(closing);
        if is_open {
            self.settle_later(number, &change, tickets, at_work.as_deref());
        } else {
            // Released only when everything is recorded.
            drop(tickets);
        }
        drop(listed);
        if let Some((answer, result)) = unanswered {
            let _ = answer.send(result);
        }
        if is_job {
            self.announce(number).await;
        }
        self.tidy().await;
    }

    /// Runs the work itself, with exclusive use of its containers.
    async fn work<T, W, F>(&self, journal: &Journal, queued: Option<i64>, work: F) -> Result<T, ActionError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        if let Some(number) = queued {
            journal.begun().await?;
            self.announce(number).await;
        }
        let (watcher, own) = (Arc::new(journal.clone()), journal.clone());
        // A panic must not end the code that records the outcome. What the work shares with that code stays usable: its
        // locks are held for single operations.
        let done = AssertUnwindSafe(watched(watcher, async move { work(own).await })).catch_unwind().await;
        done.unwrap_or(Err(ChangeError::Crashed.into()))
    }
}
