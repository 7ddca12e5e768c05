//! The state of one container, and whether the next record is that of another one.

use std::sync::Arc;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::ContainerRecord;
use serde::{Deserialize, Serialize};

use super::{HourPeak, Past, restarted_between, step};
use crate::features::FeatureTable;
use crate::guard::disturbance::{self, Disturbance};
use crate::observation::Observation;
use crate::policy::{Identity, LearningRules, Pool};
use crate::recommend::ContainerModel;

/// The state of one container.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
pub struct ContainerHistory {
    /// The model of its usage.
    pub model: ContainerModel,
    /// Its behaviour.
    pub features: FeatureTable,
    /// The latest record; if it has no memory events, with those of the record before.
    pub(super) record: Box<ContainerRecord>,
    /// The facts of the latest step.
    pub observation: Observation,
    /// Whether the newest snapshot lists it as stopped.
    pub stopped: bool,
    /// Whether the newest snapshot lists it, running or stopped.
    pub present: bool,
    /// Gaps in its records.
    pub gaps: u64,
    /// When it last ran out of memory, by the records.
    pub last_oom: Option<Timestamp>,
    /// Its name, by the last configuration that was read.
    pub name: Option<String>,
    /// What policies select it by, as far as it was ever read.
    pub identity: Identity,
    /// The disturbance in the latest step, which is then not learnt from.
    pub disturbance: Option<Disturbance>,
    /// Whether it restarted in the latest step.
    pub restarted: bool,
    /// Its first record, if it replaced another container with the same id.
    #[serde(default)]
    pub(super) replaced: Option<Timestamp>,
    /// Its first record here, if the data from before it could not be read yet.
    #[serde(default)]
    pub(super) lacks_past: Option<Timestamp>,
    /// When its last weeks were loaded; older checkpoints do not contain it.
    #[serde(default)]
    pub(super) weeks_told: Option<Timestamp>,
    /// Whether another container may have got its id since its configuration could last be read; older checkpoints do
    /// not contain it.
    #[serde(default)]
    pub(super) in_doubt: bool,
    pub(super) last_named: Timestamp,
}

impl ContainerHistory {
    /// A container whose first record is still to be processed ([`Self::see_first`]).
    pub(super) fn unseen(
        identity: Identity,
        rules: &LearningRules,
        max_rows: usize,
        before: &[Observation],
        record: Box<ContainerRecord>,
        at: Timestamp,
    ) -> Self {
        Self {
            model: model_of(before, rules),
            features: FeatureTable::new(max_rows),
            observation: step(None, &record).observation,
            stopped: false,
            present: true,
            gaps: 0,
            last_oom: None,
            name: identity.name.clone(),
            identity,
            disturbance: disturbance::between(None, &record, rules.boot_seconds),
            restarted: false,
            replaced: None,
            lacks_past: None,
            weeks_told: None,
            in_doubt: false,
            last_named: at,
            record,
        }
    }

    /// Learns from its first record.
    pub(super) fn see_first(&mut self) {
        let first = step(None, &self.record);
        if self.disturbance.is_none() {
            self.model.observe(&first.observation);
            self.features.push(None, &self.record, &first);
        }
    }

    /// Whether the latest record is its first, and another container had its id before.
    pub fn is_new_under_its_id(&self) -> bool {
        self.replaced == Some(self.observation.at)
    }

    /// Whether the record belongs to another container: the name differs, and it was absent or has restarted since the
    /// last record with a configuration. A container that is renamed while running remains the same.
    pub(super) fn is_replaced_by(&self, record: &ContainerRecord, was_absent: bool) -> bool {
        let name = record.configuration.as_ref().and_then(|configuration| configuration.name.as_deref());
        let is_other = names_differ(self.identity.name.as_deref(), name);
        is_other && (self.in_doubt || was_absent || restarted_between(&self.record, record) == Some(true))
    }

    /// Whether, after this record, it remains open which container the id belongs to: without its configuration, the
    /// record names none, and nothing shows that the same container has been running all the time.
    ///
    /// Until a configuration decides, nothing is changed ([`Self::configuration`]). What is learnt meanwhile is
    /// discarded with the rest if it turns out to be another container.
    pub(super) fn is_doubtful_after(&self, record: &ContainerRecord, was_absent: bool) -> bool {
        let runs_on = || !was_absent && restarted_between(&self.record, record) == Some(false);
        record.configuration.is_none() && (self.in_doubt || !runs_on())
    }

    /// Whether it is known whose stored data is its own: without a name, that of any container with its id would do.
    pub(super) fn may_ask_for_its_past(&self) -> bool {
        !self.in_doubt && (self.identity.name.is_some() || !is_unread(&self.record))
    }

    /// Learns the data from before the first record if it could not be read at the time, or its name was not known.
    pub(super) fn look_back_again(&mut self, past: &mut dyn Past, now: Timestamp, rules: &LearningRules) {
        if !self.may_ask_for_its_past() {
            return;
        }
        let Some(since) = self.lacks_past else { return };
        let (id, name) = (self.identity.id, self.identity.name.as_deref());
        let Some(before) = past.of(id, name, since, now) else { return };
        self.lacks_past = None;
        // The store also has the data since then, so all of it is learnt in order.
        if !before.is_empty()
            && let Some(until_now) = past.of(id, name, now, now)
        {
            self.model = model_of(&until_now, rules);
            self.weeks_told = None;
        }
    }

    /// Loads its last weeks if that was not done yet.
    pub(super) fn look_at_weeks(&mut self, past: &mut dyn Past, now: Timestamp) {
        if self.weeks_told.is_some() || !self.may_ask_for_its_past() {
            return;
        }
        let Some(hours) = past.hours_of(self.identity.id, self.identity.name.as_deref(), now, now) else {
            return;
        };
        // Data from before it had this id belongs to another container.
        let is_its_own = |hour: &HourPeak| self.replaced.is_none_or(|replaced| replaced <= hour.begins);
        for HourPeak { begins, cpu, memory } in hours.into_iter().filter(is_its_own) {
            self.model.learn_hour(begins, cpu, memory);
        }
        self.weeks_told = Some(now);
    }

    pub(super) fn take(&mut self, record: Box<ContainerRecord>, at: Timestamp, rules: &LearningRules) {
        let step = step(Some(&self.record), &record);
        self.model.set_shared(&rules.shared);
        let before = (&*self.record, self.disturbance.as_ref());
        self.disturbance = disturbance::between(Some(before), &record, rules.boot_seconds);
        self.restarted = step.restarted;
        if self.disturbance.is_none() {
            self.model.observe(&step.observation);
            self.features.push(Some(&self.record), &record, &step);
        }
        self.gaps += u64::from(step.gap.is_some());
        if step.observation.oom == Some(true) {
            self.last_oom = Some(step.observation.at);
        }
        self.observation = step.observation;
        // A failed reading must not hide OOM kills that happened meanwhile: the next one is compared with the last
        // known one.
        let known_events = self.record.memory_events.filter(|_| !step.restarted);
        self.record = record;
        self.record.memory_events = self.record.memory_events.or(known_events);
        self.name.clone_from(&self.identity.name);
        (self.stopped, self.present, self.last_named) = (false, true, at);
    }

    /// Applies these rules from the next record on; `false` for state that this program did not write.
    pub fn restored(&mut self, rules: &LearningRules) -> bool {
        self.model.set_shared(&rules.shared);
        if self.model.lacks_weeks() {
            self.model.recall_weeks();
        }
        self.model.is_sound()
    }

    /// Proxmox's configuration in the latest record.
    ///
    /// An older one would not do: a lock or a tag may have been set since, and without known permission nothing is
    /// changed.
    pub fn configuration(&self) -> Option<&ContainerConfig> {
        self.record.configuration.as_deref()
    }
}

/// Whether it has a configuration that could not be read. Without Proxmox there is none, and no name will ever come.
pub(super) fn is_unread(record: &ContainerRecord) -> bool {
    record.configuration.is_none() && record.missing.contains("configuration")
}

/// Whether these names belong to two containers: an unknown name matches any.
pub fn names_differ(one: Option<&str>, other: Option<&str>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

fn model_of(before: &[Observation], rules: &LearningRules) -> ContainerModel {
    let mut model = ContainerModel::new(Arc::clone(&rules.shared));
    for observation in before {
        model.observe(observation);
    }
    model
}

/// The identity of a container by this record, completed from the ones before.
pub fn identity(id: Vmid, record: &ContainerRecord, before: Option<&Identity>) -> Identity {
    let configuration = record.configuration.as_deref();
    let known = || before.cloned().unwrap_or_else(|| Identity::of(id));
    let pool = record.pool.as_deref().map_or_else(|| known().pool, Pool::named);
    let name = configuration.and_then(|configuration| configuration.name.clone()).or_else(|| known().name);
    let tags = configuration.map_or_else(|| known().tags, |configuration| configuration.tags.clone());
    Identity { id, name, tags, pool }
}
