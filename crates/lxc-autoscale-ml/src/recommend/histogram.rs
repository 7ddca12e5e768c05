//! Quantiles of a decaying history.
//!
//! Bucket widths grow by a fixed ratio, so that a quantile is off by at most that ratio whatever the size of the
//! container. Weights halve with every half-life, so that old behaviour does not bind a container that changed. The
//! Vertical Pod Autoscaler keeps its history this way, in a few hundred bytes per container.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// Each bucket is 5 % wider than the one before: finer than any headroom.
const GROWTH: f64 = 1.05;
/// Enough for a range of 1 : 10^6 above the first bucket.
const BUCKETS: usize = 284;
/// Weights are rebased when they have grown by 2^this, long before they overflow.
const REBASE_HALF_LIVES: f64 = 100.0;

/// A decaying histogram of values of one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecayingHistogram {
    /// Upper end of the first bucket, in the resource's unit.
    first_bucket: f64,
    half_life_seconds: f64,
    /// Weights at the time `reference_seconds`: newer values weigh more instead of older ones less.
    #[serde(deserialize_with = "buckets")]
    weights: Vec<f64>,
    total: f64,
    reference_seconds: Option<f64>,
}

/// The weights of a checkpoint: of all buckets, or of none.
fn buckets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let weights = Vec::deserialize(deserializer)?;
    let fits = weights.is_empty() || weights.len() == BUCKETS;
    if fits { Ok(weights) } else { Err(D::Error::custom("a histogram of another size")) }
}

impl DecayingHistogram {
    /// An empty histogram. Values up to `first_bucket` are not distinguished.
    pub fn new(first_bucket: f64, half_life_seconds: f64) -> Self {
        Self { first_bucket, half_life_seconds, weights: Vec::new(), total: 0.0, reference_seconds: None }
    }

    /// Adds `value`, which held for `seconds` before `at_seconds`.
    pub fn add(&mut self, at_seconds: f64, seconds: f64, value: f64) {
        if self.weights.is_empty() {
            self.weights = vec![0.0; BUCKETS];
        }
        let reference = *self.reference_seconds.get_or_insert(at_seconds);
        let mut half_lives = (at_seconds - reference) / self.half_life_seconds;
        if REBASE_HALF_LIVES < half_lives {
            let fade = (-half_lives).exp2();
            self.weights.iter_mut().for_each(|weight| *weight *= fade);
            self.total = self.weights.iter().sum();
            self.reference_seconds = Some(at_seconds);
            half_lives = 0.0;
        }
        let weight = seconds * half_lives.exp2();
        let bucket = self.bucket_of(value);
        self.weights[bucket] += weight;
        self.total += weight;
    }

    /// The upper end of the bucket of the `share` quantile; `None` when nothing was added.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.total <= 0.0 {
            return None;
        }
        let wanted = share * self.total;
        let mut seen = 0.0;
        let mut last = 0;
        for (bucket, weight) in self.weights.iter().enumerate().filter(|(_, weight)| 0.0 < **weight) {
            seen += weight;
            last = bucket;
            if wanted <= seen {
                break;
            }
        }
        Some(self.end_of(last))
    }

    fn bucket_of(&self, value: f64) -> usize {
        if value <= self.first_bucket {
            return 0;
        }
        let bucket = ((value / self.first_bucket).ln() / GROWTH.ln()).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the buckets")]
        let bucket = bucket.clamp(0.0, (BUCKETS - 1) as f64) as usize;
        bucket
    }

    fn end_of(&self, bucket: usize) -> f64 {
        self.first_bucket * GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: f64 = 3600.0;

    #[test]
    fn an_empty_histogram_knows_nothing() {
        assert_eq!(DecayingHistogram::new(0.01, HOUR).quantile(0.5), None);
    }

    #[test]
    fn the_past_fades() {
        let mut histogram = DecayingHistogram::new(0.01, HOUR);
        for minute in 0..600 {
            histogram.add(f64::from(minute) * 60.0, 60.0, 4.0);
        }
        for minute in 600..720 {
            histogram.add(f64::from(minute) * 60.0, 60.0, 1.0);
        }
        // Two half-lives later the old level holds a quarter of the weight.
        assert!(histogram.quantile(0.7).unwrap() < 1.06);
        assert!(3.99 < histogram.quantile(0.8).unwrap());
    }

    #[test]
    fn years_of_it_do_not_overflow() {
        let mut histogram = DecayingHistogram::new(0.01, HOUR);
        for day in 0..5000 {
            histogram.add(f64::from(day) * 24.0 * HOUR, 60.0, 2.0);
        }
        let median = histogram.quantile(0.5).unwrap();
        assert!((1.99..2.11).contains(&median), "{median}");
    }

    /// The exact quantile of weighted values: the first whose weight, with all before it, reaches the share.
    fn exact(mut values: Vec<(f64, f64)>, share: f64) -> f64 {
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = values.iter().map(|value| value.1).sum();
        let mut seen = 0.0;
        for (value, weight) in &values {
            seen += weight;
            if share * total <= seen {
                return *value;
            }
        }
        values.last().unwrap().0
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_exact_quantile_to_a_bucket(
            values in proptest::collection::vec((0.02f64..5000.0, 1.0f64..3000.0), 1..80),
            share in 0.01f64..0.99,
        ) {
            let half_life = 6.0 * HOUR;
            let mut histogram = DecayingHistogram::new(0.01, half_life);
            let (mut at, mut arrivals) = (0.0, Vec::new());
            for (value, seconds) in values {
                at += seconds;
                histogram.add(at, seconds, value);
                arrivals.push((value, seconds, at));
            }
            let weighted = |slack: f64| {
                let weights = arrivals.iter().map(|(value, seconds, when)| (*value, seconds * ((when - at) / half_life).exp2()));
                exact(weights.collect(), (share + slack).clamp(0.0, 1.0))
            };
            let got = histogram.quantile(share).unwrap();
            // Rounding may move the share by an ulp, and with it the exact answer to its neighbour.
            prop_assert!(weighted(-1e-9) <= got * (1.0 + 1e-9), "{got}");
            prop_assert!(got <= weighted(1e-9) * GROWTH * (1.0 + 1e-9), "{got}");
        }
    }
}
