//! Rows by blocks of sixteen, each column of a block in one piece: what is done for one row is done for all of them at once.

use ndarray::ArrayView2;

use crate::detect::robust::RobustScale;

/// Rows of a block.
pub(super) const LANES: usize = 16;

/// A number of each row of a block.
pub(super) type Lanes = [f32; LANES];

/// Scaled rows. The last block is filled up with rows of zeros.
pub(super) struct Blocks {
    rows: usize,
    columns: usize,
    values: Vec<Lanes>,
}

impl Blocks {
    /// Of rows with at least one column.
    pub(super) fn of(scale: &RobustScale, rows: ArrayView2<'_, f32>) -> Self {
        let (count, columns) = rows.dim();
        let mut values = vec![[0.0; LANES]; count.div_ceil(LANES) * columns];
        for (index, row) in rows.rows().into_iter().enumerate() {
            let block = &mut values[index / LANES * columns..];
            for (column, (lanes, value)) in block.iter_mut().zip(row).enumerate() {
                #[expect(clippy::cast_possible_truncation, reason = "a small number of spreads")]
                let value = scale.capped(column, *value) as f32;
                lanes[index % LANES] = value;
            }
        }
        Self { rows: count, columns, values }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The columns of each block, and how many of its rows are rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[Lanes], usize)> {
        let rows = |index: usize| (self.rows - LANES * index).min(LANES);
        self.values.chunks_exact(self.columns).enumerate().map(move |(index, block)| (block, rows(index)))
    }

    /// One row.
    pub(super) fn row(&self, index: usize) -> Vec<f32> {
        let block = &self.values[index / LANES * self.columns..][..self.columns];
        block.iter().map(|lanes| lanes[index % LANES]).collect()
    }

    /// The sum of the shares, and the mean of the rows by them.
    pub(super) fn mean(&self, shares: &[Lanes]) -> (f64, Vec<f32>) {
        let mut sums = vec![[0.0; LANES]; self.columns];
        for ((block, _), shares) in self.iter().zip(shares).filter(|(_, shares)| has_some(shares)) {
            for (sum, values) in sums.iter_mut().zip(block) {
                add_products(sum, values, shares);
            }
        }
        let weight = shares.iter().map(total).sum::<f64>();
        #[expect(clippy::cast_possible_truncation, reason = "a mean of small numbers")]
        let mean = sums.iter().map(|sum| (total(sum) / weight) as f32).collect();
        (weight, mean)
    }
}

/// Whether a block has any part of them.
pub(super) fn has_some(shares: &Lanes) -> bool {
    shares.iter().any(|share| 0.0 < *share)
}

/// Adds the products of two numbers of each row.
pub(super) fn add_products(sums: &mut Lanes, one: &Lanes, other: &Lanes) {
    for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
        *sum += one * other;
    }
}

/// The sum of all rows.
pub(super) fn total(lanes: &Lanes) -> f64 {
    lanes.iter().map(|value| f64::from(*value)).sum()
}
