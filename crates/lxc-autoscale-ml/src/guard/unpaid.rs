//! Shrinks that were reversed before they paid off.
//!
//! A load that comes and goes at random makes a container smaller and larger all day: each shrink looks right, and is
//! reversed within minutes by the next growth. The saving until then is the share of the size that was given back times
//! the hours. If it is less than half an hour, the next shrink waits for twice the cool-down, then four times, and so
//! on up to `scaling.guard.max_unpaid_seconds`; shrinks that paid off halve the count.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::manual::SAME;
use super::revert::doubled;
use crate::clock;

/// What shrinks must save, in hours of the whole size: one by a half must last for an hour, one by a tenth for five. A
/// quarter leaves 8 % more changes on ten recorded machines, at half of the price (0.5 instead of 1 % of the cost).
pub(crate) const LEAST_PAID_HOURS: f64 = 0.5;
/// Upper bound of the count: of the shortest usual cool-down, ten minutes, eight doublings are nearly two days, and
/// each time that shrinks pay off must have an effect.
const MOST_COUNTED: u32 = 8;

/// Shrinks without a growth in between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Run {
    /// The size before the first, in cores or MiB.
    from: f64,
    /// The size now.
    to: f64,
    /// When the last one was made.
    since: Timestamp,
    /// The saving until then, in hours of the size before the first.
    saved_hours: f64,
}

/// Whether the shrinks of one resource paid off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unpaid {
    /// Those that were not reversed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    /// How many times in a row shrinks did not pay off; halved each time that they did.
    #[serde(default, skip_serializing_if = "is_zero")]
    count: u32,
    /// When the last of those were reversed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Unpaid {
    /// Whether there is no state.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes a change of ours at `at`.
    pub(crate) fn note_change(&mut self, at: Timestamp, from: f64, to: f64) {
        let run = self.run.take().filter(|run| (run.to - from).abs() < SAME);
        if to < from {
            let saved_hours = run.map_or(0.0, |run| run.saved_until(at));
            self.run = Some(Run { from: run.map_or(from, |run| run.from), to, since: at, saved_hours });
        } else if let Some(run) = run {
            if run.saved_until(at) < LEAST_PAID_HOURS {
                self.count = (self.count + 1).min(MOST_COUNTED);
                self.at = Some(at);
            } else {
                self.count /= 2;
            }
        }
    }

    /// Ignores the shrinks so far: somebody else's size is in force, so their saving is unknown; or they did harm and
    /// are undone, which already delays the next one ([`super::revert`]).
    pub(super) fn disregard(&mut self) {
        self.run = None;
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        for at in self.run.iter_mut().map(|run| &mut run.since).chain(&mut self.at) {
            clock::set_back(at, now);
        }
    }

    /// How often shrinks recently did not pay off, with the remaining wait, in seconds.
    pub fn waiting(&self, cooldown_seconds: u64, longest_seconds: u64, now: Timestamp) -> Option<(u32, u64)> {
        let at = self.at.filter(|_| 0 < self.count)?;
        let wait = doubled(cooldown_seconds, self.count, longest_seconds);
        let elapsed = u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0);
        Some((self.count, wait.saturating_sub(elapsed))).filter(|(_, left)| 0 < *left)
    }
}

impl Run {
    fn saved_until(&self, at: Timestamp) -> f64 {
        let hours = at.duration_since(self.since).max(SignedDuration::ZERO).as_secs_f64() / 3600.0;
        self.saved_hours + hours * (self.from - self.to) / self.from
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOLDOWN_SECONDS: u64 = 600;
    const LONGEST_SECONDS: u64 = 6 * 3600;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
    }

    /// Changes at these minutes, starting from size 4; the wait for the next shrink after the last one, in minutes.
    fn after(changes: &[(i64, f64)]) -> Option<(u32, u64)> {
        let (mut unpaid, mut size) = (Unpaid::default(), 4.0);
        for (minute, to) in changes {
            unpaid.note_change(at(*minute), size, *to);
            size = *to;
        }
        let now = changes.last().map_or(at(0), |(minute, _)| at(*minute));
        unpaid.waiting(COOLDOWN_SECONDS, LONGEST_SECONDS, now).map(|(count, seconds)| (count, seconds / 60))
    }

    #[test]
    fn what_is_taken_back_before_it_paid_makes_the_next_wait() {
        for (why, changes, want) in [
            ("nothing was made smaller", &[(0, 5.0)][..], None),
            ("it is not taken back", &[(0, 2.0)], None),
            ("a half for 59 minutes", &[(0, 2.0), (59, 3.0)], Some((1, 20))),
            ("a half for an hour", &[(0, 2.0), (60, 3.0)], None),
            ("a quarter for an hour", &[(0, 3.0), (60, 4.0)], Some((1, 20))),
            ("a quarter for 40 minutes, then a half for 40", &[(0, 3.0), (40, 2.0), (80, 4.0)], None),
            (
                "a quarter for 40 minutes, then a half for 30",
                &[(0, 3.0), (40, 2.0), (70, 4.0)],
                Some((1, 20)),
            ),
            ("twice", &[(0, 2.0), (9, 4.0), (30, 2.0), (39, 4.0)], Some((2, 40))),
            (
                "it paid after two that did not",
                &[(0, 2.0), (9, 4.0), (30, 2.0), (39, 4.0), (79, 2.0), (200, 4.0)],
                None,
            ),
        ] {
            assert_eq!(after(changes), want, "{why}");
        }
    }

    #[test]
    fn the_wait_has_an_end() {
        let mut unpaid = Unpaid::default();
        for round in 0..40 {
            unpaid.note_change(at(100 * round), 4.0, 2.0);
            unpaid.note_change(at(100 * round + 10), 2.0, 4.0);
        }
        let waiting = |now| unpaid.waiting(COOLDOWN_SECONDS, LONGEST_SECONDS, now);
        assert_eq!(waiting(at(3910)), Some((8, LONGEST_SECONDS)));
        assert_eq!(waiting(at(3910 + 359)), Some((8, 60)));
        assert_eq!(waiting(at(3910 + 360)), None);
        assert_eq!(unpaid.waiting(COOLDOWN_SECONDS, 0, at(3910)), None, "nobody wants that");
    }

    #[test]
    fn what_somebody_else_sets_ends_the_reckoning() {
        let mut unpaid = Unpaid::default();
        unpaid.note_change(at(0), 4.0, 2.0);
        unpaid.disregard();
        unpaid.note_change(at(5), 3.0, 4.0);
        assert_eq!(unpaid.waiting(COOLDOWN_SECONDS, LONGEST_SECONDS, at(5)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_wait_longer() {
        let mut unpaid = Unpaid::default();
        unpaid.note_change(at(0), 4.0, 2.0);
        unpaid.note_change(at(10), 2.0, 4.0);
        unpaid.set_back(at(-500));
        assert_eq!(unpaid.waiting(COOLDOWN_SECONDS, LONGEST_SECONDS, at(-500)), Some((1, 1200)));
        let kept: Unpaid = serde_json::from_str(&serde_json::to_string(&unpaid).unwrap()).unwrap();
        assert_eq!(kept, unpaid);
    }

    proptest! {
        /// No wait exceeds its bound, whatever was changed and when.
        #[test]
        fn waits_are_bounded(changes in proptest::collection::vec((0i64..10_000, 0.01f64..64.0), 0..60), now in 0i64..20_000) {
            let (mut unpaid, mut size) = (Unpaid::default(), 4.0);
            for (minute, to) in changes {
                unpaid.note_change(at(minute), size, to);
                size = to;
            }
            unpaid.set_back(at(now));
            if let Some((count, seconds)) = unpaid.waiting(COOLDOWN_SECONDS, LONGEST_SECONDS, at(now)) {
                prop_assert!(0 < count && 0 < seconds && seconds <= LONGEST_SECONDS);
            }
        }
    }
}
