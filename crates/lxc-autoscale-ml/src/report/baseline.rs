//! The size that a container would have if we had changed nothing: the one that people gave it. Pure.
//!
//! What we set is expected to stay. A measured size that is another one was set by somebody else, and is what we are
//! compared with from then on. Once the size is back at what we had set, as at the end of a boost, what was given before
//! counts again. What cannot be told is taken as ours: the size before the oldest stored change, where older ones of ours
//! may be forgotten, and the size that a change of ours would have set of which nobody knows whether it was made.

use jiff::Timestamp;

use super::{First, Hour, Made};

/// A change of ours this long before an hour may show in it still: the node enacts it later than the API answers.
const SHOWN_LATE_SECONDS: i64 = 120;
const HOUR_SECONDS: i64 = 3600;

/// The size that people gave, in each hour.
pub(super) struct Baseline {
    /// What people gave.
    given: f64,
    /// What it has unless somebody else changes it.
    expected: f64,
    /// What was given when we last changed it, and what we set.
    ours: Option<(f64, f64)>,
    /// When that was, in seconds since the epoch.
    ours_at: Option<i64>,
    /// What we set if our last change was made, while that is not known.
    unsure: Option<f64>,
}

impl Baseline {
    /// What people gave in each hour: `changes` are ours of one resource, and `size` is that of an hour. Both are in order
    /// of time; older ones than `forgotten_before` are not stored any more.
    pub(super) fn of<'a>(
        first: First,
        forgotten_before: Timestamp,
        changes: impl Iterator<Item = &'a Made>,
        hours: &[Hour],
        size: impl Fn(&Hour) -> Option<f64>,
    ) -> Vec<f64> {
        let mut changes = changes.peekable();
        let forgotten = changes.peek().map(|oldest| oldest.from).filter(|_| first.at < forgotten_before);
        let mut baseline = Self {
            given: first.size,
            expected: forgotten.unwrap_or(first.size),
            ours: forgotten.map(|size| (first.size, size)),
            ours_at: None,
            unsure: None,
        };
        let given_in = |hour: &Hour| {
            let end = hour.start_seconds + HOUR_SECONDS;
            while let Some(made) = changes.next_if(|made| made.at.as_second() < end) {
                baseline.take(made);
            }
            // In an hour of ours, the mean is neither the one size nor the other.
            let is_ours = baseline.ours_at.is_some_and(|at| hour.start_seconds - SHOWN_LATE_SECONDS <= at);
            if let Some(size) = size(hour).filter(|_| !is_ours) {
                baseline.see(size);
            }
            baseline.given
        };
        hours.iter().map(given_in).collect()
    }

    /// A change of ours.
    fn take(&mut self, made: &Made) {
        self.see(made.from);
        self.ours_at = Some(made.at.as_second());
        if made.is_unsure {
            self.unsure = Some(made.to);
        } else {
            self.expected = made.to;
            self.ours = Some((self.given, made.to));
        }
    }

    /// It has this size.
    fn see(&mut self, size: f64) {
        if let Some(to) = self.unsure.take().filter(|to| is_same(size, *to)) {
            self.expected = size;
            self.ours = Some((self.given, to));
        }
        if is_same(size, self.expected) {
            return;
        }
        self.expected = size;
        self.given = match self.ours {
            Some((given, ours)) if is_same(size, ours) => given,
            _ => size,
        };
    }
}

/// Sizes differ by rounding: `cpulimit` has two digits, and an hour is a mean.
fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 0.005 + 0.001 * one.max(other)
}
