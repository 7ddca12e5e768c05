//! Running out of memory again and again. Pure.
//!
//! A container that runs out of memory is given more within a cycle, and what it was given must not become the
//! evidence for the next time without end: a process that takes whatever there is would be fed the node. So
//! the answers to a run of them, none a day or more after the one before, end at a multiple of the size at the
//! first ([`super::GuardPolicy::oom_growth_factor`]), or at what somebody gave the container where that is more: it may
//! have been small because we made it so.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock;

/// A day without one ends a run.
const ENDS_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Times in a row that a container ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomRun {
    /// The first.
    pub since: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// The memory limit at the first, in MiB.
    pub base_mib: f64,
    /// How often.
    pub times: u32,
    /// The memory that somebody gave it, in MiB, by what is known when a size is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_mib: Option<f64>,
}

impl OomRun {
    /// The run after the container ran out of memory at `at`, under this limit.
    pub fn after(run: Option<Self>, at: Timestamp, limit_mib: f64) -> Self {
        match run.filter(|run| run.is_on(at)) {
            Some(run) => Self { last: at, times: run.times.saturating_add(1), ..run },
            None => Self { since: at, last: at, base_mib: limit_mib, times: 1, given_mib: None },
        }
    }

    /// The clock was set back: what lies ahead of `now` was now.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        clock::set_back(&mut self.since, now);
        clock::set_back(&mut self.last, now);
    }

    /// Whether it still goes on.
    pub fn is_on(&self, now: Timestamp) -> bool {
        now.duration_since(self.last) < ENDS_AFTER
    }

    /// The most memory the container is given, in MiB.
    pub fn most_mib(&self, factor: f64) -> f64 {
        (self.base_mib * factor).max(self.given_mib.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_base_until_a_day_without() {
        let at = |hours: i64| Timestamp::from_second(1_800_000_000 + 3600 * hours).unwrap();
        let mut run = OomRun::after(None, at(0), 512.0);
        for (hours, limit) in [(1, 640.0), (20, 800.0), (43, 1000.0)] {
            run = OomRun::after(Some(run), at(hours), limit);
        }
        assert_eq!((run.base_mib, run.times, run.since), (512.0, 4, at(0)));
        assert!((run.most_mib(4.0) - 2048.0).abs() < 1e-9);
        assert!(run.is_on(at(66)) && !run.is_on(at(67)));
        assert!((OomRun::after(Some(run), at(67), 1000.0).base_mib - 1000.0).abs() < 1e-9);
        // What somebody gave it may be had again, however little we had left it with.
        let most = |given| OomRun { given_mib: Some(given), ..run }.most_mib(4.0);
        assert!((most(8192.0) - 8192.0).abs() < 1e-9 && (most(512.0) - 2048.0).abs() < 1e-9);
    }
}
