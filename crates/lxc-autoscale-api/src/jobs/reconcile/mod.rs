//! Settles interrupted changes by comparing each of them with the node. A change is interrupted if an earlier process
//! of this server ended, if a call took too long or its answer was lost, or if a defect ended the change.
//!
//! Nothing is repeated. While the last call is still running, the containers of the change wait; once it has ended,
//! the state of the node shows whether the change was done. What was left half-made is finished where that is certain
//! (the mark of a complete copy), removed (half a copy, a temporary snapshot), or named in the outcome. The calls that
//! this takes are recorded like those of the change itself, so that the next start waits for them, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::api::{CloneDeleted, JobState};
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::table::{self, End, Open};
use super::{Before, CopyStage, Journal, Task, leftovers};
use crate::actions::ActionError;
use crate::audit::{self, NewestChanges, ToldEnd};
use crate::backend::watch::{PATIENCE, Standing, watched};
use crate::backend::{BackendError, ContainerHost, Stored};
use crate::budget::PROMISED_FOR;
use crate::changes::{Changes, Lack};
use crate::exporter::DONE;
use crate::gate::{Gate, Ticket};
use crate::ledger::{self, Changed, identities};
use crate::node;
use crate::params::SnapshotName;
use crate::state::AppState;
use crate::store::{Store, StoreError};

mod finishing;
mod verdicts;

use finishing::{Copying, is_power_call, is_whole, settle_clone, settle_power, started_again};
use verdicts::{
    NOTHING_TELLS, as_told, done_as, failed, interrupted, settle_by_configuration, settle_removal,
    settle_rollback, unknown,
};

/// The pauses between two looks at a call or a node that does not answer: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// An open change, with its end if the audit log has it.
type Found = (Open, Option<ToldEnd>);

/// What a look at a change has shown.
enum Look {
    /// How it ended.
    Ended(Box<End>),
    /// A call of it is still running.
    Running,
    /// Nothing yet, but that may pass.
    NotYet,
}

/// Takes up what an earlier process left. The containers concerned take no other change until that is settled.
///
/// # Errors
/// [`StoreError`] if what was left cannot be read.
pub async fn begin(state: &AppState) -> Result<(), StoreError> {
    let config = state.config();
    let state_config = config.state.clone();
    // After a power cut, the audit log alone may have a number or an end, or the store alone a start or an end.
    let NewestChanges { newest, mut named, since } = audit::newest_changes(&config.audit.file);
    let unended = named.iter().filter(|(_, end)| end.is_none()).map(|(number, _)| *number);
    let (unended, known): (Vec<u64>, BTreeSet<u64>) = (unended.collect(), named.keys().copied().collect());
    let read = state.store().with(move |connection| {
        table::number_after(connection, newest)?;
        let mut lacking = Vec::new();
        for number in unended.iter().filter_map(|number| i64::try_from(*number).ok()) {
            lacking.extend(table::ended(connection, number)?.map(|ended| (ended, Lack::End)));
        }
        if let Some(since) = since {
            let now = Timestamp::now();
            // A time in the future comes from a clock that was set back since.
            let since = since.min(now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(since));
            let unnamed = table::last_changes(connection, since, now)?.into_iter();
            lacking.extend(unnamed.filter(|(info, _)| !known.contains(&info.id)).map(|change| {
                // A change that has not begun has no such record; the record of an earlier start is before
                // `since`.
                let lacks_all = change.0.begun.is_some_and(|begun| since <= begun);
                (change, if lacks_all { Lack::All } else { Lack::End })
            }));
        }
        table::prune(connection, &state_config, Timestamp::now())?;
        Ok((lacking, table::open(connection)?))
    });
    let (lacking, open) = read.await?;
    let mut found = Vec::new();
    for ((info, order), lack) in lacking {
        tracing::warn!(number = info.id, summary = info.summary, %lack, "the audit log lacked a part of this");
        state.changes().complete_trail(info, order, lack).await;
    }
    for open in open {
        let told = named.remove(&open.number.unsigned_abs()).flatten();
        let told = told.filter(|end| end.is_last(open.is_answered));
        if !open.is_begun && told.is_none() {
            let found = "it had not begun; nothing was done".to_owned();
            let result = state.changes().settle(&open, failed(&interrupted(found))).await;
            state.changes().count_settled(&open, result);
            continue;
        }
        let (number, summary) = (open.number, &open.asked.summary);
        if told.is_some() {
            tracing::warn!(number, summary, "only the audit log has how this ended");
        } else {
            tracing::warn!(number, summary, "the server ended in the middle of this");
        }
        // The memory of other nodes is not checked.
        if open.before.as_ref().is_none_or(|before| node::is_here(&config.paths.proc, &before.home)) {
            promise_memory(state.changes(), &open, Duration::ZERO).await;
        }
        found.push((open, told));
    }
    for group in in_turns(found) {
        let containers: Vec<Vmid> =
            group.iter().flat_map(|(open, _)| open.asked.containers.iter().copied()).collect();
        // No other change runs yet, so nothing is waited for here.
        let tickets = entered(state.changes().gate(), &containers).await;
        let changes = state.changes().clone();
        tokio::spawn(async move {
            for (open, told) in group {
                let result = match told {
                    None => settle(&changes, &open).await,
                    Some(told) => take_over(&changes, &open, told).await,
                };
                changes.count_settled(&open, result);
            }
            drop(tickets);
        });
    }
    tokio::spawn(leftovers::drop_all(AppState::clone(state)));
    tokio::spawn(identities::learn(AppState::clone(state)));
    Ok(())
}

/// Counts the memory that an interrupted change gives its container, or may yet. If that cannot be read, nobody gets
/// more memory until it can ([`settle`] tries again), or the change has ended, or it was tried for too long.
async fn promise_memory(changes: &Changes, open: &Open, tried: Duration) {
    match more_memory(changes.host(), open).await {
        Ok(0) => changes.budget().release(open.number),
        Ok(more) => changes.budget().promise(open.number, more),
        Err(Unread { vmid, error }) if is_waited_for(&error, tried) => {
            tracing::warn!(number = open.number, %vmid, error = %ErrorChain(&error), "cannot read how much memory a rollback gives: no container gets more until then");
            changes.budget().hold_for(open.number, vmid);
        }
        Err(Unread { vmid, error }) => {
            tracing::error!(number = open.number, %vmid, error = %ErrorChain(&error), "cannot read how much memory a rollback gives: none is kept for it");
            changes.budget().release(open.number);
        }
    }
}

/// Whether others wait until it can be read what a change gives: only while it may be read some day, and no longer
/// than what it gives would count. Pure.
fn is_waited_for(error: &BackendError, tried: Duration) -> bool {
    error.may_pass() && tried < PROMISED_FOR.unsigned_abs()
}

/// What a rollback gives its container cannot be read.
struct Unread {
    vmid: Vmid,
    error: BackendError,
}

/// How much more memory an interrupted change gives its container, in MiB, or may yet. Whether that ran is recorded for
/// a rollback only.
async fn more_memory(host: &dyn ContainerHost, open: &Open) -> Result<u64, Unread> {
    let Some(before) = &open.before else { return Ok(0) };
    let then = match &open.asked.order.task {
        Task::SetMemory { memory_mib, .. } => *memory_mib,
        Task::Rollback { vmid, name } if before.running == Some(true) => {
            let then = memory_after_rollback(host, *vmid, name).await;
            then.map_err(|error| Unread { vmid: *vmid, error })?
        }
        _ => 0,
    };
    Ok(then.saturating_sub(before.config.memory_mb.get()))
}

/// The memory in MiB that a container has after a rollback to this snapshot. If the snapshot is gone, the rollback has
/// ended, and the configuration shows it; if the container is gone, it has none.
async fn memory_after_rollback(
    host: &dyn ContainerHost,
    vmid: Vmid,
    name: &str,
) -> Result<u64, BackendError> {
    // What is no name of a snapshot is no snapshot.
    let in_snapshot = match SnapshotName::new(name) {
        Ok(name) => host.settings_in(vmid, &name).await,
        Err(_) => Err(BackendError::NoSuchSnapshot { vmid, name: name.to_owned() }),
    };
    let then = match in_snapshot {
        Err(BackendError::NoSuchSnapshot { .. }) => host.stored(vmid).await.map(|stored| stored.config),
        read => read,
    };
    match then {
        Ok(then) => Ok(then.memory_mb.get()),
        Err(BackendError::NoSuchContainer { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Groups the changes that have containers in common, because they are settled one after the other. There are such
/// changes if the end of one could not be stored before the next one was interrupted.
fn in_turns(found: Vec<Found>) -> Vec<Vec<Found>> {
    let mut groups: Vec<Vec<Found>> = Vec::new();
    for change in found {
        let containers = &change.0.asked.containers;
        let is_shared =
            |(other, _): &Found| other.asked.containers.iter().any(|vmid| containers.contains(vmid));
        let (shared, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.iter().any(is_shared));
        let mut group: Vec<Found> = shared.into_iter().flatten().collect();
        group.push(change);
        group.sort_by_key(|(open, _)| open.number);
        groups = others;
        groups.push(group);
    }
    groups
}

/// Takes these containers, however long that takes.
async fn entered(gate: &Gate, containers: &[Vmid]) -> Vec<Ticket> {
    loop {
        match gate.enter(containers, PATIENCE).await {
            Ok(tickets) => return tickets,
            Err(occupied) => tracing::error!(%occupied, "an interrupted change waits for its container"),
        }
    }
}

/// Copies the end of a change from the audit log, and returns the result it is counted under. The sizes it changed
/// are read from the node.
async fn take_over(changes: &Changes, open: &Open, told: ToldEnd) -> &'static str {
    let mut end = as_told(&open.asked.order.task, told);
    if let Some(before) = &open.before {
        let mut pause = PAUSES.0;
        let now = loop {
            match stored_now(changes.host(), changes.store(), &open.asked.order.task, before).await {
                Ok(now) => break now,
                Err(error) => {
                    tracing::warn!(number = open.number, error = %ErrorChain(&error), "cannot read the sizes that a change left");
                }
            }
            pause = paused(pause).await;
        };
        end.changed = now.map(|now| changed(before, &now)).unwrap_or_default();
    }
    let result = if end.code.is_none() { DONE } else { "interrupted" };
    changes.take_over(open, end).await;
    result
}

/// Settles an interrupted change of this process, then frees its containers.
pub(crate) async fn follow(changes: &Changes, number: i64, tickets: Vec<Ticket>) {
    let mut pause = PAUSES.0;
    let open = loop {
        match changes.store().with(move |connection| table::open_change(connection, number)).await {
            Ok(Some(open)) => break open,
            Ok(None) => {
                changes.budget().release(number);
                return;
            }
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "cannot read what a change was to do");
            }
        }
        pause = paused(pause).await;
    };
    settle(changes, &open).await;
    drop(tickets);
}

/// Looks until the outcome of a change is known, and records it; returns the result it is counted under.
async fn settle(changes: &Changes, open: &Open) -> &'static str {
    let number = open.number;
    let journal = Journal::of_interrupted(number, changes.store().clone());
    let mut newest = open.clone();
    let (since, mut pause) = (Instant::now(), PAUSES.0);
    // Since when none of its calls is known to be running.
    let mut waits: Option<Instant> = None;
    // While one is, other changes of its containers are refused at once: that may take an hour.
    let mut overdue = None;
    let end = loop {
        if changes.budget().is_held_for(number) {
            promise_memory(changes, open, since.elapsed()).await;
        }
        let is_patient = waits.is_none_or(|since| since.elapsed() < PATIENCE);
        let looked = look(changes.host(), &journal, &newest, is_patient);
        match watched(Arc::new(journal.clone()), looked).await {
            Ok(Look::Ended(end)) => break *end,
            Ok(Look::Running) => {
                if overdue.is_none() {
                    overdue = changes.mark_overdue(&newest);
                }
            }
            Ok(Look::NotYet) => {
                overdue = None;
                if waits.is_none() {
                    (waits, pause) = (Some(Instant::now()), PAUSES.0);
                }
            }
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "cannot determine the outcome of a change");
            }
        }
        pause = paused(pause).await;
        // The look may have made a call itself, and that may still be running.
        match changes.store().with(move |connection| table::open_change(connection, number)).await {
            Ok(Some(row)) => newest = row,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "cannot read the last call of a change");
            }
        }
    };
    // From here on it takes a moment, which other changes wait for.
    drop(overdue);
    tracing::warn!(number = open.number, summary = open.asked.summary, state = ?end.state, found = end.message, "settled");
    changes.settle(open, end).await
}

/// Waits, and returns the next waiting time.
async fn paused(pause: Duration) -> Duration {
    tokio::time::sleep(pause).await;
    (pause * 2).min(PAUSES.1)
}

/// The outcome of a change. With `is_patient`, what may pass is waited for.
async fn look(
    host: &dyn ContainerHost,
    journal: &Journal,
    open: &Open,
    is_patient: bool,
) -> Result<Look, ActionError> {
    let (Some(call), Some(before)) = (&open.call, &open.before) else {
        return Ok(Look::Ended(Box::new(match &open.call {
            _ if open.asked.order.task == Task::Other => unknown(NOTHING_TELLS.to_owned()),
            None => {
                let found = "no call had been made; nothing was done".to_owned();
                failed(&interrupted(found))
            }
            // A sequence whose calls leave no trace on the node.
            Some(call) => {
                unknown(format!("its last call was `{}`, whose outcome is not known", call.command))
            }
        })));
    };
    let mut standing = host.standing(before.vmid, call).await?;
    if standing == Standing::Running {
        return Ok(Look::Running);
    }
    let now = stored_now(host, journal.store(), &open.asked.order.task, before).await?;
    if standing == Standing::Unknown
        && now.is_some()
        && matches!(open.asked.order.task, Task::DeleteClone { .. } | Task::Rollback { .. })
        && is_power_call(&call.command, "start")
        && host.is_running(before.vmid).await?
    {
        // The last thing to do was to start the container again, and that is done.
        standing = Standing::Ended;
    }
    if standing == Standing::Unknown
        && is_patient
        && !is_done(host, &open.asked.order.task, (before, open.copy), now.as_ref()).await?
    {
        return Ok(Look::NotYet);
    }
    let mut end = match (&open.asked.order.task, &now) {
        (Task::CreateClone { source, target, requested_name, hostname }, _) => {
            let copying = Copying {
                source: *source,
                target: *target,
                requested_name,
                hostname,
                stage: open.copy,
                from_snapshot: before.running == Some(true),
                source_lock: now.as_ref().and_then(|source| source.config.lock.as_deref()),
            };
            match settle_clone(host, journal, copying, is_patient).await? {
                Some(end) => end,
                None => return Ok(Look::NotYet),
            }
        }
        (Task::DeleteClone { vmid }, None) => {
            let was_running = before.running == Some(true);
            let done = CloneDeleted { vm_id: *vmid, was_running };
            End { forgotten: vec![*vmid], ..done_as(&done, format!("Container {vmid} is removed.")) }
        }
        (_, None) => unknown(format!("container {} does not exist any more", before.vmid)),
        (Task::DeleteClone { vmid }, Some(now)) => {
            let end = settle_removal(*vmid, now);
            let restart = before.running == Some(true) && now.config.lock.is_none();
            started_again(host, *vmid, restart, end).await
        }
        (Task::Rollback { vmid, name }, Some(now)) => {
            let restart = before.running == Some(true) && now.config.lock.is_none();
            let end = settle_rollback(*vmid, name, before, now);
            started_again(host, *vmid, restart, end).await
        }
        (
            task @ (Task::Start { .. } | Task::Stop { .. } | Task::Shutdown { .. } | Task::Reboot { .. }),
            Some(now),
        ) => settle_power(host, task, &call.command, now).await?,
        (task, Some(now)) => settle_by_configuration(task, before, now),
    };
    if let Some(now) = &now {
        end.changed = changed(before, now);
    }
    if standing == Standing::Unknown && end.state == JobState::Failed {
        // The call may still do it.
        end.state = JobState::Unknown;
    }
    Ok(Look::Ended(Box::new(end)))
}

/// What is stored now about the container of an interrupted change.
async fn stored_now(
    host: &dyn ContainerHost,
    store: &Store,
    task: &Task,
    before: &Before,
) -> Result<Option<Stored>, ActionError> {
    let now = stored_if_any(host, before.vmid).await?;
    if let (Task::Rollback { name, .. }, Some(now)) = (task, &now)
        && now.parent.as_ref() == Some(name)
    {
        identities::stays_known(store, before.vmid, before.identity.as_ref(), now).await?;
    }
    Ok(now)
}

/// The sizes that an interrupted change has left different.
fn changed(before: &Before, now: &Stored) -> Vec<Changed> {
    let identity = now.known_identity(before.vmid).ok();
    ledger::differences(before.vmid, &before.config, &now.config, identity)
}

async fn stored_if_any(host: &dyn ContainerHost, vmid: Vmid) -> Result<Option<Stored>, BackendError> {
    match host.stored(vmid).await {
        Ok(stored) => Ok(Some(stored)),
        Err(BackendError::NoSuchContainer { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the task is done already; only looks.
async fn is_done(
    host: &dyn ContainerHost,
    task: &Task,
    (before, stage): (&Before, Option<CopyStage>),
    now: Option<&Stored>,
) -> Result<bool, BackendError> {
    Ok(match (task, now) {
        (Task::DeleteClone { .. }, now) => now.is_none(),
        (_, None) => true,
        (_, Some(now)) if now.config.lock.is_some() => false,
        (Task::CreateClone { target, hostname, .. }, Some(_)) => {
            let copy = stored_if_any(host, *target).await?;
            copy.is_some_and(|copy| is_whole(&copy.config, hostname, stage))
        }
        (Task::Rollback { name, .. }, Some(now)) => {
            now.parent != before.parent && now.parent.as_ref() == Some(name)
        }
        (Task::Start { vmid }, Some(_)) => host.is_running(*vmid).await?,
        (Task::Stop { vmid } | Task::Shutdown { vmid, .. }, Some(_)) => !host.is_running(*vmid).await?,
        (Task::Reboot { .. } | Task::PruneSnapshots { .. } | Task::Other, Some(_)) => false,
        (task, Some(now)) => settle_by_configuration(task, before, now).state == JobState::Done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rollback_gives_is_waited_for_while_it_may_be_read_and_not_for_ever() {
        let command = || "GET /nodes/two/lxc/104/config".to_owned();
        let is_down = BackendError::Unreachable { command: command(), detail: "595".to_owned() };
        let is_gone = BackendError::NotPermitted { command: command(), detail: "403".to_owned() };
        let lasts = PROMISED_FOR.unsigned_abs();
        assert!(is_waited_for(&is_down, lasts / 2));
        assert!(!is_waited_for(&is_down, lasts));
        assert!(!is_waited_for(&is_gone, Duration::ZERO));
    }
}
