//! What comes of judging a snapshot.

use std::collections::BTreeMap;

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::notification::Severity;

use super::state::{State, Subject};

/// What came of a cycle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// To be remembered.
    pub state: State,
    /// Whether that is other than before in what a restart must not lose: not the time alone.
    pub is_changed: bool,
    /// What fired and what cleared.
    pub transitions: Vec<Transition>,
    /// What is firing now.
    pub active: Vec<Active>,
}

/// An alert that fired or cleared in this cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// What became of it.
    pub change: Change,
    /// The alert as it is now, or as it was last.
    pub alert: Active,
    /// When.
    pub at: RecordTime,
}

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It began.
    Fired,
    /// It is over.
    Cleared(ClearReason),
}

/// Why an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearReason {
    /// The value is at its clear level again.
    Recovered,
    /// The container does not run any more.
    ContainerStopped,
    /// The container is not on this node any more.
    ContainerGone,
    /// The rule was switched off or removed.
    RuleOff,
    /// The rule was changed, and under the new levels there is no reason to fire.
    RuleChanged,
}

impl ClearReason {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::ContainerStopped => "container-stopped",
            Self::ContainerGone => "container-gone",
            Self::RuleOff => "rule-off",
            Self::RuleChanged => "rule-changed",
        }
    }
}

/// A firing alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// Whose.
    pub subject: Subject,
    /// Name of the container, where it is known.
    pub name: Option<String>,
    /// Name of the rule.
    pub rule: String,
    /// Name of the metric.
    pub metric: String,
    /// How urgent it is.
    pub severity: Severity,
    /// The value now; `None` when it is unknown.
    pub value: Option<f64>,
    /// The level at which it fires.
    pub trigger: f64,
    /// The level at which it is over.
    pub clear: f64,
    /// Since when the value was reason to fire.
    pub since: RecordTime,
    /// Whether the value has been unknown for longer than the limit for missing data.
    pub no_data: bool,
}

/// Sorts alerts of one severity together, the most urgent first.
pub fn by_urgency(alerts: &mut [Active]) {
    alerts.sort_by(|one, other| {
        (other.severity, one.subject, &one.rule).cmp(&(one.severity, other.subject, &other.rule))
    });
}

/// Active alerts by whose they are.
pub fn by_subject(active: Vec<Active>) -> BTreeMap<Subject, Vec<Active>> {
    let mut map = BTreeMap::<_, Vec<_>>::new();
    for alert in active {
        map.entry(alert.subject).or_default().push(alert);
    }
    map
}
