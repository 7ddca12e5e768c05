//! Whether a day of demand is random: each value says nothing of the next.

/// How far from its mean the ratio must lie for the order of the values to mean something, in standard deviations. One
/// random day in four hundred lies further away.
const ORDERED: f64 = 3.0;

/// Whether the order of the values means nothing, by the rank version of von Neumann's ratio (R. Bartels, "The Rank Version
/// of von Neumann's Ratio Test for Randomness", Journal of the American Statistical Association 77, 1982). Values that are
/// all the same are not random.
///
/// Ranks, because a single burst must not hide that all the rest is noise.
pub(super) fn is_random(values: &[f32]) -> bool {
    // The variance of the ratio, by Bartels' approximation.
    let deviation = (20.0 / (5.0 * values.len() as f64 + 7.0)).sqrt();
    // Far above is an order, too: high and low in turn.
    ratio(values).is_some_and(|ratio| (ratio - 2.0).abs() <= ORDERED * deviation)
}

/// The squared differences of neighbouring ranks to those from the mean: 2 on average where the order means nothing, 0 for
/// a rise or a fall. `None` if all values are the same.
fn ratio(values: &[f32]) -> Option<f64> {
    let ranks = ranks(values);
    let mean = (values.len() as f64 - 1.0) / 2.0;
    let spread: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    let steps: f64 = ranks.windows(2).map(|pair| (pair[0] - pair[1]).powi(2)).sum();
    (0.0 < spread).then(|| steps / spread)
}

/// The rank of each value from 0 on; equal values share the mean of theirs.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for same in order.chunk_by(|one, other| values[*one].total_cmp(&values[*other]).is_eq()) {
        let shared = before as f64 + (same.len() as f64 - 1.0) / 2.0;
        for place in same {
            ranks[*place] = shared;
        }
        before += same.len();
    }
    ranks
}

/// Values between 0 and 1 without a pattern: the fractional parts of an irrational number times the squares.
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "it is below 1")]
pub(crate) fn noise(step: usize) -> f32 {
    ((step * step) as f64 * 0.754_877_666_246_692_8).fract() as f32
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The number of tourists in each of 13 years, an example of Gibbons and Chakraborti (2003): by hand, the differences
    /// are eleven of one and two of two, and the spread is 13 · 168 / 12.
    #[test]
    fn the_ratio_is_that_of_the_books() {
        let tourists = [
            12_362.0, 12_739.0, 13_057.0, 13_955.0, 14_123.0, 15_698.0, 17_523.0, 18_610.0, 19_842.0,
            20_310.0, 22_500.0, 23_080.0, 21_916.0,
        ];
        let ratio = ratio(&tourists).unwrap();
        assert!((ratio - 18.0 / 182.0).abs() < 1e-12, "{ratio}");
        assert!(!is_random(&tourists));
    }

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert_eq!(ratio(&[1.0; 288]), None);
        assert!(!is_random(&[1.0; 288]) && !is_random(&[]));
    }

    /// Of a thousand random days two or three look ordered, whatever the noise is distributed like.
    #[test]
    fn noise_is_random_and_what_lasts_is_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for power in [1, 8] {
            let mut day =
                || -> Vec<f32> { (0..288).map(|_| rng.gen_range(0.1_f32..2.0).powi(power)).collect() };
            let random = (0..1000).filter(|_| is_random(&day())).count();
            assert!((990..=1000).contains(&random), "{random}");
        }
        // Noise with a spike in it is noise; an hour high and an hour low is not.
        let mut noise: Vec<f32> = (0..288).map(|_| rng.gen_range(1.0_f32..2.0)).collect();
        noise[100] = 50.0;
        assert!(is_random(&noise));
        let hourly: Vec<f32> =
            (0..288).map(|step| noise[step] + if step % 24 < 12 { 2.0 } else { 0.0 }).collect();
        assert!(!is_random(&hourly));
    }
}
