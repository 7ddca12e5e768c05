//! Counters of the running daemon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::exposition::{Counts, Durations, Histogram};

use crate::act::CallError;
use crate::decide::{Action, Decision, Resource};
use crate::ledger::Outcome;

/// A cycle is overdue when none has ended for this many intervals,
const STALE_AFTER_INTERVALS: u32 = 3;
/// but at least for this long: with a short interval no single call is a failure.
const LEAST_STALE_AFTER: Duration = Duration::from_mins(1);

/// Resource, action and outcome of a decision.
type Decided = (Resource, &'static str, &'static str);

/// The counters, across cycles.
#[derive(Debug)]
pub struct Instruments {
    started: Timestamp,
    cycles: Durations<()>,
    decisions: Counts<Decided>,
    api_failures: Counts<&'static str>,
    newest: Mutex<Option<(Instant, Newest)>>,
}

/// The state at the end of a cycle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Newest {
    /// When it ended.
    pub ended: Timestamp,
    /// The configured time between cycles.
    pub interval: Duration,
    /// Containers with a decision.
    pub containers: u64,
    /// Those among them that a detector can judge.
    pub judged: u64,
    /// Those among them that leak.
    pub leaking: u64,
    /// When the newest measurement was taken.
    pub measured: Option<Timestamp>,
    /// When the last checkpoint was written.
    pub checkpointed: Option<Timestamp>,
    /// Each kind of trouble by name, and whether it is present.
    pub troubles: Vec<(&'static str, bool)>,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            started: Timestamp::now(),
            cycles: Durations::default(),
            decisions: Counts::default(),
            api_failures: Counts::default(),
            newest: Mutex::default(),
        }
    }
}

impl Instruments {
    /// Counts a decision and its outcome.
    pub fn decided(&self, decision: &Decision, outcome: &Outcome) {
        let action = match decision.action {
            Action::Grow => "grow",
            Action::Shrink => "shrink",
            Action::Keep => "keep",
        };
        self.decisions.add((decision.resource, action, outcome.kind()));
    }

    /// Counts a failed call of the API.
    pub fn call_failed(&self, error: &CallError) {
        self.api_failures.add(error.kind());
    }

    /// Counts a cycle and its duration.
    pub fn cycle_ended(&self, took: Duration, newest: Newest) {
        self.cycles.observe((), took);
        // Every critical section is one assignment: a panic leaves nothing incomplete.
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), newest));
    }

    /// When the daemon started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The durations of the cycles.
    pub fn cycles(&self) -> Option<Histogram> {
        self.cycles.read().remove(&())
    }

    /// Decisions by resource, action and outcome.
    pub fn decisions(&self) -> BTreeMap<Decided, u64> {
        self.decisions.read()
    }

    /// Failed API calls, by kind.
    pub fn api_failures(&self) -> BTreeMap<&'static str, u64> {
        self.api_failures.read()
    }

    /// The state at the end of the newest cycle; `None` before the first has ended.
    pub fn newest(&self) -> Option<Newest> {
        self.read_newest().map(|(_, newest)| newest)
    }

    /// Whether cycles complete.
    ///
    /// # Errors
    /// When none has ended yet, or none for three intervals.
    pub fn health(&self) -> Result<(), String> {
        let Some((ended, newest)) = self.read_newest() else {
            return Err("no cycle has ended yet".to_owned());
        };
        let age = ended.elapsed();
        if age <= (newest.interval * STALE_AFTER_INTERVALS).max(LEAST_STALE_AFTER) {
            return Ok(());
        }
        Err(format!("the newest cycle ended {} s ago", age.as_secs()))
    }

    fn read_newest(&self) -> Option<(Instant, Newest)> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
