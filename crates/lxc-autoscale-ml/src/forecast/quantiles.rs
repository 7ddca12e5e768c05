//! A forecast: the distribution of the coming peak.

use serde::{Deserialize, Serialize};

/// Forecast quantiles of a peak, ascending, in the resource's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// (level between 0 and 1, value), both ascending; at least two.
    points: Vec<(f64, f64)>,
}

/// Candidates per interval between two known quantiles.
const BETWEEN: i32 = 4;
/// Beyond the last known quantile the tail is followed down to e^-3 of its probability.
const TAIL_STEPS: i32 = 6;
const TAIL_STEP: f64 = 0.5;
/// The tail rises by at least 2 % each time it becomes e times less likely: extreme estimates that coincide mean a lack
/// of data, not the end of growth.
const LEAST_TAIL_SLOPE: f64 = 0.02;

impl Quantiles {
    /// From (level, value) pairs in any order; `None` with fewer than two usable ones.
    ///
    /// Separately trained quantiles may cross; a higher level never gets a smaller value than a lower one.
    pub fn new(mut points: Vec<(f64, f64)>, least: f64) -> Option<Self> {
        points.retain(|(level, value)| 0.0 < *level && *level < 1.0 && value.is_finite());
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut highest = least;
        for (_, value) in &mut points {
            highest = highest.max(*value);
            *value = highest;
        }
        (2 <= points.len()).then_some(Self { points })
    }

    /// (level between 0 and 1, value), both ascending.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The logarithm of the highest quantile over the lowest: the width of the distribution.
    pub fn log_width(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(low), Some(high)) => (high.1 / low.1).ln(),
            _ => 0.0,
        }
    }

    /// The probability that the peak stays below `value`: the inverse of [`Quantiles::at`]; in the tail by its last
    /// slope, and half of the lowest level below all quantiles.
    pub fn probability_below(&self, value: f64) -> f64 {
        let Some(first) = self.points.first() else { return 0.0 };
        if value < first.1 {
            return first.0 / 2.0;
        }
        let above = self.points.partition_point(|(_, known)| *known <= value);
        let upper = above.min(self.points.len() - 1).max(1);
        let (low, high) = (self.points[upper - 1], self.points[upper]);
        let slope = (high.1 / low.1).ln().max(LEAST_TAIL_SLOPE) / ((1.0 - low.0) / (1.0 - high.0)).ln();
        let (from, part) =
            if above == self.points.len() { (high, value / high.1) } else { (low, value / low.1) };
        1.0 - (1.0 - from.0) * (-part.ln() / slope).exp()
    }

    /// The value that the peak stays below with probability `level`.
    ///
    /// Between known levels the logarithm of the value is linear in the logarithm of the exceedance probability;
    /// outside of them the nearest known value applies.
    pub fn at(&self, level: f64) -> f64 {
        let above = self.points.partition_point(|(known, _)| *known < level);
        match (above.checked_sub(1).and_then(|below| self.points.get(below)), self.points.get(above)) {
            (Some(below), Some(above)) => {
                let tail = |level: f64| (1.0 - level).ln();
                let part = (tail(level) - tail(below.0)) / (tail(above.0) - tail(below.0));
                (below.1.ln() * (1.0 - part) + above.1.ln() * part).exp()
            }
            (Some(only), None) | (None, Some(only)) => only.1,
            (None, None) => 0.0,
        }
    }

    /// The sizes to choose from: the known quantiles, some between them, and the tail beyond.
    pub fn candidates(&self) -> Candidates {
        let between = self.points.windows(2).flat_map(|pair| {
            let (low, high) = (pair[0], pair[1]);
            // Sizes and probabilities form geometric sequences.
            let factor = |from: f64, to: f64| ((to / from).ln() / f64::from(BETWEEN)).exp();
            let (rise, fall) = (factor(low.1, high.1), factor(1.0 - low.0, 1.0 - high.0));
            (0..BETWEEN).map(move |step| (low.1 * rise.powi(step), (1.0 - low.0) * fall.powi(step)))
        });
        let last = self.points.last().copied().unwrap_or_default();
        let reference = self.points.iter().rev().nth(2).or(self.points.first()).copied().unwrap_or_default();
        let slope = (last.1 / reference.1).ln() / ((1.0 - reference.0) / (1.0 - last.0)).ln();
        let slope = if slope.is_finite() { slope.max(LEAST_TAIL_SLOPE) } else { LEAST_TAIL_SLOPE };
        let beyond = (0..=TAIL_STEPS).map(move |step| {
            let rarer = f64::from(step) * TAIL_STEP;
            (last.1 * (slope * rarer).exp(), (1.0 - last.0) * (-rarer).exp())
        });
        Candidates(between.chain(beyond).collect())
    }
}

/// Sizes to choose from, each with the probability that more will be needed.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates(Vec<(f64, f64)>);

impl Candidates {
    /// The cheapest size if each unit of it costs `unit_price` over the horizon of the forecast, and one shortage in
    /// that time costs `shortage_price`.
    ///
    /// This is the newsvendor problem with a price for the event instead of the amount: a small container can afford a
    /// headroom that a large one cannot.
    pub fn cheapest(&self, unit_price: f64, shortage_price: f64) -> f64 {
        let cost = |(value, tail): &(f64, f64)| unit_price * value + shortage_price * tail;
        let cheapest = self.0.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        cheapest.map_or(0.0, |(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantiles() -> Quantiles {
        Quantiles::new(vec![(0.9, 200.0), (0.5, 100.0), (0.99, 400.0), (0.999, 380.0)], 1.0).unwrap()
    }

    #[test]
    fn a_higher_level_never_gets_less() {
        assert!((quantiles().at(0.999) - 400.0).abs() < 1e-9 && (quantiles().at(0.5) - 100.0).abs() < 1e-9);
        assert!((quantiles().at(0.1) - 100.0).abs() < 1e-9);
        assert!(Quantiles::new(vec![(0.5, 1.0), (0.9, f64::NAN)], 0.0).is_none());
    }

    #[test]
    fn between_two_levels_the_tail_is_followed() {
        // A tenth as likely from 0.9 to 0.99, so half of the way is at 1 - 0.1 / sqrt(10).
        let got = quantiles().at(1.0 - 0.1 / 10.0_f64.sqrt());
        assert!((got - (200.0_f64 * 400.0).sqrt()).abs() < 1e-6, "{got}");
    }

    #[test]
    fn the_probability_of_a_value_is_the_level_it_has() {
        for level in [0.5, 0.7, 0.9, 0.97, 0.99, 0.998] {
            let got = quantiles().probability_below(quantiles().at(level));
            assert!((got - level).abs() < 1e-6 || 0.99 <= got.min(level), "{level}: {got}");
        }
        let (low, high) = (quantiles().probability_below(10.0), quantiles().probability_below(1e5));
        assert!(low < 0.5 && (0.999..=1.0).contains(&high), "{low} {high}");
    }

    #[test]
    fn what_costs_more_to_hold_is_held_less_and_what_costs_more_to_miss_more() {
        let got = |unit, shortage| quantiles().candidates().cheapest(unit, shortage);
        assert!((got(1.0, 1.0) - 100.0).abs() < 1e-9);
        assert!(got(0.01, 10.0) > 150.0 && got(0.01, 1e6) > 400.0);
        assert!(got(0.001, 10.0) >= got(0.01, 10.0) && got(0.01, 10.0) >= got(0.1, 10.0));
    }

    proptest! {
        #[test]
        fn rising_and_finite(
            values in proptest::collection::vec(0.01f64..1e6, 2..8),
            levels in (0.0f64..1.0, 0.0f64..1.0),
            prices in (1e-6f64..10.0, 0.0f64..100.0),
        ) {
            let count = values.len() as f64;
            let points = values.iter().enumerate().map(|(i, v)| ((i as f64 + 1.0) / (count + 1.0), *v)).collect();
            let quantiles = Quantiles::new(points, 0.01).unwrap();
            let (low, high) = (levels.0.min(levels.1), levels.0.max(levels.1));
            prop_assert!(quantiles.at(low) <= quantiles.at(high) * (1.0 + 1e-9));
            prop_assert!(quantiles.candidates().cheapest(prices.0, prices.1).is_finite());
            let below = [values[0], 0.0, 1e7].map(|value| quantiles.probability_below(value));
            prop_assert!(below.iter().all(|probability| (0.0..=1.0).contains(probability)), "{below:?}");
        }
    }
}
