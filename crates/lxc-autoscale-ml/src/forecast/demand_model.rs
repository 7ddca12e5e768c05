//! The model of how demand goes on: learnt from many machines, used for each container.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::features::{self, Features};
use super::quantiles::Quantiles;
use super::training::{CPU_AHEAD_STEPS, MEMORY_AHEAD_STEPS};
use super::trees::Ensemble;

/// The format of a stored model.
const VERSION: u32 = 1;
/// The model that comes with the program; `docs/demand-model.md` says what it was learnt from and how.
static SHIPPED: &[u8] = include_bytes!("../../models/demand.bin");

/// Forecasts the coming peak of CPU and memory demand from the last eight days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandModel {
    version: u32,
    /// Names of the features it was learnt with, in their order.
    features: Vec<String>,
    /// CPU, in cores.
    pub cpu: ResourceModel,
    /// Memory, in MiB.
    pub memory: ResourceModel,
}

/// Forecasts the coming peak of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceModel {
    /// The amount, in the resource's unit, below which differences do not matter.
    pub epsilon: f32,
    /// The peak of how many coming steps is forecast.
    pub ahead_steps: u16,
    /// One ensemble for each quantile level: the logarithm of the peak relative to the container's own scale.
    pub quantiles: Vec<(f32, Ensemble)>,
}

/// Why a stored model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It is no model.
    #[error("these bytes are no demand model")]
    Format(#[source] postcard::Error),
    /// It was made by another version of the program.
    #[error("the demand model has format {found}, this program reads {VERSION}")]
    Version {
        /// Its format.
        found: u32,
    },
    /// It was learnt with other features.
    #[error("the demand model was learnt with other features than this program has")]
    Features,
    /// It looks ahead for another time.
    #[error("the demand model looks ahead for another time than this program asks for")]
    Ahead,
    /// It is damaged.
    #[error(
        "the demand model is damaged: a tree leads nowhere, a number is no number, or levels are missing"
    )]
    Unsound,
}

impl DemandModel {
    /// A model of the two resources.
    pub fn new(cpu: ResourceModel, memory: ResourceModel) -> Self {
        Self { version: VERSION, features: features::NAMES.clone(), cpu, memory }
    }

    /// The model that comes with the program, if it is sound, which a test makes sure of.
    pub fn shipped() -> Option<Arc<Self>> {
        static MODEL: LazyLock<Option<Arc<DemandModel>>> =
            LazyLock::new(|| DemandModel::from_bytes(SHIPPED).ok().map(Arc::new));
        MODEL.clone()
    }

    /// Reads a stored model and makes sure that it can be used.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (version, _) = postcard::take_from_bytes::<u32>(bytes).map_err(ModelError::Format)?;
        if version != VERSION {
            return Err(ModelError::Version { found: version });
        }
        let model: Self = postcard::from_bytes(bytes).map_err(ModelError::Format)?;
        if model.features != *features::NAMES {
            return Err(ModelError::Features);
        }
        // What a GiB costs is weighed for the time that a forecast speaks of.
        if (model.cpu.ahead_steps, model.memory.ahead_steps) != (CPU_AHEAD_STEPS, MEMORY_AHEAD_STEPS) {
            return Err(ModelError::Ahead);
        }
        let sound = |resource: &ResourceModel| {
            let trees = |(level, trees): &(f32, Ensemble)| {
                0.0 < *level && *level < 1.0 && trees.is_sound(model.features.len())
            };
            let levels = 2 <= resource.quantiles.len() && resource.quantiles.iter().all(trees);
            resource.epsilon.is_finite() && 0.0 < resource.epsilon && levels
        };
        if sound(&model.cpu) && sound(&model.memory) { Ok(model) } else { Err(ModelError::Unsound) }
    }

    /// The model as it is stored.
    ///
    /// # Errors
    /// [`ModelError::Format`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        postcard::to_stdvec(self).map_err(ModelError::Format)
    }
}

impl ResourceModel {
    /// Forecasts the peak of the coming [`ResourceModel::ahead_steps`]; `None` while nothing is known.
    ///
    /// `window` is the past in steps of five minutes, the newest last, NaN for the unknown.
    pub fn forecast(&self, window: &[f32]) -> Option<Quantiles> {
        let Features { values, scale } = features::features(window, self.epsilon)?;
        let value = |trees: &Ensemble| f64::from(trees.predict(&values).exp() * scale - self.epsilon);
        let points = self.quantiles.iter().map(|(level, trees)| (f64::from(*level), value(trees))).collect();
        Quantiles::new(points, f64::from(self.epsilon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_shipped_can_be_used_and_is_stored_as_it_is() {
        let model = DemandModel::from_bytes(SHIPPED).unwrap();
        assert_eq!(model.to_bytes().unwrap(), SHIPPED);
        assert!(3 <= model.cpu.quantiles.len() && 3 <= model.memory.quantiles.len());
    }

    #[test]
    fn a_steady_past_goes_on() {
        let model = DemandModel::shipped().unwrap();
        let cpu = model.cpu.forecast(&vec![1.0; features::WINDOW_STEPS]).unwrap();
        assert!((0.8..1.3).contains(&cpu.at(0.5)) && cpu.at(0.5) <= cpu.at(0.98), "{cpu:?}");
        let memory = model.memory.forecast(&vec![1000.0; features::WINDOW_STEPS]).unwrap();
        assert!((900.0..1100.0).contains(&memory.at(0.5)), "{memory:?}");
    }

    #[test]
    fn what_comes_every_day_at_this_time_is_expected() {
        let model = DemandModel::shipped().unwrap();
        let busy = |step: usize| if step % 288 < 12 { 4000.0 } else { 300.0 };
        let before = |ahead: usize| (0..7 * 288 - ahead).map(busy).collect::<Vec<f32>>();
        let memory = |ahead| model.memory.forecast(&before(ahead)).unwrap().at(0.9);
        assert!(1.5 * memory(100) < memory(3), "{} {}", memory(100), memory(3));
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        assert!(matches!(DemandModel::from_bytes(&[7]), Err(ModelError::Version { found: 7 })));
        let refused = |change: fn(&mut DemandModel)| {
            let mut model = DemandModel::from_bytes(SHIPPED).unwrap();
            change(&mut model);
            DemandModel::from_bytes(&model.to_bytes().unwrap()).unwrap_err()
        };
        assert!(matches!(refused(|model| model.features[3].clear()), ModelError::Features));
        assert!(matches!(refused(|model| model.memory.ahead_steps = 6), ModelError::Ahead));
        assert!(matches!(refused(|model| model.cpu.epsilon = f32::NAN), ModelError::Unsound));
        assert!(matches!(refused(|model| model.cpu.quantiles.truncate(1)), ModelError::Unsound));
        assert!(matches!(refused(|model| model.cpu.quantiles[0].0 = 1.0), ModelError::Unsound));
        assert!(matches!(
            refused(|model| model.memory.quantiles[2].1.base = f32::INFINITY),
            ModelError::Unsound
        ));
        let cut = &SHIPPED[..SHIPPED.len() / 2];
        assert!(matches!(DemandModel::from_bytes(cut), Err(ModelError::Format(_))));
    }
}
