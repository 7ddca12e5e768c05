//! Every detector on every series, used as in the daemon: the newest row is judged by those before it.

use std::ops::Range;

use lxc_autoscale_ml::config::ModelConfig;
use lxc_autoscale_ml::detect::{Detector, DetectorParams};
use lxc_autoscale_ml::features::FeatureTable;
use lxc_autoscale_ml::history::step;

use crate::labelled::{DAY, Labelled, WARM_UP};

pub(crate) const DETECTORS: [Detector; 6] = [
    Detector::IsolationForest,
    Detector::Dbscan,
    Detector::GaussianMixture,
    Detector::Kmeans,
    Detector::RobustZscore,
    Detector::Consensus,
];
/// The quantile that samples are measured against, whichever share is then taken to be unusual.
const QUANTILE: f64 = 0.05;
/// The daemon trains in each cycle; here every three hours, which takes a thirty-sixth of the time.
const LEARN_EVERY: usize = 36;
/// In the first day there is more to learn from with each sample: every half an hour.
const LEARN_YOUNG_EVERY: usize = 6;

/// A detector's verdict on one sample.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    /// The score minus the 5 % quantile of the past; lower is more unusual.
    pub(crate) decision: f64,
    /// Share of the past that was less unusual, in percent.
    pub(crate) percentile: f64,
}

/// The verdicts of each detector, one per sample; `None` where it could not be trained.
type Verdicts = Vec<Vec<Option<Said>>>;

/// The verdicts on the samples from [`WARM_UP`] on.
pub(crate) fn judge(series: &Labelled, detectors: &[Detector]) -> Result<Verdicts, String> {
    verdicts(series, detectors, WARM_UP..series.records.len(), LEARN_EVERY)
}

/// The verdicts on the samples of the first day, from the first one on that is judged.
pub(crate) fn judge_young(series: &Labelled, detectors: &[Detector]) -> Result<Verdicts, String> {
    // The first sample has no step, and is no row to learn from.
    verdicts(series, detectors, ModelConfig::default().min_rows + 1..DAY, LEARN_YOUNG_EVERY)
}

fn verdicts(
    series: &Labelled,
    detectors: &[Detector],
    samples: Range<usize>,
    learn_every: usize,
) -> Result<Verdicts, String> {
    let model = ModelConfig::default();
    let of = |detector: &Detector| DetectorParams {
        detector: *detector,
        contamination: QUANTILE,
        ..model.detection()
    };
    let params: Vec<DetectorParams> = detectors.iter().map(of).collect();
    let mut table = FeatureTable::new(model.history_rows);
    let mut said = vec![Vec::with_capacity(samples.len()); detectors.len()];
    let mut trained: Vec<_> = detectors.iter().map(|_| None).collect();
    let mut previous = None;
    for (index, record) in series.records.iter().enumerate().take(samples.end) {
        table.push(previous, record, &step(previous, record));
        previous = Some(record);
        if index < samples.start {
            continue;
        }
        for (detector, params) in params.iter().enumerate() {
            if index.is_multiple_of(learn_every) || index == samples.start {
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
