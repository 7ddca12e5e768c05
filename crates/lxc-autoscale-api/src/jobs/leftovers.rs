//! Temporary snapshots that a copy could not drop, and named: at the next start they are tried again.
//!
//! Only what is ours for certain is removed: our own records say that the copy left it, and it has both our name and
//! our description. It is a change like any other, in the audit log and among the jobs.

use lxc_autoscale_core::api::SnapshotDeleted;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::{Journal, Order, Task, table};
use crate::actions::clones::{self, temporary_snapshot};
use crate::actions::{ActionError, retention};
use crate::auth::caller::Caller;
use crate::backend::{BackendError, ContainerHost};
use crate::changes::Change;
use crate::params::SnapshotName;
use crate::state::AppState;

/// Why these changes are made, for the audit log.
const WHY: &str = "leftover";

/// Drops the snapshots that copies left, as far as that is possible now.
pub(super) async fn drop_all(state: AppState) {
    let left = match state.store().with(|connection| table::copies_with_leftovers(connection)).await {
        Ok(left) => left,
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "cannot look up what copies left behind");
            return;
        }
    };
    for (source, target) in left {
        let Ok(name) = temporary_snapshot(target) else { continue };
        match is_ours(&*state.host(), source, &name).await {
            Ok(true) => drop_one(&state, source, name).await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%source, snapshot = %name, error = %ErrorChain(&error), "cannot look for what a copy left");
            }
        }
    }
}

/// Whether a container has a snapshot of this name that this server took for a copy.
async fn is_ours(host: &dyn ContainerHost, source: Vmid, name: &SnapshotName) -> Result<bool, BackendError> {
    match clones::is_ours(host, source, name).await {
        Err(BackendError::NoSuchContainer { .. }) => Ok(false),
        known => known,
    }
}

async fn drop_one(state: &AppState, source: Vmid, name: SnapshotName) {
    let summary = format!("remove snapshot `{name}` of container {source}, which a copy left");
    let change = Change { summary, vmids: vec![source], caller: Caller::server() };
    let task = Task::DeleteSnapshot { vmid: source, name: name.to_string() };
    let order = Order { task, why: WHY.to_owned() };
    let host = state.host();
    let work = async move |journal: Journal| {
        // It may have waited for a copy that took a new one, or somebody may have replaced it.
        if !is_ours(&*host, source, &name).await? {
            return Err(ActionError::from(BackendError::NoSuchSnapshot {
                vmid: source,
                name: name.to_string(),
            }));
        }
        retention::delete(&*host, &journal, source, &name).await
    };
    let say = |done: &SnapshotDeleted| {
        format!("Snapshot `{}` of container {} is removed.", done.snapshot_name, done.vm_id)
    };
    // Its outcome is logged and audited; if it failed, the next start tries again.
    let _ = state.changes().wait_for_job(change, order, say, work).await;
}
