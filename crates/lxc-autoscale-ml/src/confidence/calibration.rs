//! Learns how likely decisions stay right, from decisions with known outcomes.

use super::{GROUNDS, Grounds, Probability};

/// Ridge regularisation, as if so many rows supported a weight of zero: weights of correlated grounds would otherwise
/// diverge.
const RIDGE: f64 = 10.0;
/// Newton's method on a concave function of a dozen weights converges long before.
const ROUNDS: usize = 25;
const ARRIVED: f64 = 1e-6;
/// The calibration curve is based on so many equal parts of the rows.
const PARTS: usize = 50;
const TERMS: usize = GROUNDS.len() + 1;

/// A decision's grounds and its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was known at the time.
    pub grounds: Grounds,
    /// Whether it stayed right.
    pub right: bool,
}

/// Fits the probability to `rows`; `None` unless there are enough of them, with both outcomes.
pub fn fit(rows: &[Row]) -> Option<Probability> {
    let right = rows.iter().filter(|row| row.right).count();
    if rows.len() < 10 * PARTS || right < TERMS || rows.len() - right < TERMS {
        return None;
    }
    let terms = logistic(rows)?;
    let (weights, bias) = (terms[..GROUNDS.len()].to_vec(), terms[GROUNDS.len()]);
    let mut probability = Probability { weights, bias, curve: Vec::new() };
    let mut sums: Vec<(f64, bool)> =
        rows.iter().map(|row| (probability.sum(&row.grounds), row.right)).collect();
    sums.sort_by(|a, b| a.0.total_cmp(&b.0));
    probability.curve = isotonic(&sums);
    Some(probability)
}

fn terms_of(grounds: &Grounds) -> [f64; TERMS] {
    let mut terms = [1.0; TERMS];
    terms[..GROUNDS.len()].copy_from_slice(grounds);
    terms
}

/// The maximum-likelihood weights, the bias last, by Newton's method.
fn logistic(rows: &[Row]) -> Option<[f64; TERMS]> {
    let mut weights = [0.0; TERMS];
    for _ in 0..ROUNDS {
        let mut slope = [0.0; TERMS];
        let mut bend = [[0.0; TERMS]; TERMS];
        for row in rows {
            let terms = terms_of(&row.grounds);
            let sum: f64 = terms.iter().zip(&weights).map(|(term, weight)| term * weight).sum();
            let probability = 1.0 / (1.0 + (-sum).exp());
            let missing = if row.right { 1.0 } else { 0.0 } - probability;
            let weight = probability * (1.0 - probability);
            for (i, term) in terms.iter().enumerate() {
                slope[i] += missing * term;
                for (j, other) in terms.iter().enumerate().take(i + 1) {
                    bend[i][j] += weight * term * other;
                }
            }
        }
        for i in 0..TERMS {
            // The bias is not regularised.
            let ridge = if i < GROUNDS.len() { RIDGE } else { 1e-9 };
            slope[i] -= ridge * weights[i];
            bend[i][i] += ridge;
            // The other half of a symmetric matrix.
            let row = bend[i];
            for (above, value) in bend.iter_mut().zip(row).take(i) {
                above[i] = value;
            }
        }
        let step = solve(bend, slope)?;
        weights.iter_mut().zip(&step).for_each(|(weight, step)| *weight += step);
        if step.iter().all(|step| step.abs() < ARRIVED) {
            break;
        }
    }
    weights.iter().all(|weight| weight.is_finite()).then_some(weights)
}

/// Solves a symmetric positive definite system by elimination; `None` when it is singular.
fn solve(mut matrix: [[f64; TERMS]; TERMS], mut right: [f64; TERMS]) -> Option<[f64; TERMS]> {
    for pivot in 0..TERMS {
        let row = matrix[pivot];
        if row[pivot].abs() < f64::MIN_POSITIVE {
            return None;
        }
        for below in pivot + 1..TERMS {
            let factor = matrix[below][pivot] / row[pivot];
            matrix[below].iter_mut().zip(&row).skip(pivot).for_each(|(a, b)| *a -= factor * b);
            right[below] -= factor * right[pivot];
        }
    }
    for pivot in (0..TERMS).rev() {
        let known: f64 = (pivot + 1..TERMS).map(|j| matrix[pivot][j] * right[j]).sum();
        right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
    }
    Some(right)
}

/// Pools neighbours until the share of right ones rises with the sum; (mean sum, share) of each pool.
fn isotonic(sorted: &[(f64, bool)]) -> Vec<(f64, f64)> {
    struct Pool {
        rows: f64,
        sums: f64,
        right: f64,
    }
    let mut pools: Vec<Pool> = Vec::new();
    for part in sorted.chunks(sorted.len().div_ceil(PARTS)) {
        let mut pool = Pool {
            rows: part.len() as f64,
            sums: part.iter().map(|(sum, _)| sum).sum(),
            right: part.iter().filter(|(_, right)| *right).count() as f64,
        };
        // Equal sums in two parts are one point of the curve.
        while let Some(before) = pools.pop_if(|before| {
            pool.right * before.rows <= before.right * pool.rows
                || pool.sums * before.rows <= before.sums * pool.rows
        }) {
            pool.rows += before.rows;
            pool.sums += before.sums;
            pool.right += before.right;
        }
        pools.push(pool);
    }
    pools.iter().map(|pool| (pool.sums / pool.rows, pool.right / pool.rows)).collect()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Rows with a known probability: it rises with the record, and depends on nothing else.
    fn rows(seed: u64) -> Vec<Row> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let row = |_| {
            let mut grounds = [0.0; GROUNDS.len()];
            for ground in &mut grounds {
                *ground = rng.gen_range(-1.0..1.0);
            }
            let right = rng.gen_bool(chance(&grounds));
            Row { grounds, right }
        };
        (0..20_000).map(row).collect()
    }

    /// Not logistic: only the calibration curve can correct that.
    fn chance(grounds: &Grounds) -> f64 {
        0.5 + 0.45 * grounds[10].powi(3)
    }

    #[test]
    fn a_stated_probability_is_how_often_it_happens() {
        let probability = fit(&rows(1)).unwrap();
        let fresh = rows(2);
        for decile in 1..9 {
            let (low, high) = (10.0 * f64::from(decile), 10.0 * f64::from(decile + 1));
            let of = |row: &&Row| (low..high).contains(&probability.percent(&row.grounds));
            let (mut count, mut right, mut stated) = (0.0, 0.0, 0.0);
            for row in fresh.iter().filter(of) {
                count += 1.0;
                right += if row.right { 100.0 } else { 0.0 };
                stated += probability.percent(&row.grounds);
            }
            assert!(
                count < 200.0 || (right / count - stated / count).abs() < 6.0,
                "{low}: {}",
                right / count
            );
        }
        let weight = |index: usize| probability.weights[index].abs();
        assert!((0..GROUNDS.len()).all(|index| index == 10 || 10.0 * weight(index) < weight(10)));
    }

    #[test]
    fn what_never_goes_wrong_teaches_nothing() {
        let mut all_right = rows(3);
        for row in &mut all_right {
            row.right = true;
        }
        assert!(fit(&all_right).is_none() && fit(&[]).is_none());
    }
}
