//! The `[model]` table.

use lxc_autoscale_core::config::{BrokenRule, Validate};
use serde::Deserialize;

use crate::detect::{Detector, DetectorParams, IsolationForestParams};

/// `[model]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The anomaly detector.
    pub detector: Detector,
    /// The members of a consensus.
    pub consensus: Vec<Detector>,
    /// Number of centres of k-means, or of Gaussians of the mixture.
    pub clusters: usize,
    /// Trees of the isolation forest.
    pub trees: usize,
    /// Rows per tree.
    pub max_samples: usize,
    /// Share of a container's own past that counts as unusual.
    pub contamination: f64,
    /// Seed of all randomness.
    pub seed: u64,
    /// Fewest training rows; a container with fewer is not judged.
    pub min_rows: usize,
    /// Most training rows, the newest ones.
    pub history_rows: usize,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            detector: Detector::GaussianMixture,
            consensus: vec![Detector::IsolationForest, Detector::Dbscan, Detector::RobustZscore],
            clusters: 4,
            trees: 100,
            max_samples: 64,
            contamination: 0.01,
            seed: 42,
            min_rows: 64,
            history_rows: 1440,
        }
    }
}

impl ModelConfig {
    /// The parameters of anomaly detection.
    pub fn detection(&self) -> DetectorParams {
        DetectorParams {
            detector: self.detector,
            consensus: self.consensus.clone(),
            forest: self.forest(),
            clusters: self.clusters,
            contamination: self.contamination,
            seed: self.seed,
        }
    }

    /// The parameters of isolation forests.
    pub fn forest(&self) -> IsolationForestParams {
        IsolationForestParams::default()
            .n_trees(self.trees)
            .max_samples(self.max_samples)
            .contamination(self.contamination)
            .seed(self.seed)
    }
}

impl Validate for ModelConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        unless((1..=1000).contains(&self.trees), "model.trees", "must be from 1 to 1000")?;
        unless((2..=4096).contains(&self.max_samples), "model.max_samples", "must be from 2 to 4096")?;
        let contamination = 0.0 < self.contamination && self.contamination <= 0.5;
        unless(contamination, "model.contamination", "must be more than 0 and at most 0.5")?;
        let names_others = !self.consensus.is_empty() && !self.consensus.contains(&Detector::Consensus);
        let rule = "must name at least one other detector";
        unless(names_others, "model.consensus", rule)?;
        unless((1..=32).contains(&self.clusters), "model.clusters", "must be from 1 to 32")?;
        unless(2 <= self.min_rows, "model.min_rows", "must be at least 2")?;
        let rows = (self.min_rows..=100_000).contains(&self.history_rows);
        unless(rows, "model.history_rows", "must be from `model.min_rows` to 100000")
    }
}
