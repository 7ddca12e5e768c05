//! The state at the moment of a scrape, and its exposition together with the counters.

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

/// The state of the server at a scrape. What cannot be read is absent, and logged.
#[derive(Debug)]
pub struct Scrape {
    /// The caller; one with a key for some containers sees no others.
    pub caller: Caller,
    /// The counters.
    pub instruments: Arc<Instruments>,
    /// Changes that are running or waiting.
    pub changes_in_progress: u64,
    /// The limit of these.
    pub changes_limit: u32,
    /// Stored jobs by state, including states without any.
    pub jobs: Option<BTreeMap<JobState, u64>>,
    /// Boosts that have not ended, by container and size.
    pub boosts: Option<BTreeMap<(Vmid, SizeOf), u64>>,
    /// The newest snapshot of the monitor, if it is current.
    pub snapshot: Option<Snapshot>,
    /// When the newest snapshot was taken, whatever its age.
    pub snapshot_taken: Option<Timestamp>,
    /// CPU time this process has used.
    pub cpu_time: Duration,
    /// Its resident memory, in MiB.
    pub resident_mib: Option<f64>,
}

impl Scrape {
    /// Reads the current state.
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

    /// Whether the caller may see a container.
    pub fn shows(&self, vmid: Vmid) -> bool {
        self.caller.may_touch(&[vmid]).is_ok()
    }

    /// All families in text form.
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
    tracing::warn!(error = %ErrorChain(error), "a scrape lacks {what}");
}
