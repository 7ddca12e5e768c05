//! Whether to change a container's size, and why. Pure.

mod policy;
mod reason;
mod situation;

pub use policy::{CpuControl, CpuPolicy, MemoryPolicy, Mode, Policy};
pub use reason::Reason;
pub use situation::{Allocation, AnomalyScore, LastChanges, NodeSituation, Obstacles, Situation};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// `cores` or `cpulimit`, in cores.
    Cpu,
    /// `memory`, in MiB.
    Memory,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Give more.
    Grow,
    /// Give less.
    Shrink,
    /// Leave it.
    Keep,
}

/// What is done about one resource of one container, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What it is about.
    pub resource: Resource,
    /// What is to be done.
    pub action: Action,
    /// What the container has (cores or MiB); `None` when unknown.
    pub from: Option<f64>,
    /// What it is to have; `Some` exactly when `action` is not `Keep`.
    pub to: Option<f64>,
    /// Whether it is to be carried out (mode `auto`), or only shown (mode `recommend`).
    pub apply: bool,
    /// Why.
    pub reason: Reason,
    /// Confidence of the recommendation behind it (0–100); 0 when there was none.
    pub confidence_percent: f64,
}

/// The decisions about one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// About its CPU.
    pub cpu: Decision,
    /// About its memory.
    pub memory: Decision,
}

/// Decides about one container.
pub fn decide(policy: &Policy, situation: &Situation<'_>, node: &NodeSituation, now: Timestamp) -> Decisions {
    let _ = (policy, situation, node, now);
    let keep = |resource| Decision {
        resource,
        action: Action::Keep,
        from: None,
        to: None,
        apply: false,
        reason: Reason::NoRecommendation,
        confidence_percent: 0.0,
    };
    Decisions { cpu: keep(Resource::Cpu), memory: keep(Resource::Memory) }
}
