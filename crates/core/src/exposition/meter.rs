//! Counters and histograms by label values.
//!
//! Each is a table behind a lock that is held for one entry at a time. The caller limits the number of entries: keys
//! consist of words of the program, never of input from clients.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of a [`Histogram`], in seconds: from the time a file takes to the time a copy takes.
pub const BOUNDS_SECONDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0,
];

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many durations lie between the previous bound and this one, by the index of the bound.
    buckets: [u64; BOUNDS_SECONDS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    /// Adds one duration.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(place) = BOUNDS_SECONDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[place] += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// Adds all durations of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *ours += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bound in seconds, with the number of durations that do not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS_SECONDS.into_iter().zip(sums)
    }
}

/// A counter for each key.
#[derive(Debug)]
pub struct Counts<K>(Mutex<BTreeMap<K, u64>>);

/// A histogram for each key.
#[derive(Debug)]
pub struct Durations<K>(Mutex<BTreeMap<K, Histogram>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K> Default for Durations<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Ord> Counts<K> {
    /// Increments the counter of a key.
    pub fn add(&self, key: K) {
        *locked(&self.0).entry(key).or_default() += 1;
    }

    /// Removes the keys for which `keep` is false.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        locked(&self.0).retain(|key, _| keep(key));
    }

    /// The current counters.
    pub fn read(&self) -> BTreeMap<K, u64> {
        locked(&self.0).clone()
    }
}

impl<K: Clone + Ord> Durations<K> {
    /// Adds a duration to the histogram of a key.
    pub fn observe(&self, key: K, took: Duration) {
        locked(&self.0).entry(key).or_default().observe(took);
    }

    /// The current histograms.
    pub fn read(&self) -> BTreeMap<K, Histogram> {
        locked(&self.0).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is a single map operation, so a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_took_no_longer_and_everything_is_counted() {
        let mut histogram = Histogram::default();
        for millis in [1, 2, 10, 4_000_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        for (histogram, times) in [(&histogram, 1), (&twice, 2)] {
            let within: BTreeMap<_, _> =
                histogram.cumulative().map(|(bound, count)| (format!("{bound:?}"), count)).collect();
            let count = |bound: &str| within[bound] / times;
            assert_eq!([count("0.001"), count("0.0025"), count("0.005"), count("0.01")], [1, 2, 2, 3]);
            assert_eq!(
                (count("3600.0"), histogram.count() / times),
                (3, 4),
                "one took longer than all bounds"
            );
        }
        assert_eq!(histogram.sum(), Duration::from_millis(4_000_013));
    }

    #[test]
    fn what_is_forgotten_is_counted_anew() {
        let counts = Counts::default();
        for key in ["a", "b", "a"] {
            counts.add(key);
        }
        counts.retain(|key| *key == "b");
        counts.add("a");
        assert_eq!(counts.read(), BTreeMap::from([("a", 1), ("b", 1)]));
    }
}
