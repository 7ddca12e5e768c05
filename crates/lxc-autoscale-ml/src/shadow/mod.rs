//! Candidate policies beside the live one, on live data: what each would have given, saved and missed.
//!
//! A candidate never acts. For each container it holds an imagined allocation, which begins as the real one. Each
//! record that comes in is served under that allocation by the back-test's `Host` (the candidate sees only
//! what a node would show), judged by the back-test's `Judge`, and decided upon by the daemon's own functions; the
//! real allocation is judged by the same steps. What a real limit hid shows in neither.
//!
//! The guards that look at real harm (probes, undo, the node's budget) have nothing to look at here. The candidates
//! keep their scores and sizes over a restart and learn anew from where the live model stands then.

pub mod imagined;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;

pub use imagined::{Imagined, Kept};

use crate::decide::Obstacles;
use crate::history::{ContainerHistory, History};
use crate::policy::{Policies, PolicyBook};
use crate::recommend::{RecommendConfig, Shared};

/// What is kept of each candidate and container.
pub type KeptShadows = BTreeMap<(String, Vmid), Kept>;

/// All candidates.
#[derive(Debug)]
pub struct Shadows {
    book: Arc<PolicyBook>,
    general: Arc<Shared>,
    sets: Vec<(RecommendConfig, Arc<Shared>)>,
    /// What was kept before a restart and is not taken up yet.
    kept: KeptShadows,
    running: BTreeMap<(String, Vmid), Imagined>,
}

impl Shadows {
    /// The candidates of a configuration.
    pub fn new(book: Arc<PolicyBook>, general: Arc<Shared>) -> Self {
        Self { book, general, sets: Vec::new(), kept: KeptShadows::new(), running: BTreeMap::new() }
    }

    /// Goes on from what was kept before a restart.
    pub fn restore(&mut self, kept: KeptShadows) {
        self.kept = kept;
    }

    /// Takes in the newest record of each container.
    pub fn take(&mut self, history: &History) {
        // What a candidate made of a container does not go for another one that got its id.
        let is_replaced = |id: Vmid| history.container(id).is_some_and(ContainerHistory::is_new_under_its_id);
        self.running.retain(|(_, id), _| !is_replaced(*id));
        self.kept.retain(|(_, id), _| !is_replaced(*id));
        for ((_, id), imagined) in &mut self.running {
            if let Some(container) = history.container(*id).filter(|container| container.present) {
                imagined.take(container, history.node());
            }
        }
    }

    /// Lets each candidate decide at `now`; containers it does not know yet begin with what they really have.
    pub fn decide(&mut self, history: &History, policies: &Policies, now: Timestamp) {
        let book = Arc::clone(&self.book);
        for candidate in book.candidates() {
            for (id, container) in history.containers().filter(|(_, container)| container.present) {
                let Some(live) = policies.get(&id) else { continue };
                if !candidate.is_for(&container.identity) {
                    continue;
                }
                let in_force = book.with_candidate(live, candidate);
                let shared = self.shared(&in_force.recommend);
                let key = (candidate.name.clone(), id);
                if !self.running.contains_key(&key) {
                    let kept = self.kept.remove(&key).filter(|kept| kept.candidate == candidate.key);
                    let begun = Imagined::begin(candidate, container, history.node(), kept);
                    let Some(begun) = begun else { continue };
                    self.running.insert(key.clone(), begun);
                }
                let obstacles = Obstacles {
                    stopped: container.stopped,
                    ..container.configuration().map(Obstacles::from).unwrap_or_default()
                };
                if let Some(imagined) = self.running.get_mut(&key) {
                    imagined.decide(in_force.policy, &shared, obstacles, history.node(), now);
                }
            }
        }
        self.running.retain(|(_, id), _| history.container(*id).is_some());
    }

    /// What must survive a restart; what is not taken up yet is as it was.
    pub fn kept(&self) -> KeptShadows {
        let names: Vec<&str> =
            self.book.candidates().iter().map(|candidate| candidate.name.as_str()).collect();
        let waiting = self.kept.iter().filter(|((name, _), _)| names.contains(&name.as_str()));
        let waiting = waiting.map(|(key, kept)| (key.clone(), kept.clone()));
        let running = self.running.iter().map(|(key, imagined)| (key.clone(), imagined.kept()));
        waiting.chain(running).collect()
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.book.candidates().is_empty()
    }

    fn shared(&mut self, config: &RecommendConfig) -> Arc<Shared> {
        if self.general.config() == config {
            return Arc::clone(&self.general);
        }
        if let Some((_, shared)) = self.sets.iter().find(|(known, _)| known == config) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(self.general.with_config(config));
        self.sets.push((config.clone(), Arc::clone(&shared)));
        shared
    }
}
