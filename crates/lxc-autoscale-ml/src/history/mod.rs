//! The state of each container: its model, its feature table and its latest record.
//!
//! Snapshots come in in the order in which they were taken; everything else follows from them. Nothing here reads a
//! clock. The state of a container is bounded by its model and its table; a container that is missing from the
//! snapshots for a day is forgotten.

mod container;
mod differences;
pub mod hours;
mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use serde::{Deserialize, Serialize};

use container::is_unread;
pub use container::{ContainerHistory, identity, names_differ};
pub use differences::{LONGEST_STEP, Step, restarted_between, step};
pub use hours::Hours;
pub use past::{HourPeak, Past, PastAt, StoredPast};

use crate::decide::NodeSituation;
use crate::guard::GuardPolicy;
use crate::policy::{Identity, LearningRules};
use crate::recommend::Shared;

/// A container that no snapshot has named for this long is forgotten.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The state of all containers, and of the node.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    max_rows: usize,
    /// Each apart, because it is large: a map of containers that come in by their ids keeps half of its room free.
    containers: BTreeMap<Vmid, Box<ContainerHistory>>,
    node: KnownNode,
    /// How long data about the node is valid.
    node_max_age: SignedDuration,
    newest: Option<Timestamp>,
    /// Source of data from before a container's first record.
    past: Option<Box<dyn Past>>,
}

/// The node in the newest snapshot that describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownNode {
    figures: NodeSituation,
    /// When that snapshot was taken.
    at: Option<Timestamp>,
}

impl History {
    /// An empty history; feature tables keep `max_rows` rows.
    pub fn new(shared: Arc<Shared>, max_rows: usize) -> Self {
        Self {
            shared,
            max_rows,
            containers: BTreeMap::new(),
            node: KnownNode::default(),
            node_max_age: SignedDuration::MAX,
            newest: None,
            past: None,
        }
    }

    /// The same with a validity for data about the node: after that without new data, the node is unknown.
    #[must_use]
    pub fn knowing_the_node_for(self, max_age: SignedDuration) -> Self {
        Self { node_max_age: max_age, ..self }
    }

    /// For a new container, learns from `past` what the container did before its first record.
    pub fn look_back_to(&mut self, past: Box<dyn Past>) {
        self.past = Some(past);
    }

    /// Restores the state saved before a restart.
    pub fn restore(
        &mut self,
        containers: BTreeMap<Vmid, Box<ContainerHistory>>,
        node: KnownNode,
        newest: Option<Timestamp>,
    ) {
        (self.containers, self.node, self.newest) = (containers, node, newest);
    }

    /// Takes in the next snapshot.
    ///
    /// After the clock was set back, records are older than the state. Their order relative to the past is lost, so a
    /// container starts anew with them: growth works at once, shrinks wait for enough history as always.
    pub fn take(&mut self, snapshot: Snapshot) {
        let boot_seconds = GuardPolicy::default().boot_seconds;
        let rules = LearningRules { shared: Arc::clone(&self.shared), boot_seconds };
        // Nothing stops it.
        let _ = self.take_by(snapshot, &mut |_| rules.clone(), &|| false);
    }

    /// Like [`History::take`], with learning rules per container.
    ///
    /// The past of a new container takes long to learn, so that is not begun once `is_stopped`. It then breaks with
    /// only a part of the snapshot taken in, and the state must not be used any more.
    pub fn take_by(
        &mut self,
        snapshot: Snapshot,
        rules: &mut dyn FnMut(&Identity) -> LearningRules,
        is_stopped: &dyn Fn() -> bool,
    ) -> ControlFlow<()> {
        let at = snapshot.summary.collection_start_time.instant();
        let mut absent = BTreeSet::new();
        for (vmid, container) in &mut self.containers {
            if !container.present {
                absent.insert(*vmid);
            }
            container.present = false;
            // Otherwise, after the clock was set back, it would be forgotten only once the clock has caught up.
            container.last_named = container.last_named.min(at);
        }
        for (vmid, record) in snapshot.containers {
            let has_past = self
                .containers
                .get(&vmid)
                .is_some_and(|known| known.lacks_past.is_none() || !known.may_ask_for_its_past());
            if !has_past && is_stopped() {
                return ControlFlow::Break(());
            }
            self.take_record(vmid, record.into(), at, absent.contains(&vmid), rules);
        }
        if let Some(past) = &mut self.past {
            past.rest();
        }
        for vmid in &snapshot.summary.stopped_containers {
            if let Some(container) = self.containers.get_mut(vmid) {
                (container.stopped, container.present, container.last_named) = (true, true, at);
            }
        }
        self.containers.retain(|_, container| at.duration_since(container.last_named) <= FORGET_AFTER);
        if let Some(node) = &snapshot.summary.node {
            let figures = NodeSituation {
                cpus: node.cpus,
                memory_total_mib: node.memory_total_mb,
                memory_available_mib: node.memory_available_mb,
            };
            self.node = KnownNode { figures, at: Some(at) };
        } else if self.node.at.is_none_or(|seen| self.node_max_age < at.duration_since(seen).abs()) {
            self.node = KnownNode::default();
        }
        self.newest = Some(at);
        ControlFlow::Continue(())
    }

    /// The containers, by id.
    pub fn containers(&self) -> impl Iterator<Item = (Vmid, &ContainerHistory)> {
        self.containers.iter().map(|(vmid, container)| (*vmid, &**container))
    }

    /// One container.
    pub fn container(&self, vmid: Vmid) -> Option<&ContainerHistory> {
        self.containers.get(&vmid).map(|container| &**container)
    }

    /// The newest record of a container was unusual: that is no habit yet.
    pub fn doubt_newest(&mut self, vmid: Vmid) {
        // A disturbed record was not learnt from, so there is nothing to doubt.
        if let Some(container) = self.containers.get_mut(&vmid).filter(|known| known.disturbance.is_none()) {
            container.model.doubt_newest();
        }
    }

    /// Classifies the containers for which that is due: people may ask for it.
    pub fn look_at_kinds(&mut self) {
        self.containers.values_mut().for_each(|container| container.model.look_at_kind());
    }

    /// The node in the newest snapshot that describes it; unknown if that is too old.
    pub fn node(&self) -> NodeSituation {
        self.node.figures
    }

    /// The same with its time, for [`History::restore`].
    pub fn known_node(&self) -> KnownNode {
        self.node
    }

    /// When the newest snapshot was taken.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    fn take_record(
        &mut self,
        vmid: Vmid,
        record: Box<ContainerRecord>,
        at: Timestamp,
        was_absent: bool,
        rules: &mut dyn FnMut(&Identity) -> LearningRules,
    ) {
        let instant = record.timestamp.instant();
        let (mut replaced, mut was_replaced) = (false, false);
        if let Some(known) = self.containers.get_mut(&vmid) {
            let known_instant = known.record.timestamp.instant();
            if known_instant == instant {
                (known.present, known.stopped, known.last_named) = (true, false, at);
                return;
            }
            replaced = known.is_replaced_by(&record, was_absent);
            known.in_doubt = known.is_doubtful_after(&record, was_absent);
            was_replaced = known.replaced.is_some();
            if known_instant < instant && !replaced {
                known.identity = identity(vmid, &record, Some(&known.identity));
                let rules = rules(&known.identity);
                if let Some(past) = &mut self.past {
                    known.look_back_again(&mut **past, instant, &rules);
                    known.look_at_weeks(&mut **past, instant);
                }
                known.take(record, at, &rules);
                return;
            }
            if replaced {
                tracing::info!(
                    container = %vmid,
                    "the id belonged to `{}`; the new container starts without a past",
                    known.name.as_deref().unwrap_or_default()
                );
            } else {
                tracing::warn!(
                    container = %vmid,
                    "the clock was set back from {known_instant} to {instant}; this container's history starts over"
                );
            }
        }
        let identity = identity(vmid, &record, None);
        let rules = rules(&identity);
        // The data stored under this id belongs to the other container.
        let mut past = self.past.as_mut().filter(|_| !replaced);
        let before = past.as_mut().map(|past| {
            let can_ask = !is_unread(&record);
            can_ask.then(|| past.of(vmid, identity.name.as_deref(), instant, instant)).flatten()
        });
        let mut container = ContainerHistory::unseen(
            identity,
            &rules,
            self.max_rows,
            before.as_ref().and_then(Option::as_deref).unwrap_or_default(),
            record,
            at,
        );
        container.replaced = replaced.then_some(instant);
        container.lacks_past = before.filter(Option::is_none).map(|_| instant);
        // After the clock was set back, nobody knows which of these weeks are its own.
        container.weeks_told = (replaced || was_replaced).then_some(instant);
        if let Some(past) = past {
            container.look_at_weeks(&mut **past, instant);
        }
        container.see_first();
        self.containers.insert(vmid, Box::new(container));
    }
}

#[cfg(test)]
mod tests;
