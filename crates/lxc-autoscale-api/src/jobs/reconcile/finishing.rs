//! Finishes or removes what an interrupted change left half-made.

use lxc_autoscale_core::api::{CloneCreated, JobState, Powered};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::super::table::End;
use super::super::{CopyStage, Journal, Task};
use super::stored_if_any;
use super::verdicts::{NOTHING_TELLS, done_as, failed, interrupted, not_done, reached, unknown};
use crate::actions::ActionError;
use crate::actions::clones::{self, tag_of};
use crate::actions::snapshots::ensure_running;
use crate::backend::{ContainerHost, Stored};
use crate::changes::ChangeError;

/// A copy whose making was interrupted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copying<'a> {
    pub(super) source: Vmid,
    pub(super) target: Vmid,
    pub(super) requested_name: &'a str,
    pub(super) hostname: &'a str,
    /// How far it came; `None` if it was not even ordered.
    pub(super) stage: Option<CopyStage>,
    /// Whether its source was running, so that it was made from a temporary snapshot.
    pub(super) from_snapshot: bool,
    /// The lock that Proxmox holds on its source by now.
    pub(super) source_lock: Option<&'a str>,
}

/// The lock that Proxmox puts on the source while it is copied. If the copying process is killed, the lock stays.
const SOURCE_LOCK: &str = "disk";

/// Whether a copy is complete.
pub(super) fn is_whole(copy: &ContainerConfig, hostname: &str, stage: Option<CopyStage>) -> bool {
    stage != Some(CopyStage::Removing) && copy.lock.is_none() && copy.name.as_deref() == Some(hostname)
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
pub(super) fn is_power_call(command: &str, verb: &str) -> bool {
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

/// Drops the temporary snapshot in any case, marks a complete copy, and removes an incomplete one. `None` while
/// something is in the way that may pass; with `is_patient` that is waited for, otherwise what remains is named.
///
/// A lock that remains on the source is named and not removed: it does not show whose it is.
pub(super) async fn settle_clone(
    host: &dyn ContainerHost,
    journal: &Journal,
    copying: Copying<'_>,
    is_patient: bool,
) -> Result<Option<End>, ActionError> {
    let Copying { source, target, requested_name, hostname, stage, from_snapshot, source_lock } = copying;
    let (mut left, mut may_pass) = (Vec::new(), false);
    // Before the copy: whatever is wrong with that, the source need not keep the snapshot.
    let snapshot = clones::temporary_snapshot(target).map_err(|_| ChangeError::Crashed)?;
    if from_snapshot && let Some(leftover) = clones::drop_snapshot(host, source, &snapshot).await? {
        may_pass |= leftover.is_locked;
        left.push(leftover.shown);
    }
    let found = match stage {
        Some(CopyStage::Ordered | CopyStage::Removing) => stored_if_any(host, target).await?,
        // Whatever has that id belongs to somebody else.
        Some(CopyStage::Absent) | None => None,
    };
    let found = found.map(|stored| stored.config);
    let mut is_done = false;
    let mut shown = format!("there is no copy {target} of container {source}");
    let settled = match &found {
        None => Ok(()),
        Some(config) if is_whole(config, hostname, stage) => {
            let is_marked = config.tags.contains(&tag_of(target));
            let marked = if is_marked { Ok(()) } else { clones::mark(host, target).await };
            is_done = marked.is_ok();
            // Nothing else is wrong with it, so it is worth waiting.
            may_pass |= !is_done;
            shown = format!("container {target} is a copy of container {source}, but not marked as one");
            marked
        }
        Some(_) => {
            let removed = clones::remove_copy(host, journal, (source, target), hostname).await;
            may_pass |= matches!(&removed, Err(ActionError::Backend(error)) if error.is_locked());
            removed
        }
    };
    match settled {
        Ok(()) => {}
        Err(at_work) if at_work.at_work().is_some() => return Err(at_work),
        Err(error) => left.push(format!("container {target} ({})", ErrorChain(&error))),
    }
    if may_pass && is_patient {
        return Ok(None);
    }
    if source_lock == Some(SOURCE_LOCK) {
        left.push(format!(
            "the lock ({SOURCE_LOCK}) of container {source}: if nothing works on the container any more, remove the \
             lock with `pct unlock {source}`"
        ));
    }
    let left = (!left.is_empty()).then(|| left.join("; "));
    if is_done {
        let done = CloneCreated {
            vm_id: source,
            new_vm_id: target,
            requested_name: requested_name.to_owned(),
            hostname: hostname.to_owned(),
            tag: tag_of(target),
            left_behind: left,
        };
        let message = format!("Container {target} is a copy of container {source} and is stopped.");
        return Ok(Some(End { forgotten: vec![target], ..done_as(&done, message) }));
    }
    let cause = interrupted(shown);
    Ok(Some(failed(&match left {
        None => cause,
        Some(left) => ActionError::LeftBehind { cause: Box::new(cause), left },
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::pct::PctHost;
    use crate::config::Config;
    use crate::store::Store;

    /// `pct` fails, whatever it is asked.
    #[tokio::test]
    async fn a_copy_that_cannot_be_marked_is_waited_for_and_then_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.paths.pve = directory.path().to_owned();
        config.pct.path = "/bin/false".into();
        std::fs::create_dir(directory.path().join("lxc")).unwrap();
        std::fs::write(directory.path().join("lxc/105.conf"), "hostname: copy\nmemory: 512\n").unwrap();
        let host = PctHost::new(config.pct, config.paths);
        let journal = Journal::of_interrupted(1, Store::new(directory.path()));
        let [source, target] = [104, 105].map(|id| Vmid::try_from(id).unwrap());
        let copying = Copying {
            source,
            target,
            requested_name: "copy",
            hostname: "copy",
            stage: Some(CopyStage::Ordered),
            from_snapshot: false,
            source_lock: None,
        };
        assert!(settle_clone(&host, &journal, copying, true).await.unwrap().is_none());
        let end = settle_clone(&host, &journal, copying, false).await.unwrap().unwrap();
        assert_eq!((end.state, end.code.as_deref()), (JobState::Failed, Some("left_behind")));
        assert!(end.message.contains("container 105 (") && end.message.contains("not marked"), "{end:?}");
        // Nothing is done to what has the id of a copy that there is not.
        let absent = Copying { stage: Some(CopyStage::Absent), ..copying };
        let end = settle_clone(&host, &journal, absent, true).await.unwrap().unwrap();
        assert_eq!(end.code.as_deref(), Some("interrupted"));
        // A lock of another kind is none that copying leaves.
        for (lock, code) in [("disk", "left_behind"), ("backup", "interrupted")] {
            let locked = Copying { source_lock: Some(lock), ..absent };
            let end = settle_clone(&host, &journal, locked, true).await.unwrap().unwrap();
            assert_eq!(end.code.as_deref(), Some(code), "{end:?}");
            assert_eq!(end.message.contains("`pct unlock 104`"), lock == "disk", "{end:?}");
        }
    }
}
