//! One change on its way from being asked for to its end.
//!
//! All of it is done by a task that belongs to nobody else: the row of a job is written there, too, so that a client that
//! leaves at any moment leaves no row behind that nobody will end.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::ends::ended;
use super::sequence::Sequence;
use super::trail::{Trail, outcome};
use super::{Cancels, Change, Changes, Waits, locked};
use crate::actions::ActionError;
use crate::backend::watch::{Cancel, watched};
use crate::gate::Ticket;
use crate::jobs::Journal;
use crate::jobs::begun::Begun;
use crate::jobs::table::Asked;

/// A change that has a place among those of this server.
pub(super) struct Errand<S, F> {
    pub(super) change: Change,
    pub(super) asked: Asked,
    pub(super) waits: Waits,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) say: S,
    pub(super) work: F,
}

/// Who asked, and is told.
pub(super) struct Client<T> {
    pub(super) number: oneshot::Sender<i64>,
    pub(super) answer: oneshot::Sender<Result<T, ActionError>>,
    pub(super) sequence: Option<Sequence>,
}

/// A job that can be given up as long as this lives.
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
    /// Does a change from its first row to its last.
    pub(super) async fn carry_out<T, W, S, F>(self, errand: Errand<S, F>, client: Client<T>)
    where
        T: Serialize + Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        S: Fn(&T) -> String + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let Errand { change, asked, waits, place: _place, say, work } = errand;
        let Client { number: tell, answer, sequence } = client;
        let (asked_at, task, is_job) = (Instant::now(), asked.order.task.clone(), asked.is_job);
        let (wish, cancel) = Cancel::new();
        // A job has its number before it waits, so that it can be looked at and given up; all else gets one when it
        // is begun, which saves a write.
        let mut listed = None;
        if is_job {
            match self.queue(asked.clone()).await {
                Ok(number) => listed = Some(Listed::new(&self.cancels, number, wish)),
                Err(error) => {
                    let error = ActionError::from(error);
                    self.answered(&change, &task, asked_at, Some(&error));
                    // The client may have left meanwhile, here and below; the log has the outcome.
                    let _ = answer.send(Err(error));
                    return;
                }
            }
        }
        let queued = listed.as_ref().map(|listed| listed.number);
        // Whoever prefers a number to an answer waits for the job as long as nobody has taken its number.
        let is_told = queued.is_none_or(|number| tell.send(number).is_ok());
        if let Some(number) = queued {
            self.announce(number, is_job, false).await;
        }
        let may_begin = || match (waits, &sequence) {
            (Waits::ForAnswer, None) => !answer.is_closed(),
            (Waits::ForAnswer, Some(sequence)) => sequence.begins(),
            (Waits::ForNumber, _) => is_told,
        };
        let entered = self.enter(&change.vmids, &cancel).await;
        let entered =
            entered.and_then(|tickets| if may_begin() { Ok(tickets) } else { Err(ActionError::Abandoned) });
        let (number, entered) = match (self.number(queued, asked, entered.is_ok()).await, queued) {
            (Ok(number), _) => (number, entered),
            // Its row says that it waits, which ends here.
            (Err(error), Some(number)) => (number, Err(error)),
            (Err(error), None) => {
                self.answered(&change, &task, asked_at, Some(&error));
                let _ = answer.send(Err(error));
                return;
            }
        };

        let journal = Journal::new(number, self.store.clone(), cancel);
        let trail = self.trail(number, &change);
        let (tickets, result) = match entered {
            Ok(tickets) => (tickets, self.work(&journal, &trail, is_job, work).await),
            Err(refused) => (Vec::<Ticket>::new(), Err(refused)),
        };
        trail.ended(outcome(asked_at.elapsed(), &result)).await;
        let end = ended(&journal, &result, say);
        let failure = result.as_ref().err();
        let is_open = failure.is_some_and(ActionError::is_open);
        let is_changed = !is_open && !end.changed.is_empty();
        if is_open {
            self.leave_open(number, end).await;
            self.settle_later(number, &change, tickets, failure.and_then(ActionError::at_work));
        } else {
            self.write_end(number, end).await;
            // Not before all is written down.
            drop(tickets);
        }
        drop(listed);
        self.answered(&change, &task, asked_at, failure);
        let _ = answer.send(result);
        self.announce(number, is_job, is_changed).await;
        self.tidy().await;
    }

    /// The work itself, with its containers entered.
    async fn work<T, W, F>(
        &self,
        journal: &Journal,
        trail: &Trail,
        is_job: bool,
        work: F,
    ) -> Result<T, ActionError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ActionError>> + Send + 'static,
        F: FnOnce(Journal) -> W + Send + 'static,
    {
        let begun = Begun::new(journal.clone(), trail.begins());
        self.announce(journal.number(), is_job, false).await;
        let (watcher, own) = (Arc::new(begun.clone()), journal.clone());
        // A task of its own: a panic in it must not end what writes down how it ended.
        let done = tokio::spawn(watched(watcher, async move { work(own).await })).await;
        let done = done.unwrap_or(Err(ActionError::Crashed));
        // What is not in the audit log has made no call.
        begun.written().await.map_err(ActionError::from).and(done)
    }
}
