//! What is shown as the reasons for a size.

use crate::recommend::recommendation::{Evidence, Fact};
use crate::recommend::selector::Wish;

/// Evidence in the order it was looked at.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) all: Vec<Evidence>,
}

impl Collected {
    pub(super) fn note(&mut self, fact: Fact, value: Option<f64>) {
        self.all.extend(value.map(|value| Evidence { fact, value }));
    }

    /// What decided is shown as it was then: a size stays when a change would not pay.
    pub(super) fn decided(&mut self, held: Wish) {
        match self.all.iter_mut().find(|evidence| evidence.fact == held.fact) {
            Some(evidence) => evidence.value = held.demand,
            None => self.note(held.fact, Some(held.demand)),
        }
    }

    /// The largest; among equals the one noted first, which is the more immediate.
    pub(super) fn largest(&self) -> Option<(f64, Fact)> {
        let larger = |best: Evidence, next: &Evidence| {
            // The series keeps seven digits.
            if best.value * (1.0 + 1e-6) < next.value { *next } else { best }
        };
        let (first, rest) = self.all.split_first()?;
        let best = rest.iter().fold(*first, larger);
        Some((best.value, best.fact))
    }
}
