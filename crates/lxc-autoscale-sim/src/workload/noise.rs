//! Randomness as a function of time, so that a workload can be evaluated at any time in any order.

/// A number from 0 to below 1 that depends only on `seed` and `step` (the finaliser of SplitMix64).
pub(super) fn uniform(seed: u64, step: i64) -> f64 {
    let mut z = seed ^ step.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

/// The step of `length` seconds that a time falls into.
pub(super) fn step(seconds: f64, length: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 over a step of a second or more")]
    let whole = |value: f64| value as i64;
    whole((seconds / length).floor())
}

/// A factor near 1, at most `spread` above or below it, and continuous between steps of `length` seconds.
pub(super) fn wobble(seed: u64, seconds: f64, length: f64, spread: f64) -> f64 {
    let at = step(seconds, length);
    let from = uniform(seed, at);
    let to = uniform(seed, at + 1);
    let share = seconds / length - at as f64;
    1.0 + spread * (2.0 * (from + (to - from) * share) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fill_the_range_and_depend_on_the_seed() {
        let numbers: Vec<f64> = (0..10_000).map(|at| uniform(7, at)).collect();
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert_ne!(uniform(7, 1), uniform(8, 1));
    }

    #[test]
    fn a_wobble_is_bounded_and_has_no_jumps() {
        let at = |seconds: f64| wobble(3, seconds, 60.0, 0.1);
        for tenth in 0..10_000 {
            let now = f64::from(tenth) / 10.0;
            assert!((0.9..=1.1).contains(&at(now)));
            assert!((at(now + 0.1) - at(now)).abs() < 0.001);
        }
    }
}
