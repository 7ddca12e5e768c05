//! Ends of changes, including those whose outcome is unknown when the client is answered.

use std::fmt;
use std::time::Instant;

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::api::{JobInfo, JobState};
use serde::Serialize;

use super::overdue::Mark;
use super::rows::Left;
use super::trail::{LogLine, code};
use super::{Change, ChangeError, Changes};
use crate::actions::ActionError;
use crate::audit::{self, Event, Subject};
use crate::backend::BackendError;
use crate::error::ApiError;
use crate::exporter::DONE;
use crate::gate::Ticket;
use crate::jobs::table::{End, Open};
use crate::jobs::{Journal, Order, Task, reconcile};
use crate::on_disk::OnDisk;

impl Changes {
    /// Finds out in the background how a change ended. The change keeps its containers until then. While a `command`
    /// is known to be running, other changes of these containers are refused at once.
    pub(super) fn settle_later(
        &self,
        number: i64,
        change: &Change,
        tickets: Vec<Ticket>,
        command: Option<&str>,
    ) {
        let mark = command.map(|command| self.overdue.mark(&change.vmids, number, command));
        let changes = self.clone();
        tokio::spawn(async move {
            reconcile::follow(&changes, number, tickets).await;
            drop(mark);
        });
    }

    /// Refuses other changes of the containers of an interrupted change, whose call is still running, for as long as the
    /// returned value lives; `None` if they are refused already.
    pub(crate) fn mark_overdue(&self, open: &Open) -> Option<Mark> {
        let command = &open.call.as_ref()?.command;
        self.overdue.mark_new(&open.asked.containers, open.number, command)
    }

    /// Records the outcome found on the node of a change that was interrupted. Returns the result it is counted
    /// under.
    pub(crate) async fn settle(&self, open: &Open, end: End) -> &'static str {
        let subject = Subject {
            address: None,
            change: open.number.unsigned_abs(),
            caller: open.asked.caller.clone(),
            action: audit::bounded(&open.asked.summary),
            why: audit::bounded(&open.asked.order.why),
            containers: open.asked.containers.clone(),
            happened: None,
        };
        let (event, result) = if let Some(code) = &end.code {
            let message = audit::bounded(&end.message);
            let code = match end.state {
                JobState::Unknown => UNKNOWN.to_owned(),
                _ => code.clone(),
            };
            let result = counted_as(&code);
            (Event::NotDone { code: code.into(), message, is_open: false, duration_ms: 0 }, result)
        } else {
            let event = Event::Done { result: end.result.clone().unwrap_or_default(), duration_ms: 0 };
            (event, DONE)
        };
        let trail = self.trail_about(subject);
        let closing = self.close(&trail, &event, open.number, Left::Ended(end), OnDisk::AtOnce).await;
        self.store_end(closing);
        if open.asked.is_job {
            self.announce(open.number).await;
        }
        result
    }

    /// Copies the end of a change from the audit log to `api.sqlite`, which lost it: the power failed when only the
    /// audit log was on the disk.
    pub(crate) async fn take_over(&self, open: &Open, end: End) {
        let (changes, number) = (self.clone(), open.number);
        let mut turn = self.store.turn().await;
        let written = tokio::task::spawn_blocking(move || changes.write_end(&mut turn, number, end)).await;
        if let Err(error) = written {
            tracing::error!(number, %error, "recording the end of a change was interrupted");
        }
        if open.asked.is_job {
            self.announce(number).await;
        }
    }

    /// Adds to the audit log what only `api.sqlite` has of a change: the power failed when only one of the two was on
    /// the disk. A change that has not ended is left to [`Changes::settle`].
    pub(crate) async fn complete_trail(&self, info: JobInfo, order: Order, lack: Lack) {
        let (begun, ended) = (info.begun, info.ended);
        let duration = info.begun.zip(info.ended).map(|(begun, ended)| ended.duration_since(begun));
        let duration_ms = duration.map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(0));
        let event = match info.code {
            None => Event::Done { result: info.result.unwrap_or_default(), duration_ms },
            Some(code) => {
                let message = audit::bounded(&info.message.unwrap_or_default());
                Event::NotDone { code: code.into(), message, is_open: false, duration_ms }
            }
        };
        let subject = Subject {
            address: None,
            change: info.id,
            caller: info.caller,
            action: audit::bounded(&info.summary),
            why: audit::bounded(&order.why),
            containers: info.containers,
            happened: None,
        };
        let trail = self.trail_about(subject);
        let written = tokio::task::spawn_blocking(move || {
            let begins =
                if lack == Lack::All { trail.completed(begun).begins(OnDisk::AtOnce) } else { Ok(()) };
            if let Err(error) = begins {
                tracing::error!(error = %ErrorChain(&error), "cannot write the start of a change to the audit log");
            }
            if ended.is_some() {
                trail.completed(ended).ended(&event, OnDisk::AtOnce);
            }
        });
        if let Err(error) = written.await {
            tracing::error!(%error, "completing the audit log was interrupted");
        }
    }

    /// Counts a change that an earlier process began.
    pub(crate) fn count_settled(&self, open: &Open, result: &'static str) {
        self.instruments.change_counted(&open.asked.order.task, result);
    }

    /// Counts a change that is answered now; returns its line for the service log.
    pub(super) fn answered<'a>(
        &self,
        change: &'a Change,
        task: &Task,
        asked_at: Instant,
        failure: Option<&ActionError>,
    ) -> LogLine<'a> {
        self.instruments.change_ended(task, code(failure.map_or(Ok(()), Err)), asked_at.elapsed());
        LogLine::new(change, asked_at.elapsed(), failure)
    }
}

/// The code in the audit log of a change whose outcome nobody can tell.
const UNKNOWN: &str = "unknown";

/// The result that an interrupted change with this code is counted under. There are few, so that there are few time
/// series.
fn counted_as(code: &str) -> &'static str {
    ["left_behind", "not_restarted", UNKNOWN]
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or("interrupted")
}

/// What the audit log lacks about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The record of its start, and of its end if it has ended.
    All,
    /// The record of its end.
    End,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "beginning and end",
            Self::End => "end",
        })
    }
}

/// How a change ended, for its row.
pub(super) fn ended<T: Serialize>(
    journal: &Journal,
    result: &Result<T, ActionError>,
    say: impl Fn(&T) -> String,
) -> End {
    let (changed, forgotten) = journal.take_changes();
    match result {
        Ok(done) => End {
            state: JobState::Done,
            result: serde_json::to_value(done).ok(),
            message: say(done),
            code: None,
            changed,
            forgotten,
        },
        Err(error) => End {
            state: ended_as(error),
            result: None,
            message: ErrorChain(error).to_string(),
            code: Some(ApiError::status_and_code(error).1.to_owned()),
            changed,
            forgotten,
        },
    }
}

/// The state of a change that ended with this error.
fn ended_as(error: &ActionError) -> JobState {
    match error {
        ActionError::Change(ChangeError::Cancelled | ChangeError::Abandoned)
        | ActionError::Backend(BackendError::Cancelled { .. }) => JobState::Cancelled,
        ActionError::HalfWay { cause, .. } => ended_as(cause),
        _ => JobState::Failed,
    }
}
