//! The result of evaluating a snapshot.

use std::collections::BTreeMap;

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::notification::Severity;

use super::state::{State, Subject};

/// The result of a cycle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The new state.
    pub state: State,
    /// Whether it differs from the previous one in something that a restart must not lose, apart from the time.
    pub is_changed: bool,
    /// The alerts that fired or cleared.
    pub transitions: Vec<Transition>,
    /// The firing alerts.
    pub active: Vec<Active>,
}

/// An alert that fired or cleared in this cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The transition.
    pub change: Change,
    /// The alert as it is now, or as it was last.
    pub alert: Active,
    /// When.
    pub at: RecordTime,
}

/// The kind of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It began.
    Fired,
    /// It is over.
    Cleared(ClearReason),
}

/// Why an alert cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearReason {
    /// The value is at its clear level again.
    Recovered,
    /// There is no limit any more that the value could be a share of.
    NoLimit,
    /// The container is not running any more.
    ContainerStopped,
    /// The container is not on this node any more.
    ContainerGone,
    /// The rule was switched off or removed.
    RuleOff,
    /// The rule was changed, and the value does not fire at the new levels.
    RuleChanged,
}

impl ClearReason {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::NoLimit => "no-limit",
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
    /// Its subject.
    pub subject: Subject,
    /// Name of the container, if known.
    pub name: Option<String>,
    /// Name of the rule.
    pub rule: String,
    /// Name of the metric.
    pub metric: String,
    /// How urgent it is.
    pub severity: Severity,
    /// The present value; `None` when it is unknown.
    pub value: Option<f64>,
    /// The level at which it fires.
    pub trigger: f64,
    /// The level at which it clears, if known.
    pub clear: Option<f64>,
    /// Since when the value has been at the trigger level.
    pub since: RecordTime,
    /// Whether the value has been unknown for longer than the limit for missing data.
    pub no_data: bool,
}

/// Sorts alerts by severity, most urgent first.
pub fn by_urgency(alerts: &mut [Active]) {
    alerts.sort_by(|one, other| {
        (other.severity, one.subject, &one.rule).cmp(&(one.severity, other.subject, &other.rule))
    });
}

/// Active alerts by subject.
pub fn by_subject(active: Vec<Active>) -> BTreeMap<Subject, Vec<Active>> {
    let mut map = BTreeMap::<_, Vec<_>>::new();
    for alert in active {
        map.entry(alert.subject).or_default().push(alert);
    }
    map
}
