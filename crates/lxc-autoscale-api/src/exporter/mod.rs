//! The metrics that this server exposes to Prometheus about itself: `GET /metrics`.
//!
//! [`Instruments`] count events as they happen; a [`scrape`] adds the current state and writes the [`families`]. The
//! number of series is limited by the number of routes, error codes and kinds of change, and by the containers that
//! this server has seen on its node. Nothing that a client sends becomes a label.

pub mod families;
pub mod requests;
pub mod scrape;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::SizeOf;
use lxc_autoscale_core::exposition::{Counts, Durations, Histogram};

use crate::jobs::Task;

/// The result of a success; a failure has the code of its error instead.
pub const DONE: &str = "done";

/// The labels that answers are counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answered {
    /// The method, if it is one of HTTP's own.
    pub method: &'static str,
    /// The route's template.
    pub route: String,
    /// The status.
    pub status: u16,
}

/// How often each size of a container was set, by result.
pub type Resizes = BTreeMap<(Vmid, SizeOf, &'static str), u64>;

/// The counters of the running server.
#[derive(Debug)]
pub struct Instruments {
    started: Timestamp,
    answers: Durations<Answered>,
    errors: Counts<&'static str>,
    changes: Counts<(&'static str, &'static str)>,
    change_durations: Durations<&'static str>,
    resizes: Counts<(Vmid, SizeOf, &'static str)>,
    backend_calls: Durations<(&'static str, &'static str)>,
    audit_records: AtomicU64,
    audit_failures: AtomicU64,
    waiting: AtomicU64,
    /// Containers that were seen on the node; only these have series of their own.
    containers: Mutex<BTreeSet<Vmid>>,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            started: Timestamp::now(),
            answers: Durations::default(),
            errors: Counts::default(),
            changes: Counts::default(),
            change_durations: Durations::default(),
            resizes: Counts::default(),
            backend_calls: Durations::default(),
            audit_records: AtomicU64::new(0),
            audit_failures: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            containers: Mutex::default(),
        }
    }
}

/// A change that waits for its containers; it is counted for as long as this value lives.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Instruments);

impl Instruments {
    /// Counts an answered request; `error` is the code of its error.
    pub fn answered(&self, answer: Answered, error: Option<&'static str>, took: Duration) {
        self.answers.observe(answer, took);
        if let Some(code) = error {
            self.errors.add(code);
        }
    }

    /// Counts a change that was refused before its turn, or settled after a restart.
    pub fn change_counted(&self, task: &Task, result: &'static str) {
        self.changes.add((task.kind(), result));
        let Some((vmid, size)) = task.size() else { return };
        let seen = self.seen();
        if seen.contains(&vmid) {
            self.resizes.add((vmid, size, result));
        }
    }

    /// Counts a change that had its turn and has ended.
    pub fn change_ended(&self, task: &Task, result: &'static str, took: Duration) {
        self.change_counted(task, result);
        self.change_durations.observe(task.kind(), took);
    }

    /// Counts a change that begins to wait for its containers.
    pub fn waits(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Counts a call of the back end.
    pub fn called(&self, call: &'static str, result: &'static str, took: Duration) {
        self.backend_calls.observe((call, result), took);
    }

    /// Notes that a container is on the node.
    pub fn saw(&self, vmid: Vmid) {
        self.seen().insert(vmid);
    }

    /// Notes that a container is not, or no longer, on the node.
    pub fn lost(&self, vmid: Vmid) {
        let mut seen = self.seen();
        if seen.remove(&vmid) {
            self.resizes.retain(|(other, _, _)| *other != vmid);
        }
    }

    /// Counts a record that was, or could not be, written to the audit log.
    pub fn audited(&self, is_written: bool) {
        let counter = if is_written { &self.audit_records } else { &self.audit_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// When the server started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Answers by method, route and status.
    pub fn answers(&self) -> BTreeMap<Answered, Histogram> {
        self.answers.read()
    }

    /// Errors by code.
    pub fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.errors.read()
    }

    /// Changes by kind and result.
    pub fn changes(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.changes.read()
    }

    /// How long changes took, by kind.
    pub fn change_durations(&self) -> BTreeMap<&'static str, Histogram> {
        self.change_durations.read()
    }

    /// Sizes that were set, by container, size and result.
    pub fn resizes(&self) -> Resizes {
        self.resizes.read()
    }

    /// Calls of the back end by name and result.
    pub fn backend_calls(&self) -> BTreeMap<(&'static str, &'static str), Histogram> {
        self.backend_calls.read()
    }

    /// Number of audit records that were written, and that could not be written.
    pub fn audit(&self) -> (u64, u64) {
        (self.audit_records.load(Ordering::Relaxed), self.audit_failures.load(Ordering::Relaxed))
    }

    /// Number of changes that wait for their containers.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<Vmid>> {
        // Every critical section is a single operation on the set, so a panic leaves nothing half done.
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request for a container that does not exist creates no series.
    #[test]
    fn only_containers_of_the_node_have_series() {
        let instruments = Instruments::default();
        let [here, elsewhere] = [104, 999_999].map(|id| Vmid::try_from(id).unwrap());
        instruments.saw(here);
        for vmid in [here, elsewhere] {
            let task = Task::SetCores { vmid, cores: Some(4) };
            instruments.change_ended(&task, "no_such_container", Duration::ZERO);
        }
        let key = (here, SizeOf::Cores, "no_such_container");
        assert_eq!(instruments.resizes(), BTreeMap::from([(key, 1)]));
        assert_eq!(instruments.changes(), BTreeMap::from([(("set_cores", "no_such_container"), 2)]));
        instruments.lost(here);
        assert_eq!(instruments.resizes(), BTreeMap::new());
    }
}
