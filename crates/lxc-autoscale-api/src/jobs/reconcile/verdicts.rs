//! What the configuration of a container shows about an interrupted change. Pure.

use lxc_autoscale_core::api::{
    IncreasedStorage, JobState, Resized, RolledBack, SnapshotCreated, SnapshotDeleted,
};
use lxc_autoscale_core::{Cores, ErrorChain, Mebibytes, Vmid, count};
use serde::Serialize;
use serde_json::Value;

use super::super::table::End;
use super::super::{Before, Task};
use crate::actions::{ActionError, resize};
use crate::audit::ToldEnd;
use crate::backend::{Stored, snapstate};
use crate::changes::ChangeError;
use crate::error::ApiError;
use crate::hundredths;

pub(super) const NOTHING_TELLS: &str = "nothing on the node shows its outcome";

/// The outcome of a change of sizes or snapshots.
pub(super) fn settle_by_configuration(task: &Task, before: &Before, now: &Stored) -> End {
    let (then, config) = (&before.config, &now.config);
    match task {
        Task::SetCores { vmid, cores } => {
            let shown = |cores: Option<u32>| cores.map_or("none".to_owned(), |cores| cores.to_string());
            let found = format!("the number of cores of container {vmid} is {}", shown(config.cores));
            let result = resized(*vmid, then.cores.map(Cores::from), config.cores.map(Cores::from));
            reached(config.cores == *cores, config.cores == then.cores, &result, found)
        }
        Task::SetCpulimit { vmid, hundredths } => {
            let limit = |limit: Option<f64>| limit.map_or(0, hundredths::hundredths);
            let shown = config.cpulimit.map_or("none".to_owned(), |cores| count(cores, "core"));
            let found = format!("the CPU limit of container {vmid} is {shown}");
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
            let size = resized(*vmid, then.rootfs_mb, config.rootfs_mb);
            let result = IncreasedStorage { size, filesystem_grown: None };
            let is_reached = match (then.rootfs_mb, config.rootfs_mb) {
                (Some(then), Some(size)) => resize::grown(then, *gib) <= size,
                // If no size was set before, a size that is set now shows nothing.
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
            let result = SnapshotCreated { vm_id: *vmid, snapshot_name: name.clone() };
            settle_snapshot((*vmid, name), true, &result, now)
        }
        Task::DeleteSnapshot { vmid, name } => {
            let result = SnapshotDeleted { vm_id: *vmid, snapshot_name: name.clone() };
            settle_snapshot((*vmid, name), false, &result, now)
        }
        Task::PruneSnapshots { vmid, .. } => {
            let left = if now.snapshots.is_empty() { "none".to_owned() } else { now.snapshots.join(", ") };
            let found = format!("the snapshots of container {vmid} are now: {left}");
            match &config.lock {
                Some(lock) => unknown(format!("{found}; it is locked ({lock}), see `pct unlock`")),
                None => failed(&interrupted(found)),
            }
        }
        _ => unknown(NOTHING_TELLS.to_owned()),
    }
}

/// The outcome of creating or deleting a snapshot: it is there or it is not. An incomplete one is neither.
fn settle_snapshot(
    (vmid, name): (Vmid, &str),
    is_wanted: bool,
    result: &impl Serialize,
    now: &Stored,
) -> End {
    let state = now.snapshot(name);
    let lacks = state.and_then(snapstate::lacks);
    let shown = match (state, lacks) {
        (None, _) => "not there",
        (Some(_), None) => "there",
        (Some(_), Some(_)) => "incomplete",
    };
    if let Some(lock) = &now.config.lock {
        return unknown(format!(
            "snapshot `{name}` is {shown}, and container {vmid} is locked ({lock}); see `pct unlock`"
        ));
    }
    let found = format!("snapshot `{name}` of container {vmid} is {shown}");
    if let Some(lacks) = lacks {
        let found = format!("{found}: {lacks}; remove it with DELETE /snapshot/delete");
        return failed(&ChangeError::Interrupted { found }.into());
    }
    let is_reached = state.is_some() == is_wanted;
    reached(is_reached, !is_reached, result, found)
}

/// The outcome of a rollback, shown by the snapshot that the container descends from.
pub(super) fn settle_rollback(vmid: Vmid, name: &str, before: &Before, now: &Stored) -> End {
    if let Some(lock) = &now.config.lock {
        return unknown(format!("container {vmid} is locked ({lock}); see `pct unlock`"));
    }
    let parent = now.parent.as_deref().unwrap_or("no snapshot");
    let found = format!("container {vmid} descends from {parent}");
    if now.parent == before.parent {
        // It descended from that snapshot before, too; or from another one, and still does.
        return if now.parent.as_deref() == Some(name) { unknown(found) } else { not_done(&found) };
    }
    let was_running = before.running == Some(true);
    let result =
        RolledBack { vm_id: vmid, snapshot_name: name.to_owned(), was_running, running: was_running };
    reached(now.parent.as_deref() == Some(name), false, &result, found)
}

/// The outcome of a removal whose container is still there.
pub(super) fn settle_removal(vmid: Vmid, now: &Stored) -> End {
    match &now.config.lock {
        Some(lock) => {
            unknown(format!("container {vmid} is still there and locked ({lock}); see `pct unlock`"))
        }
        None => not_done(&format!("container {vmid} is still there")),
    }
}

fn resized<T>(vm_id: Vmid, before: Option<T>, after: Option<T>) -> Resized<T> {
    Resized { vm_id, before, after, changed: true }
}

/// The outcome: done, as before, or neither.
pub(super) fn reached(is_reached: bool, is_as_before: bool, result: &impl Serialize, found: String) -> End {
    match (is_reached, is_as_before) {
        (true, _) => done_as(result, format!("It was interrupted, but it is done: {found}.")),
        (false, true) => not_done(&found),
        (false, false) => unknown(found),
    }
}

/// A change that is done.
pub(super) fn done_as(result: &impl Serialize, message: String) -> End {
    let result: Option<Value> = serde_json::to_value(result).ok();
    End { state: JobState::Done, result, message, code: None, changed: Vec::new(), forgotten: Vec::new() }
}

/// The end of a change according to the audit log.
pub(super) fn as_told(task: &Task, told: ToldEnd) -> End {
    let ToldEnd { code, message, result, .. } = told;
    let state = match code.as_deref() {
        None => JobState::Done,
        Some("cancelled" | "abandoned") => JobState::Cancelled,
        Some("unknown") => JobState::Unknown,
        Some(_) => JobState::Failed,
    };
    let is_done = state == JobState::Done;
    let forgotten = match task {
        Task::CreateClone { target, .. } if is_done => vec![*target],
        Task::DeleteClone { vmid } if is_done => vec![*vmid],
        _ => Vec::new(),
    };
    let message = if is_done { "It is done, as the audit log says.".to_owned() } else { message };
    let result = Some(result).filter(|result| is_done && !result.is_null());
    let code = code.map(|code| if code == "unknown" { "interrupted".to_owned() } else { code });
    End { state, result, message, code, changed: Vec::new(), forgotten }
}

/// Nothing of the change is done.
pub(super) fn not_done(found: &str) -> End {
    failed(&interrupted(format!("{found}, as before")))
}

/// Nobody can tell whether it is done.
pub(super) fn unknown(found: String) -> End {
    End { state: JobState::Unknown, ..failed(&interrupted(found)) }
}

/// The error of a change that was interrupted; `found` says what the node shows of it.
pub(super) fn interrupted(found: String) -> ActionError {
    ChangeError::Interrupted { found }.into()
}

/// A change that failed with this error.
pub(super) fn failed(error: &ActionError) -> End {
    End {
        state: JobState::Failed,
        result: None,
        message: ErrorChain(error).to_string(),
        code: Some(ApiError::status_and_code(error).1.to_owned()),
        changed: Vec::new(),
        forgotten: Vec::new(),
    }
}
