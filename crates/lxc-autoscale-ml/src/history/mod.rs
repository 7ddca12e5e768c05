//! The state of each container: its model, its feature table and its latest record.
//!
//! Snapshots come in in the order in which they were taken; everything else follows from them. Nothing here reads a
//! clock. The state of a container is bounded by its model and its table; a container that is missing from the
//! snapshots for a day is forgotten.

mod differences;
pub mod hours;
mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use serde::{Deserialize, Serialize};

pub use differences::{LONGEST_STEP, Step, step};
pub use hours::Hours;
pub use past::{HourPeak, Past, PastAt, StoredPast};

use crate::decide::NodeSituation;
use crate::features::FeatureTable;
use crate::guard::GuardPolicy;
use crate::guard::disturbance::{self, Disturbance};
use crate::observation::Observation;
use crate::policy::{Identity, LearningRules, Pool};
use crate::recommend::{ContainerModel, Shared};

/// A container that no snapshot has named for this long is forgotten.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The state of all containers, and of the node.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    max_rows: usize,
    containers: BTreeMap<Vmid, ContainerHistory>,
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

/// The state of one container.
#[derive(Debug, Serialize, Deserialize)]
pub struct ContainerHistory {
    /// The model of its usage.
    pub model: ContainerModel,
    /// Its behaviour.
    pub features: FeatureTable,
    /// The latest record; if it has no memory events, with those of the record before.
    record: Box<ContainerRecord>,
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
    replaced: Option<Timestamp>,
    /// Its first record here, if the data from before it could not be read yet.
    #[serde(default)]
    lacks_past: Option<Timestamp>,
    /// When its last weeks were loaded; older checkpoints do not contain it.
    #[serde(default)]
    weeks_told: Option<Timestamp>,
    last_named: Timestamp,
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

    /// For a new container, learns from there what it did before its first record.
    pub fn look_back_to(&mut self, past: Box<dyn Past>) {
        self.past = Some(past);
    }

    /// Restores the state saved before a restart.
    pub fn restore(
        &mut self,
        containers: BTreeMap<Vmid, ContainerHistory>,
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
            let has_past = self.containers.get(&vmid).is_some_and(|known| known.lacks_past.is_none());
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
        self.containers.iter().map(|(vmid, container)| (*vmid, container))
    }

    /// One container.
    pub fn container(&self, vmid: Vmid) -> Option<&ContainerHistory> {
        self.containers.get(&vmid)
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
        let before = past.as_mut().map(|past| past.of(vmid, identity.name.as_deref(), instant, instant));
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
        self.containers.insert(vmid, container);
    }
}

impl ContainerHistory {
    /// A container whose first record is still to be processed ([`Self::see_first`]).
    fn unseen(
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
            last_named: at,
            record,
        }
    }

    /// Learns from its first record.
    fn see_first(&mut self) {
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

    /// Whether the record belongs to another container: the name differs, and it was absent or has restarted. A
    /// container that is renamed while running remains the same.
    fn is_replaced_by(&self, record: &ContainerRecord, was_absent: bool) -> bool {
        let name = record.configuration.as_ref().and_then(|configuration| configuration.name.as_deref());
        let is_other = names_differ(self.identity.name.as_deref(), name);
        is_other && (was_absent || step(Some(&self.record), record).restarted)
    }

    /// Learns the data from before the first record if it could not be read at the time.
    fn look_back_again(&mut self, past: &mut dyn Past, now: Timestamp, rules: &LearningRules) {
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
    fn look_at_weeks(&mut self, past: &mut dyn Past, now: Timestamp) {
        if self.weeks_told.is_some() {
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

    fn take(&mut self, record: Box<ContainerRecord>, at: Timestamp, rules: &LearningRules) {
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

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::RecordTime;
    use lxc_autoscale_core::metrics_file::parse_record;
    use lxc_autoscale_core::snapshot::{MemoryEvents, Summary};

    use super::*;
    use crate::recommend::RecommendConfig;

    fn vmid(id: u32) -> Vmid {
        Vmid::try_from(id).unwrap()
    }

    fn snapshot(seconds: i64, running: &[u32], stopped: &[u32]) -> Snapshot {
        let time = RecordTime::utc(Timestamp::from_second(1_800_000_000 + seconds).unwrap());
        let record = ContainerRecord { memory_usage_mb: Some(100.0), ..ContainerRecord::empty(time) };
        Snapshot {
            containers: running.iter().map(|id| (vmid(*id), record.clone())).collect(),
            summary: Summary {
                collection_start_time: time,
                collection_end_time: time,
                total_containers: running.len() as u64,
                total_duration_seconds: 0.0,
                monitor_cpu_percent: None,
                monitor_memory_usage_mb: None,
                schema_version: None,
                stopped_containers: stopped.iter().map(|id| vmid(*id)).collect(),
                node: None,
            },
        }
    }

    fn history(snapshots: &[Snapshot]) -> History {
        let mut history = History::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())), 100);
        for snapshot in snapshots {
            history.take(snapshot.clone());
        }
        history
    }

    #[test]
    fn stopped_and_vanished_containers_are_told_apart() {
        let history = history(&[snapshot(0, &[100, 101, 102], &[]), snapshot(60, &[100], &[101])]);
        let state = |id| history.container(vmid(id)).map(|container| (container.present, container.stopped));
        assert_eq!(state(100), Some((true, false)));
        assert_eq!(state(101), Some((true, true)));
        assert_eq!(state(102), Some((false, false)));
    }

    #[test]
    fn what_vanished_is_forgotten_after_a_day_and_what_is_stopped_is_not() {
        let day = 86_400;
        let snapshots = [
            snapshot(0, &[100, 101, 102], &[]),
            snapshot(day / 2, &[100], &[101]),
            snapshot(day + 60, &[100], &[101]),
        ];
        let history = history(&snapshots);
        let known: Vec<u32> = history.containers().map(|(vmid, _)| vmid.get()).collect();
        assert_eq!(known, [100, 101]);
    }

    #[test]
    fn a_container_that_starts_again_keeps_its_past() {
        let history =
            history(&[snapshot(0, &[100], &[]), snapshot(60, &[], &[100]), snapshot(120, &[100], &[])]);
        let container = history.container(vmid(100)).unwrap();
        assert!(!container.stopped);
        assert_eq!(container.features.len(), 2);
    }

    #[test]
    fn a_clock_set_back_begins_the_history_anew() {
        let history =
            history(&[snapshot(7200, &[100], &[]), snapshot(7260, &[100], &[]), snapshot(0, &[100], &[])]);
        let container = history.container(vmid(100)).unwrap();
        assert_eq!(container.features.len(), 1);
        assert_eq!(container.observation.at, Timestamp::from_second(1_800_000_000).unwrap());
    }

    #[test]
    fn the_same_record_twice_counts_once() {
        let history = history(&[snapshot(0, &[100], &[]), snapshot(0, &[100], &[])]);
        assert_eq!(history.container(vmid(100)).unwrap().features.len(), 1);
    }

    /// A snapshot of container 100 with this many OOM kills; `None` if they could not be read.
    fn with_kills(seconds: i64, kills: Option<u64>) -> Snapshot {
        let mut snapshot = snapshot(seconds, &[100], &[]);
        let record = snapshot.containers.get_mut(&vmid(100)).unwrap();
        record.memory_events =
            kills.map(|kills| MemoryEvents { oom_kill: Some(kills), ..MemoryEvents::default() });
        snapshot
    }

    #[test]
    fn an_oom_kill_shows_although_a_reading_in_between_failed() {
        let history = history(&[with_kills(0, Some(2)), with_kills(60, None), with_kills(120, Some(3))]);
        let container = history.container(vmid(100)).unwrap();
        assert_eq!(container.last_oom, Some(Timestamp::from_second(1_800_000_120).unwrap()));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_not_remembered() {
        let mut first = snapshot(0, &[100], &[]);
        first.containers.get_mut(&vmid(100)).unwrap().configuration =
            Some(ContainerConfig::parse("hostname: web\n").0.into());
        let history = history(&[first, snapshot(60, &[100], &[])]);
        let container = history.container(vmid(100)).unwrap();
        assert_eq!((container.configuration(), container.name.as_deref()), (None, Some("web")));
    }

    #[test]
    fn a_gap_is_counted() {
        let history =
            history(&[snapshot(0, &[100], &[]), snapshot(60, &[100], &[]), snapshot(7200, &[100], &[])]);
        assert_eq!(history.container(vmid(100)).unwrap().gaps, 1);
    }

    /// Behaviour while Proxmox holds `lock`, or in the five minutes after a start (`None`), does not change the state.
    #[track_caller]
    fn check_not_learnt_from(lock: Option<&str>) {
        let at_minute = |minute: i64, disturbed: bool| {
            let mut snapshot = snapshot(60 * minute, &[100], &[]);
            let record = snapshot.containers.get_mut(&vmid(100)).unwrap();
            let unrest = 10.0 * (minute % 7) as f64;
            record.memory_usage_mb = Some(if disturbed { 3000.0 } else { 300.0 + unrest });
            record.cpu_cores_used = Some(if disturbed { 3.5 } else { 0.3 });
            let started = if 600 <= minute && lock.is_none() { 600.0 } else { -1e4 };
            record.uptime_seconds = Some(60.0 * (minute as f64 - started));
            let lock = lock.filter(|_| disturbed).map(|lock| format!("lock: {lock}\n")).unwrap_or_default();
            record.configuration = Some(ContainerConfig::parse(&lock).0.into());
            snapshot
        };
        let disturbed = if lock.is_some() { 600..660 } else { 600..605 };
        // The step in which the lock was released was half under it.
        let left_out = 600..disturbed.end + i64::from(lock.is_some());
        let whole: Vec<Snapshot> =
            (0..900).map(|minute| at_minute(minute, disturbed.contains(&minute))).collect();
        let all = history(&whole);
        let container = all.container(vmid(100)).unwrap();
        let mut without = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        let mut previous = None;
        for minute in 0..900 {
            let snapshot = at_minute(minute, false);
            let record = snapshot.containers[&vmid(100)].clone();
            if !left_out.contains(&minute) {
                without.observe(&step(previous.as_ref(), &record).observation);
            }
            previous = Some(record);
        }
        let now = whole[899].summary.collection_start_time.instant();
        assert_eq!(container.model.recommend(now), without.recommend(now), "{lock:?}");
        let during = history(&whole[570..603]);
        assert_eq!(during.container(vmid(100)).unwrap().features.len(), 30, "{lock:?}");
        let want = match lock {
            Some(lock) => Disturbance::Lock { lock: lock.to_owned() },
            None => Disturbance::Start { uptime_seconds: 120.0, boot_seconds: 300 },
        };
        assert_eq!(during.container(vmid(100)).unwrap().disturbance, Some(want));
    }

    #[test]
    fn a_backup_a_migration_and_a_start_are_not_learnt_from() {
        for lock in [Some("backup"), Some("migrate"), Some("rollback"), None] {
            check_not_learnt_from(lock);
        }
    }

    /// A file of the Python original has no configuration, no limits and none of our counters. What it calls memory is
    /// no working set, and 105 could not be read: zeros.
    #[test]
    fn a_record_of_the_original_gives_what_it_has() {
        let text = r#"{"104": {"timestamp": "2024-08-20T13:07:56.393000", "cpu_usage_percent": 37.5,
            "memory_usage_mb": 512.25, "swap_usage_mb": 0.0, "swap_total_mb": 512.0, "process_count": 31,
            "io_stats": {"reads": 81920, "writes": 40960},
            "network_usage": {"rx_bytes": 123456, "tx_bytes": 65432},
            "filesystem_usage_gb": 1.2, "filesystem_total_gb": 7.8, "filesystem_free_gb": 6.6},
            "105": {"timestamp": "2024-08-20T13:07:56.393000", "cpu_usage_percent": 0.0, "memory_usage_mb": 0.0,
            "swap_usage_mb": 0.0, "swap_total_mb": 0.0, "process_count": 0, "io_stats": {"reads": 0, "writes": 0},
            "network_usage": {"rx_bytes": 0, "tx_bytes": 0},
            "filesystem_usage_gb": 0.0, "filesystem_total_gb": 0.0, "filesystem_free_gb": 0.0},
            "summary": {"collection_start_time": "2024-08-20T13:07:56.390000",
            "collection_end_time": "2024-08-20T13:07:56.394000", "total_containers": 1,
            "total_duration_seconds": 0.004, "monitor_cpu_percent": 0.1, "monitor_memory_usage_mb": 6.5}}"#;
        let history = history(&[parse_record(text.as_bytes()).unwrap()]);
        for id in [104, 105] {
            let container = history.container(vmid(id)).unwrap();
            assert_eq!(container.observation, Observation::unknown(container.observation.at), "{id}");
            assert_eq!(container.features.len(), 1);
            assert_eq!(container.configuration(), None);
            let recommended = container.model.recommend(container.observation.at);
            assert_eq!((recommended.cpu, recommended.memory), (None, None), "{id}");
        }
    }
}
