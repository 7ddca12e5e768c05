//! The learnt probabilities that come with the program.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::grounds::{GROUNDS, Grounds};

/// The kind of change of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It stays.
    Keep,
    /// It becomes larger.
    Grow,
    /// It becomes smaller.
    Shrink,
}

impl Move {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Grow, Self::Shrink];

    /// The kind of a change from one size to another.
    pub fn between(from: f64, to: f64) -> Self {
        if from < to {
            Self::Grow
        } else if to < from {
            Self::Shrink
        } else {
            Self::Keep
        }
    }
}

/// The probability for one resource and move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probability {
    /// Weight of each of [`GROUNDS`].
    pub weights: Vec<f64>,
    /// Start of the weighted sum.
    pub bias: f64,
    /// (sum, probability), both ascending: linear in between, constant outside.
    pub curve: Vec<(f64, f64)>,
}

/// The probabilities for one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByMove {
    /// That a kept size stays right.
    pub keep: Probability,
    /// That a growth does.
    pub grow: Probability,
    /// That a shrink does.
    pub shrink: Probability,
}

/// The probabilities for both resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfidenceModel {
    /// The names of the inputs it was trained on, in order.
    pub grounds: Vec<String>,
    /// CPU.
    pub cpu: ByMove,
    /// Memory.
    pub memory: ByMove,
}

impl ConfidenceModel {
    /// From these probabilities.
    pub fn new(cpu: ByMove, memory: ByMove) -> Self {
        Self { grounds: GROUNDS.map(str::to_owned).to_vec(), cpu, memory }
    }

    /// The model that comes with the program, if it is sound, which a test ensures.
    pub fn shipped() -> Option<&'static Self> {
        static MODEL: LazyLock<Option<ConfidenceModel>> = LazyLock::new(|| {
            let model: ConfidenceModel =
                serde_json::from_str(include_str!("../../models/confidence.json")).ok()?;
            model.is_sound().then_some(model)
        });
        MODEL.as_ref()
    }

    fn is_sound(&self) -> bool {
        let all = [&self.cpu, &self.memory].map(|resource| Move::ALL.map(|made| resource.of(made)));
        self.grounds == GROUNDS && all.as_flattened().iter().all(|probability| probability.is_sound())
    }
}

impl ByMove {
    /// The probability for this kind of change.
    pub fn of(&self, made: Move) -> &Probability {
        match made {
            Move::Keep => &self.keep,
            Move::Grow => &self.grow,
            Move::Shrink => &self.shrink,
        }
    }
}

impl Probability {
    /// The probability in percent.
    pub fn percent(&self, grounds: &Grounds) -> f64 {
        let sum = self.sum(grounds);
        let above = self.curve.partition_point(|(known, _)| *known < sum);
        let below = above.checked_sub(1).and_then(|below| self.curve.get(below));
        let probability = match (below, self.curve.get(above)) {
            (Some(below), Some(above)) => {
                below.1 + (above.1 - below.1) * (sum - below.0) / (above.0 - below.0)
            }
            (Some(only), None) | (None, Some(only)) => only.1,
            (None, None) => 0.0,
        };
        100.0 * probability
    }

    /// The weighted sum: the log odds before calibration.
    pub(super) fn sum(&self, grounds: &Grounds) -> f64 {
        self.bias + self.weights.iter().zip(grounds).map(|(weight, ground)| weight * ground).sum::<f64>()
    }

    fn is_sound(&self) -> bool {
        let finite = self.bias.is_finite() && self.weights.iter().all(|weight| weight.is_finite());
        let rising = self.curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let probable =
            self.curve.iter().all(|(sum, probability)| sum.is_finite() && (0.0..=1.0).contains(probability));
        finite && rising && probable && self.weights.len() == GROUNDS.len() && !self.curve.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_shipped_can_be_used_and_was_learnt() {
        let model = ConfidenceModel::shipped().unwrap();
        for resource in [&model.cpu, &model.memory] {
            for made in Move::ALL {
                let probability = resource.of(made);
                assert!(3 <= probability.curve.len(), "{made:?}");
                assert!(probability.weights.iter().any(|weight| weight.abs() > 1e-3), "{made:?}");
            }
        }
    }
}
