//! One tree: how it is grown and evaluated.
//!
//! Nodes are in depth-first order, so the left child is the next one and only the right one is stored. A leaf is a
//! split that sends every value right, to itself: a row can then take as many steps as the tree is deep without testing
//! for a leaf, and several rows are evaluated at once, which hides the latency of each step.

use std::hint::select_unpredictable;

use ndarray::{ArrayView2, NdFloat};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Euler's constant γ.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
/// Rows evaluated at once: enough to hide a memory latency of four or five cycles.
const LANES: usize = 8;

/// The type of a row's numbers: `f64` as given, `f32` to save space.
pub trait Cell: NdFloat {
    /// Converts without loss.
    fn wide(self) -> f64;
    /// A threshold between two numbers of this type, as one of them: the largest that is not above it.
    fn at_most(threshold: f64) -> Self;
}

impl Cell for f64 {
    fn wide(self) -> f64 {
        self
    }

    fn at_most(threshold: f64) -> Self {
        threshold
    }
}

impl Cell for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded down below")]
    fn at_most(threshold: f64) -> Self {
        let rounded = threshold as f32;
        // `value <= threshold` must have the same result for every `f32`, before and after.
        if threshold < f64::from(rounded) { rounded.next_down() } else { rounded }
    }
}

/// A grown tree.
#[derive(Clone, Debug)]
pub(super) struct Tree<T> {
    nodes: Vec<Node<T>>,
    /// For each leaf, by node index: its depth plus the mean depth of a search among its rows.
    depths: Vec<f64>,
    /// Steps to the deepest leaf.
    height: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node<T> {
    threshold: T,
    feature: u32,
    right: u32,
}

/// Rows of equal length, stored one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a, T> {
    pub(super) values: &'a [T],
    pub(super) columns: usize,
}

impl<T: Cell> Tree<T> {
    /// Grows the tree with this number on `samples` of the rows; seed and number determine its randomness.
    pub(super) fn grow(records: ArrayView2<'_, T>, samples: usize, seed: u64, number: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let drawn = rand::seq::index::sample(&mut rng, records.nrows(), samples);
        // The sampled rows, column by column, so that scanning a feature stays in the cache.
        let mut values = vec![T::zero(); samples * records.ncols()];
        for (place, row) in drawn.iter().enumerate() {
            for (feature, value) in records.row(row).iter().enumerate() {
                values[feature * samples + place] = *value;
            }
        }
        let mut growth = Growth {
            values,
            samples,
            rng,
            features: (0..records.ncols()).collect(),
            depth_limit: depth_limit(samples),
            tree: Self {
                nodes: Vec::with_capacity(2 * samples),
                depths: Vec::with_capacity(2 * samples),
                height: 0,
            },
        };
        let mut places: Vec<u32> = (0..small(samples)).collect();
        growth.grow(&mut places, 0);
        growth.tree
    }

    /// Adds the depth of each row of `block` to its entry in `totals`.
    pub(super) fn add_depths(&self, block: Block<'_, T>, totals: &mut [f64]) {
        let mut groups = totals.chunks_exact_mut(LANES);
        let mut rows = block.values.chunks_exact(LANES * block.columns);
        for (totals, rows) in groups.by_ref().zip(rows.by_ref()) {
            let mut at = [0_usize; LANES];
            for _ in 0..self.height {
                for (lane, at) in at.iter_mut().enumerate() {
                    *at = self.step(*at, &rows[lane * block.columns..]);
                }
            }
            for (total, at) in totals.iter_mut().zip(at) {
                *total += self.depths[at];
            }
        }
        let rest = rows.remainder().chunks_exact(block.columns);
        for (total, row) in groups.into_remainder().iter_mut().zip(rest) {
            *total += self.depth_of(row);
        }
    }

    /// The depth of one row.
    pub(super) fn depth_of(&self, row: &[T]) -> f64 {
        let at = (0..self.height).fold(0, |at, _| self.step(at, row));
        self.depths[at]
    }

    fn step(&self, at: usize, row: &[T]) -> usize {
        let node = self.nodes[at];
        // The direction is unpredictable: a branch would be mispredicted half of the time.
        let goes_left = row[node.feature as usize] <= node.threshold;
        select_unpredictable(goes_left, at + 1, node.right as usize)
    }
}

/// A tree being grown.
struct Growth<T> {
    /// The sampled rows, column by column.
    values: Vec<T>,
    samples: usize,
    rng: ChaCha8Rng,
    /// All features, in the order left by the draws so far.
    features: Vec<usize>,
    depth_limit: usize,
    tree: Tree<T>,
}

impl<T: Cell> Growth<T> {
    fn grow(&mut self, rows: &mut [u32], depth: usize) {
        let cut = if rows.len() <= 1 || self.depth_limit <= depth { None } else { self.draw_cut(rows) };
        let at = self.tree.nodes.len();
        let leaf = Node { threshold: T::neg_infinity(), feature: 0, right: small(at) };
        self.tree.nodes.push(leaf);
        let Some((feature, threshold)) = cut else {
            self.tree.depths.push(depth as f64 + mean_search_depth(rows.len()));
            self.tree.height = self.tree.height.max(depth);
            return;
        };
        self.tree.depths.push(0.0);
        let column = &self.values[feature * self.samples..][..self.samples];
        let middle = partition(rows, |row| column[row as usize] <= threshold);
        let (left, right) = rows.split_at_mut(middle);
        self.grow(left, depth + 1);
        self.tree.nodes[at] =
            Node { threshold, feature: small(feature), right: small(self.tree.nodes.len()) };
        self.grow(right, depth + 1);
    }

    /// Draws a feature that is not constant in `rows`, and a threshold in its range.
    fn draw_cut(&mut self, rows: &[u32]) -> Option<(usize, T)> {
        for undrawn in (1..=self.features.len()).rev() {
            let drawn = self.rng.gen_range(0..undrawn);
            self.features.swap(drawn, undrawn - 1);
            let feature = self.features[undrawn - 1];
            let column = &self.values[feature * self.samples..][..self.samples];
            let (mut low, mut high) = (T::infinity(), T::neg_infinity());
            for &row in rows {
                let value = column[row as usize];
                low = if value < low { value } else { low };
                high = if high < value { value } else { high };
            }
            if low < high {
                let share: f64 = self.rng.r#gen();
                // Not `low + share * (high - low)`, whose difference can overflow.
                let threshold = T::at_most(low.wide() * (1.0 - share) + high.wide() * share);
                // Rounding may reach `high`, which would leave the right side empty.
                return Some((feature, if threshold < high && low < threshold { threshold } else { low }));
            }
        }
        None
    }
}

/// Moves the rows that go left to the front and returns their number.
fn partition(rows: &mut [u32], goes_left: impl Fn(u32) -> bool) -> usize {
    let mut left = 0;
    for at in 0..rows.len() {
        if goes_left(rows[at]) {
            rows.swap(left, at);
            left += 1;
        }
    }
    left
}

/// Indices of features, rows and nodes stay far below 2^32: a tree has fewer than twice as many nodes as rows.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn depth_limit(samples: usize) -> usize {
    samples.max(2).next_power_of_two().ilog2() as usize
}

/// Mean depth of an unsuccessful search in a random binary tree of `n` rows.
pub(super) fn mean_search_depth(n: usize) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let n = n as f64;
            2.0 * ((n - 1.0).ln() + EULER_GAMMA) - 2.0 * (n - 1.0) / n
        }
    }
}
