//! The learnt clusters that come with the program.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::Class;
use super::traits::Traits;

/// Clusters of machines by their traits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassModel {
    /// The names of the traits, in order.
    pub traits: Vec<String>,
    /// Normalisation of the traits.
    pub scaling: Scaling,
    /// The clusters.
    pub groups: Vec<Group>,
}

/// Mean and deviation of each trait over the machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// The means.
    pub mean: [f64; Traits::NAMES.len()],
    /// The standard deviations.
    pub deviation: [f64; Traits::NAMES.len()],
}

/// A cluster of similar machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name of its centre.
    pub class: Class,
    /// The traits of its centre.
    pub middle: [f64; Traits::NAMES.len()],
}

impl ClassModel {
    /// The model that comes with the program, if it is sound, which a test ensures.
    pub fn shipped() -> Option<&'static Self> {
        static MODEL: LazyLock<Option<ClassModel>> = LazyLock::new(|| {
            let model: ClassModel = serde_json::from_str(include_str!("../../models/classes.json")).ok()?;
            model.is_sound().then_some(model)
        });
        MODEL.as_ref()
    }

    /// The class of the cluster with the nearest centre; `None` for a model without clusters.
    pub fn class(&self, traits: &Traits) -> Option<Class> {
        let own = self.scaling.scaled(traits.values());
        let distance = |group: &Group| {
            let middle = self.scaling.scaled(group.middle);
            own.iter().zip(middle).map(|(own, middle)| (own - middle).powi(2)).sum::<f64>()
        };
        let nearest = self.groups.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.map(|group| group.class)
    }

    fn is_sound(&self) -> bool {
        let Scaling { mean, deviation } = &self.scaling;
        let positive = deviation.iter().all(|deviation| 0.0 < *deviation);
        let middles = self.groups.iter().flat_map(|group| &group.middle);
        let finite = mean.iter().chain(deviation).chain(middles).all(|value| value.is_finite());
        self.traits == Traits::NAMES && positive && finite && !self.groups.is_empty()
    }
}

impl Scaling {
    /// From these machines; a trait without variance is not scaled.
    pub fn of(machines: &[Traits]) -> Self {
        let number = machines.len().max(1) as f64;
        let each = |of: &dyn Fn(usize) -> f64| std::array::from_fn(of);
        let value = |machine: &Traits, index: usize| machine.values()[index];
        let mean: [f64; 5] =
            each(&|index| machines.iter().map(|machine| value(machine, index)).sum::<f64>() / number);
        let deviation = each(&|index| {
            let squares =
                machines.iter().map(|machine| (value(machine, index) - mean[index]).powi(2)).sum::<f64>();
            let deviation = (squares / number).sqrt();
            if 0.0 < deviation { deviation } else { 1.0 }
        });
        Self { mean, deviation }
    }

    /// The traits in deviations from the mean.
    pub fn scaled(&self, values: [f64; Traits::NAMES.len()]) -> [f64; Traits::NAMES.len()] {
        std::array::from_fn(|index| (values[index] - self.mean[index]) / self.deviation[index])
    }

    /// The traits with these deviations from the mean.
    pub fn unscaled(&self, scaled: [f64; Traits::NAMES.len()]) -> [f64; Traits::NAMES.len()] {
        std::array::from_fn(|index| self.mean[index] + self.deviation[index] * scaled[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_that_are_shipped_can_be_used_and_are_of_every_class() {
        let model = ClassModel::shipped().unwrap();
        for class in Class::ALL {
            let middle = model.groups.iter().find(|group| group.class == class).unwrap().middle;
            assert_eq!(model.class(&Traits::from_values(middle)), Some(class));
            assert_eq!(Class::of_traits(&Traits::from_values(middle)), class);
        }
    }
}
