//! The learning parameters of each container, by its policies.
//!
//! Schedules have no effect here: what is learnt must not depend on the time of day, nor on restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use lxc_autoscale_core::Vmid;

use super::{Identity, Overrides, PolicyBook, PolicyConfig};
use crate::config::Config;
use crate::detect::DetectorParams;
use crate::recommend::{RecommendConfig, Shared};

/// The part of the configuration that affects learning, as text: everything that [`Learning`] reads, and the parameters
/// of the models. Changes to other keys keep the learnt state.
pub fn learnt_by(config: &Config) -> String {
    let boot_seconds = config.scaling.guard.boot_seconds;
    let mut parts =
        vec![format!("{:?} {:?} {:?} {boot_seconds}", config.model, config.recommend, config.presets)];
    for (name, policy) in &config.policy {
        let PolicyConfig { precedence, preset, scaling, recommend, model, .. } = policy;
        let boot_seconds = scaling.guard.boot_seconds;
        let plain = Overrides { recommend: recommend.clone(), model: model.clone(), ..Overrides::default() };
        if preset.is_some() || boot_seconds.is_some() || !plain.is_empty() {
            let selector = policy.selector();
            parts.push(format!(
                "{name} {selector:?} {precedence} {preset:?} {recommend:?} {model:?} {boot_seconds:?}"
            ));
        }
    }
    parts.join(" ")
}

/// How a container is learnt from.
#[derive(Clone, Debug)]
pub struct LearningRules {
    /// The shared parameters of its model.
    pub shared: Arc<Shared>,
    /// How long its start lasts, in seconds.
    pub boot_seconds: u64,
}

/// The rules of a container as long as its identity stays the same.
#[derive(Debug)]
struct Known {
    identity: Identity,
    rules: LearningRules,
    detection: DetectorParams,
}

/// The rules of all containers; equal ones are shared.
#[derive(Debug)]
pub struct Learning {
    book: Arc<PolicyBook>,
    general: Arc<Shared>,
    sets: Vec<(RecommendConfig, Arc<Shared>)>,
    known: BTreeMap<Vmid, Known>,
}

impl Learning {
    /// With the rules that apply unless a policy says otherwise.
    pub fn new(book: Arc<PolicyBook>, general: Arc<Shared>) -> Self {
        Self { book, general, sets: Vec::new(), known: BTreeMap::new() }
    }

    /// The rules for a container.
    pub fn rules(&mut self, identity: &Identity) -> LearningRules {
        self.known(identity).rules.clone()
    }

    /// The anomaly detector of a container.
    pub fn detection(&mut self, identity: &Identity) -> &DetectorParams {
        &self.known(identity).detection
    }

    fn known(&mut self, identity: &Identity) -> &Known {
        if self.known.get(&identity.id).is_none_or(|known| known.identity != *identity) {
            let in_force = self.book.lasting(identity);
            let detection = in_force.model.detection();
            let shared = self.shared(in_force.recommend);
            let rules = LearningRules { shared, boot_seconds: in_force.scaling.guard.boot_seconds };
            let known = Known { identity: identity.clone(), rules, detection };
            self.known.insert(identity.id, known);
        }
        &self.known[&identity.id]
    }

    /// Forgets all other containers.
    pub fn retain(&mut self, is_known: impl Fn(Vmid) -> bool) {
        self.known.retain(|id, _| is_known(*id));
    }

    fn shared(&mut self, config: RecommendConfig) -> Arc<Shared> {
        if *self.general.config() == config {
            return Arc::clone(&self.general);
        }
        if let Some((_, shared)) = self.sets.iter().find(|(known, _)| *known == config) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(self.general.with_config(&config));
        self.sets.push((config, Arc::clone(&shared)));
        shared
    }
}
