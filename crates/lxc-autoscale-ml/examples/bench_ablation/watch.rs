//! The detector of unusual behaviour beside a replay: the newest row is judged by those before it, as in the daemon.

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_autoscale_ml::config::ModelConfig;
use lxc_autoscale_ml::decide::AnomalyScore;
use lxc_autoscale_ml::detect::IsolationForestError;
use lxc_autoscale_ml::features::{FeatureTable, Trained};
use lxc_autoscale_ml::history::step;
use lxc_autoscale_ml::observation::Observation;

/// The daemon learns in each cycle; here once an hour, which takes a twelfth of the time.
const LEARN_EVERY: usize = 12;

/// The detector of one container.
pub(crate) struct Watch {
    model: ModelConfig,
    table: FeatureTable,
    previous: Option<ContainerRecord>,
    trained: Option<Trained>,
    rows: usize,
}

impl Watch {
    pub(crate) fn new(model: ModelConfig) -> Self {
        let table = FeatureTable::new(model.history_rows);
        Self { model, table, previous: None, trained: None, rows: 0 }
    }

    /// How unusual it is; `None` while too little is known.
    pub(crate) fn judge(&mut self, seen: &Observation) -> Result<Option<AnomalyScore>, IsolationForestError> {
        let record = record(seen);
        self.table.push(self.previous.as_ref(), &record, &step(self.previous.as_ref(), &record));
        self.previous = Some(record);
        if self.trained.is_none() || self.rows.is_multiple_of(LEARN_EVERY) {
            self.trained = self.table.train(&self.model.detection(), self.model.min_rows)?;
        }
        self.rows += 1;
        let verdict = self.trained.as_ref().and_then(|trained| trained.judge(&self.table));
        Ok(verdict.map(|verdict| verdict.score))
    }
}

/// What the monitor would write of it: use of CPU and memory. The recordings have nothing else.
fn record(seen: &Observation) -> ContainerRecord {
    let share = seen.cpu_cores_used.zip(seen.cores_limit).map(|(used, limit)| 100.0 * used / limit);
    ContainerRecord {
        cpu_usage_percent: share,
        cpu_cores_used: seen.cpu_cores_used,
        memory_usage_mb: seen.memory_used_mib,
        ..ContainerRecord::empty(RecordTime::utc(seen.at))
    }
}
