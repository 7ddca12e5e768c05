//! Machines judged by what was learnt from others: each half by the other.

use std::error::Error;
use std::sync::Arc;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::forecast::DemandModel;
use lxc_autoscale_ml::forecast::training::train;

use crate::steps::series;

/// Trees of each quantile, as `lxc-autoscale-ml train` has them.
const ROUNDS: usize = 120;
/// Machines with neighbouring numbers may be one customer's, so they are never parted.
const NEIGHBOURS: u64 = 10;

/// Two demand models, each learnt from the machines of one half.
pub(crate) struct Crosswise([Arc<DemandModel>; 2]);

/// The half that a machine belongs to: 0 or 1.
pub(crate) fn half(id: u64) -> usize {
    usize::from(!(id / NEIGHBOURS).is_multiple_of(2))
}

impl Crosswise {
    /// Learns from each half of `recordings`.
    pub(crate) fn learn(recordings: &[Recording]) -> Result<Self, Box<dyn Error>> {
        let learnt = |own: usize| -> Result<Arc<DemandModel>, Box<dyn Error>> {
            let series: Vec<_> =
                recordings.iter().filter(|recording| half(recording.id) == own).map(series).collect();
            Ok(Arc::new(DemandModel::try_from(train(&series, ROUNDS)?)?))
        };
        Ok(Self([learnt(0)?, learnt(1)?]))
    }

    /// The model that was not learnt from the machine, nor from its neighbours.
    pub(crate) fn stranger(&self, id: u64) -> Arc<DemandModel> {
        Arc::clone(&self.0[1 - half(id)])
    }
}
