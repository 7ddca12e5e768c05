//! Removes snapshots: one by its name, or all except the newest.
//!
//! Snapshots of this server carry its mark as their description. Pruning removes only those, unless the request says
//! otherwise, and never one that belongs to a copy or a backup under way. An incomplete snapshot neither counts as one
//! that is kept, because nobody can roll back to it, nor is it removed: Proxmox may be at it.

use std::borrow::Cow;
use std::cmp::Reverse;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{LeftSnapshot, PruneRequest, Pruned, SnapshotDeleted, SnapshotInfo};

use super::clones::is_temporary_snapshot;
use super::{ActionError, unlocked};
use crate::backend::{BackendError, ContainerHost, snapstate};
use crate::jobs::Journal;
use crate::params::SnapshotName;

/// The description of snapshots made by this server.
pub const MARK: &str = "made by lxc-autoscale-api";

/// Removes a snapshot.
///
/// # Errors
/// [`ActionError`] if there is no such snapshot, the container is missing or locked, or the back end fails.
pub async fn delete(
    host: &dyn ContainerHost,
    journal: &Journal,
    vmid: Vmid,
    name: &SnapshotName,
) -> Result<SnapshotDeleted, ActionError> {
    let stored = unlocked(host, vmid).await?;
    if !stored.has_snapshot(name) {
        return Err(BackendError::NoSuchSnapshot { vmid, name: name.to_string() }.into());
    }
    journal.found(vmid, &stored, None);
    delete_and_verify(host, vmid, name).await?;
    Ok(SnapshotDeleted { vm_id: vmid, snapshot_name: name.to_string() })
}

/// Removes a snapshot, and looks whether it is gone.
pub(super) async fn delete_and_verify(
    host: &dyn ContainerHost,
    vmid: Vmid,
    name: &SnapshotName,
) -> Result<(), ActionError> {
    host.delete_snapshot(vmid, name).await?;
    if host.stored(vmid).await?.has_snapshot(name) {
        let found = format!("container {vmid} still has snapshot `{name}`");
        return Err(ActionError::NotApplied { found });
    }
    Ok(())
}

/// Removes all snapshots except the newest, oldest first; can be cancelled between two of them.
///
/// # Errors
/// [`ActionError`] if the container is missing or locked, or the back end fails; [`ActionError::HalfWay`] if some
/// snapshots had been removed by then.
pub async fn prune(
    host: &dyn ContainerHost,
    journal: &Journal,
    request: &PruneRequest,
) -> Result<Pruned, ActionError> {
    let vmid = request.vm_id;
    let stored = unlocked(host, vmid).await?;
    let Plan { surplus, kept, left } = plan(&host.snapshots(vmid).await?, request);
    journal.found(vmid, &stored, None);
    let mut removed: Vec<String> = Vec::new();
    for name in surplus {
        let gone = match journal.go_on() {
            Ok(()) => delete_and_verify(host, vmid, &name).await,
            Err(given_up) => Err(given_up.into()),
        };
        match gone {
            Ok(()) => removed.push(name.to_string()),
            Err(failure) if removed.is_empty() => return Err(failure),
            Err(failure) => {
                let done = format!("these snapshots were removed: {}", removed.join(", "));
                return Err(ActionError::HalfWay { cause: Box::new(failure), done });
            }
        }
    }
    Ok(Pruned { vm_id: vmid, removed, kept, left })
}

/// What happens to each snapshot of a container.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// To be removed, oldest first.
    surplus: Vec<SnapshotName>,
    /// New enough to be kept, newest first.
    kept: Vec<String>,
    left: Vec<LeftSnapshot>,
}

/// Decides which snapshots are removed. Pure.
fn plan(snapshots: &[SnapshotInfo], request: &PruneRequest) -> Plan {
    let mut plan = Plan::default();
    let mut counted = Vec::new();
    let parents = snapshots.iter().map(|of| (of.name.as_str(), of.parent.as_deref())).collect();
    for snapshot in snapshots {
        match judged(snapshot, request) {
            Ok((at, name)) => counted.push((at, snapstate::depth(&parents, &snapshot.name), name)),
            Err(reason) => {
                plan.left.push(LeftSnapshot { name: snapshot.name.clone(), reason: reason.into_owned() });
            }
        }
    }
    // Of two snapshots of the same second, the one that descends from the other is newer.
    counted.sort_by_key(|(at, depth, _)| Reverse((*at, *depth)));
    let keep = usize::try_from(request.keep).unwrap_or(usize::MAX);
    let surplus = counted.split_off(keep.min(counted.len()));
    plan.kept = counted.into_iter().map(|(_, _, name)| name.to_string()).collect();
    plan.surplus = surplus.into_iter().rev().map(|(_, _, name)| name).collect();
    plan
}

/// When a removable snapshot was taken, with its name; or why it may not be removed.
fn judged(
    snapshot: &SnapshotInfo,
    request: &PruneRequest,
) -> Result<(jiff::Timestamp, SnapshotName), Cow<'static, str>> {
    if is_temporary_snapshot(&snapshot.name) {
        return Err("it belongs to a copy that is being made".into());
    }
    let name = SnapshotName::new(&snapshot.name).map_err(|_| "it belongs to a backup")?;
    if let Some(lacks) = snapstate::lacks(snapshot.state) {
        return Err(format!("it is incomplete ({lacks}): remove it by its name").into());
    }
    if request.name_prefix.as_deref().is_some_and(|prefix| !snapshot.name.starts_with(prefix)) {
        return Err("its name begins differently".into());
    }
    if !request.any_snapshot && snapshot.description.as_deref() != Some(MARK) {
        return Err("it was not made by this server".into());
    }
    let at = snapshot.created.ok_or("it is not known when it was taken")?;
    Ok((at.instant(), name))
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::RecordTime;
    use lxc_autoscale_core::api::SnapshotState;

    use super::*;

    /// One snapshot a line: `name second mark? parent`, with `-` for none.
    fn snapshots(text: &str) -> Vec<SnapshotInfo> {
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let known = |word: &str| (word != "-").then(|| word.to_owned());
            SnapshotInfo {
                name: words[0].to_owned(),
                created: known(words[1]).map(|second| {
                    RecordTime::utc(jiff::Timestamp::from_second(second.parse().unwrap()).unwrap())
                }),
                description: (words[2] == "ours").then(|| MARK.to_owned()).or_else(|| known(words[2])),
                parent: known(words[3]),
                current: false,
                state: SnapshotState::Complete,
            }
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(row).collect()
    }

    const MIXED: &str = "
        lxc-autoscale-clone-105 90 ours -
        vzdump                  91 ours -
        daily-1                 10 ours -
        daily-3                 30 ours daily-2
        daily-2                 30 ours daily-1
        mine                    40 -    daily-3
        timeless                -  ours mine
        weekly-1                20 ours daily-1
    ";

    #[track_caller]
    fn check(request: &str, surplus: &[&str], kept: &[&str], left: &[&str]) {
        let request: PruneRequest = serde_json::from_str(request).unwrap();
        let plan = plan(&snapshots(MIXED), &request);
        let surplus_found: Vec<&str> = plan.surplus.iter().map(SnapshotName::as_str).collect();
        let left_found: Vec<&str> = plan.left.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(surplus_found, surplus, "{request:?}");
        assert_eq!(plan.kept, kept, "{request:?}");
        assert_eq!(left_found, left, "{request:?}");
    }

    #[test]
    fn the_newest_of_ours_stay_and_others_are_left_alone() {
        let never = ["lxc-autoscale-clone-105", "vzdump"];
        let others = [never[0], never[1], "mine", "timeless"];
        check(r#"{"vm_id": 104, "keep": 1}"#, &["daily-1", "weekly-1", "daily-2"], &["daily-3"], &others);
        check(r#"{"vm_id": 104, "keep": 3}"#, &["daily-1"], &["daily-3", "daily-2", "weekly-1"], &others);
        check(r#"{"vm_id": 104, "keep": 9}"#, &[], &["daily-3", "daily-2", "weekly-1", "daily-1"], &others);
        check(
            r#"{"vm_id": 104, "keep": 1, "name_prefix": "daily-"}"#,
            &["daily-1", "daily-2"],
            &["daily-3"],
            &[never[0], never[1], "mine", "timeless", "weekly-1"],
        );
        check(
            r#"{"vm_id": 104, "keep": 1, "any_snapshot": true}"#,
            &["daily-1", "weekly-1", "daily-2", "daily-3"],
            &["mine"],
            &[never[0], never[1], "timeless"],
        );
    }

    /// Proxmox may be at it, and nobody can roll back to it.
    #[test]
    fn an_incomplete_snapshot_neither_counts_nor_goes() {
        let mut found = snapshots("good 10 ours -\nhalf 20 ours good\ngone 30 ours good");
        found[1].state = SnapshotState::HalfMade;
        found[2].state = SnapshotState::HalfRemoved;
        for request in [r#"{"vm_id": 104, "keep": 1}"#, r#"{"vm_id": 104, "keep": 1, "any_snapshot": true}"#]
        {
            let plan = plan(&found, &serde_json::from_str(request).unwrap());
            assert_eq!((plan.surplus, plan.kept), (vec![], vec!["good".to_owned()]));
            assert!(plan.left.iter().all(|left| left.reason.contains("incomplete")), "{:?}", plan.left);
        }
    }
}
