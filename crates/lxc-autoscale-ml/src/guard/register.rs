//! The guards' state of all containers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{BoostInfo, LedgerEntry};

use super::boost::{self, Boost};
use super::manual::Manual;
use super::oom_run::Lasts;
use super::{ContainerGuard, Guard, GuardInput, LastingState, StateFromRecords};
use crate::decide::{Allocation, Decision, LastChanges, Resource};
use crate::guard::leak::Leak;
use crate::history::{ContainerHistory, History};
use crate::ledger::FirstSize;
use crate::policy::{Given, Policies};

/// The saved state of each container.
pub type LastingStates = BTreeMap<Vmid, Box<LastingState>>;

/// The guards of all containers.
#[derive(Debug, Default)]
pub struct Register {
    containers: BTreeMap<Vmid, ContainerGuard>,
    /// The newest record taken in since the daemon started.
    taken: BTreeMap<Vmid, Timestamp>,
    /// Leaks already reported.
    told: BTreeMap<Vmid, Timestamp>,
    /// The first sizes that the ledger knows, by id and name.
    first: BTreeMap<(Vmid, Option<String>), Given>,
}

/// A leak that has not been reported yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewLeak {
    /// The container.
    pub id: Vmid,
    /// Its name.
    pub name: Option<String>,
    /// The leak.
    pub leak: Leak,
}

impl Register {
    /// Restores the state saved before a restart, with our last changes.
    pub fn restored(lasting: LastingStates, changes: &BTreeMap<Vmid, LastChanges>) -> Self {
        let told = lasting.iter().filter_map(|(id, lasting)| Some((*id, lasting.leak()?.noticed))).collect();
        let mut containers: BTreeMap<Vmid, ContainerGuard> =
            lasting.into_iter().map(|(id, lasting)| (id, ContainerGuard::restored(lasting))).collect();
        for (id, changes) in changes {
            let guard = containers.entry(*id).or_default();
            for (resource, at) in [
                (Resource::Cpu, changes.cpu_up.max(changes.cpu_down)),
                (Resource::Memory, changes.memory_up.max(changes.memory_down)),
            ] {
                if let Some(at) = at {
                    guard.note_ours(resource, at);
                }
            }
        }
        Self { containers, told, ..Self::default() }
    }

    /// Takes over the first sizes that the ledger knows: what a container was given that is new here, as after a day
    /// away or after an update.
    pub fn know_first_sizes(&mut self, sizes: Vec<FirstSize>) {
        for FirstSize { id, name, resource, size, .. } in sizes {
            let given = self.first.entry((id, name)).or_default();
            match resource {
                Resource::Cpu => given.cores = Some(size),
                Resource::Memory => given.memory_mib = Some(size),
            }
        }
    }

    /// The sizes that somebody gave a container.
    pub fn given(&self, id: Vmid) -> Given {
        self.containers.get(&id).map(|guard| guard.lasting_state().given()).unwrap_or_default()
    }

    /// The sizes that somebody else set last, of the CPU and of the memory.
    pub fn by_hand(&self, id: Vmid) -> [Option<Manual>; 2] {
        self.containers.get(&id).map(|guard| guard.lasting_state().by_hand()).unwrap_or_default()
    }

    /// The state that follows from the records of a container.
    pub fn state_from_records(&self, id: Vmid) -> Option<&StateFromRecords> {
        self.containers.get(&id).map(ContainerGuard::state_from_records)
    }

    /// Restores the state from the records of a container up to the newest one of the history.
    pub fn restore_state_from_records(
        &mut self,
        id: Vmid,
        records: Option<StateFromRecords>,
        newest: Timestamp,
    ) {
        self.taken.insert(id, newest);
        if let Some(records) = records {
            self.containers.entry(id).or_default().restore_state_from_records(records);
        }
    }

    /// Takes in the records of the newest snapshot.
    pub fn take(&mut self, history: &History) {
        let node_cpus = history.node().cpus;
        for (id, container) in history.containers() {
            let at = container.observation.at;
            if self.taken.get(&id) == Some(&at) {
                continue;
            }
            self.taken.insert(id, at);
            let guard = self.containers.entry(id).or_default();
            let given = guard.lasting_state().given();
            let is_known = given.cores.is_some() && given.memory_mib.is_some();
            // What another container had says nothing about this one.
            let first = if is_known || container.is_new_under_its_id() {
                Given::default()
            } else {
                self.first.get(&(id, container.name.clone())).copied().unwrap_or_default()
            };
            guard.observe(seen(container, node_cpus, first));
        }
    }

    /// Forgets containers that the history has forgotten, and judges the new steps.
    pub fn judge(&mut self, history: &History, now: Timestamp, policies: &Policies) {
        let known: BTreeSet<Vmid> = history.containers().map(|(id, _)| id).collect();
        // Before the first record nothing is known of any container, and nothing must be forgotten.
        if history.newest().is_some() {
            self.containers.retain(|id, _| known.contains(id));
            self.taken.retain(|id, _| known.contains(id));
            self.told.retain(|id, _| known.contains(id));
        }
        for (id, guard) in &mut self.containers {
            // A container that the history does not know has no steps to judge.
            if let Some(in_force) = policies.get(id) {
                guard.judge(&in_force.policy, now);
            }
        }
    }

    /// Notes a change that was made between the two times (then with the value read back), or may have been.
    pub fn note_change(
        &mut self,
        id: Vmid,
        decision: &Decision,
        times: (Timestamp, Timestamp),
        after: Option<f64>,
    ) {
        let (Some(from), resource) = (decision.from, decision.resource) else { return };
        let guard = self.containers.entry(id).or_default();
        match (after, decision.to) {
            (Some(after), _) => guard.note_set(resource, times, from, after),
            (None, Some(to)) => guard.note_unsure(resource, times, from, to),
            (None, None) => {}
        }
    }

    /// Notes a change that was requested at `at` and may have been made.
    pub fn note_interrupted(&mut self, id: Vmid, decision: &Decision, at: Timestamp) {
        if let (Some(from), Some(to)) = (decision.from, decision.to) {
            self.containers.entry(id).or_default().note_interrupted(decision.resource, at, from, to);
        }
    }

    /// Takes in all boosts that the API lists at `now`.
    pub fn take_boosts(&mut self, boosts: &[BoostInfo], now: Timestamp) {
        for (id, guard) in &mut self.containers {
            for resource in [Resource::Cpu, Resource::Memory] {
                let its = boosts
                    .iter()
                    .filter(|it| it.vm_id == *id && boost::resource(it.resource) == Some(resource));
                guard.set_boosts(resource, its.filter_map(|it| Boost::listed(it, now)).collect());
            }
        }
    }

    /// The containers with a size changed by somebody else of which it is not known yet whether that was a boost.
    pub fn unexplained(&self) -> Vec<Vmid> {
        self.containers.iter().filter(|(_, guard)| guard.is_open()).map(|(id, _)| *id).collect()
    }

    /// Takes in what the API's ledger said about a container at `asked`, newest first.
    pub fn explain(&mut self, id: Vmid, history: &History, page: &[LedgerEntry], asked: Timestamp) {
        let Some(guard) = self.containers.get_mut(&id) else { return };
        let has = history.container(id).and_then(ContainerHistory::configuration).map(Allocation::from);
        guard.explain(Resource::Memory, &boost::changes(page, Resource::Memory, has), asked);
        // Which cores a change shows depends on both settings: while they cannot be read, it stays open.
        if has.is_some() {
            guard.explain(Resource::Cpu, &boost::changes(page, Resource::Cpu, has), asked);
        }
    }

    /// The guards' state for a decision about one container.
    pub fn guard(&self, id: Vmid, container: &ContainerHistory, now: Timestamp) -> Guard {
        let guard = self.containers.get(&id);
        guard.map(|guard| guard.guard(container.disturbance.clone(), now)).unwrap_or_default()
    }

    /// The state that must survive a restart.
    pub fn lasting_states(&self) -> impl Iterator<Item = (Vmid, &LastingState)> {
        self.containers.iter().map(|(id, guard)| (*id, guard.lasting_state()))
    }

    /// The leaks found since the last call.
    pub fn new_leaks(&mut self, history: &History) -> Vec<NewLeak> {
        let mut new = Vec::new();
        for (id, guard) in &self.containers {
            match guard.lasting_state().leak() {
                Some(leak) if self.told.get(id) != Some(&leak.noticed) => {
                    self.told.insert(*id, leak.noticed);
                    let name = history.container(*id).and_then(|container| container.name.clone());
                    new.push(NewLeak { id: *id, name, leak: *leak });
                }
                Some(_) => {}
                None => {
                    self.told.remove(id);
                }
            }
        }
        new
    }
}

fn seen(container: &ContainerHistory, node_cpus: Option<u32>, first: Given) -> GuardInput<'_> {
    let allocation = container.configuration().map(Allocation::from);
    let cores = allocation.as_ref().and_then(Allocation::cores_by_configuration);
    GuardInput {
        observation: &container.observation,
        cores,
        unlimited_cores: allocation.and(node_cpus).map(f64::from).filter(|_| cores.is_none()),
        pinned: container.configuration().is_some_and(|configuration| configuration.pinned_cpuset.is_some()),
        memory_mib: allocation.map(|allocation| allocation.memory_mib),
        restarted: container.restarted,
        replaced: container.is_new_under_its_id(),
        disturbed: container.disturbance.is_some(),
        oom_run_lasts: Lasts::of(&container.model),
        first,
    }
}
