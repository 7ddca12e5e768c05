//! Gradient boosting of quantiles: each tree corrects the sum of the trees before it.
//!
//! The loss is the pinball loss, whose gradient is `1 - q` where the estimate is too high and `-q` where it is too low;
//! each leaf is then set to the `q` quantile of the residuals in it (Friedman, "Greedy function approximation: a
//! gradient boosting machine", 2001, section 4.3). Features are binned first (a few dozen bins) and trees grow
//! leaf-wise, by the best split of all leaves, as in LightGBM (Ke et al., NIPS 2017).

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::trees::{Ensemble, Node, Tree};

/// Bins per feature; the first holds unknown values.
const BINS: usize = 64;
/// Rows sampled to choose the boundaries of the bins.
const CUT_SAMPLE: usize = 20_000;

/// Parameters of the boosting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoostingParams {
    /// Share of the values that should lie below the estimate, between 0 and 1.
    pub quantile: f64,
    /// Number of trees.
    pub rounds: usize,
    /// Most leaves per tree.
    pub leaves: usize,
    /// Factor applied to each tree's correction.
    pub learning_rate: f64,
    /// Fewest rows per leaf.
    pub min_rows: usize,
    /// Share of the rows used by each tree.
    pub row_share: f64,
    /// Share of the features used by each tree.
    pub feature_share: f64,
    /// Regularisation weight added to each leaf.
    pub ridge: f64,
    /// Seed of all randomness.
    pub seed: u64,
}

impl Default for BoostingParams {
    fn default() -> Self {
        Self {
            quantile: 0.5,
            rounds: 120,
            leaves: 24,
            learning_rate: 0.1,
            min_rows: 200,
            row_share: 0.5,
            feature_share: 0.5,
            ridge: 1.0,
            seed: 1,
        }
    }
}

/// Training rows, binned.
#[derive(Clone, Debug)]
pub struct BinnedRows {
    /// Boundaries of the bins of each feature; bin `b` holds values up to `cuts[b - 1]`, bin 0 unknown values.
    cuts: Vec<Vec<f32>>,
    /// Bins by feature, then row.
    bins: Vec<Vec<u8>>,
    rows: usize,
}

impl BinnedRows {
    /// Bins `rows` of `features` values each, stored one after the other in `values`.
    pub fn new(values: &[f32], features: usize) -> Self {
        let rows = values.len().checked_div(features).unwrap_or(0);
        let column = |feature: usize| values.iter().skip(feature).step_by(features.max(1)).copied();
        let mut cuts = Vec::with_capacity(features);
        let mut bins = Vec::with_capacity(features);
        for feature in 0..features {
            let own = cuts_of(column(feature).step_by(rows.div_ceil(CUT_SAMPLE).max(1)));
            bins.push(column(feature).map(|value| bin_of(&own, value)).collect());
            cuts.push(own);
        }
        Self { cuts, bins, rows }
    }
}

fn cuts_of(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut known: Vec<f32> = values.filter(|value| !value.is_nan()).collect();
    known.sort_unstable_by(f32::total_cmp);
    // The last bin needs no upper end: it holds everything above the last boundary.
    let mut cuts: Vec<f32> =
        (1..BINS - 1).filter_map(|bin| known.get(bin * known.len() / (BINS - 1)).copied()).collect();
    cuts.dedup();
    cuts
}

fn bin_of(cuts: &[f32], value: f32) -> u8 {
    let bin = if value.is_nan() { 0 } else { 1 + cuts.partition_point(|cut| *cut < value) };
    u8::try_from(bin).unwrap_or(u8::MAX)
}

/// Sums of gradient and weight, by bin.
type Histogram = Vec<[f64; 2]>;

/// A leaf of the growing tree.
struct Leaf {
    rows: Vec<u32>,
    histograms: Vec<Histogram>,
    split: Option<Split>,
    /// The node and side that point to it; `None` for the root.
    parent: Option<(usize, Side)>,
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    bin: u8,
}

/// Fits the quantile of `targets` with `weights`, one of each per row.
pub fn fit(rows: &BinnedRows, targets: &[f32], weights: &[f32], params: &BoostingParams) -> Ensemble {
    let count = rows.rows.min(targets.len()).min(weights.len());
    let mut random = ChaCha8Rng::seed_from_u64(params.seed);
    let everyone: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    let base = weighted_quantile(
        &mut everyone.iter().map(|row| (targets[*row as usize], weights[*row as usize])).collect::<Vec<_>>(),
        params.quantile,
    );
    let mut estimate = vec![base; count];
    let mut gradient = vec![0.0_f32; count];
    let mut trees = Vec::with_capacity(params.rounds);
    let features = sample_size(rows.cuts.len(), params.feature_share);
    for _ in 0..params.rounds {
        for row in 0..count {
            let too_high = targets[row] < estimate[row];
            #[expect(clippy::cast_possible_truncation, reason = "a share")]
            let slope = if too_high { 1.0 - params.quantile } else { -params.quantile } as f32;
            gradient[row] = slope * weights[row];
        }
        let seen: Vec<u32> =
            everyone.iter().copied().filter(|_| random.gen_bool(params.row_share.clamp(0.0, 1.0))).collect();
        let mut chosen: Vec<usize> = (0..rows.cuts.len()).collect();
        chosen.shuffle(&mut random);
        chosen.truncate(features);
        chosen.sort_unstable();
        let grower = Grower { rows, gradient: &gradient, weights, params, features: &chosen };
        let (mut tree, leaves) = grower.grow(seen);
        for (value, leaf) in tree.leaves.iter_mut().zip(&leaves) {
            let mut rest: Vec<(f32, f32)> = leaf
                .iter()
                .map(|row| (targets[*row as usize] - estimate[*row as usize], weights[*row as usize]))
                .collect();
            #[expect(clippy::cast_possible_truncation, reason = "a small factor")]
            let rate = params.learning_rate as f32;
            *value = rate * weighted_quantile(&mut rest, params.quantile);
        }
        grower.add(&tree, &mut estimate);
        trees.push(tree);
    }
    Ensemble { base, trees }
}

fn sample_size(all: usize, share: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
    let wanted = (all as f64 * share.clamp(0.0, 1.0)).round() as usize;
    wanted.clamp(1, all.max(1))
}

/// The quantile of (value, weight) pairs; 0 if there are none.
fn weighted_quantile(pairs: &mut [(f32, f32)], quantile: f64) -> f32 {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = pairs.iter().map(|pair| f64::from(pair.1)).sum();
    let mut below = 0.0;
    for (value, weight) in pairs.iter() {
        below += f64::from(*weight);
        if quantile * total <= below {
            return *value;
        }
    }
    pairs.last().map_or(0.0, |pair| pair.0)
}

struct Grower<'a> {
    rows: &'a BinnedRows,
    gradient: &'a [f32],
    weights: &'a [f32],
    params: &'a BoostingParams,
    features: &'a [usize],
}

impl Grower<'_> {
    /// Grows one tree; returns it with the rows of each leaf. The values of the leaves are still to be set.
    fn grow(&self, rows: Vec<u32>) -> (Tree, Vec<Vec<u32>>) {
        let histograms = self.histograms(&rows);
        let mut root = Leaf { rows, histograms, split: None, parent: None };
        root.split = self.best_split(&root);
        let mut open = vec![root];
        let mut nodes: Vec<Node> = Vec::new();
        while open.len() < self.params.leaves {
            let gain = |leaf: &Leaf| leaf.split.map_or(f64::NEG_INFINITY, |split| split.gain);
            let best = (0..open.len()).max_by(|a, b| gain(&open[*a]).total_cmp(&gain(&open[*b])));
            let Some(best) = best.filter(|index| open[*index].split.is_some()) else { break };
            let leaf = open.swap_remove(best);
            let Some(split) = leaf.split else { break };
            let node = nodes.len();
            point(&mut nodes, leaf.parent, index_of(node));
            nodes.push(Node {
                feature: u8::try_from(split.feature).unwrap_or(u8::MAX),
                threshold: self.threshold(split),
                left: 0,
                right: 0,
            });
            let (left, right) = self.divide(leaf, split, node);
            open.push(left);
            open.push(right);
        }
        let mut leaves = Vec::with_capacity(open.len());
        for (index, leaf) in open.into_iter().enumerate() {
            point(&mut nodes, leaf.parent, -1 - index_of(index));
            leaves.push(leaf.rows);
        }
        (Tree { nodes, leaves: vec![0.0; leaves.len()] }, leaves)
    }

    fn threshold(&self, split: Split) -> f32 {
        // Bin 0 holds only unknown values: every known value lies above it.
        let end = usize::from(split.bin).checked_sub(1);
        end.map_or(f32::NEG_INFINITY, |end| self.rows.cuts[split.feature][end])
    }

    fn divide(&self, leaf: Leaf, split: Split, node: usize) -> (Leaf, Leaf) {
        let bins = &self.rows.bins[split.feature];
        let (left, right): (Vec<u32>, Vec<u32>) =
            leaf.rows.iter().partition(|row| bins[**row as usize] <= split.bin);
        // Only the smaller side is summed; the other one is the difference.
        let left_is_smaller = left.len() < right.len();
        let small = self.histograms(if left_is_smaller { &left } else { &right });
        let mut large = leaf.histograms;
        for (large, small) in large.iter_mut().zip(&small) {
            for (large, small) in large.iter_mut().zip(small) {
                large[0] -= small[0];
                large[1] -= small[1];
            }
        }
        let (left_histograms, right_histograms) =
            if left_is_smaller { (small, large) } else { (large, small) };
        let finish = |rows, histograms, side| {
            let mut leaf = Leaf { rows, histograms, split: None, parent: Some((node, side)) };
            leaf.split = self.best_split(&leaf);
            leaf
        };
        (finish(left, left_histograms, Side::Left), finish(right, right_histograms, Side::Right))
    }

    fn histograms(&self, rows: &[u32]) -> Vec<Histogram> {
        let count = |feature: &usize| {
            let bins = &self.rows.bins[*feature];
            let mut histogram = vec![[0.0; 2]; BINS];
            for row in rows {
                let row = *row as usize;
                let sums = &mut histogram[usize::from(bins[row])];
                sums[0] += f64::from(self.gradient[row]);
                sums[1] += f64::from(self.weights[row]);
            }
            histogram
        };
        self.features.iter().map(count).collect()
    }

    fn best_split(&self, leaf: &Leaf) -> Option<Split> {
        let least = self.params.min_rows.max(1);
        if leaf.rows.len() < 2 * least {
            return None;
        }
        // Bins hold weights, not counts; the mean weight converts one to the other.
        let total =
            leaf.histograms.first()?.iter().fold([0.0; 2], |sum, bin| [sum[0] + bin[0], sum[1] + bin[1]]);
        let least_weight = total[1] * least as f64 / leaf.rows.len() as f64;
        let score = |gradient: f64, weight: f64| gradient * gradient / (weight + self.params.ridge);
        let parent = score(total[0], total[1]);
        let mut best: Option<Split> = None;
        for (feature, histogram) in self.features.iter().zip(&leaf.histograms) {
            let (mut gradient, mut weight) = (0.0, 0.0);
            for (bin, sums) in histogram.iter().enumerate().take(self.rows.cuts[*feature].len() + 1) {
                gradient += sums[0];
                weight += sums[1];
                if weight < least_weight || total[1] - weight < least_weight {
                    continue;
                }
                let gain = score(gradient, weight) + score(total[0] - gradient, total[1] - weight) - parent;
                if 1e-9 < gain && best.is_none_or(|best| best.gain < gain) {
                    best = Some(Split { gain, feature: *feature, bin: u8::try_from(bin).unwrap_or(u8::MAX) });
                }
            }
        }
        best
    }

    /// Adds the tree's value to the estimate of every row.
    fn add(&self, tree: &Tree, estimate: &mut [f32]) {
        for (row, estimate) in estimate.iter_mut().enumerate() {
            let mut next: i16 = if tree.nodes.is_empty() { -1 } else { 0 };
            while let Ok(index) = usize::try_from(next) {
                let node = &tree.nodes[index];
                let feature = usize::from(node.feature);
                let bin = usize::from(self.rows.bins[feature][row]);
                // A value above the threshold lies in a higher bin.
                let above = bin > 0
                    && (node.threshold == f32::NEG_INFINITY
                        || self.rows.cuts[feature].get(bin - 1).is_none_or(|end| node.threshold < *end));
                next = if above { node.right } else { node.left };
            }
            let leaf = usize::try_from(-1 - i32::from(next)).unwrap_or_default();
            *estimate += tree.leaves.get(leaf).copied().unwrap_or(0.0);
        }
    }
}

fn point(nodes: &mut [Node], parent: Option<(usize, Side)>, to: i16) {
    let Some((parent, side)) = parent else { return };
    match side {
        Side::Left => nodes[parent].left = to,
        Side::Right => nodes[parent].right = to,
    }
}

fn index_of(index: usize) -> i16 {
    i16::try_from(index).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of (x, noise feature) with y uniform in [0, width(x)].
    fn made(count: usize, width: impl Fn(f32) -> f32) -> (Vec<f32>, Vec<f32>) {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut values = Vec::new();
        let mut targets = Vec::new();
        for _ in 0..count {
            let x: f32 = random.r#gen();
            values.extend([x, random.r#gen()]);
            targets.push(width(x) * random.r#gen::<f32>());
        }
        (values, targets)
    }

    fn quick(quantile: f64) -> BoostingParams {
        BoostingParams {
            quantile,
            rounds: 60,
            leaves: 8,
            min_rows: 50,
            feature_share: 1.0,
            ..BoostingParams::default()
        }
    }

    #[test]
    fn the_wanted_share_lies_below_on_each_side_of_a_step() {
        let width = |x: f32| if x < 0.5 { 1.0 } else { 10.0 };
        let (values, targets) = made(8000, width);
        let rows = BinnedRows::new(&values, 2);
        for quantile in [0.5, 0.9] {
            let model = fit(&rows, &targets, &vec![1.0; targets.len()], &quick(quantile));
            assert!(model.is_sound(2));
            #[expect(clippy::cast_possible_truncation, reason = "a share")]
            let want = quantile as f32;
            for (x, width) in [(0.2, 1.0), (0.8, 10.0)] {
                let got = model.predict(&[x, 0.5]) / width;
                assert!((got - want).abs() < 0.06, "{quantile} at {x}: {got}");
            }
        }
    }

    #[test]
    fn heavy_rows_count_for_more() {
        let (values, mut targets) = made(4000, |_| 0.0);
        targets.iter_mut().step_by(4).for_each(|target| *target = 1.0);
        let weights: Vec<f32> = (0..targets.len()).map(|row| if row % 4 == 0 { 9.0 } else { 1.0 }).collect();
        let rows = BinnedRows::new(&values, 2);
        let light = fit(&rows, &targets, &vec![1.0; 4000], &quick(0.5)).predict(&[0.5, 0.5]);
        let heavy = fit(&rows, &targets, &weights, &quick(0.5)).predict(&[0.5, 0.5]);
        assert!(light < 0.1 && 0.9 < heavy, "{light} {heavy}");
    }

    #[test]
    fn the_unknown_goes_its_own_way() {
        let (mut values, mut targets) = made(4000, |_| 1.0);
        for row in (0..4000).step_by(2) {
            values[2 * row] = f32::NAN;
            targets[row] += 5.0;
        }
        let rows = BinnedRows::new(&values, 2);
        let model = fit(&rows, &targets, &vec![1.0; 4000], &quick(0.5));
        assert!(5.0 < model.predict(&[f32::NAN, 0.5]) && model.predict(&[0.5, 0.5]) < 1.0);
    }

    #[test]
    fn the_same_seed_learns_the_same() {
        let (values, targets) = made(2000, |x| x);
        let rows = BinnedRows::new(&values, 2);
        let weights = vec![1.0; 2000];
        assert_eq!(fit(&rows, &targets, &weights, &quick(0.9)), fit(&rows, &targets, &weights, &quick(0.9)));
    }
}
