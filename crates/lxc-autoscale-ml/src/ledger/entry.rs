//! What the ledger keeps of a decision.

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
use crate::recommend::{Opinions, Recommendation};

/// Everything a decision was made from, owned; [`Inputs::situation`] is what the decision saw of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// What the container had; `None` when its configuration could not be read.
    pub allocation: Option<Allocation>,
    /// What forbade changes.
    pub obstacles: Obstacles,
    /// The latest observation.
    pub observation: Option<Observation>,
    /// What it should have had.
    pub recommendation: Option<Recommendation>,
    /// The experts behind it, and the forecast that they look at; told, and not decided upon. In the ledger those of the
    /// resource that the entry is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opinions: Option<Opinions>,
    /// When it was changed last.
    pub changes: LastChanges,
    /// How unusual it behaved.
    pub anomaly: Option<AnomalyScore>,
    /// The same against its own past, and what made it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusual: Option<Unusual>,
    /// What the node had left.
    pub node: NodeSituation,
    /// Key of the rules that were in force, under which the ledger keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What the guards had to say.
    #[serde(default, skip_serializing_if = "Guard::is_silent")]
    pub guard: Guard,
}

impl Inputs {
    /// What is kept with a decision about one resource: what tells of the other and is not decided upon is left out.
    pub(super) fn kept_about(&self, resource: Resource) -> Self {
        Self { opinions: self.opinions.as_ref().map(|opinions| opinions.about(resource)), ..self.clone() }
    }

    /// The inputs as the decision takes them.
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

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was to be done.
    Nothing,
    /// It was shown and, as the mode wants it, not carried out.
    Shown,
    /// It was proposed, and waits to be accepted.
    Proposed,
    /// The API has been asked and has not answered yet.
    Pending,
    /// It was done; what was read back afterwards.
    Done {
        /// What the container had, in cores or MiB.
        before: Option<f64>,
        /// What it has now.
        after: Option<f64>,
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
    /// What comes of a decision that is not carried out in a mode.
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
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The error, where there is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed { error } | Self::Unknown { error } => Some(error),
            Self::Nothing | Self::Shown | Self::Proposed | Self::Pending | Self::Done { .. } => None,
        }
    }

    /// Whether the container may have another size for it.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Unknown { .. })
    }

    /// The name it is stored, searched and counted under.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Shown => "shown",
            Self::Proposed => "proposed",
            Self::Pending => "pending",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// One decision as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its number in the ledger.
    pub number: i64,
    /// When it was made.
    pub at: Timestamp,
    /// When the same decision failed in the same way last; equals `at` when it did so once.
    pub last_at: Timestamp,
    /// How often it was made in a row with the same failure.
    pub times: u64,
    /// The container.
    pub id: Vmid,
    /// The decision itself.
    pub decision: Decision,
    /// Its reason in words and numbers.
    pub reason: String,
    /// What it was made from.
    pub inputs: Inputs,
    /// What came of it.
    pub outcome: Outcome,
}

/// Whether two decisions about the same thing say the same, so that the second need not be kept.
///
/// Small movements of a number are no news: five percent of the confidence, nothing at all of what would be
/// changed.
pub(super) fn says_the_same(old: &Decision, new: &Decision) -> bool {
    let same_reason = std::mem::discriminant(&old.reason) == std::mem::discriminant(&new.reason);
    let confidence_moved = (old.confidence_percent - new.confidence_percent).abs();
    old.action == new.action
        && same_reason
        && (old.from, old.to, old.apply) == (new.from, new.to, new.apply)
        && (old.action != Action::Keep || confidence_moved < 5.0)
}
