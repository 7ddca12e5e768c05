//! The grounds for and against a size, as numbers.

use std::sync::Arc;

use super::model::{ByMove, ConfidenceModel, Move};
use crate::forecast::Quantiles;

/// The inputs of the probability, in order; the ratios are logarithms of the size over an amount.
pub const GROUNDS: [&str; 12] = [
    "log_known_hours",
    "log_over_last",
    "log_over_hour_peak",
    "log_over_day_peak",
    "log_over_season_peak",
    "experts_that_agree",
    "log_over_largest_wish",
    "has_forecast",
    "forecast_width",
    "forecast_doubt",
    "record",
    "log_change",
];

/// Values of [`GROUNDS`]; all finite.
pub type Grounds = [f64; GROUNDS.len()];

/// Larger ratios carry no information: e² is seven times as much.
const MOST_LOG_RATIO: f64 = 2.0;
/// Smaller doubts are not distinguished: a forecast does not know its own tail any better.
const LEAST_DOUBT: f64 = 1e-4;

/// Which resource it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Cores.
    Cpu,
    /// MiB.
    Memory,
}

impl Scale {
    /// The amount below which differences do not matter: it is added to both sides of a ratio.
    fn epsilon(self) -> f64 {
        match self {
            Self::Cpu => 0.02,
            Self::Memory => 8.0,
        }
    }

    fn of(self, model: &ConfidenceModel) -> &ByMove {
        match self {
            Self::Cpu => &model.cpu,
            Self::Memory => &model.memory,
        }
    }
}

/// What is known of a container's resource at the time of a decision; amounts in the resource's unit, `None` is
/// unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Which resource it is.
    pub scale: Scale,
    /// How long it has been measured, in seconds.
    pub known_seconds: f64,
    /// The last step.
    pub last: Option<f64>,
    /// The peak of the last hour.
    pub hour_peak: Option<f64>,
    /// The peak of the last day.
    pub day_peak: Option<f64>,
    /// The peak of the coming hour on earlier days.
    pub season_peak: Option<f64>,
    /// The wish of each expert.
    pub wishes: Vec<f64>,
    /// The forecast of the demand model.
    pub forecast: Option<Quantiles>,
    /// Share of the hours so far that the recommended size served (greater than 0, less than 1).
    pub record: f64,
}

impl Known {
    /// The grounds for a change from `from` to `to`.
    pub fn grounds(&self, from: f64, to: f64) -> Grounds {
        let epsilon = self.scale.epsilon();
        let ratio = |above: f64, below: f64| {
            ((above + epsilon) / (below + epsilon)).ln().clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO)
        };
        let over = |amount: Option<f64>| amount.map_or(0.0, |amount| ratio(to, amount));
        let agreeing = self.wishes.iter().filter(|wish| **wish <= to).count() as f64;
        let forecast = self.forecast.as_ref();
        let width = forecast.map_or(0.0, |forecast| forecast.log_width().clamp(0.0, MOST_LOG_RATIO));
        let doubt = forecast.map_or(LEAST_DOUBT, |forecast| 1.0 - forecast.probability_below(to));
        [
            (self.known_seconds / 3600.0).ln_1p(),
            over(self.last),
            over(self.hour_peak),
            over(self.day_peak.or(self.hour_peak)),
            over(self.season_peak.or(self.day_peak)),
            agreeing / self.wishes.len().max(1) as f64,
            over(self.wishes.iter().copied().reduce(f64::max)),
            if forecast.is_some() { 1.0 } else { 0.0 },
            width,
            doubt.clamp(LEAST_DOUBT, 1.0).ln(),
            (self.record / (1.0 - self.record)).ln(),
            ratio(to, from).abs(),
        ]
    }
}

/// The basis of the confidence in any size of one resource; empty while too little is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chances(Option<Arc<Known>>);

impl Chances {
    /// From what is known.
    pub fn new(known: Known) -> Self {
        Self(Some(Arc::new(known)))
    }

    /// The probability that a change from `from` to `to` stays right, in percent.
    pub fn percent(&self, from: f64, to: f64) -> Option<f64> {
        let model = ConfidenceModel::shipped()?;
        let (known, grounds) = (self.0.as_deref()?, self.grounds(from, to)?);
        Some(known.scale.of(model).of(Move::between(from, to)).percent(&grounds))
    }

    /// The grounds it is based on.
    pub fn grounds(&self, from: f64, to: f64) -> Option<Grounds> {
        Some(self.0.as_deref()?.grounds(from, to))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_known_the_grounds_are_finite_and_the_confidence_is_a_percentage(
            amounts in proptest::array::uniform4(proptest::option::of(0.0f64..1e6)),
            wishes in proptest::collection::vec(0.0f64..1e6, 0..9), known_seconds in 0.0f64..1e8,
            record in 0.001f64..0.999, sizes in (0.0f64..1e6, 0.0f64..1e6), quantiles in (0.01f64..1e5, 0.0f64..1e5),
            is_forecast: bool, is_cpu: bool,
        ) {
            let [last, hour_peak, day_peak, season_peak] = amounts;
            let points = vec![(0.5, quantiles.0), (0.9, quantiles.0 + quantiles.1)];
            let known = Known {
                scale: if is_cpu { Scale::Cpu } else { Scale::Memory },
                known_seconds, last, hour_peak, day_peak, season_peak, wishes, record,
                forecast: Quantiles::new(points, 0.01).filter(|_| is_forecast),
            };
            let (from, to) = sizes;
            prop_assert!(known.grounds(from, to).iter().all(|ground| ground.is_finite()), "{known:?}");
            let percent = Chances::new(known).percent(from, to).unwrap();
            prop_assert!((0.0..=100.0).contains(&percent));
        }
    }
}
