//! Finishes or removes what an interrupted change left half-made.

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{CloneCreated, JobState, Powered};
use lxc_autoscale_core::container_config::ContainerConfig;

use super::super::Task;
use super::super::table::End;
use super::stored_if_any;
use super::verdicts::{NOTHING_TELLS, done_as, failed, not_done, reached, unknown};
use crate::actions::ActionError;
use crate::actions::clones::{self, tag_of};
use crate::actions::snapshots::ensure_running;
use crate::backend::{ContainerHost, Stored};

/// Whether a copy is complete.
pub(super) fn is_whole(copy: &ContainerConfig, hostname: &str) -> bool {
    copy.lock.is_none() && copy.name.as_deref() == Some(hostname)
}

/// Settles a power change: a container runs or it does not. One that was stopped only to be restarted is started.
pub(super) async fn settle_power(
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
        return Ok(unknown(NOTHING_TELLS.to_owned()));
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
            let message =
                format!("Container {vmid} had been shut down when this was interrupted, and runs again.");
            started_again(host, vmid, true, done_as(&result(true), message)).await
        }
        // If the last call is the start, the container had stopped. Proxmox's own restart call does not show that.
        Task::Reboot { .. } if is_power_call(last_call, "start") => {
            reached(true, false, &result(true), found)
        }
        Task::Reboot { .. } if is_power_call(last_call, "shutdown") => not_done(&found),
        Task::Reboot { .. } => unknown(format!("{found}; it is not known whether it was restarted")),
        _ => reached(!running, running, &result(false), found),
    })
}

/// Whether a call is `pct start 104`, or `POST /nodes/…/lxc/104/status/start`, for this verb.
fn is_power_call(command: &str, verb: &str) -> bool {
    command.starts_with(&format!("pct {verb} "))
        || command.split(' ').any(|word| word.ends_with(&format!("/status/{verb}")))
}

/// Starts a container that ran before, whatever the outcome of the rest.
pub(super) async fn started_again(host: &dyn ContainerHost, vmid: Vmid, restart: bool, end: End) -> End {
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

/// Marks a complete copy, removes an incomplete one, and drops the temporary snapshot in any case.
pub(super) async fn settle_clone(
    host: &dyn ContainerHost,
    (source, target): (Vmid, Vmid),
    (requested_name, hostname): (&str, &str),
    last_call: &str,
    from_snapshot: bool,
) -> Result<End, ActionError> {
    let snapshot = clones::temporary_snapshot(target).map_err(|_| ActionError::Crashed)?;
    // Until the copy itself was ordered, a container with that id belongs to somebody else.
    let is_ordered = !is_taking_a_snapshot(last_call);
    let found = if is_ordered { stored_if_any(host, target).await? } else { None };
    let found = found.map(|stored| stored.config);
    let mut left = Vec::new();
    let is_whole = match &found {
        Some(config) if is_whole(config, hostname) => {
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

/// Whether a call is `pct snapshot 104 …`, or `POST /nodes/…/lxc/104/snapshot`.
fn is_taking_a_snapshot(command: &str) -> bool {
    command.starts_with("pct snapshot ") || command.split(' ').any(|word| word.ends_with("/snapshot"))
}
