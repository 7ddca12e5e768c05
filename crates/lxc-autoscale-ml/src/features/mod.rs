//! The feature table of one container: a row per record, a column per name in the product's first description.
//!
//! Columns whose source is a counter (`io_reads`, `io_writes`, `network_rx_bytes`, `network_tx_bytes`) are **rates per
//! second** of the step: with a growing counter every newest row would be the most unusual one. Rolling means and
//! deviations cover the last five rows, extremes the last hour, trends are the change per minute over the rolling rows.
//! They start anew after a gap or a restart.
//!
//! Only rows of the same cadence are compared: rolling rows of two seconds and of five minutes describe different
//! things, and after a change of the interval every row would look unusual.
//!
//! A cell that was not measured is empty. For training it is set to the median of its column, which makes a row neither
//! usual nor unusual; a column that was never measured is left out. Training data is therefore finite by construction.
//!
//! The table stores a `Row` of measurements; rolling columns are computed from the rows on demand (`columns`). A day of
//! rows, one per minute, takes 37 KB.

mod columns;
mod row;

use std::collections::{BTreeSet, VecDeque};

use lxc_autoscale_core::snapshot::ContainerRecord;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use self::row::Row;
use crate::decide::AnomalyScore;
use crate::detect::{Detector, DetectorParams, IsolationForestError, Learnt};
use crate::history::Step;
use crate::median::median;

/// The names of the columns, in the order in which they are logged.
pub const FEATURES: [&str; 26] = [
    "cpu_memory_ratio",
    "cpu_per_process",
    "cpu_trend",
    "cpu_usage_percent",
    "filesystem_free_gb",
    "filesystem_total_gb",
    "filesystem_usage_gb",
    "io_reads",
    "io_writes",
    "max_cpu",
    "max_memory",
    "memory_per_process",
    "memory_trend",
    "memory_usage_mb",
    "min_cpu",
    "min_memory",
    "network_rx_bytes",
    "network_tx_bytes",
    "process_count",
    "rolling_mean_cpu",
    "rolling_mean_memory",
    "rolling_std_cpu",
    "rolling_std_memory",
    "swap_total_mb",
    "swap_usage_mb",
    "time_diff",
];

/// The index of `time_diff`.
const STEP_COLUMN: usize = FEATURES.len() - 1;
/// Steps that differ by more than this factor have another cadence.
const SAME_CADENCE: f32 = 2.0;
/// Rows that are allocated at once.
const ROOM: usize = 96;

/// The rows of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FeatureTable {
    #[serde(serialize_with = "row::pack", deserialize_with = "row::unpack")]
    rows: VecDeque<Row>,
    max_rows: usize,
}

/// The detector's verdict on the newest row, and what it was trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How unusual the newest row is.
    pub score: AnomalyScore,
    /// How unusual it is against its own past, and by what.
    pub unusual: Unusual,
    /// The columns that were used for training.
    pub features: BTreeSet<&'static str>,
}

/// How unusual a row is compared with its own past, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unusual {
    /// The detector.
    pub detector: Detector,
    /// Share of the past that was less unusual, in percent.
    pub percentile: f64,
    /// The columns that make an anomaly unusual, most significant first, three at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// A detector trained on a table; it can also judge later rows.
pub struct Trained {
    learnt: Learnt,
    /// The columns with measurements, each with its median.
    medians: Vec<(usize, f32)>,
}

/// Rows of one cadence without unknown cells: the training data.
#[derive(Clone, Debug)]
struct Past {
    /// The columns with measurements, each with its median.
    medians: Vec<(usize, f32)>,
    rows: Array2<f32>,
}

impl FeatureTable {
    /// An empty table that keeps the newest `max_rows` rows.
    pub fn new(max_rows: usize) -> Self {
        Self { rows: VecDeque::new(), max_rows }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds the row of a record; `step` lies between it and the one before.
    pub fn push(&mut self, previous: Option<&ContainerRecord>, record: &ContainerRecord, step: &Step) {
        while self.max_rows <= self.rows.len() && self.rows.pop_front().is_some() {}
        if self.rows.len() == self.rows.capacity() {
            // The default doubling would leave half of the space unused in every container.
            self.rows.reserve_exact(ROOM.min(self.max_rows - self.rows.len()).max(1));
        }
        self.rows.push_back(Row::of(previous, record, step));
    }

    /// Trains on the rows before the newest and scores that one; `None` after a gap, with fewer than `min_rows`
    /// training rows of its cadence, or if no column was ever measured.
    ///
    /// # Errors
    /// When the parameters of the detector are out of range.
    pub fn judge(
        &self,
        params: &DetectorParams,
        min_rows: usize,
    ) -> Result<Option<Verdict>, IsolationForestError> {
        let cells = self.cells();
        let trained = self.train_on(&cells, params, min_rows)?;
        let newest = cells.rows().into_iter().next_back();
        Ok(trained.zip(newest).map(|(trained, newest)| trained.judge_row(&newest.to_vec())))
    }

    /// Trains on the rows before the newest with its cadence; `None` as for [`FeatureTable::judge`].
    ///
    /// # Errors
    /// When the parameters of the detector are out of range.
    pub fn train(
        &self,
        params: &DetectorParams,
        min_rows: usize,
    ) -> Result<Option<Trained>, IsolationForestError> {
        self.train_on(&self.cells(), params, min_rows)
    }

    fn train_on(
        &self,
        cells: &Array2<f32>,
        params: &DetectorParams,
        min_rows: usize,
    ) -> Result<Option<Trained>, IsolationForestError> {
        let Some(Past { medians, rows }) = self.past(cells, min_rows) else { return Ok(None) };
        let learnt = params.learn(rows.view())?;
        Ok(learnt.map(|learnt| Trained { learnt, medians }))
    }

    /// All cells, a row per record and a column per feature; NaN where nothing was measured.
    fn cells(&self) -> Array2<f32> {
        columns::of(&self.rows)
    }

    /// The rows before the newest with its cadence; unknown cells are filled in.
    fn past(&self, cells: &Array2<f32>, min_rows: usize) -> Option<Past> {
        let seconds = narrow(self.rows.back()?.seconds()?);
        let alike = (seconds / SAME_CADENCE)..=(seconds * SAME_CADENCE);
        let last = cells.nrows() - 1;
        let past: Vec<usize> = (0..last).filter(|row| alike.contains(&cells[[*row, STEP_COLUMN]])).collect();
        if past.len() < min_rows {
            return None;
        }
        // Without a copy: together with the table and its cells, that would be the daemon's peak memory.
        let column = |column: usize| past.iter().map(move |row| cells[[*row, column]]);
        let medians: Vec<(usize, f32)> =
            (0..FEATURES.len()).filter_map(|place| Some((place, median_of(column(place))?))).collect();
        if medians.is_empty() {
            return None;
        }
        let rows = Array2::from_shape_fn((past.len(), medians.len()), |(row, index)| {
            let (column, median) = medians[index];
            or_median(cells[[past[row], column]], median)
        });
        Some(Past { medians, rows })
    }
}

impl Trained {
    /// Scores the newest row of a table; `None` if it is empty.
    pub fn judge(&self, table: &FeatureTable) -> Option<Verdict> {
        Some(self.judge_row(&columns::newest(&table.rows)?))
    }

    fn judge_row(&self, newest: &[f32]) -> Verdict {
        let newest: Vec<f32> =
            self.medians.iter().map(|(column, median)| or_median(newest[*column], *median)).collect();
        let medians: Vec<f32> = self.medians.iter().map(|(_, median)| *median).collect();
        let score = self.learnt.score(&newest);
        let name = |column: usize| FEATURES[self.medians[column].0].to_owned();
        let because = if score.decision < 0.0 { self.learnt.because(&newest, &medians) } else { Vec::new() };
        Verdict {
            score: AnomalyScore { score: score.score, decision: score.decision },
            unusual: Unusual {
                detector: self.learnt.detector(),
                percentile: score.percentile,
                because: because.into_iter().map(name).collect(),
            },
            features: self.medians.iter().map(|(column, _)| FEATURES[*column]).collect(),
        }
    }
}

/// A missing value is replaced by the median of its column.
fn or_median(value: f32, median: f32) -> f32 {
    if value.is_nan() { median } else { value }
}

/// A cell as it is compared: seven digits are more than any stored value has.
#[expect(clippy::cast_possible_truncation, reason = "what is kept stays far below the largest `f32`")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The median of the measured cells of a column; `None` when there is none.
fn median_of(column: impl Iterator<Item = f32>) -> Option<f32> {
    median(column.filter(|value| !value.is_nan()).map(f64::from)).map(narrow)
}

#[cfg(test)]
mod tests;
