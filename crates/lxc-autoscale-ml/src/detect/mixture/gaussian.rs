//! One Gaussian of a mixture.

use super::blocks::{Blocks, LANES, Lanes, add_products, has_some, total};

/// Least variance, relative to a column's squared spread: correlated columns would make it flat.
const LEAST_VARIANCE: f64 = 0.05;
/// A Gaussian with a smaller sum of shares than a row is none.
const LEAST_WEIGHT: f64 = 1.0;

/// A Gaussian with its weight.
pub(super) struct Gaussian {
    mean: Vec<f32>,
    /// Makes of a distance from the mean independent numbers of variance 1: the inverse of the covariance's lower
    /// Cholesky factor, row by row up to the diagonal.
    whitening: Vec<f32>,
    /// Logarithm of its weight and height.
    log_height: f32,
}

impl Gaussian {
    /// That of the rows by these shares; `None` if they are less than a row.
    pub(super) fn of(blocks: &Blocks, shares: &[Lanes]) -> Option<Self> {
        let (weight, mean) = blocks.mean(shares);
        if weight < LEAST_WEIGHT {
            return None;
        }
        let columns = blocks.columns();
        let mut covariance: Vec<f64> =
            products(blocks, shares, &mean).iter().map(|sum| total(sum) / weight).collect();
        (0..columns).for_each(|column| covariance[at(column, column)] += LEAST_VARIANCE);
        let whitening = inverse_of_factor(covariance, columns)?;
        let heights = (0..columns).map(|column| whitening[at(column, column)].ln());
        let log_height = (weight / blocks.rows() as f64).ln() + heights.sum::<f64>();
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough to score with")]
        let narrow = |value: f64| value as f32;
        let whitening = whitening.into_iter().map(narrow).collect();
        Some(Self { mean, whitening, log_height: narrow(log_height) })
    }

    /// The log likelihood of each row of a block, up to a constant. `scratch` is room to work in.
    pub(super) fn log_likelihoods(&self, block: &[Lanes], scratch: &mut Vec<Lanes>) -> Lanes {
        centre(block, &self.mean, scratch);
        let mut distances = [0.0; LANES];
        let mut rest = self.whitening.as_slice();
        for known in 1..=scratch.len() {
            let (factors, others) = rest.split_at(known);
            rest = others;
            let mut sums = [0.0; LANES];
            for (factor, values) in factors.iter().zip(scratch.iter()) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += factor * value;
                }
            }
            add_products(&mut distances, &sums, &sums);
        }
        distances.map(|distance| self.log_height - distance / 2.0)
    }
}

/// The columns of a block less their mean.
fn centre(block: &[Lanes], mean: &[f32], into: &mut Vec<Lanes>) {
    into.clear();
    into.extend(block.iter().zip(mean).map(|(values, mean)| values.map(|value| value - mean)));
}

/// The sums of the products of each two columns by these shares, the lower triangle row by row.
fn products(blocks: &Blocks, shares: &[Lanes], mean: &[f32]) -> Vec<Lanes> {
    let mut sums = vec![[0.0; LANES]; at(mean.len(), 0)];
    let mut centred = Vec::new();
    for ((block, _), shares) in blocks.iter().zip(shares).filter(|(_, shares)| has_some(shares)) {
        centre(block, mean, &mut centred);
        let mut rest = sums.as_mut_slice();
        for (column, values) in centred.iter().enumerate() {
            let (row, others) = rest.split_at_mut(column + 1);
            rest = others;
            let mut weighted = [0.0; LANES];
            add_products(&mut weighted, values, shares);
            row.iter_mut().zip(&centred).for_each(|(sum, other)| add_products(sum, &weighted, other));
        }
    }
    sums
}

/// The place of an element of a lower triangle.
fn at(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

/// The inverse of the lower Cholesky factor of a positive definite matrix; `None` for any other. Both are lower triangles.
fn inverse_of_factor(mut matrix: Vec<f64>, size: usize) -> Option<Vec<f64>> {
    for row in 0..size {
        for column in 0..=row {
            let (above, here) =
                (&matrix[at(column, 0)..at(column, column)], &matrix[at(row, 0)..at(row, column)]);
            let known: f64 = above.iter().zip(here).map(|(one, other)| one * other).sum();
            let rest = matrix[at(row, column)] - known;
            if row == column {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                matrix[at(row, row)] = rest.sqrt();
            } else {
                matrix[at(row, column)] = rest / matrix[at(column, column)];
            }
        }
    }
    // In place: the rows above are inverted already, and of its own row only what lies to the right is asked for.
    for row in 0..size {
        let diagonal = matrix[at(row, row)];
        for column in 0..row {
            let sum: f64 = (column..row).map(|k| matrix[at(row, k)] * matrix[at(k, column)]).sum();
            matrix[at(row, column)] = -sum / diagonal;
        }
        matrix[at(row, row)] = 1.0 / diagonal;
    }
    Some(matrix)
}
