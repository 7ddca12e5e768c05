//! A decision as it is stored in the ledger.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

use crate::decide::{
    Action, Allocation, AnomalyScore, Decision, LastChanges, Mode, NodeSituation, Obstacles, Resource,
    Situation,
};
use crate::features::Unusual;
use crate::guard::Guard;
use crate::observation::Observation;
use crate::recommend::{Estimate, Opinions, Recommendation};

/// All inputs of a decision, owned; [`Inputs::situation`] is the view the decision had of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The container's size; `None` when its configuration could not be read.
    pub allocation: Option<Allocation>,
    /// Obstacles to changes.
    pub obstacles: Obstacles,
    /// The latest observation.
    pub observation: Option<Observation>,
    /// The recommended sizes.
    pub recommendation: Option<Recommendation>,
    /// The experts behind it and their forecast, for information only. In the ledger only those of the entry's
    /// resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opinions: Option<Opinions>,
    /// When it was last changed.
    pub changes: LastChanges,
    /// The anomaly score.
    pub anomaly: Option<AnomalyScore>,
    /// The same relative to its own past, and the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusual: Option<Unusual>,
    /// What the node had left.
    pub node: NodeSituation,
    /// Key of the rules in force, under which the ledger stores them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The guards' state.
    #[serde(default, skip_serializing_if = "Guard::is_silent")]
    pub guard: Guard,
}

impl Inputs {
    /// The inputs stored with a decision about one resource: information about the other one that does not affect the
    /// decision is left out.
    pub(super) fn kept_about(&self, resource: Resource) -> Self {
        let opinions = self.opinions.as_ref().map(|opinions| opinions.about(resource));
        let mut kept = Self { opinions, ..self.clone() };
        let recommendation = kept.recommendation.as_mut();
        if resource == Resource::Memory
            && let Some(cpu) = recommendation.and_then(|recommendation| recommendation.cpu.as_mut())
        {
            cpu.restlessness = None;
        }
        kept
    }

    /// What was recommended for one resource.
    pub fn estimate(&self, resource: Resource) -> Option<&Estimate> {
        let recommendation = self.recommendation.as_ref()?;
        match resource {
            Resource::Cpu => recommendation.cpu.as_ref(),
            Resource::Memory => recommendation.memory.as_ref(),
        }
    }

    /// The probability that the recommended size is enough for the coming hour (0–100); 0 when unknown.
    pub fn recommended_confidence(&self, resource: Resource) -> Option<f64> {
        Some(self.estimate(resource)?.confidence_percent)
    }

    /// The inputs as the decision function takes them.
    pub fn situation(&self) -> Situation<'_> {
        Situation {
            allocation: self.allocation,
            obstacles: self.obstacles.clone(),
            observation: self.observation.as_ref(),
            recommendation: self.recommendation.as_ref(),
            changes: self.changes,
            anomaly: self.anomaly,
            guard: self.guard.clone(),
        }
    }
}

/// The outcome of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was to be done.
    Nothing,
    /// It was shown and, because of the mode, not carried out.
    Shown,
    /// It was proposed and waits for approval.
    Proposed,
    /// The API was called and has not answered yet.
    Pending,
    /// It was done; with the value read back.
    Done {
        /// The size before, in cores or MiB.
        before: Option<f64>,
        /// The size now.
        after: Option<f64>,
    },
    /// It had that size already: somebody else had set it since it was measured, or a boost had ended.
    Already {
        /// The size, in cores or MiB.
        size: Option<f64>,
    },
    /// Somebody else had set another size since it was measured, so the API left that.
    Overtaken {
        /// What the API said.
        error: String,
    },
    /// It was not done.
    Failed {
        /// Why.
        error: String,
    },
    /// It may or may not have been done.
    Unknown {
        /// Why that is not known.
        error: String,
    },
}

impl Outcome {
    /// The outcome of a decision that is not carried out in this mode.
    pub fn unasked(decision: &Decision, mode: Mode) -> Self {
        match (decision.action, mode) {
            (Action::Keep, _) => Self::Nothing,
            (_, Mode::Approve) => Self::Proposed,
            _ => Self::Shown,
        }
    }

    /// A word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing to do",
            Self::Shown => "recommended only",
            Self::Proposed => "proposed",
            Self::Pending => "asked",
            Self::Done { .. } => "done",
            Self::Already { .. } => "was so already",
            Self::Overtaken { .. } => "somebody changed it first",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The error, if there is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Overtaken { error } | Self::Failed { error } | Self::Unknown { error } => Some(error),
            Self::Nothing
            | Self::Shown
            | Self::Proposed
            | Self::Pending
            | Self::Done { .. }
            | Self::Already { .. } => None,
        }
    }

    /// Whether the container's size may have changed because of it.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Unknown { .. })
    }

    /// The name under which it is stored, searched and counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Shown => "shown",
            Self::Proposed => "proposed",
            Self::Pending => "pending",
            Self::Done { .. } => "done",
            Self::Already { .. } => "already",
            Self::Overtaken { .. } => "overtaken",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// One decision in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its number in the ledger.
    pub number: i64,
    /// When it was made.
    pub at: Timestamp,
    /// When the same decision last failed in the same way; equals `at` if it did so once.
    pub last_at: Timestamp,
    /// How many times in a row it was made with the same failure.
    pub times: u64,
    /// The container.
    pub id: Vmid,
    /// The decision itself.
    pub decision: Decision,
    /// Its reason in words and numbers.
    pub reason: String,
    /// Its inputs.
    pub inputs: Inputs,
    /// Its outcome.
    pub outcome: Outcome,
}

/// Whether two decisions about the same resource are equivalent, so that the second need not be stored.
///
/// Small changes of a number do not count: five per cent of the confidence, but nothing of the size itself.
pub(super) fn says_the_same(old: &Decision, new: &Decision) -> bool {
    let same_reason = std::mem::discriminant(&old.reason) == std::mem::discriminant(&new.reason);
    let confidence_moved = (old.confidence_percent - new.confidence_percent).abs();
    old.action == new.action
        && same_reason
        && (old.from, old.to, old.apply) == (new.from, new.to, new.apply)
        && (old.action != Action::Keep || confidence_moved < 5.0)
}
