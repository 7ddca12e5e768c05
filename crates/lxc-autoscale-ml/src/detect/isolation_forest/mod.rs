//! Isolation forest, as scikit-learn defines it, with linfa's interface.
//!
//! A tree splits a random sample of the rows at random thresholds of random features until every row is isolated;
//! unusual rows are isolated early. The definition is that of `sklearn.ensemble.IsolationForest`, so that scores mean
//! the same in both, which is tested against scikit-learn's own numbers.
//!
//! ## Definition
//!
//! - Each of `n_trees` trees is grown on `min(max_samples, n)` rows drawn without replacement.
//! - A node with more than one row and above the depth limit `ceil(log2(max(m, 2)))` is split at a threshold uniform in
//!   [min, max) of a feature drawn among those that are not constant there; `<=` goes left. Rows that are all equal
//!   stay together.
//! - The depth of a row is that of its leaf plus `c(rows in the leaf)`, the mean depth of a search in a random binary
//!   tree: `c(1) = 0`, `c(2) = 1`, `c(n) = 2 (ln(n − 1) + γ) − 2 (n − 1) / n`.
//! - The score is `−2^(−mean depth / c(m))`: −1 is most unusual, about −0.5 and above is usual.
//! - The offset is the `contamination` quantile of the training scores with linear interpolation; the decision is
//!   `score − offset`, and negative is an anomaly.
//!
//! Every tree has its own stream of one seeded generator, so that the same seed gives the same forest whatever the
//! order of growth. Large forests are grown and scored on two threads; the scores are the same to the last bit on one.

mod tree;

use std::num::NonZero;
use std::ops::Range;
use std::thread;

use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, ArrayBase, ArrayView2, Axis, Data, Ix2};

use self::tree::{Block, Tree, mean_search_depth};
use super::choice::Usual;
use super::quantile;

pub use self::tree::Cell;

/// Rows scored in one block, tree by tree: few enough to stay in the L1 cache beside a tree (26 features of 8 bytes
/// make 13 KB).
const BLOCK_ROWS: usize = 64;
/// Number of steps down the trees from which a second thread is worth its start.
const THREADS_FROM_STEPS: usize = 4_000_000;

/// Why a forest cannot be grown or used.
#[derive(Debug, thiserror::Error)]
pub enum IsolationForestError {
    /// No trees were asked for.
    #[error("the number of trees must be at least 1")]
    NoTrees,
    /// No rows per tree were asked for.
    #[error("the number of samples per tree must be at least 1")]
    NoSamples,
    /// The contamination is not a share.
    #[error("contamination {0} is out of range: it must be more than 0 and at most 0.5")]
    Contamination(f64),
    /// There is no training data.
    #[error("cannot learn from {rows} rows of {columns} features")]
    Empty {
        /// Rows given.
        rows: usize,
        /// Features given.
        columns: usize,
    },
    /// A value is NaN or infinite.
    #[error("row {row}, feature {column} is not a finite number")]
    NotFinite {
        /// Row, from 0.
        row: usize,
        /// Feature, from 0.
        column: usize,
    },
    /// The rows to score have other features than the training rows.
    #[error("the forest was grown on {grown_on} features, the rows to score have {given}")]
    Features {
        /// Features of the training rows.
        grown_on: usize,
        /// Features of the rows to score.
        given: usize,
    },
    /// An error of linfa's own.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// Parameters of a forest; unchecked. Start at [`IsolationForest::params`].
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForestParams(IsolationForestValidParams);

/// Parameters of a forest; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForestValidParams {
    n_trees: usize,
    max_samples: usize,
    contamination: f64,
    seed: u64,
}

impl Default for IsolationForestParams {
    /// 100 trees of 64 samples, contamination 0.05, seed 42: the values of the original product.
    fn default() -> Self {
        Self(IsolationForestValidParams { n_trees: 100, max_samples: 64, contamination: 0.05, seed: 42 })
    }
}

impl IsolationForestParams {
    /// Sets the number of trees (100); more make the scores more stable.
    #[must_use]
    pub fn n_trees(mut self, n_trees: usize) -> Self {
        self.0.n_trees = n_trees;
        self
    }

    /// Sets the number of rows per tree (64); fewer keep anomalies from hiding in a crowd.
    #[must_use]
    pub fn max_samples(mut self, max_samples: usize) -> Self {
        self.0.max_samples = max_samples;
        self
    }

    /// Sets the share of the training rows that count as anomalies (0.05), which determines the offset.
    #[must_use]
    pub fn contamination(mut self, contamination: f64) -> Self {
        self.0.contamination = contamination;
        self
    }

    /// Sets the seed of all randomness (42).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl ParamGuard for IsolationForestParams {
    type Checked = IsolationForestValidParams;
    type Error = IsolationForestError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        let params = &self.0;
        if params.n_trees == 0 {
            return Err(IsolationForestError::NoTrees);
        }
        if params.max_samples == 0 {
            return Err(IsolationForestError::NoSamples);
        }
        if !(0.0 < params.contamination && params.contamination <= 0.5) {
            return Err(IsolationForestError::Contamination(params.contamination));
        }
        Ok(params)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<D: Data<Elem = f64>, T> Fit<ArrayBase<D, Ix2>, T, IsolationForestError> for IsolationForestValidParams {
    type Object = IsolationForest;

    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<IsolationForest, IsolationForestError> {
        self.grow(dataset.records().view())
    }
}

impl IsolationForestValidParams {
    /// Grows the forest on the rows of `records`; like [`Fit`], without a dataset.
    ///
    /// # Errors
    /// [`IsolationForestError::Empty`] without a row or a feature, [`IsolationForestError::NotFinite`] for NaN and
    /// infinities.
    pub fn grow<T: Cell>(
        &self,
        records: ArrayView2<'_, T>,
    ) -> Result<IsolationForest<T>, IsolationForestError> {
        let mut forest = self.grow_without_offset(records)?;
        let mut scores = forest.scores_of(records);
        scores.sort_by(f64::total_cmp);
        forest.offset = quantile(&scores, self.contamination);
        Ok(forest)
    }

    /// The same without the offset, which takes most of the time: for callers with their own threshold.
    ///
    /// # Errors
    /// As [`IsolationForestValidParams::grow`].
    pub fn grow_without_offset<T: Cell>(
        &self,
        records: ArrayView2<'_, T>,
    ) -> Result<IsolationForest<T>, IsolationForestError> {
        let (rows, columns) = records.dim();
        if rows == 0 || columns == 0 {
            return Err(IsolationForestError::Empty { rows, columns });
        }
        check_finite(records)?;
        let samples = self.max_samples.min(rows);
        let grow = |number: usize| Tree::grow(records, samples, self.seed, number as u64);
        let trees =
            in_parts(self.n_trees, self.n_trees * samples * columns, |numbers| numbers.map(grow).collect());
        Ok(IsolationForest { trees, columns, samples, offset: 0.0 })
    }
}

/// A grown forest.
#[derive(Clone, Debug)]
pub struct IsolationForest<T = f64> {
    trees: Vec<Tree<T>>,
    /// Features of the training rows.
    columns: usize,
    /// Rows per tree.
    samples: usize,
    offset: f64,
}

impl IsolationForest {
    /// Parameters with their defaults.
    pub fn params() -> IsolationForestParams {
        IsolationForestParams::default()
    }
}

impl<T: Cell> IsolationForest<T> {
    /// The score below which a row is an anomaly; 0 without one.
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// Scores each row: −1 is most unusual, 0 least (scikit-learn's `score_samples`).
    ///
    /// # Errors
    /// [`IsolationForestError::Features`] when the rows have another number of features than the training rows,
    /// [`IsolationForestError::NotFinite`] for NaN and infinities.
    pub fn score_samples<D: Data<Elem = T>>(
        &self,
        records: &ArrayBase<D, Ix2>,
    ) -> Result<Array1<f64>, IsolationForestError> {
        self.check_features(records.ncols())?;
        check_finite(records.view())?;
        Ok(self.scores_of(records.view()).into())
    }

    /// Scores one row; [`IsolationForest::score_samples`] for a slice.
    ///
    /// # Errors
    /// As [`IsolationForest::score_samples`].
    pub fn score_row(&self, row: &[T]) -> Result<f64, IsolationForestError> {
        self.check_features(row.len())?;
        if let Some(column) = row.iter().position(|value| !value.is_finite()) {
            return Err(IsolationForestError::NotFinite { row: 0, column });
        }
        Ok(self.score(self.trees.iter().map(|tree| tree.depth_of(row)).sum()))
    }

    fn check_features(&self, given: usize) -> Result<(), IsolationForestError> {
        if given == self.columns {
            Ok(())
        } else {
            Err(IsolationForestError::Features { grown_on: self.columns, given })
        }
    }

    /// The scores of rows that were checked.
    fn scores_of(&self, records: ArrayView2<'_, T>) -> Vec<f64> {
        let steps = records.nrows() * self.trees.len() * 8;
        in_parts(records.nrows(), steps, |part| {
            let part = records.slice_axis(Axis(0), part.into());
            let mut scores = Vec::with_capacity(part.nrows());
            let mut values = Vec::with_capacity(BLOCK_ROWS * self.columns);
            for block in part.axis_chunks_iter(Axis(0), BLOCK_ROWS) {
                values.clear();
                values.extend(block.iter().copied());
                let mut totals = [0.0; BLOCK_ROWS];
                let totals = &mut totals[..block.nrows()];
                for tree in &self.trees {
                    tree.add_depths(Block { values: &values, columns: self.columns }, totals);
                }
                scores.extend(totals.iter().map(|total| self.score(*total)));
            }
            scores
        })
    }

    /// The score of a row whose depths in all trees sum up to `total`.
    fn score(&self, total: f64) -> f64 {
        let mean = total / self.trees.len() as f64;
        let usual = mean_search_depth(self.samples);
        // A forest of single rows has no depth; scikit-learn then takes the exponent to be one.
        let exponent = if usual == 0.0 { 1.0 } else { mean / usual };
        -(-exponent).exp2()
    }
}

/// The results of `make` for `0..count`, in order; for its halves on two threads if so many `steps` are worth it.
fn in_parts<R: Send>(count: usize, steps: usize, make: impl Fn(Range<usize>) -> Vec<R> + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    if steps < THREADS_FROM_STEPS || processors < 2 {
        return make(0..count);
    }
    let middle = count / 2;
    thread::scope(|scope| {
        let second = thread::Builder::new().spawn_scoped(scope, || make(middle..count));
        let mut all = make(0..middle);
        // If the thread did not start or finish, this one does its part.
        let rest = second.ok().and_then(|second| second.join().ok());
        all.extend(rest.unwrap_or_else(|| make(middle..count)));
        all
    })
}

impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<bool>> for IsolationForest {
    /// Whether each row is an anomaly.
    ///
    /// # Panics
    /// Like all of linfa's models, when the shapes do not fit; [`IsolationForest::score_samples`] returns that as an
    /// error.
    fn predict_inplace(&self, records: &ArrayBase<D, Ix2>, anomalies: &mut Array1<bool>) {
        assert_eq!(records.ncols(), self.columns, "the rows must have the features the forest was grown on");
        assert_eq!(records.nrows(), anomalies.len(), "there must be one answer per row");
        for (score, anomaly) in self.scores_of(records.view()).into_iter().zip(anomalies) {
            *anomaly = score < self.offset;
        }
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array1<bool> {
        Array1::from_elem(records.nrows(), false)
    }
}

impl Usual for IsolationForest<f32> {
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64> {
        self.scores_of(rows)
    }
}

fn check_finite<T: Cell>(records: ArrayView2<'_, T>) -> Result<(), IsolationForestError> {
    match records.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), _)) => Err(IsolationForestError::NotFinite { row, column }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
