//! Detectors that describe the past by groups of rows, with linfa's algorithms.
//!
//! All columns are scaled first, otherwise the one with the largest numbers would decide alone. At most [`MOST_ROWS`]
//! rows, evenly taken from the past, are used: these algorithms visit every row or every pair of rows many times. linfa
//! panics on tables without rows and on numbers that are not finite; neither gets this far.

use linfa::dataset::DatasetBase;
use linfa::traits::{Fit, Transformer};
use linfa_clustering::{Dbscan, KMeans};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::choice::Usual;
use super::robust::{FURTHEST, RobustScale};

/// Most rows used for training.
pub(super) const MOST_ROWS: usize = 512;
/// Most iterations.
const MOST_ROUNDS: u64 = 50;
/// Rows that make a place dense.
const DENSE_ROWS: usize = 8;
/// The radius is the distance to the eighth neighbour that this share of the rows does not exceed.
const DENSE_SHARE: f64 = 0.9;

/// Scaled rows of the past, at most [`MOST_ROWS`].
fn sample(past: ArrayView2<'_, f32>) -> Option<(RobustScale, Array2<f64>)> {
    if past.is_empty() {
        return None;
    }
    let scale = RobustScale::of(past);
    let every = past.nrows().div_ceil(MOST_ROWS);
    let rows: Vec<usize> = (0..past.nrows()).step_by(every).collect();
    let scaled = capped(&scale, past.select(Axis(0), &rows).view());
    Some((scale, scaled))
}

fn capped(scale: &RobustScale, rows: ArrayView2<'_, f32>) -> Array2<f64> {
    scale.scaled(rows).mapv(|z| z.clamp(-FURTHEST, FURTHEST))
}

fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Minus the distance to the nearest of some points.
fn nearness(points: &Array2<f64>, row: ArrayView1<'_, f64>) -> f64 {
    let distances = points.rows().into_iter().map(|point| squared_distance(point, row));
    -distances.fold(f64::INFINITY, f64::min).sqrt()
}

/// A few centres, found by k-means.
pub(super) struct Centres {
    scale: RobustScale,
    centres: Array2<f64>,
}

impl Centres {
    pub(super) fn learn(past: ArrayView2<'_, f32>, clusters: usize, seed: u64) -> Option<Self> {
        let (scale, rows) = sample(past)?;
        let clusters = clusters.min(rows.nrows());
        let params = KMeans::params_with_rng(clusters, ChaCha8Rng::seed_from_u64(seed))
            .n_runs(1)
            .max_n_iterations(MOST_ROUNDS);
        let model = params.fit(&DatasetBase::from(rows)).ok()?;
        Some(Self { scale, centres: model.centroids().clone() })
    }
}

impl Usual for Centres {
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64> {
        let scaled = capped(&self.scale, rows);
        scaled.rows().into_iter().map(|row| nearness(&self.centres, row)).collect()
    }
}

/// Places where rows lie densely, found by DBSCAN.
pub(super) struct Dense {
    scale: RobustScale,
    rows: Array2<f64>,
}

impl Dense {
    pub(super) fn learn(past: ArrayView2<'_, f32>) -> Option<Self> {
        let (scale, rows) = sample(past)?;
        let tolerance = usual_distance(&rows)?;
        let groups = Dbscan::params(DENSE_ROWS).tolerance(tolerance).transform(&rows).ok()?;
        let dense: Vec<usize> =
            groups.iter().enumerate().filter_map(|(row, group)| group.map(|_| row)).collect();
        (!dense.is_empty()).then(|| Self { scale, rows: rows.select(Axis(0), &dense) })
    }
}

/// The distance to the eighth neighbour that most rows do not exceed.
fn usual_distance(rows: &Array2<f64>) -> Option<f64> {
    let mut distances: Vec<f64> = rows
        .rows()
        .into_iter()
        .map(|row| {
            let mut to_all: Vec<f64> =
                rows.rows().into_iter().map(|other| squared_distance(row, other)).collect();
            let nth = DENSE_ROWS.min(to_all.len() - 1);
            to_all.select_nth_unstable_by(nth, f64::total_cmp).1.sqrt()
        })
        .collect();
    distances.sort_by(f64::total_cmp);
    // Identical rows have no distance; any radius will do.
    (!distances.is_empty()).then(|| super::quantile(&distances, DENSE_SHARE).max(1e-6))
}

impl Usual for Dense {
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64> {
        let scaled = capped(&self.scale, rows);
        scaled.rows().into_iter().map(|row| nearness(&self.rows, row)).collect()
    }
}
