//! Columns scaled by their median and their usual distance from it.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::choice::Usual;
use crate::median::median;

/// Factor from the median absolute deviation of a Gaussian to its standard deviation.
const GAUSSIAN: f64 = 1.4826;
/// Where distances are added up, a column is limited to this many spreads: it would decide alone.
pub(super) const FURTHEST: f64 = 50.0;

/// Median and spread of each column.
#[derive(Clone, Debug)]
pub(super) struct RobustScale {
    centre: Array1<f64>,
    spread: Array1<f64>,
}

impl RobustScale {
    /// From at least one row of finite numbers.
    pub(super) fn of(past: ArrayView2<'_, f32>) -> Self {
        let (mut centre, mut spread) = (Vec::new(), Vec::new());
        for column in past.axis_iter(Axis(1)) {
            let (middle, deviation) = middle_and_spread(column);
            centre.push(middle);
            spread.push(deviation);
        }
        Self { centre: centre.into(), spread: spread.into() }
    }

    /// A value of a column as its distance from the median in units of the spread, limited to [`FURTHEST`].
    pub(super) fn capped(&self, column: usize, value: f32) -> f64 {
        let z = (f64::from(value) - self.centre[column]) / self.spread[column];
        z.clamp(-FURTHEST, FURTHEST)
    }

    /// Rows as distances from the median in units of the spread.
    pub(super) fn scaled(&self, rows: ArrayView2<'_, f32>) -> Array2<f64> {
        (rows.mapv(f64::from) - &self.centre) / &self.spread
    }
}

impl Usual for RobustScale {
    /// The most distant column decides: a leak shows in one, not in the mean of twenty.
    fn scores(&self, rows: ArrayView2<'_, f32>) -> Vec<f64> {
        let furthest = |row: ArrayView1<'_, f64>| row.iter().fold(0.0, |far: f64, z| far.max(z.abs()));
        self.scaled(rows).rows().into_iter().map(|row| -furthest(row)).collect()
    }
}

/// If more than half of a column is constant, its median absolute deviation is 0: then its standard deviation is used,
/// and for a constant column a hundredth of its value.
fn middle_and_spread(column: ArrayView1<'_, f32>) -> (f64, f64) {
    // There is at least one row.
    let median = |values: &mut dyn Iterator<Item = f64>| median(values).unwrap_or_default();
    let middle = median(&mut column.iter().map(|value| f64::from(*value)));
    let deviation = GAUSSIAN * median(&mut column.iter().map(|value| (f64::from(*value) - middle).abs()));
    if 0.0 < deviation {
        return (middle, deviation);
    }
    let squares = column.iter().map(|value| (f64::from(*value) - middle).powi(2)).sum::<f64>();
    let standard = (squares / column.len() as f64).sqrt();
    if 0.0 < standard { (middle, standard) } else { (middle, (middle.abs() / 100.0).max(1e-3)) }
}
