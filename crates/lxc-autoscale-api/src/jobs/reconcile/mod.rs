//! What becomes of changes that were cut off: because an earlier process of this server ended, because a call took too
//! long or its answer was lost, because of a defect. Each is held against the node.
//!
//! Nothing is done again. While its last call is still at work, its containers wait; once that has ended, what the node
//! has tells whether the change was done. What was half made is finished where that is certain (the mark of a whole
//! copy), removed (half a copy, a temporary snapshot), or named.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::api::{CloneDeleted, JobState};
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::table::{self, End, Open};
use super::{Before, Task};
use crate::actions::ActionError;
use crate::audit::{self, NewestChanges, ToldEnd};
use crate::backend::watch::Standing;
use crate::backend::{BackendError, ContainerHost, Stored};
use crate::changes::{Changes, Lack};
use crate::exporter::DONE;
use crate::gate::Ticket;
use crate::ledger;
use crate::state::AppState;
use crate::store::StoreError;

mod finishing;
mod verdicts;

use finishing::{is_whole, settle_clone, settle_power, started_again};
use verdicts::{
    NOTHING_TELLS, as_told, done_as, failed, settle_by_configuration, settle_removal, settle_rollback,
    unknown,
};

/// How long nobody asks again whether a call has ended, or a node answers, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));
/// How often a container is looked at again whose call cannot be asked after: two minutes.
const PATIENCE_WITHOUT_WORD: u32 = 12;

/// Takes up what an earlier process left; the containers concerned take no other change until that is settled.
///
/// # Errors
/// [`StoreError`] when what was left cannot be read.
pub async fn begin(state: &AppState) -> Result<(), StoreError> {
    let config = state.config();
    let state_config = config.state.clone();
    // When the power fails, a number or an end may be in the audit log alone, and a beginning or an end in the store alone.
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
            // One that lies ahead is of a clock that was set back since.
            let since = since.min(now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(since));
            let unnamed = table::last_changes(connection, since, now)?.into_iter();
            lacking.extend(unnamed.filter(|(info, _)| !known.contains(&info.id)).map(|change| {
                // One that has not begun has no such record, and that of an earlier one stands before.
                let lacks_all = change.0.begun.is_some_and(|begun| since <= begun);
                (change, if lacks_all { Lack::All } else { Lack::End })
            }));
        }
        table::prune(connection, &state_config, Timestamp::now())?;
        Ok((lacking, table::open(connection)?))
    });
    let (lacking, open) = read.await?;
    for ((info, order), lack) in lacking {
        tracing::warn!(number = info.id, summary = info.summary, %lack, "the audit log lacked a part of this");
        state.changes().complete_trail(info, order, lack).await;
    }
    for open in open {
        let told = named.remove(&open.number.unsigned_abs()).flatten();
        let told = told.filter(|end| end.is_last(open.is_answered));
        if !open.is_begun && told.is_none() {
            let found = "it had not begun; nothing was done".to_owned();
            let result = state.changes().settle(&open, failed(&ActionError::Interrupted { found })).await;
            state.changes().count_settled(&open, result);
            continue;
        }
        let (number, summary) = (open.number, &open.asked.summary);
        if told.is_some() {
            tracing::warn!(number, summary, "only the audit log has how this ended");
        } else {
            tracing::warn!(number, summary, "the server ended in the middle of this");
        }
        // Nobody else is here yet. Two that were cut off cannot have had the same container.
        let tickets = state.changes().gate().enter(&open.asked.containers, Duration::ZERO).await;
        let changes = state.changes().clone();
        tokio::spawn(async move {
            let result = match told {
                None => settle(&changes, &open).await,
                Some(told) => take_over(&changes, &open, told).await,
            };
            changes.count_settled(&open, result);
            drop(tickets);
        });
    }
    Ok(())
}

/// Takes over how a change ended from the audit log; returns how it is counted. Which sizes it left different the node tells.
async fn take_over(changes: &Changes, open: &Open, told: ToldEnd) -> &'static str {
    let mut end = as_told(&open.asked.order.task, told);
    if let Some(before) = &open.before {
        let mut pause = PAUSES.0;
        let now = loop {
            match stored_if_any(changes.host(), before.vmid).await {
                Ok(now) => break now,
                Err(error) => {
                    tracing::warn!(number = open.number, error = %ErrorChain(&error), "cannot look which sizes a change has left");
                }
            }
            pause = paused(pause).await;
        };
        let differences = |now: Stored| ledger::differences(before.vmid, &before.config, &now.config);
        end.changed = now.map(differences).unwrap_or_default();
    }
    let result = if end.code.is_none() { DONE } else { "interrupted" };
    changes.take_over(open, end).await;
    result
}

/// Settles a change of this process that was cut off; its containers are free then.
pub(crate) async fn follow(changes: &Changes, number: i64, tickets: Vec<Ticket>) {
    let mut pause = PAUSES.0;
    let open = loop {
        match changes.store().with(move |connection| table::open_change(connection, number)).await {
            Ok(Some(open)) => break open,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(number, error = %ErrorChain(&error), "cannot read what a change was to do");
            }
        }
        pause = paused(pause).await;
    };
    settle(changes, &open).await;
    drop(tickets);
}

/// Looks until it is known what became of a change, and writes that down; returns how it is counted.
async fn settle(changes: &Changes, open: &Open) -> &'static str {
    let mut pause = PAUSES.0;
    let mut attempt = 0;
    let end = loop {
        match look(changes.host(), open, attempt).await {
            Ok(Some(end)) => break end,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(number = open.number, error = %ErrorChain(&error), "cannot find out what became of a change");
            }
        }
        attempt += 1;
        pause = paused(pause).await;
    };
    tracing::warn!(number = open.number, summary = open.asked.summary, state = ?end.state, found = end.message, "settled");
    changes.settle(open, end).await
}

/// Waits, and returns how long to wait the next time.
async fn paused(pause: Duration) -> Duration {
    tokio::time::sleep(pause).await;
    (pause * 2).min(PAUSES.1)
}

/// What became of it; `None` while that cannot be told yet.
async fn look(host: &dyn ContainerHost, open: &Open, attempt: u32) -> Result<Option<End>, ActionError> {
    let (Some(call), Some(before)) = (&open.call, &open.before) else {
        return Ok(Some(match &open.call {
            _ if open.asked.order.task == Task::Other => unknown(NOTHING_TELLS.to_owned()),
            None => {
                let found = "no call had been made; nothing was done".to_owned();
                failed(&ActionError::Interrupted { found })
            }
            // A sequence whose calls leave nothing that would tell.
            Some(call) => {
                unknown(format!("its last call was `{}`, and what became of it is not known", call.command))
            }
        }));
    };
    let standing = host.standing(before.vmid, call).await?;
    if standing == Standing::Running {
        return Ok(None);
    }
    let now = stored_if_any(host, before.vmid).await?;
    if standing == Standing::Unknown
        && attempt < PATIENCE_WITHOUT_WORD
        && !is_done(host, &open.asked.order.task, before, now.as_ref()).await?
    {
        return Ok(None);
    }
    let mut end = match (&open.asked.order.task, &now) {
        (Task::CreateClone { source, target, requested_name, hostname }, _) => {
            let names = (requested_name.as_str(), hostname.as_str());
            settle_clone(host, (*source, *target), names, &call.command, before.running == Some(true)).await?
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
        end.changed = ledger::differences(before.vmid, &before.config, &now.config);
    }
    if standing == Standing::Unknown && end.state == JobState::Failed {
        // Nobody can tell that the call will not do it yet.
        end.state = JobState::Unknown;
    }
    Ok(Some(end))
}

async fn stored_if_any(host: &dyn ContainerHost, vmid: Vmid) -> Result<Option<Stored>, BackendError> {
    match host.stored(vmid).await {
        Ok(stored) => Ok(Some(stored)),
        Err(BackendError::NoSuchContainer { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether what a task was to do is done; only looks.
async fn is_done(
    host: &dyn ContainerHost,
    task: &Task,
    before: &Before,
    now: Option<&Stored>,
) -> Result<bool, BackendError> {
    Ok(match (task, now) {
        (Task::DeleteClone { .. }, now) => now.is_none(),
        (_, None) => true,
        (_, Some(now)) if now.config.lock.is_some() => false,
        (Task::CreateClone { target, hostname, .. }, Some(_)) => {
            let copy = stored_if_any(host, *target).await?;
            copy.is_some_and(|copy| is_whole(&copy.config, hostname))
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
