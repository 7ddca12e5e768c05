//! One container outside the daemon: the daemon's own functions, with sizes and time as arguments.
//!
//! Used by `recommend --stdio`, the candidates and the back-test. The guards, which react to the effects of changes,
//! are active in the back-test only: a recommendation and the protection from it are separate.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::classes::Class;
use crate::decide::{
    Allocation, AnomalyScore, CpuControl, Decision, Decisions, LastChanges, Mode, NodeSituation, Obstacles,
    Policy, Situation, decide,
};
use crate::guard::manual::Manual;
use crate::guard::oom_run::Lasts;
use crate::guard::{ContainerGuard, Guard, GuardInput};
use crate::observation::Observation;
use crate::policy::Given;
use crate::recommend::{ContainerModel, Shared};

/// Least memory of a container without a policy of its own.
const MIN_MEMORY_MIB: u64 = 64;
const PROVISIONED_MEMORY_FACTOR: f64 = 2.0;
/// More than any container needs: CPUs and MiB of a node that does not exist.
const BOUNDLESS_CPUS: u32 = 1 << 20;
const BOUNDLESS_MIB: f64 = 1e15;

/// How CPU is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CpuClass {
    /// In hundredths of a core, as `cpulimit` does.
    #[default]
    Fractional,
    /// In whole cores, as `cores` does.
    Integer,
}

impl CpuClass {
    /// The class of that setting.
    pub fn of(control: CpuControl) -> Self {
        match control {
            CpuControl::Cpulimit => Self::Fractional,
            CpuControl::Cores => Self::Integer,
        }
    }

    /// The setting that is changed.
    pub fn control(self) -> CpuControl {
        match self {
            Self::Fractional => CpuControl::Cpulimit,
            Self::Integer => CpuControl::Cores,
        }
    }
}

/// The size of a container.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// CPU, in cores.
    pub cores: f64,
    /// Memory, in MiB.
    pub memory_mib: f64,
}

/// The policy with bounds from the provisioned size: from a tenth of a core (one core in the class `Integer`) up to its
/// cores, and from 64 MiB up to twice its memory.
///
/// More cores than provisioned would only chase work that queued up behind a limit for a moment; memory that ran out,
/// in contrast, must be found.
pub fn within_provisioned(policy: &Policy, class: CpuClass, provisioned: Size) -> Policy {
    let mut policy = policy.clone();
    policy.cpu.control = class.control();
    let fewest = class.control().fewest_cores();
    let most = match class {
        CpuClass::Fractional => provisioned.cores,
        CpuClass::Integer => provisioned.cores.floor(),
    };
    (policy.cpu.min_cores, policy.cpu.max_cores) = (fewest, most.max(fewest));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be positive; saturates"
    )]
    let memory = (PROVISIONED_MEMORY_FACTOR * provisioned.memory_mib) as u64;
    (policy.memory.min_mib, policy.memory.max_mib) = (MIN_MEMORY_MIB, memory.max(MIN_MEMORY_MIB));
    policy
}

/// The policy with recommendations and proposals carried out; `off` stays off.
pub fn carried_out(mut policy: Policy) -> Policy {
    for mode in [&mut policy.cpu.mode, &mut policy.memory.mode] {
        if matches!(*mode, Mode::Recommend | Mode::Approve) {
            *mode = Mode::Auto;
        }
    }
    policy
}

/// A node that bounds nothing.
pub fn boundless_node() -> NodeSituation {
    NodeSituation {
        cpus: Some(BOUNDLESS_CPUS),
        memory_total_mib: Some(BOUNDLESS_MIB),
        memory_available_mib: Some(BOUNDLESS_MIB),
    }
}

/// The daemon's state of one container, and its way to decide.
#[derive(Debug)]
pub struct Replayed {
    policy: Policy,
    obstacles: Obstacles,
    node: NodeSituation,
    model: ContainerModel,
    guard: Option<ContainerGuard>,
    /// What is told of the guards where it has none of its own.
    told: Guard,
    /// A detector's verdict on the newest observation, where one is asked.
    anomaly: Option<AnomalyScore>,
    changes: LastChanges,
}

impl Replayed {
    /// A container without any observations.
    pub fn new(policy: Policy, obstacles: Obstacles, node: NodeSituation, shared: Arc<Shared>) -> Self {
        let (model, changes) = (ContainerModel::new(shared), LastChanges::default());
        Self { policy, obstacles, node, model, guard: None, told: Guard::default(), anomaly: None, changes }
    }

    /// A container with existing state; no decisions before [`Replayed::set_rules`].
    pub fn going_on(model: ContainerModel, changes: LastChanges) -> Self {
        let mut policy = Policy::default();
        (policy.cpu.mode, policy.memory.mode) = (Mode::Off, Mode::Off);
        let (obstacles, node) = (Obstacles::default(), NodeSituation::default());
        Self { policy, obstacles, node, model, guard: None, told: Guard::default(), anomaly: None, changes }
    }

    /// Respects these sizes set by somebody else, of the CPU and of the memory, from the next decision on.
    pub fn respect(&mut self, [cpu, memory]: [Option<Manual>; 2]) {
        (self.told.cpu.manual, self.told.memory.manual) = (cpu, memory);
    }

    /// Activates the guards.
    #[must_use]
    pub fn guarded(self) -> Self {
        Self { guard: Some(ContainerGuard::default()), ..self }
    }

    /// Applies all of this from the next decision on.
    pub fn set_rules(
        &mut self,
        policy: Policy,
        obstacles: Obstacles,
        node: NodeSituation,
        shared: &Arc<Shared>,
    ) {
        (self.policy, self.obstacles, self.node) = (policy, obstacles, node);
        self.model.set_shared(shared);
    }

    /// When it was last changed.
    pub fn changes(&self) -> LastChanges {
        self.changes
    }

    /// Applies this policy from the next decision on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Its learnt model.
    pub fn model(&self) -> &ContainerModel {
        &self.model
    }

    /// What kind of load it is by now.
    pub fn class(&mut self) -> Option<Class> {
        self.model.look_at_kind();
        self.model.class()
    }

    /// Learns from an observation.
    pub fn observe(&mut self, seen: &Observation) {
        self.model.observe(seen);
        self.guard(seen, false);
    }

    /// Takes in a disturbed step: it is not learnt from.
    pub fn observe_disturbed(&mut self, seen: &Observation) {
        self.guard(seen, true);
    }

    /// Takes in a detector's verdict on the newest observation, as the daemon does: what is unusual holds back a shrink, and
    /// is no habit until it comes again.
    pub fn judged(&mut self, anomaly: Option<AnomalyScore>) {
        if anomaly.is_some_and(AnomalyScore::is_anomaly) {
            self.model.doubt_newest();
        }
        self.anomaly = anomaly;
    }

    /// In a replay nobody sets sizes by hand, so the guards need not know them.
    fn guard(&mut self, observation: &Observation, disturbed: bool) {
        let seen = GuardInput {
            observation,
            cores: None,
            unlimited_cores: None,
            pinned: false,
            memory_mib: None,
            restarted: false,
            replaced: false,
            disturbed,
            oom_run_lasts: Lasts::of(&self.model),
            first: Given::default(),
        };
        if let Some(guard) = &mut self.guard {
            guard.observe(seen);
        }
    }

    /// Decides at `now` about a container of this size; decisions to be applied count as done.
    pub fn decide(&mut self, seen: &Observation, size: Size, now: Timestamp) -> Decisions {
        if let Some(guard) = &mut self.guard {
            guard.judge(&self.policy, now);
        }
        let recommendation = self.model.recommend(now);
        let (cores, cpulimit) = match self.policy.cpu.control {
            CpuControl::Cores => (Some(size.cores), None),
            CpuControl::Cpulimit => (None, Some(size.cores)),
        };
        let situation = Situation {
            allocation: Some(Allocation { cores, cpulimit, memory_mib: size.memory_mib }),
            obstacles: self.obstacles.clone(),
            observation: Some(seen),
            recommendation: Some(&recommendation),
            changes: self.changes,
            anomaly: self.anomaly,
            guard: match &self.guard {
                Some(guard) => guard.guard(None, now),
                None => self.told.clone(),
            },
        };
        let decisions = decide(&self.policy, &situation, &self.node, now);
        for decision in [&decisions.cpu, &decisions.memory] {
            self.changes.note(decision, now);
            if let (true, Some(from), Some(to), Some(guard)) =
                (decision.apply, decision.from, decision.to, &mut self.guard)
            {
                guard.note_change(decision.resource, (now, now), from, to);
            }
        }
        decisions
    }
}

/// The size after the applied decisions; `None` if none is applied.
pub fn changed(size: Size, decisions: &Decisions) -> Option<Size> {
    let new = |decision: &Decision| decision.to.filter(|_| decision.apply);
    let (cores, memory) = (new(&decisions.cpu), new(&decisions.memory));
    let is_changed = cores.is_some() || memory.is_some();
    is_changed
        .then(|| Size { cores: cores.unwrap_or(size.cores), memory_mib: memory.unwrap_or(size.memory_mib) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_recommended_is_carried_out_and_what_is_off_is_not() {
        let mut policy = Policy::default();
        (policy.cpu.mode, policy.memory.mode) = (Mode::Recommend, Mode::Off);
        let policy = carried_out(policy);
        assert_eq!((policy.cpu.mode, policy.memory.mode), (Mode::Auto, Mode::Off));
    }

    #[test]
    fn the_bounds_follow_what_was_provisioned() {
        let provisioned = Size { cores: 2.5, memory_mib: 1000.0 };
        for (class, want) in [(CpuClass::Fractional, (0.1, 2.5)), (CpuClass::Integer, (1.0, 2.0))] {
            let policy = within_provisioned(&Policy::default(), class, provisioned);
            assert_eq!((policy.cpu.min_cores, policy.cpu.max_cores), want);
            assert_eq!((policy.memory.min_mib, policy.memory.max_mib), (64, 2000));
        }
    }
}
