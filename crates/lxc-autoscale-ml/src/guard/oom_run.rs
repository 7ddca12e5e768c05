//! Running out of memory again and again. Pure.
//!
//! A container that runs out of memory is given more within a cycle, and what it was given must not become the
//! evidence for the next time without end: a process that takes whatever there is would be fed the node. So
//! the answers to a run of them, none a day or more after the one before, end at a multiple of the size at the
//! first ([`super::GuardPolicy::oom_growth_factor`]), or at what somebody gave the container where that is more: it may
//! have been small because we made it so.
//!
//! What comes once a week is sized by what it had in the weeks before, which may have been such an answer. So while memory is
//! sized for that, the run of weeks ago goes on: else each week would begin with what the last one ended with.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::recommend::ContainerModel;

/// A day without one ends a run.
const ENDS_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// So long what happened in a week may size another one: four weeks and a day.
const COMES_BACK_WITHIN: SignedDuration = SignedDuration::from_hours(29 * 24);

/// How long a run counts after its last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// A day.
    #[default]
    ADay,
    /// Four weeks and a day: memory is sized for what comes at this time of the week.
    Weeks,
}

impl Lasts {
    /// For a container that is sized by this model.
    pub fn of(model: &ContainerModel) -> Self {
        if model.memory_comes_weekly() { Self::Weeks } else { Self::ADay }
    }

    /// Whether it is the usual.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "asked by serde")]
    pub(super) fn is_a_day(&self) -> bool {
        *self == Self::ADay
    }
}

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
    /// The run after the container ran out of memory at `at`, under this limit; `run` is the one that counts then.
    pub fn after(run: Option<Self>, at: Timestamp, limit_mib: f64) -> Self {
        match run {
            Some(run) => Self { last: at, times: run.times.saturating_add(1), ..run },
            None => Self { since: at, last: at, base_mib: limit_mib, times: 1, given_mib: None },
        }
    }

    /// The clock was set back: what lies ahead of `now` was now.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        clock::set_back(&mut self.since, now);
        clock::set_back(&mut self.last, now);
    }

    /// Whether it still goes on, or has come back with what comes once a week.
    pub fn counts(&self, now: Timestamp, lasts: Lasts) -> bool {
        let at_most = match lasts {
            Lasts::ADay => ENDS_AFTER,
            Lasts::Weeks => COMES_BACK_WITHIN,
        };
        now.duration_since(self.last) < at_most
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
            assert!(run.counts(at(hours), Lasts::ADay));
            run = OomRun::after(Some(run), at(hours), limit);
        }
        assert_eq!((run.base_mib, run.times, run.since), (512.0, 4, at(0)));
        assert!((run.most_mib(4.0) - 2048.0).abs() < 1e-9);
        assert!(run.counts(at(66), Lasts::ADay) && !run.counts(at(67), Lasts::ADay));
        assert!(run.counts(at(43 + 28 * 24), Lasts::Weeks) && !run.counts(at(43 + 29 * 24), Lasts::Weeks));
        assert!((OomRun::after(None, at(67), 1000.0).base_mib - 1000.0).abs() < 1e-9);
        // What somebody gave it may be had again, however little we had left it with.
        let most = |given| OomRun { given_mib: Some(given), ..run }.most_mib(4.0);
        assert!((most(8192.0) - 8192.0).abs() < 1e-9 && (most(512.0) - 2048.0).abs() < 1e-9);
    }
}
