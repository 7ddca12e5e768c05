//! The `[scaling]` table.

use serde::Deserialize;

use crate::decide::{CpuControl, CpuPolicy, MemoryPolicy, Mode, Policy};
use crate::guard::GuardPolicy;

/// `[scaling]`: when and how far containers are resized.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalingConfig {
    /// How far decisions go, for both resources; a resource may be held back further by its own `mode`.
    pub mode: Mode,
    /// No shrink before this much history.
    pub min_history_seconds: u64,
    /// No shrink below this confidence.
    pub min_confidence_percent: f64,
    /// A container with this tag is left alone.
    pub off_tag: String,
    /// Memory of the node that growth may never take.
    pub node_memory_reserve_percent: f64,
    /// Who comes first when the node cannot give everybody what they need.
    pub priority: i32,
    /// CPU.
    pub cpu: CpuScalingConfig,
    /// Memory.
    pub memory: MemoryPolicy,
    /// What is watched, undone and left alone.
    pub guard: GuardPolicy,
}

/// `[scaling.cpu]`: the policy without the choice of the setting, because the API changes `cores` only.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CpuScalingConfig {
    /// How far decisions go.
    pub mode: Mode,
    /// Fewest cores a container is left with.
    pub min_cores: u32,
    /// Most cores a container is given.
    pub max_cores: u32,
    /// Most that one growth adds.
    pub max_step_up_percent: f64,
    /// Most that one shrink takes.
    pub max_step_down_percent: f64,
    /// A shrink smaller than this is not worth a change.
    pub hysteresis_percent: f64,
    /// Shortest time from any change to a growth.
    pub cooldown_up_seconds: u64,
    /// Shortest time from any change to a shrink.
    pub cooldown_down_seconds: u64,
}

impl Default for ScalingConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            mode: Mode::Auto,
            min_history_seconds: policy.min_history_seconds,
            min_confidence_percent: policy.min_confidence_percent,
            off_tag: policy.off_tag,
            node_memory_reserve_percent: policy.node_memory_reserve_percent,
            priority: policy.priority,
            cpu: CpuScalingConfig::default(),
            memory: policy.memory,
            guard: policy.guard,
        }
    }
}

impl Default for CpuScalingConfig {
    fn default() -> Self {
        let policy = CpuPolicy::default();
        Self {
            mode: policy.mode,
            min_cores: 1,
            max_cores: 8,
            max_step_up_percent: policy.max_step_up_percent,
            max_step_down_percent: policy.max_step_down_percent,
            hysteresis_percent: policy.hysteresis_percent,
            cooldown_up_seconds: policy.cooldown_up_seconds,
            cooldown_down_seconds: policy.cooldown_down_seconds,
        }
    }
}

impl ScalingConfig {
    /// What the decisions are bound by.
    pub(super) fn policy(&self, max_age_seconds: u64) -> Policy {
        let mut memory = self.memory.clone();
        memory.mode = more_careful(self.mode, memory.mode);
        Policy {
            cpu: self.cpu.policy(self.mode),
            memory,
            min_history_seconds: self.min_history_seconds,
            min_confidence_percent: self.min_confidence_percent,
            max_age_seconds,
            off_tag: self.off_tag.clone(),
            node_memory_reserve_percent: self.node_memory_reserve_percent,
            priority: self.priority,
            guard: self.guard.clone(),
        }
    }
}

impl CpuScalingConfig {
    fn policy(&self, ceiling: Mode) -> CpuPolicy {
        CpuPolicy {
            mode: more_careful(ceiling, self.mode),
            control: CpuControl::Cores,
            min_cores: f64::from(self.min_cores),
            max_cores: f64::from(self.max_cores),
            max_step_up_percent: self.max_step_up_percent,
            max_step_down_percent: self.max_step_down_percent,
            hysteresis_percent: self.hysteresis_percent,
            cooldown_up_seconds: self.cooldown_up_seconds,
            cooldown_down_seconds: self.cooldown_down_seconds,
        }
    }
}

fn more_careful(one: Mode, other: Mode) -> Mode {
    match (one, other) {
        (Mode::Off, _) | (_, Mode::Off) => Mode::Off,
        (Mode::Recommend, _) | (_, Mode::Recommend) => Mode::Recommend,
        (Mode::Auto, Mode::Auto) => Mode::Auto,
    }
}
