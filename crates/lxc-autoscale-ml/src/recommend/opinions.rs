//! The sizes and costs of a container's experts at the time of a recommendation, stored with the decision.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::experts::{self, Expert};
use super::selector::Selector;
use crate::decide::Resource;
use crate::forecast::Quantiles;

/// The experts of both resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Opinions {
    /// Of CPU, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Opinion>,
    /// Of memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Opinion>,
}

/// The experts of one resource, by index; numbers are rounded to four digits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// The expert that is followed.
    pub followed: usize,
    /// The size that each holds, in the resource's unit.
    pub held: Vec<Option<f64>>,
    /// The recent cost of each, in the currency of the prices; old costs decay.
    pub cost: Vec<f64>,
    /// The forecast they use: levels between 0 and 1, each with the value that the peak of the coming step (CPU) or
    /// hour (memory) does not exceed with that probability. Empty if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<(f64, f64)>,
}

impl Opinions {
    /// The experts of one resource only.
    #[must_use]
    pub fn about(&self, resource: Resource) -> Self {
        match resource {
            Resource::Cpu => Self { cpu: self.cpu.clone(), memory: None },
            Resource::Memory => Self { cpu: None, memory: self.memory.clone() },
        }
    }
}

impl Opinion {
    /// The present sizes and costs of the experts, and their forecast.
    pub(super) fn of(selector: &Selector, forecast: Option<&Quantiles>) -> Self {
        let (held, cost) = selector.standings().map(|(held, cost)| (held.map(digits), digits(cost))).unzip();
        let points = forecast.map(Quantiles::points).unwrap_or_default();
        let forecast = points.iter().map(|(level, value)| (digits(*level), digits(*value))).collect();
        Self { followed: selector.followed(), held, cost, forecast }
    }

    /// How much more an expert has cost than the cheapest, in percent; `None` if nothing was charged yet.
    pub fn regret_percent(&self, place: usize) -> Option<f64> {
        let least = self.cost.iter().copied().fold(f64::INFINITY, f64::min);
        let cost = self.cost.get(place).filter(|_| 0.0 < least && least.is_finite())?;
        Some(100.0 * (cost / least - 1.0))
    }
}

/// The names of the CPU experts, by index.
pub fn cpu_experts() -> Vec<String> {
    experts::CPU.iter().map(ToString::to_string).collect()
}

/// The names of the memory experts, by index.
pub fn memory_experts() -> Vec<String> {
    experts::MEMORY.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Expert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forecast { caution, margin } => {
                write!(f, "forecast, running short {caution} × as dear")?;
                if is_once(*margin) { Ok(()) } else { write!(f, ", × {margin}") }
            }
            Self::Peak { window, headroom } => {
                write!(f, "peak of {window} × the window")?;
                if is_once(*headroom) { Ok(()) } else { write!(f, ", {headroom} × the headroom") }
            }
            Self::PeakAndSeason { headroom } => {
                f.write_str("peak or season")?;
                if is_once(*headroom) { Ok(()) } else { write!(f, ", {headroom} × the headroom") }
            }
        }
    }
}

/// Whether the factor is one, which is not mentioned.
fn is_once(factor: f64) -> bool {
    (factor - 1.0).abs() < f64::EPSILON
}

/// A number rounded to four digits: it is for people, no decision uses it.
fn digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regret_is_told_against_the_cheapest() {
        let opinion = Opinion { held: vec![Some(1.0), None], cost: vec![2.5, 2.0], ..Opinion::default() };
        assert_eq!((opinion.regret_percent(0), opinion.regret_percent(1)), (Some(25.0), Some(0.0)));
        assert_eq!(opinion.regret_percent(7), None);
        let nothing = Opinion { cost: vec![0.0, 0.0], ..opinion.clone() };
        assert_eq!(nothing.regret_percent(0), None, "nothing was charged yet");
    }

    #[test]
    fn the_forecast_is_kept_in_few_digits_and_read_where_there_is_none() {
        // The levels of a model are single precision: 0.98 is 0.980000019073486.
        let points = [(0.8_f32, 1.234_567), (0.98, 4.0)].map(|(level, value)| (f64::from(level), value));
        let forecast = Quantiles::new(points.to_vec(), 0.1);
        let kept = Opinion::of(&Selector::new(1, 0), forecast.as_ref());
        let text = serde_json::to_string(&kept).unwrap();
        assert!(text.ends_with(r#""forecast":[[0.8,1.235],[0.98,4.0]]}"#), "{text}");
        let older: Opinion = serde_json::from_str(r#"{"followed":0,"held":[1.0],"cost":[2.0]}"#).unwrap();
        assert_eq!(older.forecast, []);
    }

    #[test]
    fn every_expert_has_a_name_of_its_own() {
        for names in [cpu_experts(), memory_experts()] {
            let mut distinct = names.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn four_digits_are_kept() {
        assert_eq!((digits(0.123_456), digits(123_456.0), digits(0.0)), (0.1235, 123_500.0, 0.0));
    }
}
