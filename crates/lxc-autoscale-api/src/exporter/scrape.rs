//! What is true at the moment of a scrape, and writing it down with what was counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::api::{BoostInfo, JobState, SizeOf};
use lxc_autoscale_core::exposition::{Format, write_all};
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::{ErrorChain, Vmid, own_process};

use super::{Instruments, families};
use crate::auth::caller::Caller;
use crate::boosts;
use crate::jobs::table;
use crate::metrics;
use crate::state::AppState;

/// The state of the server at a scrape. What cannot be read is absent, and said in the log.
#[derive(Debug)]
pub struct Scrape {
    /// Who asks: a key for some containers sees no other.
    pub caller: Caller,
    /// What was counted.
    pub instruments: Arc<Instruments>,
    /// Changes under way or waiting.
    pub changes_in_progress: u64,
    /// The most there may be.
    pub changes_limit: u32,
    /// Jobs that are kept, by state; states without any included.
    pub jobs: Option<BTreeMap<JobState, u64>>,
    /// Boosts that have not ended, by container and size.
    pub boosts: Option<BTreeMap<(Vmid, SizeOf), u64>>,
    /// The newest snapshot of the monitor, while it tells the present.
    pub snapshot: Option<Snapshot>,
    /// When the newest snapshot was taken, however long ago.
    pub snapshot_taken: Option<Timestamp>,
    /// CPU time this process has used.
    pub cpu_time: Duration,
    /// Its resident memory, in MiB.
    pub resident_mib: Option<f64>,
}

impl Scrape {
    /// Looks.
    pub async fn take(state: &AppState, caller: Caller) -> Self {
        let jobs = state.store().with(|connection| table::count_by_state(connection)).await;
        let jobs = jobs.inspect_err(|error| unread("jobs", error)).ok();
        let boosts = boosts::list(state, None).await.inspect_err(|error| unread("boosts", error)).ok();
        let config = state.config();
        let metrics = config.metrics.clone();
        let newest = tokio::task::spawn_blocking(move || metrics::taken(&metrics, Timestamp::now())).await;
        let (snapshot_taken, snapshot) = newest.unwrap_or_default();
        let changes_in_progress = u64::try_from(state.changes().in_progress()).unwrap_or(u64::MAX);
        Self {
            caller,
            instruments: state.instruments(),
            changes_in_progress,
            changes_limit: config.server.max_changes,
            jobs,
            boosts: boosts.map(|boosts| by_size(&boosts)),
            snapshot,
            snapshot_taken,
            cpu_time: own_process::cpu_time(),
            resident_mib: own_process::resident_mib(),
        }
    }

    /// Whether whoever asks may know of a container.
    pub fn shows(&self, vmid: Vmid) -> bool {
        self.caller.may_touch(&[vmid]).is_ok()
    }

    /// All families, as text.
    pub fn write(&self, format: Format) -> String {
        write_all(families::all(), self, format)
    }
}

fn by_size(boosts: &[BoostInfo]) -> BTreeMap<(Vmid, SizeOf), u64> {
    let mut counts = BTreeMap::new();
    for boost in boosts {
        *counts.entry((boost.vm_id, boost.resource)).or_default() += 1;
    }
    counts
}

fn unread(what: &str, error: &crate::store::StoreError) {
    tracing::warn!(error = %ErrorChain(error), "a scrape goes without {what}");
}
