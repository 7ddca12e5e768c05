//! A mixture of Gaussians, by expectation maximisation (A. Dempster, N. Laird, D. Rubin, *Maximum likelihood from
//! incomplete data via the EM algorithm*, Journal of the Royal Statistical Society B 39, 1977).
//!
//! The daemon learns the tables of all containers anew in each cycle, so this is made to be cheap: sixteen rows are worked
//! on at once in single precision, and only the factors of the covariances are computed in double precision. Every sum
//! has a fixed order, so the same rows and seed give the same scores to the last bit.

mod blocks;
mod gaussian;
mod start;

use ndarray::{ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::blocks::{Blocks, LANES, Lanes};
use self::gaussian::Gaussian;
use super::choice::Usual;
use super::clusters::MOST_ROWS;
use super::robust::RobustScale;

/// Most rounds. Later ones move the likelihood of rows, and hardly their order.
const MOST_ROUNDS: usize = 10;
/// It has settled when the mean log likelihood of a row grows by less than this in a round.
const SETTLED: f64 = 1e-2;
/// A smaller share of a row counts as none.
const LEAST_SHARE: f32 = 1e-3;
/// A Gaussian takes so many rows for each column: of fewer, it describes the rows and not what they come from.
const ROWS_A_COLUMN: usize = 2;
/// Rows that are scored at once: the copy of a whole day would be the daemon's peak memory.
const SCORED_ROWS: usize = 8 * LANES;

/// A mixture of Gaussians.
pub(super) struct Mixture {
    scale: RobustScale,
    parts: Vec<Gaussian>,
}

impl Mixture {
    /// Learnt from at most [`MOST_ROWS`] rows, evenly taken from the past, and from every second one at most: by the others
    /// it is told how likely rows are that it has not learnt. `None` if there are no rows.
    pub(super) fn learn(past: ArrayView2<'_, f32>, clusters: usize, seed: u64) -> Option<Self> {
        if past.is_empty() {
            return None;
        }
        let every = past.nrows().div_ceil(MOST_ROWS).max(2);
        let places: Vec<usize> = (0..past.nrows()).step_by(every).collect();
        let rows = past.select(Axis(0), &places);
        let scale = RobustScale::of(rows.view());
        let blocks = Blocks::of(&scale, rows.view());
        let most = rows.nrows() / (ROWS_A_COLUMN * rows.ncols());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut shares = start::groups(&blocks, clusters.min(most).max(1), &mut rng);
        let (mut parts, mut before) = (Vec::new(), f64::NEG_INFINITY);
        for _ in 0..MOST_ROUNDS {
            parts = shares.iter().filter_map(|shares| Gaussian::of(&blocks, shares)).collect();
            let likelihood = expect(&blocks, &parts, &mut shares);
            if likelihood - before < SETTLED {
                break;
            }
            before = likelihood;
        }
        (!parts.is_empty()).then_some(Self { scale, parts })
    }
}

/// Shares the rows out among the Gaussians; returns the mean log likelihood of a row, up to a constant.
fn expect(blocks: &Blocks, parts: &[Gaussian], shares: &mut Vec<Vec<Lanes>>) -> f64 {
    shares.truncate(parts.len());
    let (mut total, mut scratch) = (0.0, Vec::new());
    for (index, (block, rows)) in blocks.iter().enumerate() {
        for (part, shares) in parts.iter().zip(shares.iter_mut()) {
            shares[index] = part.log_likelihoods(block, &mut scratch);
        }
        for row in 0..LANES {
            if rows <= row {
                for shares in shares.iter_mut() {
                    shares[index][row] = 0.0;
                }
                continue;
            }
            let most = shares.iter().map(|shares| shares[index][row]).fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for share in shares.iter_mut().map(|shares| &mut shares[index][row]) {
                *share = (*share - most).exp();
                sum += *share;
            }
            total += f64::from(most + sum.ln());
            for share in shares.iter_mut().map(|shares| &mut shares[index][row]) {
                *share = if *share < LEAST_SHARE * sum { 0.0 } else { *share / sum };
            }
        }
    }
    total / blocks.rows() as f64
}

impl Usual for Mixture {
    /// The log likelihood, up to a constant, of the most likely component, which dominates the sum.
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64> {
        let (mut scores, mut scratch) = (Vec::with_capacity(rows.nrows()), Vec::new());
        for some in rows.axis_chunks_iter(Axis(0), SCORED_ROWS) {
            for (block, rows) in Blocks::of(&self.scale, some).iter() {
                let mut most = [f32::NEG_INFINITY; LANES];
                for part in &self.parts {
                    let likely = part.log_likelihoods(block, &mut scratch);
                    most.iter_mut().zip(likely).for_each(|(most, likely)| *most = most.max(likely));
                }
                scores.extend(most[..rows].iter().map(|score| f64::from(*score)));
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests;
