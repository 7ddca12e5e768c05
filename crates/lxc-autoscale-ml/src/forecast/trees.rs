//! Ensembles of regression trees, compact when stored and fast to evaluate.

use std::hint::select_unpredictable;

use serde::{Deserialize, Serialize};

/// A number of small trees whose values are added up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    /// The value that the trees are added to.
    pub base: f32,
    /// The trees.
    pub trees: Vec<Tree>,
}

/// One tree; its first node is the root. A tree without nodes is its single leaf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Inner nodes.
    pub nodes: Vec<Node>,
    /// Values of the leaves.
    pub leaves: Vec<f32>,
}

/// A condition on one feature: values above the threshold go right, all others and unknown ones left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Index of the feature.
    pub feature: u8,
    /// Values up to this, and unknown ones, go left.
    pub threshold: f32,
    /// Node (not negative) or leaf (`-1 - index`).
    pub left: i16,
    /// As `left`.
    pub right: i16,
}

impl Ensemble {
    /// The sum for one row.
    pub fn predict(&self, row: &[f32]) -> f32 {
        self.base + self.trees.iter().map(|tree| tree.predict(row)).sum::<f32>()
    }

    /// Whether every condition is on one of `features` features and every path ends at a leaf, so that
    /// [`Ensemble::predict`] always terminates.
    pub fn is_sound(&self, features: usize) -> bool {
        self.base.is_finite() && self.trees.iter().all(|tree| tree.is_sound(features))
    }
}

impl Tree {
    fn predict(&self, row: &[f32]) -> f32 {
        let root = if self.nodes.is_empty() { -1 } else { 0 };
        end_of_way(&self.nodes, root, row).and_then(|leaf| self.leaves.get(leaf)).copied().unwrap_or(0.0)
    }

    fn is_sound(&self, features: usize) -> bool {
        // Children come after their parent, so there are no cycles.
        let leads_on = |index: usize, next: i16| match usize::try_from(next) {
            Ok(child) => index < child && child < self.nodes.len(),
            Err(_) => usize::try_from(-1 - i32::from(next)).is_ok_and(|leaf| leaf < self.leaves.len()),
        };
        let nodes = self.nodes.iter().enumerate().all(|(index, node)| {
            let asks = usize::from(node.feature) < features && !node.threshold.is_nan();
            asks && leads_on(index, node.left) && leads_on(index, node.right)
        });
        nodes && !self.leaves.is_empty() && self.leaves.iter().all(|value| value.is_finite())
    }
}

/// The leaf that a row reaches from `next` (a node or, negative, a leaf); `None` if the path leads nowhere, which it
/// does in no sound tree.
pub(super) fn end_of_way(nodes: &[Node], mut next: i16, row: &[f32]) -> Option<usize> {
    while let Ok(index) = usize::try_from(next) {
        let node = nodes.get(index)?;
        let value = row.get(usize::from(node.feature)).copied().unwrap_or(f32::NAN);
        // The path is unpredictable, so a branch would be mispredicted half of the time.
        next = select_unpredictable(node.threshold < value, node.right, node.left);
    }
    usize::try_from(-1 - next).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stump() -> Tree {
        Tree {
            nodes: vec![Node { feature: 0, threshold: 1.0, left: -1, right: -2 }],
            leaves: vec![10.0, 20.0],
        }
    }

    #[test]
    fn above_goes_right_and_the_unknown_left() {
        let ensemble = Ensemble { base: 1.0, trees: vec![stump(), stump()] };
        for (value, want) in [(0.5, 21.0), (1.0, 21.0), (1.5, 41.0), (f32::NAN, 21.0)] {
            assert!((ensemble.predict(&[value]) - want).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn what_would_run_in_a_circle_or_off_the_end_is_not_sound() {
        let sound = |change: fn(&mut Tree)| {
            let mut tree = stump();
            change(&mut tree);
            Ensemble { base: 0.0, trees: vec![tree] }.is_sound(1)
        };
        assert!(sound(|_| ()));
        assert!(!sound(|tree| tree.nodes[0].left = 0));
        assert!(!sound(|tree| tree.nodes[0].right = -3));
        assert!(!sound(|tree| tree.nodes[0].feature = 1));
        assert!(!sound(|tree| tree.nodes[0].threshold = f32::NAN));
        assert!(!sound(|tree| tree.leaves[0] = f32::NAN));
    }
}
