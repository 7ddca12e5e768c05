//! The model of future demand: trained on many machines, used for each container.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::features::{self, Features, Looked};
use super::quantiles::Quantiles;
use super::scorer::{Answers, Scorer};
use super::training::{CPU_AHEAD_STEPS, MEMORY_AHEAD_STEPS};
use super::trees::Ensemble;

/// The format of a stored model.
const VERSION: u32 = 1;
/// The model that comes with the program; `docs/demand-model.md` describes its training.
static SHIPPED: &[u8] = include_bytes!("../../models/demand.bin");

/// A demand model as it is trained and stored; [`DemandModel`] does the forecasting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearntModel {
    version: u32,
    /// Names of its features, in order.
    features: Vec<String>,
    /// CPU, in cores.
    cpu: LearntResource,
    /// Memory, in MiB.
    memory: LearntResource,
}

/// The trained model of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearntResource {
    /// The amount, in the resource's unit, below which differences do not matter.
    pub epsilon: f32,
    /// The number of coming steps whose peak is forecast.
    pub ahead_steps: u16,
    /// One ensemble per quantile level: the logarithm of the peak relative to the container's own scale.
    pub quantiles: Vec<(f32, Ensemble)>,
}

/// Forecasts the coming peak of CPU and memory demand from the last eight days.
#[derive(Clone, Debug, PartialEq)]
pub struct DemandModel {
    /// CPU, in cores.
    pub cpu: ResourceModel,
    /// Memory, in MiB.
    pub memory: ResourceModel,
}

/// Forecasts the coming peak of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceModel {
    epsilon: f32,
    levels: Vec<f64>,
    /// The ensembles of all levels.
    scorer: Scorer,
}

/// Intermediate results of a forecast. The next forecast of a container is usually one step later and can start from
/// them. They belong to one [`ResourceModel`]; any past may follow, and the forecast does not depend on them.
#[derive(Clone, Debug, Default)]
pub struct Recall {
    looked: Looked,
    answers: Answers,
}

/// Why a stored model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It is not a model.
    #[error("this is not a demand model")]
    Format(#[source] postcard::Error),
    /// It has another format version.
    #[error("the demand model has format {found}, this program reads {VERSION}")]
    Version {
        /// Its format version.
        found: u32,
    },
    /// It was trained with other features.
    #[error("the demand model was learnt with other features than this program has")]
    Features,
    /// Its forecast horizon differs.
    #[error("the demand model has another horizon than this program")]
    Ahead,
    /// It is damaged.
    #[error(
        "the demand model is damaged: a tree leads nowhere, a number is no number, or levels are missing"
    )]
    Unsound,
}

impl LearntModel {
    /// A model of both resources.
    pub fn new(cpu: LearntResource, memory: LearntResource) -> Self {
        Self { version: VERSION, features: features::NAMES.clone(), cpu, memory }
    }

    /// Serialises the model.
    ///
    /// # Errors
    /// [`ModelError::Format`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        postcard::to_stdvec(self).map_err(ModelError::Format)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (version, _) = postcard::take_from_bytes::<u32>(bytes).map_err(ModelError::Format)?;
        if version != VERSION {
            return Err(ModelError::Version { found: version });
        }
        postcard::from_bytes(bytes).map_err(ModelError::Format)
    }
}

impl DemandModel {
    /// The model that comes with the program, if it is sound, which a test ensures.
    pub fn shipped() -> Option<Arc<Self>> {
        static MODEL: LazyLock<Option<Arc<DemandModel>>> =
            LazyLock::new(|| DemandModel::from_bytes(SHIPPED).ok().map(Arc::new));
        MODEL.clone()
    }

    /// Reads a stored model and checks that it can be used.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::try_from(LearntModel::from_bytes(bytes)?)
    }
}

impl TryFrom<LearntModel> for DemandModel {
    type Error = ModelError;

    fn try_from(learnt: LearntModel) -> Result<Self, ModelError> {
        let LearntModel { features, cpu, memory, .. } = learnt;
        if features != *features::NAMES {
            return Err(ModelError::Features);
        }
        // The price of a GiB is weighed over the horizon of the forecast.
        if (cpu.ahead_steps, memory.ahead_steps) != (CPU_AHEAD_STEPS, MEMORY_AHEAD_STEPS) {
            return Err(ModelError::Ahead);
        }
        match (ResourceModel::new(&cpu), ResourceModel::new(&memory)) {
            (Some(cpu), Some(memory)) => Ok(Self { cpu, memory }),
            _ => Err(ModelError::Unsound),
        }
    }
}

impl ResourceModel {
    /// `None` if it is damaged.
    fn new(learnt: &LearntResource) -> Option<Self> {
        let features = features::NAMES.len();
        let is_sound =
            |(level, trees): &(f32, Ensemble)| 0.0 < *level && *level < 1.0 && trees.is_sound(features);
        let has_levels = 2 <= learnt.quantiles.len() && learnt.quantiles.iter().all(is_sound);
        if !(learnt.epsilon.is_finite() && 0.0 < learnt.epsilon && has_levels) {
            return None;
        }
        let scorer = Scorer::new(learnt.quantiles.iter().map(|(_, trees)| trees), features)?;
        let levels = learnt.quantiles.iter().map(|(level, _)| f64::from(*level)).collect();
        Some(Self { epsilon: learnt.epsilon, levels, scorer })
    }

    /// Forecasts the peak within the model's horizon; `None` while there is no data.
    ///
    /// `window` is the past in steps of five minutes, newest last, NaN for unknown.
    pub fn forecast(&self, window: &[f32]) -> Option<Quantiles> {
        self.forecast_after(window, &mut Recall::default())
    }

    /// Like [`ResourceModel::forecast`], but reuses the intermediate results in `recall`.
    pub fn forecast_after(&self, window: &[f32], recall: &mut Recall) -> Option<Quantiles> {
        let Features { values, scale } = features::features_after(window, self.epsilon, &mut recall.looked)?;
        let peak = |relative: f32| f64::from(relative.exp() * scale - self.epsilon);
        let peaks = self.scorer.predict(&values, &mut recall.answers).into_iter().map(peak);
        Quantiles::new(self.levels.iter().copied().zip(peaks).collect(), f64::from(self.epsilon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_shipped_can_be_used_and_is_stored_as_it_is() {
        let learnt = LearntModel::from_bytes(SHIPPED).unwrap();
        assert_eq!(learnt.to_bytes().unwrap(), SHIPPED);
        let model = DemandModel::try_from(learnt).unwrap();
        assert!(3 <= model.cpu.levels.len() && 3 <= model.memory.levels.len());
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
        let refused = |change: fn(&mut LearntModel)| {
            let mut model = LearntModel::from_bytes(SHIPPED).unwrap();
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
        assert!(matches!(
            refused(|model| model.memory.quantiles[2].1.trees[5].nodes[1].threshold = f32::NAN),
            ModelError::Unsound
        ));
        let cut = &SHIPPED[..SHIPPED.len() / 2];
        assert!(matches!(DemandModel::from_bytes(cut), Err(ModelError::Format(_))));
    }
}
