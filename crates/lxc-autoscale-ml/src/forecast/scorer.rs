//! Asks all trees of a resource at once: QuickScorer (Lucchese et al., SIGIR 2015).
//!
//! Walking down five hundred trees waits for memory at every node. Here nobody walks: the questions of all trees stand
//! feature by feature in the order of their thresholds, and each that is answered with yes strikes out the leaves to
//! its left from those its tree can still reach. The leftmost that is left is where the walk would have ended.

use super::trees::{Ensemble, Tree};

/// Leaves of a tree, at most: one bit each.
const MOST_LEAVES: usize = 32;

/// Ensembles that are asked together, about the same row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scorer {
    /// The thresholds of all questions, by feature and within it rising. What a yes does stands apart from them: only that
    /// of the questions up to the value is looked at, and it is much to read.
    thresholds: Vec<f32>,
    /// The leaves that a yes to each question leaves,
    masks: Vec<u32>,
    /// and of which tree.
    trees: Vec<u16>,
    /// Where the questions about each feature end.
    ends: Vec<usize>,
    /// The leaves of all trees, from left to right, tree by tree.
    leaves: Vec<f32>,
    /// Where the leaves of each tree begin.
    starts: Vec<u32>,
    /// What each ensemble adds to, and how many trees it has.
    ensembles: Vec<(f32, usize)>,
}

/// Is the value above the threshold?
#[derive(Clone, Copy, Debug)]
struct Question {
    threshold: f32,
    /// The leaves that a yes leaves.
    mask: u32,
    tree: u16,
}

impl Scorer {
    /// `None` when a tree has more than [`MOST_LEAVES`], or there are more trees than can be numbered. The ensembles
    /// must be sound ([`Ensemble::is_sound`]) for rows of `features` values.
    pub(super) fn new<'a>(
        ensembles: impl IntoIterator<Item = &'a Ensemble>,
        features: usize,
    ) -> Option<Self> {
        let mut asked: Vec<Vec<Question>> = vec![Vec::new(); features];
        let (mut leaves, mut starts, mut bases) = (Vec::new(), Vec::new(), Vec::new());
        for ensemble in ensembles {
            bases.push((ensemble.base, ensemble.trees.len()));
            for tree in &ensemble.trees {
                let number = u16::try_from(starts.len()).ok()?;
                starts.push(u32::try_from(leaves.len()).ok()?);
                let mut planted = Planting { tree, number, asked: &mut asked, leaves: Vec::new() };
                planted.plant(if tree.nodes.is_empty() { -1 } else { 0 })?;
                leaves.append(&mut planted.leaves);
            }
        }
        for of_feature in &mut asked {
            of_feature.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
        }
        let questions = || asked.iter().flatten();
        let mut end = 0;
        let mut ends_with = |of_feature: &Vec<Question>| {
            end += of_feature.len();
            end
        };
        Some(Self {
            thresholds: questions().map(|question| question.threshold).collect(),
            masks: questions().map(|question| question.mask).collect(),
            trees: questions().map(|question| question.tree).collect(),
            ends: asked.iter().map(&mut ends_with).collect(),
            leaves,
            starts,
            ensembles: bases,
        })
    }

    /// The sum of each ensemble for one row. What is unknown is above nothing, and neither is what the row lacks.
    pub(super) fn predict(&self, row: &[f32]) -> Vec<f32> {
        let mut reachable = vec![u32::MAX; self.starts.len()];
        let mut begin = 0;
        for (value, end) in row.iter().zip(&self.ends) {
            let below = self.thresholds[begin..*end].partition_point(|threshold| threshold < value);
            let yes = begin..begin + below;
            for (mask, tree) in self.masks[yes.clone()].iter().zip(&self.trees[yes]) {
                reachable[usize::from(*tree)] &= mask;
            }
            begin = *end;
        }
        let mut trees = self.starts.iter().zip(reachable);
        let leaf = |(start, reachable): (&u32, u32)| {
            let place = (start + reachable.trailing_zeros()) as usize;
            self.leaves.get(place).copied().unwrap_or_default()
        };
        let sum = |(base, count): &(f32, usize)| base + trees.by_ref().take(*count).map(leaf).sum::<f32>();
        self.ensembles.iter().map(sum).collect()
    }
}

/// A tree on its way into the scorer.
struct Planting<'a> {
    tree: &'a Tree,
    number: u16,
    asked: &'a mut [Vec<Question>],
    /// Its leaves from left to right.
    leaves: Vec<f32>,
}

impl Planting<'_> {
    /// Takes in all that is below `next`, a node or a leaf.
    fn plant(&mut self, next: i16) -> Option<()> {
        let Ok(index) = usize::try_from(next) else {
            let leaf = usize::try_from(-1 - i32::from(next)).ok()?;
            self.leaves.push(*self.tree.leaves.get(leaf)?);
            return (self.leaves.len() <= MOST_LEAVES).then_some(());
        };
        let node = *self.tree.nodes.get(index)?;
        let first = self.leaves.len();
        self.plant(node.left)?;
        let to_the_left = bits_below(self.leaves.len()) & !bits_below(first);
        let question = Question { threshold: node.threshold, mask: !to_the_left, tree: self.number };
        self.asked.get_mut(usize::from(node.feature))?.push(question);
        self.plant(node.right)
    }
}

/// The lowest `count` of 32 bits.
fn bits_below(count: usize) -> u32 {
    u32::try_from(count).ok().and_then(|count| 1_u32.checked_shl(count)).map_or(u32::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forecast::trees::Node;

    const FEATURES: u8 = 3;

    fn value() -> impl Strategy<Value = f32> {
        // Few different ones, so that values meet thresholds.
        prop_oneof![Just(f32::NAN), (-4i8..5).prop_map(f32::from), Just(-0.0), Just(f32::INFINITY)]
    }

    /// A tree that grows at random places, with children after their parents.
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
        /// To the last bit: the trees' values are added in the same order.
        #[test]
        fn asking_all_at_once_says_what_walking_down_each_says(
            ensembles in proptest::collection::vec(
                (-2.0f32..2.0, proptest::collection::vec(tree(), 0..5)).prop_map(|(base, trees)| Ensemble { base, trees }),
                1..4,
            ),
            rows in proptest::collection::vec(proptest::collection::vec(value(), usize::from(FEATURES)), 1..8),
        ) {
            prop_assert!(ensembles.iter().all(|ensemble| ensemble.is_sound(FEATURES.into())));
            let scorer = Scorer::new(&ensembles, FEATURES.into()).unwrap();
            for row in rows {
                let walked: Vec<u32> = ensembles.iter().map(|ensemble| ensemble.predict(&row).to_bits()).collect();
                let asked: Vec<u32> = scorer.predict(&row).into_iter().map(f32::to_bits).collect();
                prop_assert_eq!(asked, walked, "{:?}", row);
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
