//! Every detector on every series, used as in the daemon: the newest row is judged by those before it.

use lxc_autoscale_ml::config::ModelConfig;
use lxc_autoscale_ml::detect::{Detector, DetectorParams};
use lxc_autoscale_ml::features::FeatureTable;
use lxc_autoscale_ml::history::step;

use crate::labelled::{Labelled, WARM_UP};

pub(crate) const DETECTORS: [Detector; 6] = [
    Detector::IsolationForest,
    Detector::Dbscan,
    Detector::GaussianMixture,
    Detector::Kmeans,
    Detector::RobustZscore,
    Detector::Consensus,
];
/// The daemon trains in each cycle; here every three hours, which takes a thirty-sixth of the time.
const LEARN_EVERY: usize = 36;

/// A detector's verdict on one sample.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    /// The score minus the 5 % quantile of the past; lower is more unusual.
    pub(crate) decision: f64,
    /// Share of the past that was less unusual, in percent.
    pub(crate) percentile: f64,
}

/// The verdicts of each of [`DETECTORS`] on the samples from [`WARM_UP`] on; `None` where it could not be trained.
pub(crate) fn judge(series: &Labelled) -> Result<Vec<Vec<Option<Said>>>, String> {
    let model = ModelConfig::default();
    let params = DETECTORS.map(|detector| DetectorParams { detector, ..model.detection() });
    let mut table = FeatureTable::new(model.history_rows);
    let mut said = vec![Vec::with_capacity(series.records.len()); DETECTORS.len()];
    let mut trained: Vec<_> = DETECTORS.iter().map(|_| None).collect();
    let mut previous = None;
    for (index, record) in series.records.iter().enumerate() {
        table.push(previous, record, &step(previous, record));
        previous = Some(record);
        if index < WARM_UP {
            continue;
        }
        for (detector, params) in params.iter().enumerate() {
            if index.is_multiple_of(LEARN_EVERY) || index == WARM_UP {
                trained[detector] = table.train(params, model.min_rows).map_err(|error| error.to_string())?;
            }
            let verdict = trained[detector].as_ref().and_then(|trained| trained.judge(&table));
            said[detector].push(verdict.map(|verdict| Said {
                decision: verdict.score.decision,
                percentile: verdict.unusual.percentile,
            }));
        }
    }
    Ok(said)
}
