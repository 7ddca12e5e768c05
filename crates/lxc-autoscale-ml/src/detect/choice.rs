//! Which detector judges a container: the isolation forest, one of the others, or several together.
//!
//! Each is trained on the table of a container's past and then scores rows; a lower score is more unusual. Anomalies
//! are defined the same way for all: a score below the `contamination` quantile of the scores of the past itself.

use linfa::ParamGuard;
use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::clusters::{Centres, Dense};
use super::mixture::Mixture;
use super::robust::RobustScale;
use super::{IsolationForestError, IsolationForestParams, quantile};

/// A mixture takes so many rows for each column. One that learnt from fewer describes them and not what they come from: in
/// the first day of a container it took a third of all rows to be unusual.
const MIXTURE_ROWS_A_COLUMN: usize = 32;
/// The share that is unusual to the forest that stands in for it, unless a larger one is asked for: a hundredth of so few
/// rows is one or none, and the first rows of a container are always strange.
const STAND_IN_SHARE: f64 = 0.05;

/// A way to tell unusual rows from usual ones.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Detector {
    /// Random cuts leave unusual rows alone early.
    IsolationForest,
    /// Unusual rows lie far from where rows lie densely.
    Dbscan,
    /// Unusual rows are unlikely under a mixture of Gaussians.
    #[default]
    GaussianMixture,
    /// Unusual rows lie far from the nearest of a few centres.
    Kmeans,
    /// Unusual rows have a column far from its median, measured by the median deviation.
    RobustZscore,
    /// What most of several detectors find unusual.
    Consensus,
}

/// The parameters of training.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorParams {
    /// The detector.
    pub detector: Detector,
    /// The members of a consensus.
    pub consensus: Vec<Detector>,
    /// The parameters of the isolation forest.
    pub forest: IsolationForestParams,
    /// Number of centres or Gaussians.
    pub clusters: usize,
    /// Share of the past that counts as unusual.
    pub contamination: f64,
    /// Seed of all randomness.
    pub seed: u64,
}

/// A trained detector.
pub trait Usual {
    /// Scores rows of finite numbers with the columns of the training data; lower is more unusual.
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64>;
}

/// A trained detector and the score below which a row is an anomaly.
pub struct Learnt {
    detector: Detector,
    usual: Box<dyn Usual>,
    /// The sorted scores of the past.
    past: Vec<f64>,
    offset: f64,
}

/// A detector's verdict on a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The detector's own measure; lower is more unusual.
    pub score: f64,
    /// The score minus the offset: negative is an anomaly.
    pub decision: f64,
    /// Share of the past that was less unusual, in percent.
    pub percentile: f64,
}

impl DetectorParams {
    /// Trains on rows of finite numbers; `None` if they cannot be learnt from, such as too few rows for a dense place.
    ///
    /// # Errors
    /// When the parameters of the forest are out of range, or there are no rows.
    pub fn learn(&self, past: ArrayView2<'_, f32>) -> Result<Option<Learnt>, IsolationForestError> {
        let detector = self.suited_to(past);
        let is_stand_in = detector != self.detector;
        let share = if is_stand_in { self.contamination.max(STAND_IN_SHARE) } else { self.contamination };
        let Some(usual) = self.usual(detector, past)? else { return Ok(None) };
        let mut scores = usual.scores(past);
        scores.sort_by(f64::total_cmp);
        let offset = quantile(&scores, share);
        Ok(Some(Learnt { detector, usual, past: scores, offset }))
    }

    /// The forest stands in for a mixture as long as there are too few rows for one.
    fn suited_to(&self, past: ArrayView2<'_, f32>) -> Detector {
        match self.detector {
            Detector::GaussianMixture if past.nrows() < MIXTURE_ROWS_A_COLUMN * past.ncols() => {
                Detector::IsolationForest
            }
            detector => detector,
        }
    }

    fn usual(
        &self,
        detector: Detector,
        past: ArrayView2<'_, f32>,
    ) -> Result<Option<Box<dyn Usual>>, IsolationForestError> {
        Ok(match detector {
            Detector::IsolationForest => {
                Some(Box::new(self.forest.check_ref()?.grow_without_offset(past)?) as Box<dyn Usual>)
            }
            Detector::RobustZscore => Some(Box::new(RobustScale::of(past))),
            Detector::Kmeans => {
                Centres::learn(past, self.clusters, self.seed).map(|usual| Box::new(usual) as _)
            }
            Detector::GaussianMixture => {
                Mixture::learn(past, self.clusters, self.seed).map(|usual| Box::new(usual) as _)
            }
            Detector::Dbscan => Dense::learn(past).map(|usual| Box::new(usual) as _),
            Detector::Consensus => self.agreed(past)?,
        })
    }

    /// The members of the consensus that could be trained; a consensus is not a member of itself.
    fn agreed(&self, past: ArrayView2<'_, f32>) -> Result<Option<Box<dyn Usual>>, IsolationForestError> {
        let mut members = Vec::new();
        for detector in self.consensus.iter().filter(|detector| **detector != Detector::Consensus) {
            if let Some(usual) = self.usual(*detector, past)? {
                let mut scores = usual.scores(past);
                scores.sort_by(f64::total_cmp);
                members.push((usual, scores));
            }
        }
        Ok((!members.is_empty()).then(|| Box::new(Consensus { members }) as _))
    }
}

impl Learnt {
    /// The detector that learnt it: another one than was asked for, where there is too little for that.
    pub fn detector(&self) -> Detector {
        self.detector
    }

    /// Judges one row.
    pub fn score(&self, row: &[f32]) -> Score {
        let score = self.score_of(row);
        let below = self.past.partition_point(|past| *past <= score);
        let percentile = 100.0 * (self.past.len() - below) as f64 / self.past.len().max(1) as f64;
        Score { score, decision: score - self.offset, percentile }
    }

    /// The columns that make a row unusual: those which, set to their `usual` value, improve its score by at least a
    /// tenth of its distance from the median of the past; most significant first, three at most.
    pub fn because(&self, row: &[f32], usual: &[f32]) -> Vec<usize> {
        let score = self.score_of(row);
        let least = (quantile(&self.past, 0.5) - score).max(0.0) / 10.0;
        let mut gains: Vec<(usize, f64)> = (0..row.len())
            .map(|column| {
                let mut other = row.to_vec();
                other[column] = usual[column];
                (column, self.score_of(&other) - score)
            })
            .filter(|(_, gain)| least < *gain)
            .collect();
        gains.sort_by(|a, b| b.1.total_cmp(&a.1));
        gains.into_iter().take(3).map(|(column, _)| column).collect()
    }

    fn score_of(&self, row: &[f32]) -> f64 {
        let scores = self.usual.scores(ndarray::ArrayView1::from(row).insert_axis(Axis(0)));
        scores.first().copied().unwrap_or_default()
    }
}

/// The median verdict of several detectors, each relative to its own past.
struct Consensus {
    members: Vec<(Box<dyn Usual>, Vec<f64>)>,
}

impl Usual for Consensus {
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64> {
        let ranks: Vec<Vec<f64>> = self
            .members
            .iter()
            .map(|(usual, past)| {
                let rank = |score: f64| past.partition_point(|past| *past < score) as f64 / past.len() as f64;
                usual.scores(rows).into_iter().map(rank).collect()
            })
            .collect();
        let middle = |row: usize| {
            let mut ranks: Vec<f64> = ranks.iter().map(|ranks| ranks[row]).collect();
            ranks.sort_by(f64::total_cmp);
            quantile(&ranks, 0.5)
        };
        (0..rows.nrows()).map(middle).collect()
    }
}

#[cfg(test)]
mod tests;
