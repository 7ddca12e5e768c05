//! Compares roll-ups with plain arithmetic on the raw samples.

use proptest::prelude::*;

use super::*;

fn sample(at_ms: i64, cpu: Option<f64>) -> Sample {
    let mut codes = Codes::NONE;
    codes.set(Metric::Cpu, cpu);
    Sample { at_ms, codes }
}

/// Min, mean, max and 95th percentile computed directly, without codes.
fn by_hand(values: &[f64]) -> [f64; 4] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let p95 = sorted.iter().find(|value| {
        let not_above = sorted.iter().filter(|other| other <= value).count();
        95 * sorted.len() <= 100 * not_above
    });
    [sorted[0], values.iter().sum::<f64>() / values.len() as f64, sorted[sorted.len() - 1], *p95.unwrap()]
}

#[test]
fn windows_and_chunks_fit_into_each_other() {
    for tier in Tier::ALL {
        assert_eq!(tier.chunk_ms() % WINDOW_MS, 0);
        assert_eq!(WINDOW_MS % tier.bucket_ms(), 0);
        assert_eq!(tier.bucket_start(-1), -tier.bucket_ms());
    }
}

#[test]
fn the_percentile_is_the_nearest_rank() {
    let mut hundred: Vec<Code> = (1..=100).collect();
    assert_eq!(Stats::of(&mut hundred, 1.0).unwrap().p95, 95);
    assert_eq!(Stats::of(&mut [1, 2, 3], 1.0).unwrap().p95, 3);
    assert_eq!(Stats::of(&mut [7], 1.0), Some(Stats { count: 1, min: 7, mean: 7, max: 7, p95: 7 }));
    assert_eq!(Stats::of(&mut [], 1.0), None);
}

#[test]
fn a_gap_is_no_bucket_and_an_absent_metric_no_zero() {
    let mut samples = vec![sample(0, Some(1.0)), sample(30_000, None), sample(600_000, None)];
    let buckets = roll_up(&mut samples, Tier::Minute, Metric::ALL);
    assert_eq!(buckets.len(), 2);
    let (start, first) = &buckets[0];
    assert_eq!((*start, first.samples, first.metrics.len()), (0, 2, 1));
    assert_eq!(first.metrics[0].1.count, 1);
    assert_eq!(buckets[1], (600_000, Bucket { samples: 1, metrics: vec![] }));
}

proptest! {
    /// A10: the stored values equal those of the raw samples, within the documented precision.
    #[test]
    fn roll_ups_equal_those_of_the_raw_samples(
        values in prop::collection::btree_map(0..7_200_000_i64, 0.0..70.0_f64, 1..200),
    ) {
        for tier in Tier::ALL {
            let mut samples: Vec<_> = values.iter().rev().map(|(at, value)| sample(*at, Some(*value))).collect();
            for (start, bucket) in roll_up(&mut samples, tier, &[Metric::Cpu]) {
                let raw: Vec<f64> = values.range(start..start + tier.bucket_ms()).map(|(_, value)| *value).collect();
                let stats = bucket.metrics[0].1;
                prop_assert_eq!(stats.count as usize, raw.len());
                let stored = [stats.min, stats.mean, stats.max, stats.p95].map(|code| decode(code, 0.001));
                for (index, (stored, raw)) in stored.into_iter().zip(by_hand(&raw)).enumerate() {
                    let rounding = |value: f64| (value / 2048.0).max(0.0005);
                    // The mean is rounded twice: each sample, and the result.
                    let allowed = if index == 1 { rounding(raw) + 2.0 * rounding(70.0) } else { rounding(raw) };
                    prop_assert!((stored - raw).abs() <= allowed * 1.000_001, "{stored} {raw} {index}");
                }
            }
        }
    }
}
