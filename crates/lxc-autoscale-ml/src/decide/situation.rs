//! The inputs of a decision.

use jiff::Timestamp;
use lxc_autoscale_core::Mebibytes;
use lxc_autoscale_core::container_config::ContainerConfig;
use serde::{Deserialize, Serialize};

use super::{Action, Decision, Resource};
use crate::clock;
use crate::guard::Guard;
use crate::observation::Observation;
use crate::recommend::Recommendation;

/// Everything that is known about one container when its size is decided.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// Its present size; `None` when its configuration could not be read.
    pub allocation: Option<Allocation>,
    /// Obstacles to changes.
    pub obstacles: Obstacles,
    /// The latest observation.
    pub observation: Option<&'a Observation>,
    /// The recommended size.
    pub recommendation: Option<&'a Recommendation>,
    /// When it was last changed.
    pub changes: LastChanges,
    /// The anomaly score; `None` when no detector is trained for it yet.
    pub anomaly: Option<AnomalyScore>,
    /// The state of the guards.
    pub guard: Guard,
}

/// The present size of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// `cores`; `None` lets it use all of the node.
    pub cores: Option<f64>,
    /// `cpulimit`; `None` is no limit.
    pub cpulimit: Option<f64>,
    /// `memory`, in MiB.
    pub memory_mib: f64,
}

impl From<&ContainerConfig> for Allocation {
    fn from(config: &ContainerConfig) -> Self {
        Self {
            cores: config.cores.map(f64::from),
            cpulimit: config.cpulimit,
            memory_mib: config.memory_mb.as_f64(),
        }
    }
}

impl Allocation {
    /// The smaller of its two CPU settings, in cores; `None` if it has neither.
    pub fn cores_by_configuration(&self) -> Option<f64> {
        self.cpulimit.map_or(self.cores, |limit| Some(self.cores.map_or(limit, |cores| cores.min(limit))))
    }
}

/// Obstacles to changing a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacles {
    /// It does not run.
    pub stopped: bool,
    /// It is a template.
    pub template: bool,
    /// The lock Proxmox holds on it.
    pub lock: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// CPUs it is pinned to; Proxmox then ignores `cores`.
    pub pinned_cpuset: Option<String>,
}

impl Obstacles {
    /// Number of CPUs that it is pinned to; `None` when it is not pinned, or the list cannot be read.
    pub fn pinned_cpus(&self) -> Option<u32> {
        let cpus = self.pinned_cpuset.as_ref()?.split(',').map(|part| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        });
        cpus.sum::<Option<u32>>().filter(|cpus| 0 < *cpus)
    }
}

impl From<&ContainerConfig> for Obstacles {
    /// Assumes a running container; the configuration does not say.
    fn from(config: &ContainerConfig) -> Self {
        Self {
            stopped: false,
            template: config.template,
            lock: config.lock.clone(),
            tags: config.tags.clone(),
            pinned_cpuset: config.pinned_cpuset.clone(),
        }
    }
}

/// When a container was last changed, by resource and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChanges {
    /// Its CPU grew.
    pub cpu_up: Option<Timestamp>,
    /// Its CPU shrank.
    pub cpu_down: Option<Timestamp>,
    /// Its memory grew.
    pub memory_up: Option<Timestamp>,
    /// Its memory shrank.
    pub memory_down: Option<Timestamp>,
    /// Set if it is not known whether the last growth of its memory was made. It is not stored with decisions: what
    /// follows from it is.
    #[serde(skip)]
    pub memory_up_unsure: Option<Unsure>,
}

/// A growth of memory that may not have been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure {
    /// The memory it would have then.
    pub to: Mebibytes,
    /// The last growth before it that was made.
    pub sure: Option<Timestamp>,
}

impl LastChanges {
    /// Notes that `decision` was carried out at `at`; ignored if it changes nothing.
    pub fn note(&mut self, decision: &Decision, at: Timestamp) {
        self.note_time(decision, at);
        if is_memory_growth(decision) && self.memory_up == Some(at) {
            self.memory_up_unsure = None;
        }
    }

    /// Notes that `decision` may have been carried out at `at`; ignored if it changes nothing.
    pub fn note_unsure(&mut self, decision: &Decision, at: Timestamp) {
        let sure = self.memory_up_unsure.map_or(self.memory_up, |unsure| unsure.sure);
        self.note_time(decision, at);
        let to = decision.to.and_then(Mebibytes::from_f64_ceil);
        if let Some(to) = to.filter(|_| is_memory_growth(decision) && self.memory_up == Some(at)) {
            self.memory_up_unsure = Some(Unsure { to, sure });
        }
    }

    /// When its memory last grew, as far as is certain, if it has `size_mib` by its configuration: one that may not
    /// have been made counts if the container has that size.
    pub fn memory_grown(&self, size_mib: Option<f64>) -> Option<Timestamp> {
        match self.memory_up_unsure {
            Some(Unsure { to, sure }) if size_mib < Some(to.as_f64()) => sure,
            _ => self.memory_up,
        }
    }

    fn note_time(&mut self, decision: &Decision, at: Timestamp) {
        let place = match (decision.resource, decision.action) {
            _ if !decision.apply => return,
            (_, Action::Keep) => return,
            (Resource::Cpu, Action::Grow) => &mut self.cpu_up,
            (Resource::Cpu, Action::Shrink) => &mut self.cpu_down,
            (Resource::Memory, Action::Grow) => &mut self.memory_up,
            (Resource::Memory, Action::Shrink) => &mut self.memory_down,
        };
        *place = (*place).max(Some(at));
    }

    /// A change after `now` was made before the clock was set back, and counts as made now; returns whether there was
    /// one.
    pub fn set_back(&mut self, now: Timestamp) -> bool {
        let mut is_set_back = false;
        for at in [&mut self.cpu_up, &mut self.cpu_down, &mut self.memory_up, &mut self.memory_down] {
            is_set_back |= at.as_mut().is_some_and(|at| clock::set_back(at, now));
        }
        if let Some(sure) = self.memory_up_unsure.as_mut().and_then(|unsure| unsure.sure.as_mut()) {
            clock::set_back(sure, now);
        }
        is_set_back
    }
}

fn is_memory_growth(decision: &Decision) -> bool {
    decision.apply && (decision.resource, decision.action) == (Resource::Memory, Action::Grow)
}

/// A detector's verdict on the latest observation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyScore {
    /// scikit-learn's `score_samples`: −1 is most unusual, 0 least.
    pub score: f64,
    /// scikit-learn's `decision_function`: negative is an anomaly.
    pub decision: f64,
}

impl AnomalyScore {
    /// Whether the observation is an anomaly.
    pub fn is_anomaly(self) -> bool {
        self.decision < 0.0
    }
}

/// The node, as far as it bounds growth. Unknown values allow no growth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeSituation {
    /// CPUs online.
    pub cpus: Option<u32>,
    /// Memory, in MiB.
    pub memory_total_mib: Option<f64>,
    /// Memory that can be allocated without swapping, in MiB.
    pub memory_available_mib: Option<f64>,
}

impl NodeSituation {
    /// Subtracts what `decision` grants from what the node has left, so that the next container of the cycle is decided
    /// on the rest. A shrink is not added: its memory is free only once it has happened.
    pub fn grant(&mut self, decision: &Decision) {
        if decision.resource == Resource::Memory
            && decision.apply
            && let (Some(from), Some(to), Some(available)) =
                (decision.from, decision.to, self.memory_available_mib.as_mut())
        {
            *available = (*available - (to - from).max(0.0)).max(0.0);
        }
    }
}
