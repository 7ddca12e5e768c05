//! Isolation forest, as scikit-learn defines it, in linfa's shape.
//!
//! A tree cuts a random sample of the rows at random thresholds of random features until every row stands
//! alone; unusual rows stand alone early. The definition is that of `sklearn.ensemble.IsolationForest`, so
//! that scores mean the same in both, which is tested against scikit-learn's own numbers.
//!
//! ## Definition
//!
//! - Each of `n_trees` trees is grown on `min(max_samples, n)` rows drawn without replacement.
//! - A node with more than one row and above the depth limit `ceil(log2(max(m, 2)))` is cut at a threshold
//!   uniform in [min, max) of a feature drawn among those that are not constant there; `<=` goes left. Rows
//!   that are all equal stay together.
//! - The depth of a row is that of its leaf plus `c(rows in the leaf)`, the mean depth of a search in a
//!   random binary tree: `c(1) = 0`, `c(2) = 1`, `c(n) = 2 (ln(n − 1) + γ) − 2 (n − 1) / n`.
//! - The score is `−2^(−mean depth / c(m))`: −1 is most unusual, about −0.5 and above is usual.
//! - The offset is the `contamination` quantile of the training scores with linear interpolation; the
//!   decision is `score − offset`, and negative is an anomaly.
//!
//! Every tree has its own stream of one seeded generator, so that the same seed gives the same forest
//! whatever the order of growth.

use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, ArrayBase, ArrayView2, Data, Ix2};
use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Euler's constant γ.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// Why a forest cannot be grown or asked.
#[derive(Debug, thiserror::Error)]
pub enum IsolationForestError {
    /// No trees were asked for.
    #[error("the number of trees must be at least 1")]
    NoTrees,
    /// No rows per tree were asked for.
    #[error("the number of samples per tree must be at least 1")]
    NoSamples,
    /// The share of anomalies is not a share.
    #[error("contamination {0} is out of range: it must be more than 0 and at most 0.5")]
    Contamination(f64),
    /// There is nothing to learn from.
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
    /// The rows to score are not like those the forest was grown on.
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

/// How a forest is grown; unchecked. Start at [`IsolationForest::params`].
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForestParams(IsolationForestValidParams);

/// How a forest is grown; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForestValidParams {
    n_trees: usize,
    max_samples: usize,
    contamination: f64,
    seed: u64,
}

impl Default for IsolationForestParams {
    /// 100 trees of 64 samples, contamination 0.05, seed 42: the choices of the original product.
    fn default() -> Self {
        Self(IsolationForestValidParams { n_trees: 100, max_samples: 64, contamination: 0.05, seed: 42 })
    }
}

impl IsolationForestParams {
    /// Sets the number of trees (100); more make the scores steadier.
    #[must_use]
    pub fn n_trees(mut self, n_trees: usize) -> Self {
        self.0.n_trees = n_trees;
        self
    }

    /// Sets the number of rows each tree sees (64); fewer keep anomalies from hiding in a crowd.
    #[must_use]
    pub fn max_samples(mut self, max_samples: usize) -> Self {
        self.0.max_samples = max_samples;
        self
    }

    /// Sets the share of the training rows taken to be anomalies (0.05), which places the offset.
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
    /// Grows the forest on the rows of `records`; what [`Fit`] does, without a dataset around them.
    ///
    /// # Errors
    /// [`IsolationForestError::Empty`] without a row or a feature, [`IsolationForestError::NotFinite`] for
    /// NaN and infinities.
    pub fn grow(&self, records: ArrayView2<'_, f64>) -> Result<IsolationForest, IsolationForestError> {
        let (rows, columns) = records.dim();
        if rows == 0 || columns == 0 {
            return Err(IsolationForestError::Empty { rows, columns });
        }
        check_finite(records)?;
        let samples = self.max_samples.min(rows);
        let trees = (0..self.n_trees).map(|tree| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(tree as u64);
            let mut drawn = index::sample(&mut rng, rows, samples).into_vec();
            let mut growth = Growth {
                records,
                rng,
                features: (0..columns).collect(),
                depth_limit: depth_limit(samples),
                nodes: Vec::with_capacity(2 * samples),
            };
            growth.grow(&mut drawn, 0);
            Tree { nodes: growth.nodes }
        });
        let mut forest = IsolationForest { trees: trees.collect(), columns, samples, offset: 0.0 };
        let scores = records.rows().into_iter().map(|row| forest.score(|feature| row[feature])).collect();
        forest.offset = quantile(scores, self.contamination);
        Ok(forest)
    }
}

/// A grown forest.
#[derive(Clone, Debug)]
pub struct IsolationForest {
    trees: Vec<Tree>,
    /// Features of the training rows.
    columns: usize,
    /// Rows each tree was grown on.
    samples: usize,
    offset: f64,
}

impl IsolationForest {
    /// How a forest is to be grown, with all choices at their defaults.
    pub fn params() -> IsolationForestParams {
        IsolationForestParams::default()
    }

    /// The score below which a row is an anomaly.
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// Scores each row: −1 is most unusual, 0 least (scikit-learn's `score_samples`).
    ///
    /// # Errors
    /// [`IsolationForestError::Features`] when the rows have another number of features than those the
    /// forest was grown on, [`IsolationForestError::NotFinite`] for NaN and infinities.
    pub fn score_samples<D: Data<Elem = f64>>(
        &self,
        records: &ArrayBase<D, Ix2>,
    ) -> Result<Array1<f64>, IsolationForestError> {
        self.check_features(records.ncols())?;
        check_finite(records.view())?;
        Ok(records.rows().into_iter().map(|row| self.score(|feature| row[feature])).collect())
    }

    /// Scores one row; [`IsolationForest::score_samples`] for a slice.
    ///
    /// # Errors
    /// As [`IsolationForest::score_samples`].
    pub fn score_row(&self, row: &[f64]) -> Result<f64, IsolationForestError> {
        self.check_features(row.len())?;
        if let Some(column) = row.iter().position(|value| !value.is_finite()) {
            return Err(IsolationForestError::NotFinite { row: 0, column });
        }
        Ok(self.score(|feature| row[feature]))
    }

    fn check_features(&self, given: usize) -> Result<(), IsolationForestError> {
        if given == self.columns {
            Ok(())
        } else {
            Err(IsolationForestError::Features { grown_on: self.columns, given })
        }
    }

    fn score(&self, value_of: impl Fn(usize) -> f64) -> f64 {
        let total: f64 = self.trees.iter().map(|tree| tree.depth_of(&value_of)).sum();
        let mean = total / self.trees.len() as f64;
        let usual = mean_search_depth(self.samples);
        // A forest of single rows knows no depth; scikit-learn then takes the exponent to be one.
        let exponent = if usual == 0.0 { 1.0 } else { mean / usual };
        -(-exponent).exp2()
    }
}

impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<bool>> for IsolationForest {
    /// Tells of each row whether it is an anomaly.
    ///
    /// # Panics
    /// Like all of linfa's models, when the shapes do not fit; [`IsolationForest::score_samples`] returns
    /// that as an error.
    fn predict_inplace(&self, records: &ArrayBase<D, Ix2>, anomalies: &mut Array1<bool>) {
        assert_eq!(records.ncols(), self.columns, "the rows must have the features the forest was grown on");
        assert_eq!(records.nrows(), anomalies.len(), "there must be one answer per row");
        for (row, anomaly) in records.rows().into_iter().zip(anomalies) {
            *anomaly = self.score(|feature| row[feature]) < self.offset;
        }
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array1<bool> {
        Array1::from_elem(records.nrows(), false)
    }
}

/// Nodes in depth-first order: the left child of a cut stands next to it.
#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    Cut { feature: u32, right: u32, threshold: f64 },
    Leaf { depth: f64 },
}

impl Tree {
    fn depth_of(&self, value_of: impl Fn(usize) -> f64) -> f64 {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf { depth } => return depth,
                Node::Cut { feature, threshold, .. } if value_of(feature as usize) <= threshold => at += 1,
                Node::Cut { right, .. } => at = right as usize,
            }
        }
    }
}

/// A tree while it grows.
struct Growth<'a> {
    records: ArrayView2<'a, f64>,
    rng: ChaCha8Rng,
    /// All features, in whatever order the draws so far have left them.
    features: Vec<usize>,
    depth_limit: usize,
    nodes: Vec<Node>,
}

impl Growth<'_> {
    fn grow(&mut self, rows: &mut [usize], depth: usize) {
        let cut = if rows.len() <= 1 || self.depth_limit <= depth { None } else { self.draw_cut(rows) };
        let Some((feature, threshold)) = cut else {
            self.nodes.push(Node::Leaf { depth: depth as f64 + mean_search_depth(rows.len()) });
            return;
        };
        let middle = partition(rows, |row| self.records[[row, feature]] <= threshold);
        let (left, right) = rows.split_at_mut(middle);
        let at = self.nodes.len();
        self.nodes.push(Node::Leaf { depth: 0.0 });
        self.grow(left, depth + 1);
        self.nodes[at] = Node::Cut { feature: small(feature), right: small(self.nodes.len()), threshold };
        self.grow(right, depth + 1);
    }

    /// Draws a feature that is not constant in `rows`, and a threshold in its range.
    fn draw_cut(&mut self, rows: &[usize]) -> Option<(usize, f64)> {
        for undrawn in (1..=self.features.len()).rev() {
            let drawn = self.rng.gen_range(0..undrawn);
            self.features.swap(drawn, undrawn - 1);
            let feature = self.features[undrawn - 1];
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for &row in rows {
                let value = self.records[[row, feature]];
                low = low.min(value);
                high = high.max(value);
            }
            if low < high {
                let share: f64 = self.rng.r#gen();
                // Not `low + share * (high - low)`, whose difference can overflow.
                let threshold = low * (1.0 - share) + high * share;
                // Rounding may reach `high`, which would leave the right side empty.
                return Some((feature, if threshold < high { threshold.max(low) } else { low }));
            }
        }
        None
    }
}

/// Moves the rows that go left to the front and returns how many they are.
fn partition(rows: &mut [usize], goes_left: impl Fn(usize) -> bool) -> usize {
    let mut left = 0;
    for at in 0..rows.len() {
        if goes_left(rows[at]) {
            rows.swap(left, at);
            left += 1;
        }
    }
    left
}

/// Indices of features and nodes stay far below 2^32: a tree has fewer than twice as many nodes as rows.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn depth_limit(samples: usize) -> usize {
    samples.max(2).next_power_of_two().ilog2() as usize
}

/// Mean depth of an unsuccessful search in a random binary tree of `n` rows.
fn mean_search_depth(n: usize) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let n = n as f64;
            2.0 * ((n - 1.0).ln() + EULER_GAMMA) - 2.0 * (n - 1.0) / n
        }
    }
}

/// The `share` quantile of at least one value, with linear interpolation.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= place < len")]
    let below = place.floor() as usize;
    let above = (below + 1).min(values.len() - 1);
    values[below] + (values[above] - values[below]) * place.fract()
}

fn check_finite(records: ArrayView2<'_, f64>) -> Result<(), IsolationForestError> {
    match records.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), _)) => Err(IsolationForestError::NotFinite { row, column }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use linfa::traits::Predict;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    use super::*;

    /// The rows and scikit-learn's mean scores of them over 40 seeds (100 trees, 64 samples).
    fn fixture() -> (Array2<f64>, Vec<f64>) {
        let numbers = |text: &str| -> Vec<f64> {
            text.lines()
                .skip(1)
                .flat_map(|line| line.split(','))
                .map(|field| field.parse().unwrap())
                .collect()
        };
        let rows = numbers(include_str!("../../tests/fixtures/isolation_forest_rows.csv"));
        let scores = numbers(include_str!("../../tests/fixtures/isolation_forest_scikit_learn.csv"));
        (Array2::from_shape_vec((scores.len(), rows.len() / scores.len()), rows).unwrap(), scores)
    }

    fn grown(params: &IsolationForestParams, rows: &Array2<f64>) -> IsolationForest {
        params.fit(&DatasetBase::from(rows.clone())).unwrap()
    }

    #[test]
    fn mean_scores_are_those_of_scikit_learn() {
        let (rows, want) = fixture();
        let seeds = 20;
        let mut mean = Array1::<f64>::zeros(rows.nrows());
        let mut offset = 0.0;
        for seed in 0..seeds {
            let forest = grown(&IsolationForest::params().seed(seed), &rows);
            mean += &forest.score_samples(&rows).unwrap();
            offset += forest.offset() / seeds as f64;
        }
        mean /= seeds as f64;
        let largest = mean.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
        println!("largest difference of a mean score: {largest:.4}, mean offset {offset:.4}");
        assert!(largest < 0.02, "{largest}");
        // scikit-learn's own mean offset on these rows is -0.5879.
        assert!((offset + 0.5879).abs() < 0.01, "{offset}");
    }

    #[test]
    fn an_outlier_is_an_anomaly_and_a_usual_row_is_none() {
        let (rows, _) = fixture();
        let forest = grown(&IsolationForest::params(), &rows);
        let answer = forest.predict(&array![[0.4, 590.0, 1.0, 4.0, 1.0], [9.0, 5000.0, 40.0, 4.0, 1.0]]);
        assert_eq!(answer.to_vec(), [false, true]);
        let flagged = forest.predict(&rows).iter().filter(|anomaly| **anomaly).count();
        assert_eq!(flagged, rows.nrows() / 20);
    }

    #[test]
    fn the_same_seed_gives_the_same_forest() {
        let (rows, _) = fixture();
        let scores = |seed| grown(&IsolationForest::params().seed(seed), &rows).score_samples(&rows).unwrap();
        assert_eq!(scores(3), scores(3));
        assert_ne!(scores(3), scores(4));
    }

    #[test]
    fn rows_that_cannot_be_told_apart_are_all_alike() {
        let rows = Array2::from_elem((50, 3), 7.0);
        let forest = grown(&IsolationForest::params(), &rows);
        let scores = forest.score_samples(&rows).unwrap();
        assert!(scores.iter().all(|score| (score + 0.5).abs() < 1e-9), "{scores}");
        let single = grown(&IsolationForest::params(), &array![[1.0, 2.0]]);
        assert!((single.score_row(&[1.0, 2.0]).unwrap() + 0.5).abs() < 1e-9);
    }

    #[track_caller]
    fn check_refused(params: &IsolationForestParams, rows: &Array2<f64>, want: &str) {
        let error = params.fit(&DatasetBase::from(rows.clone())).unwrap_err();
        assert_eq!(error.to_string(), want);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let params = IsolationForest::params;
        let rows = array![[1.0, 2.0], [3.0, 4.0]];
        check_refused(&params().n_trees(0), &rows, "the number of trees must be at least 1");
        check_refused(&params().max_samples(0), &rows, "the number of samples per tree must be at least 1");
        let text = "contamination 0.9 is out of range: it must be more than 0 and at most 0.5";
        check_refused(&params().contamination(0.9), &rows, text);
        check_refused(&params(), &Array2::zeros((0, 2)), "cannot learn from 0 rows of 2 features");
        check_refused(&params(), &array![[1.0, f64::NAN]], "row 0, feature 1 is not a finite number");
        let forest = grown(&params(), &rows);
        let error = forest.score_row(&[1.0]).unwrap_err();
        assert_eq!(error.to_string(), "the forest was grown on 2 features, the rows to score have 1");
    }

    proptest! {
        /// Whatever the numbers, scores lie in (-1, 0), and a constant feature changes no score's range.
        #[test]
        fn scores_stay_in_range(
            values in proptest::collection::vec(-1e300f64..1e300, 2..120),
            seed in any::<u64>(),
        ) {
            let rows = values.len() / 2;
            let table = Array2::from_shape_vec((rows, 2), values[..2 * rows].to_vec()).unwrap();
            let forest = grown(&IsolationForest::params().n_trees(10).seed(seed), &table);
            for score in forest.score_samples(&table).unwrap() {
                prop_assert!((-1.0..0.0).contains(&score), "{score}");
            }
            prop_assert!((-1.0..0.0).contains(&forest.offset()));
        }
    }
}
