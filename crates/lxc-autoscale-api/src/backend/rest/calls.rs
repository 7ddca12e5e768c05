//! Calls that change something: makes them, follows them to their end, and finds them again if the answer was lost.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Method;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde_json::Value;
use tokio::time::Instant;

use super::RestHost;
use super::answers::PendingAnswer;
use super::client::{About, Ask};
use super::task::{ListedTask, PrintedLine, Progress, TaskStatus, Upid};
use crate::backend::watch::{self, Call, PATIENCE, Standing};
use crate::backend::{Afterwards, BackendError, texts};

/// Pause before the first query of a task's state; it grows up to `LAST_POLL`.
const FIRST_POLL: Duration = Duration::from_millis(100);
const LAST_POLL: Duration = Duration::from_secs(2);
/// How many lines of a task's output are read; growing a disk prints a dozen.
const MOST_LINES: u32 = 500;

/// A call that took too long, or whose answer was lost.
#[derive(Clone, Debug)]
pub(super) struct Overdue {
    command: String,
    /// Its task, if known.
    upid: Option<Upid>,
    /// Since when nobody waits for it.
    since: Instant,
}

impl Overdue {
    /// Whether the call may still be running at this time although the node knows no task of it. Pure.
    fn may_be_at_work(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < PATIENCE
    }
}

impl RestHost {
    /// Sets an option of a container, or removes it with the key `delete`.
    ///
    /// Before Proxmox VE 8.3, what a running container refuses stays in its configuration as a pending change, and would
    /// come into force at the next start. It is taken back.
    pub(super) async fn set(&self, vmid: Vmid, key: &'static str, value: String) -> Result<(), BackendError> {
        let option = if key == "delete" { value.clone() } else { key.to_owned() };
        let detail = match self.put(vmid, key, value).await {
            Err(BackendError::NotApplicable { detail, .. }) => detail,
            ended => return ended,
        };
        let pending: Result<Vec<PendingAnswer>, _> = self.look_at(vmid, "/pending", Vec::new()).await;
        let taken_back = match pending {
            Ok(pending) if !pending.iter().any(|entry| entry.is_change_of(&option)) => Ok(()),
            Ok(_) => self.put(vmid, "revert", option).await,
            Err(error) => Err(error),
        };
        Err(BackendError::refused_value(vmid, detail, taken_back))
    }

    /// As [`RestHost::set`], for a size. It is not read afterwards: that is another request.
    pub(super) async fn set_size(
        &self,
        vmid: Vmid,
        key: &'static str,
        value: String,
    ) -> Result<Afterwards, BackendError> {
        self.set(vmid, key, value).await.map(|()| None)
    }

    /// Makes a change that is complete when it is answered.
    async fn put(&self, vmid: Vmid, key: &'static str, value: String) -> Result<(), BackendError> {
        self.refuse_while_overdue(vmid).await?;
        let ask = Ask {
            method: Method::PUT,
            path: self.of(vmid, "/config"),
            parameters: vec![(key, value)],
            about: About::Container(vmid),
            limit: self.config.change_timeout(),
        };
        watch::note(Call { command: ask.shown(), upid: None }).await?;
        self.client.ask::<Value>(&ask).await.map(drop).inspect_err(|error| self.left_alone(vmid, error, None))
    }

    /// Makes a change that runs as a task, and follows it to its end.
    pub(super) async fn run(
        &self,
        vmid: Vmid,
        method: Method,
        path: String,
        parameters: Vec<(&'static str, String)>,
        limit: Duration,
    ) -> Result<Upid, BackendError> {
        self.refuse_while_overdue(vmid).await?;
        let deadline = Instant::now() + limit;
        // The task itself must begin within the time limit of a change.
        let begin = self.config.change_timeout();
        let ask = Ask { method, path, parameters, about: About::Container(vmid), limit: begin };
        watch::note(Call { command: ask.shown(), upid: None }).await?;
        let upid = match self.client.ask::<Upid>(&ask).await {
            Ok(upid) => upid,
            Err(error) => self.found_again(vmid, error).await?,
        };
        if let Err(error) = watch::note(Call { command: ask.shown(), upid: Some(upid.to_string()) }).await {
            // The task has begun already, so all that is left is to follow it.
            tracing::error!(%upid, error = %ErrorChain(&error), "cannot record the name of the task");
        }
        let (progress, is_cancelled) = self.follow(&upid, deadline).await;
        match progress {
            Some(Progress::Done(warnings)) => {
                if let Some(warnings) = warnings {
                    tracing::warn!(command = ask.shown(), %upid, warnings, "the task ended with warnings");
                }
                Ok(upid)
            }
            Some(Progress::Failed(_)) if is_cancelled => {
                Err(BackendError::Cancelled { command: ask.shown() })
            }
            Some(Progress::Failed(text)) => Err(texts::classify(vmid, &ask.shown(), "task failed", &text)),
            Some(Progress::Running) | None => {
                let error = BackendError::TimedOut { command: ask.shown(), limit, running: true };
                self.left_alone(vmid, &error, Some(upid));
                Err(error)
            }
        }
    }

    /// Queries a task until it has ended; `None` if the deadline passes first. Also returns whether the task was
    /// cancelled.
    async fn follow(&self, upid: &Upid, deadline: Instant) -> (Option<Progress>, bool) {
        let mut pause = FIRST_POLL;
        let mut is_cancelled = false;
        loop {
            match self.progress(upid).await {
                Ok(Progress::Running) => {}
                Ok(ended) => return (Some(ended), is_cancelled),
                // Proxmox's own proxy restarts now and then; the task continues.
                Err(error) => tracing::warn!(%upid, error = %ErrorChain(&error), "cannot query the task"),
            }
            if deadline <= Instant::now() + pause {
                return (None, is_cancelled);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = watch::cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    self.stop_task(upid).await;
                }
            }
            pause = (pause * 2).min(LAST_POLL);
        }
    }

    /// Asks Proxmox to stop a task, which cleans up as far as it can; its end is noticed like any other.
    async fn stop_task(&self, upid: &Upid) {
        let ask = Ask {
            method: Method::DELETE,
            path: format!("/nodes/{}/tasks/{upid}", upid.node()),
            parameters: Vec::new(),
            about: About::Node,
            limit: self.config.query_timeout(),
        };
        if let Err(error) = self.client.ask::<Value>(&ask).await {
            tracing::warn!(%upid, error = %ErrorChain(&error), "cannot stop the task");
        }
    }

    /// The state of a task, from the node it runs on.
    async fn progress(&self, upid: &Upid) -> Result<Progress, BackendError> {
        let path = format!("/nodes/{}/tasks/{upid}/status", upid.node());
        let status: TaskStatus = self.look(path).await?;
        Ok(status.progress())
    }

    /// The lines that a task has printed.
    pub(super) async fn printed(&self, upid: &Upid) -> Result<Vec<String>, BackendError> {
        let ask = Ask {
            method: Method::GET,
            path: format!("/nodes/{}/tasks/{upid}/log", upid.node()),
            parameters: vec![("limit", MOST_LINES.to_string())],
            about: About::Node,
            limit: self.config.query_timeout(),
        };
        let lines: Vec<PrintedLine> = self.client.ask(&ask).await?;
        Ok(lines.into_iter().map(|line| line.t).collect())
    }

    /// The task of a failed call, if only its answer was lost and the task is running: then nothing is lost.
    async fn found_again(&self, vmid: Vmid, error: BackendError) -> Result<Upid, BackendError> {
        let Some(command) = error.at_work() else { return Err(error) };
        match self.task_of(vmid, command).await {
            Ok(Some(upid)) => {
                tracing::warn!(%upid, error = %ErrorChain(&error), "found the task among those running");
                return Ok(upid);
            }
            Ok(None) => {}
            Err(unknown) => {
                tracing::warn!(command, error = %ErrorChain(&unknown), "cannot look for the task");
            }
        }
        self.left_alone(vmid, &error, None);
        Err(error)
    }

    /// The newest running task that this token has started on a container with this call.
    async fn task_of(&self, vmid: Vmid, command: &str) -> Result<Option<Upid>, BackendError> {
        let ask = Ask {
            method: Method::GET,
            path: format!("/nodes/{}/tasks", self.home(vmid)),
            parameters: vec![("vmid", vmid.to_string()), ("source", "active".to_owned())],
            about: About::Node,
            limit: self.config.query_timeout(),
        };
        let listed: Vec<ListedTask> = self.client.ask(&ask).await?;
        let at_work = listed.iter().filter_map(ListedTask::at_work);
        let own = at_work.filter(|upid| upid.is_of(self.client.token().id(), command));
        Ok(own.max_by_key(Upid::start))
    }

    fn overdue(&self) -> MutexGuard<'_, HashMap<Vmid, Overdue>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a call that may still be running.
    fn left_alone(&self, vmid: Vmid, error: &BackendError, upid: Option<Upid>) {
        if let Some(command) = error.at_work() {
            self.overdue().insert(vmid, Overdue { command: command.to_owned(), upid, since: Instant::now() });
        }
    }

    /// Refuses to begin anything on a container that a call may still be running on.
    async fn refuse_while_overdue(&self, vmid: Vmid) -> Result<(), BackendError> {
        let Some(overdue) = self.overdue().get(&vmid).cloned() else { return Ok(()) };
        let is_at_work = match &overdue.upid {
            Some(upid) => self.progress(upid).await? == Progress::Running,
            None => match self.task_of(vmid, &overdue.command).await? {
                Some(upid) => {
                    let found = Overdue { upid: Some(upid), ..overdue.clone() };
                    self.overdue().insert(vmid, found);
                    true
                }
                // It may not have begun yet, or need no task.
                None => overdue.may_be_at_work(Instant::now()),
            },
        };
        if is_at_work {
            return Err(BackendError::StillRunning { vmid, command: overdue.command });
        }
        self.overdue().remove(&vmid);
        Ok(())
    }

    /// The state of a call that nobody waits for any more.
    pub(super) async fn standing_of(&self, vmid: Vmid, call: &Call) -> Result<Standing, BackendError> {
        let told = call.upid.as_deref().and_then(Upid::parse);
        let upid = told.or_else(|| self.overdue().get(&vmid).and_then(|overdue| overdue.upid.clone()));
        let standing = match upid {
            Some(upid) if self.progress(&upid).await? == Progress::Running => Standing::Running,
            // The high availability manager acts later.
            Some(upid) if upid.is_request_to_ha() => Standing::Unknown,
            Some(_) => Standing::Ended,
            None => match self.task_of(vmid, &call.command).await? {
                Some(upid) => {
                    let command = call.command.clone();
                    let overdue = Overdue { command, upid: Some(upid), since: Instant::now() };
                    self.overdue().insert(vmid, overdue);
                    Standing::Running
                }
                None => Standing::Unknown,
            },
        };
        if standing != Standing::Running {
            self.overdue().remove(&vmid);
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_whose_task_is_not_known_does_not_run_for_ever() {
        let since = Instant::now();
        let command = "POST /nodes/pve/lxc/104/status/start".to_owned();
        let overdue = Overdue { command, upid: None, since };
        assert!(overdue.may_be_at_work(since));
        assert!(overdue.may_be_at_work(since + PATIENCE / 2));
        assert!(!overdue.may_be_at_work(since + PATIENCE));
    }
}
