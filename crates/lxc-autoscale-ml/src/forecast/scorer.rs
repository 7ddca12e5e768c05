//! Evaluates all trees of a resource: all of them for the first row, then only those whose result may have changed.
//!
//! Rows of one container follow each other step by step, and from one to the next about a hundred of the eleven
//! thousand conditions in the trees change. So the conditions of all trees are stored per feature in the order of their
//! thresholds: those between the previous value and the present one have changed. Only if one of them lies on the path
//! to the previous leaf of its tree, the tree is evaluated again from there.

use super::trees::{Ensemble, Node, end_of_way};

/// Most leaves per tree: one bit each.
const MOST_LEAVES: usize = 32;

/// Ensembles that are evaluated together on the same row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scorer {
    /// The thresholds of all conditions, by feature and ascending within it,
    thresholds: Vec<f32>,
    /// and the place of each.
    places: Vec<Place>,
    /// Where the conditions of each feature end.
    ends: Vec<usize>,
    /// The nodes of all trees, tree by tree.
    nodes: Vec<Node>,
    /// The leaves of all trees, tree by tree.
    leaves: Vec<f32>,
    trees: Vec<Begin>,
    /// The base value of each ensemble, and its number of trees.
    ensembles: Vec<(f32, usize)>,
}

/// The place of a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    /// The leaves reached through it: one bit each.
    beneath: u32,
    tree: u16,
    /// The node of the tree.
    node: i16,
}

/// Where the nodes and the leaves of a tree begin.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Begin {
    node: usize,
    leaf: usize,
}

/// The results for a row. They belong to the [`Scorer`] that filled them in.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// For each feature, the number of thresholds below its value.
    above: Vec<u16>,
    /// The leaf of each tree.
    leaves: Vec<u8>,
}

impl Scorer {
    /// `None` when a tree has more than [`MOST_LEAVES`], or there are more trees or conditions than can be numbered.
    /// The ensembles must be sound ([`Ensemble::is_sound`]) for rows of `features` values.
    pub(super) fn new<'a>(
        ensembles: impl IntoIterator<Item = &'a Ensemble>,
        features: usize,
    ) -> Option<Self> {
        let mut asked: Vec<Vec<(f32, Place)>> = vec![Vec::new(); features];
        let (mut nodes, mut leaves, mut trees, mut bases) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ensemble in ensembles {
            bases.push((ensemble.base, ensemble.trees.len()));
            for tree in &ensemble.trees {
                if MOST_LEAVES < tree.leaves.len() {
                    return None;
                }
                let number = u16::try_from(trees.len()).ok()?;
                for (node, beneath) in (0..).zip(leaves_beneath(&tree.nodes)?) {
                    let Node { feature, threshold, .. } = *tree.nodes.get(usize::try_from(node).ok()?)?;
                    let place = Place { beneath, tree: number, node };
                    asked.get_mut(usize::from(feature))?.push((threshold, place));
                }
                trees.push(Begin { node: nodes.len(), leaf: leaves.len() });
                nodes.extend_from_slice(&tree.nodes);
                leaves.extend_from_slice(&tree.leaves);
            }
        }
        let mut ends = Vec::with_capacity(features);
        for of_feature in &mut asked {
            of_feature.sort_by(|a, b| a.0.total_cmp(&b.0));
            let count = u16::try_from(of_feature.len()).ok()?;
            ends.push(ends.last().copied().unwrap_or_default() + usize::from(count));
        }
        let (thresholds, places) = (column(&asked, |asked| asked.0), column(&asked, |asked| asked.1));
        nodes.shrink_to_fit();
        leaves.shrink_to_fit();
        Some(Self { thresholds, places, ends, nodes, leaves, trees, ensembles: bases })
    }

    /// The sum of each ensemble for one row. Values that are unknown or missing in the row are above no threshold.
    ///
    /// `last` holds the results of the previous row, or none, and is updated. It saves work and changes no sum.
    pub(super) fn predict(&self, row: &[f32], last: &mut Answers) -> Vec<f32> {
        if last.leaves.len() == self.trees.len() {
            self.answer_changed(row, last);
        } else {
            *last = self.answer_all(row);
        }
        let mut trees = self.trees.iter().zip(&last.leaves);
        let leaf = |(begin, leaf): (&Begin, &u8)| {
            self.leaves.get(begin.leaf + usize::from(*leaf)).copied().unwrap_or_default()
        };
        let sum = |(base, count): &(f32, usize)| base + trees.by_ref().take(*count).map(leaf).sum::<f32>();
        self.ensembles.iter().map(sum).collect()
    }

    fn answer_all(&self, row: &[f32]) -> Answers {
        let value = |feature: usize| row.get(feature).copied().unwrap_or(f32::NAN);
        let above = (0..self.ends.len()).map(|feature| self.above(feature, value(feature)));
        let root = |begin: &Begin, end: usize| if begin.node == end { -1 } else { 0 };
        let ends = self.trees.iter().skip(1).map(|next| next.node).chain([self.nodes.len()]);
        let leaves = (0..).zip(self.trees.iter().zip(ends));
        let leaves = leaves.map(|(tree, (begin, end))| self.leaf(tree, root(begin, end), row));
        Answers { above: above.collect(), leaves: leaves.collect() }
    }

    fn answer_changed(&self, row: &[f32], last: &mut Answers) {
        let mut begin = 0;
        for ((feature, end), above) in self.ends.iter().enumerate().zip(&mut last.above) {
            let value = row.get(feature).copied().unwrap_or(f32::NAN);
            let thresholds = &self.thresholds[begin..*end];
            let is_above = |place: usize| thresholds.get(place).is_some_and(|threshold| *threshold < value);
            let before = usize::from(*above);
            // Most values stay between the same two thresholds.
            if is_above(before) || (0 < before && !is_above(before - 1)) {
                *above = self.above(feature, value);
                let now = usize::from(*above);
                for place in &self.places[begin + before.min(now)..begin + before.max(now)] {
                    let Some(leaf) = last.leaves.get_mut(usize::from(place.tree)) else { continue };
                    if (place.beneath >> *leaf) & 1 == 1 {
                        // The conditions above it on the path are unchanged, or are handled in their turn.
                        *leaf = self.leaf(place.tree, place.node, row);
                    }
                }
            }
            begin = *end;
        }
    }

    /// The number of thresholds of the feature below the value.
    fn above(&self, feature: usize, value: f32) -> u16 {
        let begin = feature.checked_sub(1).map_or(0, |before| self.ends[before]);
        let above =
            self.thresholds[begin..self.ends[feature]].partition_point(|threshold| *threshold < value);
        // There are no more, which was checked on construction.
        u16::try_from(above).unwrap_or(u16::MAX)
    }

    /// The leaf that the row reaches from this node.
    fn leaf(&self, tree: u16, node: i16, row: &[f32]) -> u8 {
        let begin = self.trees.get(usize::from(tree)).map_or(self.nodes.len(), |begin| begin.node);
        let leaf = end_of_way(&self.nodes[begin..], node, row);
        // A sound tree has one, of at most 32.
        leaf.and_then(|leaf| u8::try_from(leaf).ok()).unwrap_or_default()
    }
}

/// One of the two parts of each condition, in order and without spare capacity.
fn column<T>(asked: &[Vec<(f32, Place)>], one: impl Fn(&(f32, Place)) -> T) -> Vec<T> {
    let mut column = Vec::with_capacity(asked.iter().map(Vec::len).sum());
    column.extend(asked.iter().flatten().map(one));
    column
}

/// The leaves reached through each node of a tree, one bit each.
fn leaves_beneath(nodes: &[Node]) -> Option<Vec<u32>> {
    let mut beneath = vec![0_u32; nodes.len()];
    // Children come after their parent.
    for (index, node) in nodes.iter().enumerate().rev() {
        let of = |next: i16| match usize::try_from(next) {
            Ok(child) => beneath.get(child).copied(),
            Err(_) => 1_u32.checked_shl(u32::try_from(-1 - i32::from(next)).ok()?),
        };
        beneath[index] = of(node.left)? | of(node.right)?;
    }
    Some(beneath)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forecast::trees::Tree;

    const FEATURES: u8 = 3;

    fn value() -> impl Strategy<Value = f32> {
        // Few distinct values, so that values equal thresholds.
        prop_oneof![Just(f32::NAN), (-4i8..5).prop_map(f32::from), Just(-0.0), Just(f32::INFINITY)]
    }

    /// A tree grown at random places, with children after their parents.
    fn tree() -> impl Strategy<Value = Tree> {
        let splits = proptest::collection::vec((any::<u16>(), 0..FEATURES, -4i8..5), 0..MOST_LEAVES);
        splits.prop_map(|splits| {
            let mut nodes: Vec<Node> = Vec::new();
            // Open ends: (node, whether the right one).
            let mut open: Vec<(usize, bool)> = Vec::new();
            for (pick, feature, threshold) in splits {
                let index = nodes.len();
                if !open.is_empty() {
                    let (parent, right) = open.swap_remove(usize::from(pick) % open.len());
                    let end = if right { &mut nodes[parent].right } else { &mut nodes[parent].left };
                    *end = i16::try_from(index).unwrap();
                }
                nodes.push(Node { feature, threshold: threshold.into(), left: 0, right: 0 });
                open.extend([(index, false), (index, true)]);
            }
            for (leaf, (parent, right)) in (0..).zip(&open) {
                let end = if *right { &mut nodes[*parent].right } else { &mut nodes[*parent].left };
                *end = -1 - leaf;
            }
            let leaves = (0..open.len().max(1)).map(|leaf| leaf as f32 + 0.25).collect();
            Tree { nodes, leaves }
        })
    }

    proptest! {
        /// Equal to the last bit: the trees' values are added in the same order.
        #[test]
        fn asking_those_that_may_have_changed_says_what_asking_all_says(
            ensembles in proptest::collection::vec(
                (-2.0f32..2.0, proptest::collection::vec(tree(), 0..5)).prop_map(|(base, trees)| Ensemble { base, trees }),
                1..4,
            ),
            rows in proptest::collection::vec(proptest::collection::vec(value(), usize::from(FEATURES)), 1..20),
        ) {
            prop_assert!(ensembles.iter().all(|ensemble| ensemble.is_sound(FEATURES.into())));
            let scorer = Scorer::new(&ensembles, FEATURES.into()).unwrap();
            let mut last = Answers::default();
            for row in rows {
                let walked: Vec<u32> = ensembles.iter().map(|ensemble| ensemble.predict(&row).to_bits()).collect();
                // From the previous row, and from none.
                for last in [&mut last, &mut Answers::default()] {
                    let asked: Vec<u32> = scorer.predict(&row, last).into_iter().map(f32::to_bits).collect();
                    prop_assert_eq!(&asked, &walked, "{:?}", row);
                }
            }
        }
    }

    #[test]
    fn a_tree_with_too_many_leaves_is_refused() {
        let chain = |leaves: i16| {
            let node = |index: i16| {
                let right = if index + 2 == leaves { -1 - (index + 1) } else { index + 1 };
                Node { feature: 0, threshold: f32::from(index), left: -1 - index, right }
            };
            let leaves = usize::try_from(leaves).unwrap();
            Tree { nodes: (0..).map(node).take(leaves - 1).collect(), leaves: vec![1.0; leaves] }
        };
        let scorer = |leaves| {
            let ensemble = Ensemble { base: 0.0, trees: vec![chain(leaves)] };
            assert!(ensemble.is_sound(1));
            Scorer::new(&[ensemble], 1)
        };
        assert!(scorer(32).is_some() && scorer(33).is_none());
    }
}
