//! What becomes of changes that an earlier process of this server had begun: each is held against the node.
//!
//! Nothing is done again. While a call of then is still at work, its containers wait; once it has ended, what the node
//! has tells whether the change was done. What was half made is finished where that is certain (the mark of a whole
//! copy), removed (half a copy, a temporary snapshot), or named.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::api::{
    CloneCreated, CloneDeleted, JobState, Powered, Resized, RolledBack, SnapshotCreated, SnapshotDeleted,
};
use lxc_autoscale_core::{Cores, ErrorChain, Mebibytes, Vmid};
use serde::Serialize;
use serde_json::Value;

use super::table::{self, End, Open};
use super::{Before, Task};
use crate::actions::clones::{self, tag_of};
use crate::actions::snapshots::ensure_running;
use crate::actions::{ActionError, resize};
use crate::audit;
use crate::backend::watch::Standing;
use crate::backend::{BackendError, ContainerHost, Stored};
use crate::changes::Changes;
use crate::gate::Ticket;
use crate::ledger;
use crate::state::AppState;
use crate::store::StoreError;

/// How long nobody asks again whether a call has ended, or a node answers, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));
/// How often a container is looked at again whose call cannot be asked after and which is locked.
const PATIENCE_WITH_LOCKS: u32 = 12;

/// Takes up what an earlier process left; the containers concerned take no other change until that is settled.
///
/// # Errors
/// [`StoreError`] when what was left cannot be read.
pub async fn begin(state: &AppState) -> Result<(), StoreError> {
    let config = state.config();
    let state_config = config.state.clone();
    // When the power fails, a number may be in the audit log alone.
    let newest = audit::newest_change(&config.audit.file);
    let open = state.store().with(move |connection| {
        table::number_after(connection, newest)?;
        table::prune(connection, &state_config, Timestamp::now())?;
        table::open(connection)
    });
    for open in open.await? {
        if !open.is_begun {
            let found = "it had not begun; nothing was done".to_owned();
            state.changes().settle(&open, failed(&ActionError::Interrupted { found })).await;
            continue;
        }
        tracing::warn!(
            number = open.number,
            summary = open.asked.summary,
            "the server ended in the middle of this"
        );
        // Nobody else is here yet. Two that were cut off cannot have had the same container.
        let tickets = state.changes().gate().enter(&open.asked.containers, Duration::ZERO).await;
        let (host, changes) = (state.host(), state.changes().clone());
        tokio::spawn(async move { settle(host, changes, open, tickets.unwrap_or_default()).await });
    }
    Ok(())
}

async fn settle(host: Arc<dyn ContainerHost>, changes: Changes, open: Open, tickets: Vec<Ticket>) {
    let mut pause = PAUSES.0;
    let mut attempt = 0;
    let end = loop {
        match look(&*host, &open, attempt).await {
            Ok(Some(end)) => break end,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(number = open.number, error = %ErrorChain(&error), "cannot find out what became of a change");
            }
        }
        attempt += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    };
    tracing::warn!(number = open.number, summary = open.asked.summary, state = ?end.state, found = end.message, "settled");
    changes.settle(&open, end).await;
    drop(tickets);
}

/// What became of it; `None` while that cannot be told yet.
async fn look(host: &dyn ContainerHost, open: &Open, attempt: u32) -> Result<Option<End>, ActionError> {
    let (Some(call), Some(before)) = (&open.call, &open.before) else {
        let found = match &open.call {
            None => "no call had been made; nothing was done".to_owned(),
            // A sequence whose calls leave nothing that would tell.
            Some(call) => format!("its last call was `{}`, and what became of it is not known", call.command),
        };
        let state = if open.call.is_none() { JobState::Failed } else { JobState::Unknown };
        return Ok(Some(End { state, ..failed(&ActionError::Interrupted { found }) }));
    };
    match host.standing(call).await? {
        Standing::Running => return Ok(None),
        Standing::Ended => {}
        Standing::Unknown => {
            let locked = match host.stored(before.vmid).await {
                Ok(stored) => stored.config.lock.is_some(),
                Err(BackendError::NoSuchContainer { .. }) => false,
                Err(error) => return Err(error.into()),
            };
            if locked && attempt < PATIENCE_WITH_LOCKS {
                return Ok(None);
            }
        }
    }
    let now = match host.stored(before.vmid).await {
        Ok(stored) => Some(stored),
        Err(BackendError::NoSuchContainer { .. }) => None,
        Err(error) => return Err(error.into()),
    };
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
    Ok(Some(end))
}

/// What the configuration alone tells: sizes and snapshots. Pure.
fn settle_by_configuration(task: &Task, before: &Before, now: &Stored) -> End {
    let (then, config) = (&before.config, &now.config);
    match task {
        Task::SetCores { vmid, cores } => {
            let shown = |cores: Option<u32>| cores.map_or("none".to_owned(), |cores| cores.to_string());
            let found = format!("the number of cores of container {vmid} is {}", shown(config.cores));
            let result = resized(*vmid, then.cores.map(Cores::from), config.cores.map(Cores::from));
            reached(config.cores == *cores, config.cores == then.cores, &result, found)
        }
        Task::SetCpulimit { vmid, hundredths } => {
            let limit = |limit: Option<f64>| limit.map_or(0, resize::hundredths);
            let found = format!(
                "the CPU limit of container {vmid} is {} hundredths of a core",
                limit(config.cpulimit)
            );
            let result = resized(*vmid, then.cpulimit, config.cpulimit);
            let is_reached = limit(config.cpulimit) == *hundredths;
            reached(is_reached, limit(config.cpulimit) == limit(then.cpulimit), &result, found)
        }
        Task::SetMemory { vmid, memory_mib } => {
            let found = format!("the memory of container {vmid} is {}", config.memory_mb);
            let result = resized(*vmid, Some(then.memory_mb), Some(config.memory_mb));
            let is_reached = config.memory_mb == Mebibytes::new(*memory_mib);
            reached(is_reached, config.memory_mb == then.memory_mb, &result, found)
        }
        Task::GrowRootfs { vmid, gib } => {
            let shown = config.rootfs_mb.map_or("not known".to_owned(), |size| size.to_string());
            let found = format!("the root filesystem of container {vmid} has {shown}");
            let result = resized(*vmid, then.rootfs_mb, config.rootfs_mb);
            let is_reached = match (then.rootfs_mb, config.rootfs_mb) {
                (Some(then), Some(size)) => resize::grown(then, *gib) <= size,
                // Without a size before, one that is there now tells nothing.
                _ => false,
            };
            reached(
                is_reached,
                config.rootfs_mb == then.rootfs_mb && then.rootfs_mb.is_some(),
                &result,
                found,
            )
        }
        Task::CreateSnapshot { vmid, name } => {
            let is_there = now.snapshots.iter().any(|snapshot| snapshot == name);
            let result = SnapshotCreated { vm_id: *vmid, snapshot_name: name.clone() };
            settle_snapshot((*vmid, name), is_there, is_there, &result, now)
        }
        Task::DeleteSnapshot { vmid, name } => {
            let is_there = now.snapshots.iter().any(|snapshot| snapshot == name);
            let result = SnapshotDeleted { vm_id: *vmid, snapshot_name: name.clone() };
            settle_snapshot((*vmid, name), is_there, !is_there, &result, now)
        }
        Task::PruneSnapshots { vmid, .. } => {
            let left = if now.snapshots.is_empty() { "none".to_owned() } else { now.snapshots.join(", ") };
            let found = format!("the snapshots of container {vmid} are now: {left}");
            match &config.lock {
                Some(lock) => unknown(format!("{found}; it is locked ({lock}), see `pct unlock`")),
                None => failed(&ActionError::Interrupted { found }),
            }
        }
        _ => unknown("it leaves nothing by which it could be told".to_owned()),
    }
}

/// A snapshot is there or it is not.
fn settle_snapshot(
    (vmid, name): (Vmid, &str),
    is_there: bool,
    is_reached: bool,
    result: &impl Serialize,
    now: &Stored,
) -> End {
    let not = if is_there { "" } else { "not " };
    if let Some(lock) = &now.config.lock {
        return unknown(format!(
            "snapshot `{name}` is {not}there, and container {vmid} is locked ({lock}); see `pct unlock`"
        ));
    }
    reached(is_reached, !is_reached, result, format!("snapshot `{name}` of container {vmid} is {not}there"))
}

/// A container runs or it does not; one that was to run again, and was stopped for it, is started.
async fn settle_power(
    host: &dyn ContainerHost,
    task: &Task,
    last_call: &str,
    now: &Stored,
) -> Result<End, ActionError> {
    let (Task::Start { vmid }
    | Task::Stop { vmid }
    | Task::Shutdown { vmid, .. }
    | Task::Reboot { vmid, .. }) = task
    else {
        return Ok(unknown("it leaves nothing by which it could be told".to_owned()));
    };
    let vmid = *vmid;
    let running = host.is_running(vmid).await?;
    let found = format!("container {vmid} {}", if running { "runs" } else { "is stopped" });
    if let Some(lock) = &now.config.lock {
        return Ok(unknown(format!("{found} and is locked ({lock}); see `pct unlock`")));
    }
    let was_running = !matches!(task, Task::Start { .. });
    let result = |running| Powered { vm_id: vmid, was_running, running, changed: true };
    Ok(match task {
        Task::Start { .. } => reached(running, !running, &result(true), found),
        Task::Reboot { .. } if !running => {
            let message = format!("Container {vmid} was shut down before the server ended, and runs again.");
            started_again(host, vmid, true, done_as(&result(true), message)).await
        }
        // Its last call tells whether it had stopped; that of Proxmox's own restart does not.
        Task::Reboot { .. } if is_power_call(last_call, "start") => {
            reached(true, false, &result(true), found)
        }
        Task::Reboot { .. } if is_power_call(last_call, "shutdown") => not_done(&found),
        Task::Reboot { .. } => unknown(format!("{found}; whether it was restarted cannot be told")),
        _ => reached(!running, running, &result(false), found),
    })
}

/// `pct start 104`, or `POST /nodes/…/lxc/104/status/start`.
fn is_power_call(command: &str, verb: &str) -> bool {
    command.starts_with(&format!("pct {verb} "))
        || command.split(' ').any(|word| word.ends_with(&format!("/status/{verb}")))
}

fn settle_rollback(vmid: Vmid, name: &str, before: &Before, now: &Stored) -> End {
    if let Some(lock) = &now.config.lock {
        return unknown(format!("container {vmid} is locked ({lock}); see `pct unlock`"));
    }
    let parent = now.parent.as_deref().unwrap_or("no snapshot");
    let found = format!("container {vmid} descends from {parent}");
    if now.parent == before.parent {
        // It descended from that snapshot before, too; or from another, and still does.
        return if now.parent.as_deref() == Some(name) { unknown(found) } else { not_done(&found) };
    }
    let was_running = before.running == Some(true);
    let result =
        RolledBack { vm_id: vmid, snapshot_name: name.to_owned(), was_running, running: was_running };
    reached(now.parent.as_deref() == Some(name), false, &result, found)
}

fn settle_removal(vmid: Vmid, now: &Stored) -> End {
    match &now.config.lock {
        Some(lock) => {
            unknown(format!("container {vmid} is still there and locked ({lock}); see `pct unlock`"))
        }
        None => not_done(&format!("container {vmid} is still there")),
    }
}

/// A container that ran before runs again, whatever came of the rest.
async fn started_again(host: &dyn ContainerHost, vmid: Vmid, restart: bool, end: End) -> End {
    if !restart {
        return end;
    }
    match ensure_running(host, vmid).await {
        Ok(()) => end,
        Err(error) => End {
            state: JobState::Failed,
            result: None,
            code: Some("not_restarted".to_owned()),
            message: format!("{}; it ran before and does not start now: {}", end.message, ErrorChain(&error)),
            ..end
        },
    }
}

/// A copy that is whole gets its mark, half of one is removed; the temporary snapshot goes in any case.
async fn settle_clone(
    host: &dyn ContainerHost,
    (source, target): (Vmid, Vmid),
    (requested_name, hostname): (&str, &str),
    last_call: &str,
    from_snapshot: bool,
) -> Result<End, ActionError> {
    let snapshot = clones::temporary_snapshot(target).map_err(|_| ActionError::Crashed)?;
    // Before the copy itself was ordered, what has that id is somebody else's.
    let is_ordered = !is_taking_a_snapshot(last_call);
    let found = match host.stored(target).await {
        Ok(stored) if is_ordered => Some(stored.config),
        Ok(_) | Err(BackendError::NoSuchContainer { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut left = Vec::new();
    let is_whole = match &found {
        Some(config) if config.lock.is_none() && config.name.as_deref() == Some(hostname) => {
            if !config.tags.contains(&tag_of(target)) {
                clones::mark(host, target).await?;
            }
            true
        }
        Some(_) => {
            if let Err(error) = clones::remove_copy(host, target, hostname).await {
                left.push(format!("container {target} ({})", ErrorChain(&error)));
            }
            false
        }
        None => false,
    };
    if from_snapshot && let Err(snapshot) = clones::drop_snapshot(host, source, &snapshot).await {
        left.push(snapshot);
    }
    let left = (!left.is_empty()).then(|| left.join("; "));
    if is_whole {
        let done = CloneCreated {
            vm_id: source,
            new_vm_id: target,
            requested_name: requested_name.to_owned(),
            hostname: hostname.to_owned(),
            tag: tag_of(target),
            left_behind: left,
        };
        let message = format!("Container {target} is a copy of container {source} and is stopped.");
        return Ok(End { forgotten: vec![target], ..done_as(&done, message) });
    }
    let cause =
        ActionError::Interrupted { found: format!("there is no copy {target} of container {source}") };
    Ok(failed(&match left {
        None => cause,
        Some(left) => ActionError::LeftBehind { cause: Box::new(cause), left },
    }))
}

/// `pct snapshot 104 …`, or `POST /nodes/…/lxc/104/snapshot`.
fn is_taking_a_snapshot(command: &str) -> bool {
    command.starts_with("pct snapshot ") || command.split(' ').any(|word| word.ends_with("/snapshot"))
}

fn resized<T>(vm_id: Vmid, before: Option<T>, after: Option<T>) -> Resized<T> {
    Resized { vm_id, before, after, changed: true }
}

fn reached(is_reached: bool, is_as_before: bool, result: &impl Serialize, found: String) -> End {
    match (is_reached, is_as_before) {
        (true, _) => done_as(result, format!("Done before the server ended: {found}.")),
        (false, true) => not_done(&found),
        (false, false) => unknown(found),
    }
}

fn done_as(result: &impl Serialize, message: String) -> End {
    let result: Option<Value> = serde_json::to_value(result).ok();
    End { state: JobState::Done, result, message, code: None, changed: Vec::new(), forgotten: Vec::new() }
}

fn not_done(found: &str) -> End {
    failed(&ActionError::Interrupted { found: format!("{found}, as before") })
}

fn unknown(found: String) -> End {
    End { state: JobState::Unknown, ..failed(&ActionError::Interrupted { found }) }
}

fn failed(error: &ActionError) -> End {
    End {
        state: JobState::Failed,
        result: None,
        message: ErrorChain(error).to_string(),
        code: Some(crate::error::ApiError::status_and_code(error).1.to_owned()),
        changed: Vec::new(),
        forgotten: Vec::new(),
    }
}
