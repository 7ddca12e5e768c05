//! The state kept between cycles, and across a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use lxc_autoscale_core::notification::Severity;
use lxc_autoscale_core::{RecordTime, Run, Vmid};
use serde::{Deserialize, Serialize};

use super::rule::Levels;

/// The engine's state; quiet alerts take no space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// When it was last updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_cycle: Option<RecordTime>,
    /// Alerts that are not quiet, by subject and name of the rule.
    #[serde(default)]
    pub alerts: BTreeMap<Subject, BTreeMap<String, AlertState>>,
    /// The containers seen running or stopped.
    #[serde(default)]
    pub containers: BTreeMap<Vmid, Remembered>,
}

/// The subject of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// The node's.
    Node,
    /// A container's.
    Container(Vmid),
}

/// An alert that is about to fire, or has fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertState {
    /// Name of the metric it is judged by.
    pub metric: String,
    /// The levels it is judged by.
    pub levels: Levels,
    /// Since when the value has been at the trigger level, while it has not fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_since: Option<RecordTime>,
    /// Since when the value has been unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_since: Option<RecordTime>,
    /// Present from when it fires to when it clears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<Firing>,
}

/// An alert that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Since when the value had been at the trigger level.
    pub since: RecordTime,
    /// How urgent it is.
    pub severity: Severity,
    /// The value when it fired.
    pub value: f64,
    /// Name of the container then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Since when the value has been at the clear level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_since: Option<RecordTime>,
}

/// What a single record cannot tell about a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Number of OOM kills at the last count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// The run of the container in which they were counted. An unchanged number is no reason to update it: an earlier
    /// time identifies the run just as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Whether it starts with the node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub onboot: bool,
    /// Its tags; absent if its configuration could never be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Since when it has been neither running nor stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<RecordTime>,
}

impl State {
    /// When it was last updated, to tell what has started since.
    pub fn moment(&self) -> Option<Run> {
        let last = self.last_cycle?;
        Some(Run { at_seconds: last.as_seconds(), node_uptime_seconds: None, uptime_seconds: None })
    }

    /// Whether a hold time is running, which a restart should not lose.
    pub fn has_timers(&self) -> bool {
        let mut alerts = self.alerts.values().flat_map(BTreeMap::values);
        alerts.any(|alert| match &alert.firing {
            Some(firing) => firing.clear_since.is_some(),
            None => alert.over_since.is_some(),
        })
    }
}

impl AlertState {
    /// Resets the hold times.
    pub fn restart_timers(&mut self) {
        self.over_since = None;
        if let Some(firing) = &mut self.firing {
            firing.clear_since = None;
        }
    }
}

impl Subject {
    /// The container, if it is one.
    pub fn container(self) -> Option<Vmid> {
        match self {
            Self::Node => None,
            Self::Container(vmid) => Some(vmid),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Container(vmid) => vmid.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = lxc_autoscale_core::vmid::InvalidVmid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "node" { Ok(Self::Node) } else { text.parse().map(Self::Container) }
    }
}

impl TryFrom<String> for Subject {
    type Error = lxc_autoscale_core::vmid::InvalidVmid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> String {
        subject.to_string()
    }
}
