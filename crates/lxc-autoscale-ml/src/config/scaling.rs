//! The `[scaling]` table.

use serde::Deserialize;

use crate::decide::{CpuPolicy, FEWEST_BY_CONTROL, MemoryPolicy, Mode, Policy};
use crate::guard::GuardPolicy;

/// `[scaling]`: when and how far containers are resized.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalingConfig {
    /// How far decisions go, for both resources; a resource's own `mode` may restrict it further.
    pub mode: Mode,
    /// No shrink before this much history.
    pub min_history_seconds: u64,
    /// No shrink that is less likely than this to stay right for an hour.
    pub min_confidence_percent: f64,
    /// A container with this tag is left alone.
    pub off_tag: String,
    /// Memory of the node that growth may never use.
    pub node_memory_reserve_percent: f64,
    /// Who comes first when the node cannot satisfy every container.
    pub priority: i32,
    /// In mode `approve`: whether running out of memory is answered without approval.
    pub approve_exempt_oom: bool,
    /// CPU.
    pub cpu: CpuPolicy,
    /// Memory.
    pub memory: MemoryPolicy,
    /// The rules of the guards.
    pub guard: GuardPolicy,
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
            approve_exempt_oom: policy.approve_exempt_oom,
            cpu: CpuPolicy { min_cores: FEWEST_BY_CONTROL, ..policy.cpu },
            memory: policy.memory,
            guard: policy.guard,
        }
    }
}

impl ScalingConfig {
    /// The rules of decisions.
    pub(crate) fn policy(&self, max_age_seconds: u64) -> Policy {
        let (mut cpu, mut memory) = (self.cpu.clone(), self.memory.clone());
        cpu.min_cores = cpu.fewest_cores();
        cpu.mode = self.mode.min(cpu.mode);
        memory.mode = self.mode.min(memory.mode);
        Policy {
            cpu,
            memory,
            min_history_seconds: self.min_history_seconds,
            min_confidence_percent: self.min_confidence_percent,
            max_age_seconds,
            off_tag: self.off_tag.clone(),
            node_memory_reserve_percent: self.node_memory_reserve_percent,
            priority: self.priority,
            approve_exempt_oom: self.approve_exempt_oom,
            guard: self.guard.clone(),
            ignored: false,
            unclear: None,
        }
    }
}
