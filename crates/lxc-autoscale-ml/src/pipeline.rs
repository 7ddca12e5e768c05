//! One cycle up to the decision: read new records, learn from them, detect anomalies, decide.
//!
//! Shared by the daemon, `once`, `plan` and `why`; they differ in what they do with a proposal. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{BoostInfo, LedgerEntry};
use lxc_autoscale_core::metrics_file::{MetricsReader, Position, ReadError};
use lxc_autoscale_core::progress::Progress;
use lxc_autoscale_core::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, CheckpointError, Header};
use crate::clock::set_back;
use crate::config::Config;
use crate::decide::{
    Action, Allocation, CpuControl, Decision, Decisions, LastChanges, NodeSituation, Obstacles, Reason,
    Resource, decide,
};
use crate::detect::IsolationForestError;
use crate::features::Verdict;
use crate::guard::budget::{self, Claim, Need, Shares};
use crate::guard::{LastingStates, NewLeak, Register, StateFromRecords};
use crate::history::{ContainerHistory, History, KnownNode, PastAt};
use crate::ledger::{FirstSize, Inputs};
use crate::policy::learning::learnt_by;
use crate::policy::{Identity, InForce, Learning, Policies, PolicyBook, PolicyError};
use crate::proposals::Approvals;
use crate::recommend::{Estimate, SharedError};
use crate::regime::{RegimeWatch, Shifted};
use crate::shadow::Shadows;

/// When each container was last changed.
pub type Changes = BTreeMap<Vmid, LastChanges>;

/// Everything up to the decision, with the state learnt so far.
#[derive(Debug)]
pub struct Pipeline {
    config: Config,
    reader: MetricsReader,
    history: History,
    /// The verdict on the record of that time; `None` if there was too little data.
    verdicts: BTreeMap<Vmid, (Timestamp, Option<Verdict>)>,
    /// What a resource was set to, and when: valid until a newer record arrives.
    set: BTreeMap<(Vmid, Resource), (Timestamp, f64)>,
    guards: Register,
    book: Arc<PolicyBook>,
    learning: Learning,
    shadows: Shadows,
    regimes: RegimeWatch,
    /// Tags without effect that were logged already.
    idle_tags: BTreeSet<(Vmid, String)>,
    /// The rules in force at the last judgement, and its time.
    policies: Option<(Timestamp, Arc<Policies>)>,
    /// A snapshot was taken in for some containers only, because the daemon was told to stop.
    is_torn: bool,
}

/// The result of reading the metrics file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Snapshots that were new.
    pub snapshots: usize,
    /// Records that could not be read.
    pub unreadable: usize,
    /// Whether reading was stopped before the end.
    pub stopped: bool,
}

/// What the detectors learnt from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Columns that were used for at least one container.
    pub features: BTreeSet<&'static str>,
    /// Containers with enough data to be judged.
    pub judged: usize,
}

/// The part of a checkpoint that is not per container.
#[derive(Debug, Serialize, Deserialize)]
struct General {
    position: Position,
    newest: Option<Timestamp>,
    node: KnownNode,
    set: Vec<(Vmid, Resource, Timestamp, f64)>,
}

/// The part of a checkpoint for one container, as it is written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    id: Vmid,
    history: &'a ContainerHistory,
    guard: Option<&'a StateFromRecords>,
}

/// The same as it is read.
#[derive(Debug, Deserialize)]
struct Read {
    id: Vmid,
    history: Box<ContainerHistory>,
    guard: Option<StateFromRecords>,
}

/// The decisions about one container and their inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    /// The container.
    pub id: Vmid,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The decisions.
    #[serde(flatten)]
    pub decisions: Decisions,
    /// Their inputs.
    pub inputs: Inputs,
    /// The rules that were in force.
    #[serde(skip)]
    pub in_force: Arc<InForce>,
}

/// Why the pipeline cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The demand model or the time zone that the configuration names cannot be used.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// A policy cannot be used, which a checked configuration rules out.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Pipeline {
    /// A pipeline that has learnt nothing yet.
    ///
    /// # Errors
    /// [`PipelineError`] when the demand model that the configuration names, or a policy, cannot be used.
    pub fn new(config: &Config) -> Result<Self, PipelineError> {
        let shared = Arc::new(config.shared()?);
        let book = Arc::new(config.policy_book()?);
        let max_age = SignedDuration::try_from(config.metrics.max_age()).unwrap_or(SignedDuration::MAX);
        let history = History::new(Arc::clone(&shared), config.model.history_rows);
        let mut history = history.knowing_the_node_for(max_age);
        if !config.metrics.history.as_os_str().is_empty() {
            history.look_back_to(Box::new(PastAt::new(&config.metrics.history)));
        }
        Ok(Self {
            reader: reader(config),
            history,
            shadows: Shadows::new(Arc::clone(&book), Arc::clone(&shared)),
            learning: Learning::new(Arc::clone(&book), shared),
            book,
            policies: None,
            is_torn: false,
            regimes: RegimeWatch::default(),
            idle_tags: BTreeSet::new(),
            guards: Register::default(),
            config: config.clone(),
            verdicts: BTreeMap::new(),
            set: BTreeMap::new(),
        })
    }

    /// Restores a checkpoint; call it after [`Pipeline::restore_guards`] and before the first [`Pipeline::load`].
    /// `false` if there is none.
    ///
    /// # Errors
    /// [`CheckpointError`] when it cannot be used; the pipeline is then unchanged.
    pub fn restore(&mut self, path: &Path) -> Result<bool, CheckpointError> {
        let Self { learning, config, .. } = self;
        let (mut histories, mut records, mut sound) = (BTreeMap::new(), Vec::new(), true);
        let general = checkpoint::read(path, &learnt_by(config), |mut read: Read| {
            sound &= read.history.restored(&learning.rules(&read.history.identity));
            records.push((read.id, read.guard, read.history.observation.at));
            histories.insert(read.id, read.history);
        })?;
        let Some(General { position, newest, node, set }) = general else { return Ok(false) };
        if !sound {
            let what = "its models are of another kind".to_owned();
            return Err(CheckpointError::Damaged { path: path.to_owned(), what });
        }
        self.history.restore(histories, node, newest);
        for (id, records, at) in records {
            self.guards.restore_state_from_records(id, records, at);
        }
        self.set = set.into_iter().map(|(id, resource, at, to)| ((id, resource), (at, to))).collect();
        self.reader = reader(&self.config).from_position(position);
        Ok(true)
    }

    /// Writes the learnt state into a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn write_checkpoint(&self, path: &Path) -> Result<(), CheckpointError> {
        let general = General {
            position: self.reader.position(),
            newest: self.history.newest(),
            node: self.history.known_node(),
            set: self.set.iter().map(|((id, resource), (at, to))| (*id, *resource, *at, *to)).collect(),
        };
        let header = Header::new(learnt_by(&self.config), self.history.containers().count(), general);
        let items = self.history.containers().map(|(id, history)| Written {
            id,
            history,
            guard: self.guards.state_from_records(id),
        });
        checkpoint::write(path, &header, items)
    }

    /// The state kept per container.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Reads new records of the metrics file; all of it the first time. `progress` is told and may stop it; then no
    /// decision may follow, because what is known is out of date.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read; the state stays as it is.
    pub fn load(&mut self, progress: &dyn Progress) -> Result<Loaded, ReadError> {
        let mut loaded = Loaded { snapshots: 0, unreadable: 0, stopped: false };
        let Self { reader, history, learning, guards, shadows, is_torn, .. } = self;
        // One record at a time: the file may hold weeks.
        reader.each_new_watched(progress, |record| match record {
            Ok(snapshot) => {
                loaded.snapshots += 1;
                let mut rules = |identity: &Identity| {
                    progress.goes_on();
                    learning.rules(identity)
                };
                // The first record of a container also loads its long-term history, which takes long.
                if history.take_by(snapshot, &mut rules, &|| progress.is_stopped()).is_break() {
                    *is_torn = true;
                    return;
                }
                guards.take(history);
                shadows.take(history, guards);
            }
            Err(unreadable) => {
                loaded.unreadable += 1;
                tracing::warn!(error = %unreadable.source, "{unreadable}; it is skipped");
            }
        })?;
        Ok(Loaded { stopped: *is_torn || progress.is_stopped(), ..loaded })
    }

    /// Takes in the next snapshot when it does not come from the metrics file.
    pub fn take(&mut self, snapshot: Snapshot) {
        // Nothing stops it.
        let _ = self.history.take_by(snapshot, &mut |identity| self.learning.rules(identity), &|| false);
        self.guards.take(&self.history);
        self.shadows.take(&self.history, &self.guards);
    }

    /// Whether the state can be written as a checkpoint: it is not empty, and all containers are at the same snapshot.
    pub fn is_whole(&self) -> bool {
        self.history.newest().is_some() && !self.is_torn
    }

    /// The candidates.
    pub fn shadows(&mut self) -> &mut Shadows {
        &mut self.shadows
    }

    /// Lets the candidates decide.
    pub fn decide_shadows(&mut self, now: Timestamp) {
        if !self.shadows.is_empty() {
            let policies = self.policies(now);
            self.shadows.decide(&self.history, &policies, &self.guards, now);
        }
    }

    /// The policies of the configuration.
    pub fn book(&self) -> &PolicyBook {
        &self.book
    }

    /// The rules in force at `now` for every known container; computed once for each time.
    pub fn policies(&self, now: Timestamp) -> Arc<Policies> {
        if let Some((at, policies)) = &self.policies
            && *at == now
        {
            return Arc::clone(policies);
        }
        let containers = self.history.containers();
        let in_force = |(vmid, container): (Vmid, &ContainerHistory)| {
            let in_force = self.book.in_force(&container.identity, now).with_given(self.guards.given(vmid));
            (vmid, Arc::new(in_force))
        };
        Arc::new(containers.map(in_force).collect())
    }

    /// Gives the guards their saved state; call it before the first [`Pipeline::load`].
    pub fn restore_guards(&mut self, kept: LastingStates, changes: &Changes) {
        self.guards = Register::restored(kept, changes);
    }

    /// Tells the guards the first sizes that the ledger knows; call it before the first [`Pipeline::load`].
    pub fn know_first_sizes(&mut self, sizes: Vec<FirstSize>) {
        self.guards.know_first_sizes(sizes);
    }

    /// Lets the guards judge the records since the last call.
    pub fn judge(&mut self, now: Timestamp) {
        self.history.look_at_kinds();
        for (at, _) in self.set.values_mut() {
            set_back(at, now);
        }
        self.tell_of_idle_tags();
        let policies = self.policies(now);
        self.guards.judge(&self.history, now, &policies);
        let Self { history, learning, .. } = self;
        learning.retain(|vmid| history.container(vmid).is_some());
        self.policies = Some((now, policies));
    }

    /// Warns once of each tag that names no preset: whoever set it expects an effect.
    fn tell_of_idle_tags(&mut self) {
        self.idle_tags.retain(|(vmid, _)| self.history.container(*vmid).is_some());
        for (vmid, container) in self.history.containers() {
            for idle in self.book.idle_tags(&container.identity) {
                if self.idle_tags.insert((vmid, idle.clone())) {
                    tracing::warn!(container = %vmid, "{idle}");
                }
            }
        }
    }

    /// The state of the guards.
    pub fn guards(&self) -> &Register {
        &self.guards
    }

    /// Takes over all boosts that the API lists at `now`.
    pub fn take_boosts(&mut self, boosts: &[BoostInfo], now: Timestamp) {
        self.guards.take_boosts(boosts, now);
    }

    /// Takes over what the API's ledger said about a container at `asked`, newest first.
    pub fn explain(&mut self, vmid: Vmid, page: &[LedgerEntry], asked: Timestamp) {
        self.guards.explain(vmid, &self.history, page, asked);
    }

    /// The leaks found since the last call.
    pub fn new_leaks(&mut self) -> Vec<NewLeak> {
        self.guards.new_leaks(&self.history)
    }

    /// The level shifts found since the last call.
    pub fn new_shifts(&mut self, now: Timestamp) -> Vec<(Vmid, Shifted)> {
        self.regimes.look(&self.history, now)
    }

    /// The age of the newest snapshot; `None` if there is none.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.history.newest().map(|newest| now.duration_since(newest))
    }

    /// Trains the detector on the past of each container and scores its newest record. An anomaly is excluded from the
    /// profile of this time of day, unless it recurs or lasts.
    ///
    /// # Errors
    /// When the parameters of the detector are out of range, which a checked configuration rules out.
    pub fn learn(&mut self) -> Result<Learnt, IsolationForestError> {
        let mut learnt = Learnt::default();
        let (mut verdicts, mut unusual) = (BTreeMap::new(), Vec::new());
        for (vmid, container) in self.history.containers() {
            let at = container.observation.at;
            let verdict = match self.verdicts.remove(&vmid) {
                Some((known, verdict)) if known == at => verdict,
                _ => {
                    let params = self.learning.detection(&container.identity);
                    let verdict = container.features.judge(params, self.config.model.min_rows)?;
                    unusual
                        .extend(verdict.as_ref().filter(|verdict| verdict.score.is_anomaly()).map(|_| vmid));
                    verdict
                }
            };
            if let Some(verdict) = &verdict {
                learnt.judged += 1;
                learnt.features.extend(&verdict.features);
            }
            verdicts.insert(vmid, (at, verdict));
        }
        self.verdicts = verdicts;
        for vmid in unusual {
            self.history.doubt_newest(vmid);
        }
        Ok(learnt)
    }

    /// Decides about every container in the newest snapshot, by id.
    ///
    /// Approved changes are decided as they are carried out. First each container is decided for itself; then those
    /// that should get more memory are decided again, in the order in which they are served, with the memory the node
    /// has left.
    pub fn propose(&self, changes: &Changes, approvals: &Approvals, now: Timestamp) -> Vec<Proposal> {
        let mut node = self.history.node();
        let in_force = self.policies(now);
        let present = self.history.containers().filter(|(_, container)| container.present);
        // Allocated at once: a growing vector would hold its large rows twice for a while.
        let mut proposals = Vec::with_capacity(in_force.len());
        for (vmid, container) in present {
            let Some(in_force) = in_force.get(&vmid).map(Arc::clone) else { continue };
            let mut inputs = self.inputs(vmid, container, changes, node, now);
            if let Some(allocation) = &mut inputs.allocation {
                *allocation = self.allocation(vmid, *allocation, container, in_force.policy.cpu.control);
            }
            inputs.policy = in_force.key();
            let mut decisions = decide(&in_force.policy, &inputs.situation(), &inputs.node, now);
            let name = container.name.as_deref();
            approvals.give((vmid, name), &in_force.policy, &mut decisions);
            proposals.push(Proposal { id: vmid, name: container.name.clone(), decisions, inputs, in_force });
        }
        let claims: Vec<Claim> = proposals.iter().map(Proposal::claim).collect();
        let mut shares = Shares::new(node.memory_total_mib, node.memory_available_mib, &claims);
        for index in budget::order(&claims) {
            let (claim, proposal) = (&claims[index], &mut proposals[index]);
            let policy = &proposal.in_force.policy;
            let offer = |shares: &Shares| shares.offer(claim, policy.node_memory_reserve_percent);
            proposal.inputs.guard.budget = shares.as_ref().and_then(offer);
            proposal.inputs.node = node;
            proposal.decisions.memory = decide(policy, &proposal.inputs.situation(), &node, now).memory;
            let name = proposal.name.as_deref();
            approvals.give_one((proposal.id, name), policy, &mut proposal.decisions.memory);
            let granted = &proposal.decisions.memory;
            node.grant(granted);
            if let (Some(shares), Some(to), true) = (&mut shares, granted.to, granted.apply) {
                shares.grant(claim, to);
            }
        }
        proposals
    }

    /// Notes a change made between the two times (then with the value read back), or possibly made.
    pub fn note_change(
        &mut self,
        vmid: Vmid,
        decision: &Decision,
        times: (Timestamp, Timestamp),
        after: Option<f64>,
    ) {
        if let Some(after) = after {
            self.set.insert((vmid, decision.resource), (times.1, after));
        }
        self.guards.note_change(vmid, decision, times, after);
    }

    /// Notes a change that was requested at `at` and, as far as the ledger knows, may have been made: a shrink is
    /// watched.
    pub fn note_interrupted(&mut self, vmid: Vmid, decision: &Decision, at: Timestamp) {
        self.guards.note_interrupted(vmid, decision, at);
    }

    fn inputs(
        &self,
        vmid: Vmid,
        container: &ContainerHistory,
        changes: &Changes,
        node: NodeSituation,
        now: Timestamp,
    ) -> Inputs {
        let configuration = container.configuration();
        let obstacles = Obstacles {
            stopped: container.stopped,
            ..configuration.map(Obstacles::from).unwrap_or_default()
        };
        let changes = changes.get(&vmid).copied().unwrap_or_default();
        let mut observation = container.observation.clone();
        observation.oom = self.ran_out(container, changes, now).or(observation.oom.map(|_| false));
        let verdict = self.verdicts.get(&vmid).and_then(|(_, verdict)| verdict.as_ref());
        Inputs {
            allocation: configuration.map(Allocation::from),
            obstacles,
            observation: Some(observation),
            recommendation: Some(container.model.recommend(now)),
            opinions: Some(container.model.opinions()),
            changes,
            anomaly: verdict.map(|verdict| verdict.score),
            unusual: verdict.map(|verdict| verdict.unusual.clone()),
            node,
            guard: self.guards.guard(vmid, container, now),
            policy: None,
        }
    }

    /// `Some(true)` if it ran out of memory and nothing has answered that yet.
    ///
    /// Any record since the last cycle may show it, and it must not be answered twice if no new record has come since.
    fn ran_out(&self, container: &ContainerHistory, changes: LastChanges, now: Timestamp) -> Option<bool> {
        let at = container.last_oom?;
        let max_age = i64::try_from(self.config.metrics.max_age_seconds).unwrap_or(i64::MAX);
        let is_recent = now.duration_since(at) <= SignedDuration::from_secs(max_age);
        // Only a growth answers it, and only one that was made: a shrink that was under way at the time does the opposite.
        let size_mib = container.configuration().map(|configuration| configuration.memory_mb.as_f64());
        let is_unanswered = changes.memory_grown(size_mib) < Some(at);
        (is_recent && is_unanswered).then_some(true)
    }

    /// The allocation, including what was set since the record was taken.
    fn allocation(
        &self,
        vmid: Vmid,
        recorded: Allocation,
        container: &ContainerHistory,
        control: CpuControl,
    ) -> Allocation {
        let recorded_at = container.observation.at;
        let since = |resource| {
            self.set.get(&(vmid, resource)).filter(|(at, _)| recorded_at <= *at).map(|(_, amount)| *amount)
        };
        let cpu = since(Resource::Cpu);
        let (cores, cpulimit) = match control {
            CpuControl::Cores => (cpu, None),
            CpuControl::Cpulimit => (None, cpu),
        };
        Allocation {
            cores: cores.or(recorded.cores),
            cpulimit: cpulimit.or(recorded.cpulimit),
            memory_mib: since(Resource::Memory).unwrap_or(recorded.memory_mib),
        }
    }
}

/// Reads the metrics file from its oldest record on.
fn reader(config: &Config) -> MetricsReader {
    MetricsReader::new(&config.metrics.file).believing(config.metrics.believed())
}

impl Proposal {
    /// The container's part of the node's memory: allocated, expected and intended.
    pub fn claim(&self) -> Claim {
        let policy = &self.in_force.policy;
        let (memory, inputs) = (&self.decisions.memory, &self.inputs);
        let need = match (&memory.action, &memory.reason) {
            (Action::Grow, Reason::RanOutOfMemory { .. }) => Need::RanOut,
            (Action::Grow, Reason::Undone { .. }) => Need::Undo,
            (Action::Grow, _) => Need::More,
            (Action::Keep | Action::Shrink, _) => Need::Nothing,
        };
        let estimate =
            inputs.recommendation.as_ref().and_then(|recommendation| recommendation.memory.as_ref());
        let stopped = inputs.obstacles.stopped;
        let size_mib = inputs.allocation.map(|allocation| allocation.memory_mib).filter(|_| !stopped);
        Claim {
            id: self.id,
            priority: policy.priority,
            need,
            used_mib: inputs.observation.as_ref().and_then(|seen| seen.memory_used_mib).filter(|_| !stopped),
            expected_mib: estimate.map(Estimate::expected).filter(|_| !stopped),
            size_mib,
            wanted_mib: memory.to.or(size_mib).unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod doubt_tests;
