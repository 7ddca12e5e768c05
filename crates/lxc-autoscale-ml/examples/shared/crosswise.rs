//! Machines evaluated with models trained on others: each half by the other.

use std::error::Error;
use std::sync::Arc;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::forecast::DemandModel;
use lxc_autoscale_ml::forecast::training::train;

use crate::steps::series;

/// Trees per quantile, as in `lxc-autoscale-ml train`.
const ROUNDS: usize = 120;
/// Machines with neighbouring numbers may belong to one customer, so they are never separated.
const NEIGHBOURS: u64 = 10;

/// Two demand models, each trained on the machines of one half.
pub(crate) struct Crosswise([Arc<DemandModel>; 2]);

/// The half that a machine belongs to: 0 or 1.
pub(crate) fn half(id: u64) -> usize {
    usize::from(!(id / NEIGHBOURS).is_multiple_of(2))
}

impl Crosswise {
    /// Trains on each half of `recordings`.
    pub(crate) fn learn(recordings: &[Recording]) -> Result<Self, Box<dyn Error>> {
        let learnt = |own: usize| -> Result<Arc<DemandModel>, Box<dyn Error>> {
            let series: Vec<_> =
                recordings.iter().filter(|recording| half(recording.id) == own).map(series).collect();
            Ok(Arc::new(DemandModel::try_from(train(&series, ROUNDS)?)?))
        };
        Ok(Self([learnt(0)?, learnt(1)?]))
    }

    /// The model that was trained neither on the machine nor on its neighbours.
    pub(crate) fn stranger(&self, id: u64) -> Arc<DemandModel> {
        Arc::clone(&self.0[1 - half(id)])
    }
}
