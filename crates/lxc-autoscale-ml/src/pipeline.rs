//! One cycle up to the decision: read what is new, learn from it, judge how unusual it is, decide.
//!
//! The daemon, `once`, `plan` and `why` all go this way; what they do with a proposal differs. Time is given
//! from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::metrics_file::{MetricsReader, ReadError};
use serde::Serialize;

use crate::config::Config;
use crate::decide::{Allocation, Decisions, LastChanges, NodeSituation, Obstacles, Resource, decide};
use crate::detect::IsolationForestError;
use crate::features::Verdict;
use crate::history::{ContainerHistory, History};
use crate::ledger::Inputs;
use crate::recommend::{Shared, SharedError};

/// When containers were changed last.
pub type Changes = BTreeMap<Vmid, LastChanges>;

/// Everything up to the decision, with what was learnt so far.
#[derive(Debug)]
pub struct Pipeline {
    config: Config,
    reader: MetricsReader,
    history: History,
    /// The verdict on the record of that time; `None` where there was too little to learn from.
    verdicts: BTreeMap<Vmid, (Timestamp, Option<Verdict>)>,
    /// What a resource was set to, and when: true until a record is newer.
    set: BTreeMap<(Vmid, Resource), (Timestamp, f64)>,
}

/// What reading the metrics file gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Snapshots that were new.
    pub snapshots: usize,
    /// Records that could not be read.
    pub unreadable: usize,
}

/// What the detectors learnt from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Columns that at least one container was learnt from.
    pub features: BTreeSet<&'static str>,
    /// Containers with enough past to be judged.
    pub judged: usize,
}

/// The decisions about one container and what they were made from.
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
    /// What they were made from.
    pub inputs: Inputs,
}

impl Pipeline {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// [`SharedError`] when the demand model that the configuration names cannot be used.
    pub fn new(config: &Config) -> Result<Self, SharedError> {
        let shared = Arc::new(Shared::load(&config.recommend)?);
        Ok(Self {
            reader: MetricsReader::new(&config.metrics.file),
            history: History::new(shared, config.model.history_rows),
            config: config.clone(),
            verdicts: BTreeMap::new(),
            set: BTreeMap::new(),
        })
    }

    /// What is remembered of the containers.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Reads what is new in the metrics file; the first time, all of it.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read; what is known stays.
    pub fn load(&mut self) -> Result<Loaded, ReadError> {
        let mut loaded = Loaded { snapshots: 0, unreadable: 0 };
        // One at a time: the file may hold weeks.
        self.reader.each_new(|record| match record {
            Ok(snapshot) => {
                loaded.snapshots += 1;
                self.history.take(&snapshot);
            }
            Err(unreadable) => {
                loaded.unreadable += 1;
                tracing::warn!(error = %unreadable.source, "{unreadable}; it is skipped");
            }
        })?;
        Ok(loaded)
    }

    /// How old the newest snapshot is; `None` while there is none.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.history.newest().map(|newest| now.duration_since(newest))
    }

    /// Trains a forest on the past of each container and scores its newest record.
    ///
    /// # Errors
    /// When the parameters of the forest are out of range, which a checked configuration rules out.
    pub fn learn(&mut self) -> Result<Learnt, IsolationForestError> {
        let params = self.config.model.forest();
        let mut learnt = Learnt::default();
        let mut verdicts = BTreeMap::new();
        for (vmid, container) in self.history.containers() {
            let at = container.observation.at;
            let verdict = match self.verdicts.remove(&vmid) {
                Some((known, verdict)) if known == at => verdict,
                _ => container.features.judge(&params, self.config.model.min_rows)?,
            };
            if let Some(verdict) = &verdict {
                learnt.judged += 1;
                learnt.features.extend(&verdict.features);
            }
            verdicts.insert(vmid, (at, verdict));
        }
        self.verdicts = verdicts;
        Ok(learnt)
    }

    /// Decides about every container that the newest snapshot names, by id.
    ///
    /// What one of them is granted is no longer there for the next.
    pub fn propose(&self, changes: &Changes, now: Timestamp) -> Vec<Proposal> {
        let mut node = self.history.node();
        let present = self.history.containers().filter(|(_, container)| container.present);
        present
            .map(|(vmid, container)| {
                let inputs = self.inputs(vmid, container, changes, node, now);
                let decisions = decide(&self.config.policy_for(vmid), &inputs.situation(), &inputs.node, now);
                node.grant(&decisions.memory);
                let name = container.name.clone();
                Proposal { id: vmid, name, decisions, inputs }
            })
            .collect()
    }

    /// Notes what a resource was set to, until a record shows it.
    pub fn note_set(&mut self, vmid: Vmid, resource: Resource, at: Timestamp, amount: f64) {
        self.set.insert((vmid, resource), (at, amount));
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
            allocation: configuration
                .map(|config| self.allocation(vmid, Allocation::from(config), observation.at)),
            obstacles,
            observation: Some(observation),
            recommendation: Some(container.model.recommend(now)),
            changes,
            anomaly: verdict.map(|verdict| verdict.score),
            node,
        }
    }

    /// `Some(true)` when it ran out of memory and nothing was done about it yet.
    ///
    /// It may have happened in any of the records that came since the last cycle, and it must not be answered
    /// twice when no new record has come since.
    fn ran_out(&self, container: &ContainerHistory, changes: LastChanges, now: Timestamp) -> Option<bool> {
        let at = container.last_oom?;
        let max_age = i64::try_from(self.config.metrics.max_age_seconds).unwrap_or(i64::MAX);
        let is_recent = now.duration_since(at) <= SignedDuration::from_secs(max_age);
        // Only a growth answers it: a shrink that was under way when it happened does the opposite.
        let is_unanswered = changes.memory_up < Some(at);
        (is_recent && is_unanswered).then_some(true)
    }

    /// What it has, with what it was set to since the record was taken.
    fn allocation(&self, vmid: Vmid, recorded: Allocation, recorded_at: Timestamp) -> Allocation {
        let since = |resource| {
            self.set.get(&(vmid, resource)).filter(|(at, _)| recorded_at <= *at).map(|(_, amount)| *amount)
        };
        Allocation {
            cores: since(Resource::Cpu).or(recorded.cores),
            memory_mib: since(Resource::Memory).unwrap_or(recorded.memory_mib),
            ..recorded
        }
    }
}
