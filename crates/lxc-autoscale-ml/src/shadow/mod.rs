//! Candidate policies beside the live one, on live data: what each would have allocated, saved and lacked.
//!
//! A candidate never acts. For each container it holds a virtual allocation, which starts as the real one. Each record
//! is served under that allocation by the back-test's `Host` (the candidate sees only what a node would show), judged
//! by the back-test's `Judge`, and decided upon by the daemon's own functions; the real allocation is judged on the
//! same steps, both at the prices and with the headroom that are in force for the container under the candidate. Demand hidden by a real limit shows in neither. A size that somebody else sets is every candidate's, too.
//!
//! The guards that react to real harm (probes, undo, the node's budget) have no input here. The candidates keep their
//! scores and sizes across a restart and learn anew from the live model's state at that time.

pub mod imagined;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;

pub use imagined::{Imagined, Kept};

use crate::decide::Obstacles;
use crate::guard::Register;
use crate::history::{ContainerHistory, History};
use crate::policy::{Policies, PolicyBook};
use crate::recommend::{RecommendConfig, Shared};

/// The saved state of each candidate and container.
pub type KeptShadows = BTreeMap<(String, Vmid), Kept>;

/// All candidates.
#[derive(Debug)]
pub struct Shadows {
    book: Arc<PolicyBook>,
    general: Arc<Shared>,
    sets: Vec<(RecommendConfig, Arc<Shared>)>,
    /// Saved state from before a restart that is not in use yet.
    kept: KeptShadows,
    running: BTreeMap<(String, Vmid), Imagined>,
}

impl Shadows {
    /// The candidates of a configuration.
    pub fn new(book: Arc<PolicyBook>, general: Arc<Shared>) -> Self {
        Self { book, general, sets: Vec::new(), kept: KeptShadows::new(), running: BTreeMap::new() }
    }

    /// Restores the state saved before a restart.
    pub fn restore(&mut self, kept: KeptShadows) {
        self.kept = kept;
    }

    /// Takes in the newest record of each container; the guards know which sizes somebody else set.
    pub fn take(&mut self, history: &History, guards: &Register) {
        if self.is_empty() {
            return;
        }
        // A candidate's state of a container does not apply to another one with the same id.
        let is_replaced = |id: Vmid| history.container(id).is_some_and(ContainerHistory::is_new_under_its_id);
        self.running.retain(|(_, id), _| !is_replaced(*id));
        self.kept.retain(|(_, id), _| !is_replaced(*id));
        for ((_, id), imagined) in &mut self.running {
            if let Some(container) = history.container(*id).filter(|container| container.present) {
                imagined.take(container, history.node(), guards.by_hand(*id));
            }
        }
    }

    /// Lets each candidate decide at `now`; new containers start with their real size.
    pub fn decide(&mut self, history: &History, policies: &Policies, guards: &Register, now: Timestamp) {
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
                    let begun =
                        Imagined::begin(candidate, container, history.node(), kept, guards.by_hand(id));
                    let Some(begun) = begun else { continue };
                    self.running.insert(key.clone(), begun);
                }
                let obstacles = Obstacles {
                    stopped: container.stopped,
                    ..container.configuration().map(Obstacles::from).unwrap_or_default()
                };
                if let Some(imagined) = self.running.get_mut(&key) {
                    imagined.judge_by(&in_force.recommend, self.general.config());
                    imagined.leave_to_others(&live.policy, &obstacles);
                    imagined.decide(in_force.policy, &shared, obstacles, history.node(), now);
                }
            }
        }
        self.running.retain(|(_, id), _| history.container(*id).is_some());
    }

    /// The state that must survive a restart; unused saved state is unchanged.
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
