//! Running out of memory repeatedly. Pure.
//!
//! A container that runs out of memory gets more within a cycle. These growths must not become the evidence for the
//! next ones without end: a process that takes whatever there is would get the whole node. So the answers to a run, in
//! which each time follows the one before within a day and a half, end at a multiple of the size at the first
//! ([`super::GuardPolicy::oom_growth_factor`]), or at what somebody gave the container if that is more: it may have
//! been small because we made it so.
//!
//! A weekly peak is sized by what the container had in the weeks before, which may have been such an answer. So while
//! memory is sized for a weekly peak, the run of weeks ago continues: otherwise each week would begin at the size at
//! which the last one ended.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::recommend::ContainerModel;

/// So long without running out of memory ends a run. What comes every day need not be punctual: with a day alone, a job
/// that takes whatever there is would begin a new run at the size at which the last one ended, each day that it is late.
const ENDS_AFTER: SignedDuration = SignedDuration::from_hours(36);
/// How long a week can influence the size of another one: four weeks and a day.
const COMES_BACK_WITHIN: SignedDuration = SignedDuration::from_hours(29 * 24);

/// How long a run counts after its last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// A day and a half.
    #[default]
    ADay,
    /// Four weeks and a day: memory is sized for a weekly peak at this time.
    Weeks,
}

impl Lasts {
    /// For a container sized by this model.
    pub fn of(model: &ContainerModel) -> Self {
        if model.memory_comes_weekly() { Self::Weeks } else { Self::ADay }
    }

    /// Whether it is the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "asked by serde")]
    pub(super) fn is_a_day(&self) -> bool {
        *self == Self::ADay
    }
}

/// A series of times that a container ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OomRun {
    /// The first.
    pub since: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// The memory limit at the first, in MiB.
    pub base_mib: f64,
    /// The number of times.
    pub times: u32,
    /// The memory that somebody gave it, in MiB, as known when a size is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_mib: Option<f64>,
}

impl OomRun {
    /// The run after the container ran out of memory at `at`, with this limit; `run` is the one that counted until
    /// then.
    pub fn after(run: Option<Self>, at: Timestamp, limit_mib: f64) -> Self {
        match run {
            Some(run) => Self { last: at, times: run.times.saturating_add(1), ..run },
            None => Self { since: at, last: at, base_mib: limit_mib, times: 1, given_mib: None },
        }
    }

    /// The clock was set back: what lies after `now` was now.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        clock::set_back(&mut self.since, now);
        clock::set_back(&mut self.last, now);
    }

    /// Whether it still counts, or counts again because of a weekly peak.
    pub fn counts(&self, now: Timestamp, lasts: Lasts) -> bool {
        let at_most = match lasts {
            Lasts::ADay => ENDS_AFTER,
            Lasts::Weeks => COMES_BACK_WITHIN,
        };
        now.duration_since(self.last) < at_most
    }

    /// The most memory the container may get, in MiB.
    pub fn most_mib(&self, factor: f64) -> f64 {
        (self.base_mib * factor).max(self.given_mib.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_base_until_a_day_and_a_half_without() {
        let at = |hours: i64| Timestamp::from_second(1_800_000_000 + 3600 * hours).unwrap();
        let mut run = OomRun::after(None, at(0), 512.0);
        for (hours, limit) in [(1, 640.0), (20, 800.0), (43, 1000.0)] {
            assert!(run.counts(at(hours), Lasts::ADay));
            run = OomRun::after(Some(run), at(hours), limit);
        }
        assert_eq!((run.base_mib, run.times, run.since), (512.0, 4, at(0)));
        assert!((run.most_mib(4.0) - 2048.0).abs() < 1e-9);
        assert!(run.counts(at(78), Lasts::ADay) && !run.counts(at(79), Lasts::ADay));
        assert!(run.counts(at(43 + 28 * 24), Lasts::Weeks) && !run.counts(at(43 + 29 * 24), Lasts::Weeks));
        assert!((OomRun::after(None, at(67), 1000.0).base_mib - 1000.0).abs() < 1e-9);
        // It may get back what somebody gave it, however small we made it.
        let most = |given| OomRun { given_mib: Some(given), ..run }.most_mib(4.0);
        assert!((most(8192.0) - 8192.0).abs() < 1e-9 && (most(512.0) - 2048.0).abs() < 1e-9);
    }
}
