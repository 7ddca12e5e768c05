//! The state kept between cycles, and across a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use lxc_autoscale_core::notification::Severity;
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::{BootId, RecordTime, Run, Vmid};
use serde::{Deserialize, Serialize};

use super::rule::Levels;

/// A wall clock that deviates from the uptime by this much was set, as in [`crate::usage`].
const CLOCK_STEP_SECONDS: f64 = 0.5;

/// The engine's state; quiet alerts take no space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// When it was last updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_cycle: Option<RecordTime>,
    /// The node's uptime when it was last known, by which it is told that the clock was set. Absent in the files of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_uptime: Option<Uptime>,
    /// Alerts that are not quiet, by subject and name of the rule.
    #[serde(default)]
    pub alerts: BTreeMap<Subject, BTreeMap<String, AlertState>>,
    /// The containers seen running or stopped.
    #[serde(default)]
    pub containers: BTreeMap<Vmid, Remembered>,
}

/// How long the node had been running at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uptime {
    /// By a clock that may be set.
    pub at: RecordTime,
    /// By one that may not.
    pub seconds: f64,
    /// Since which boot. Absent in the files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
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
    /// Its name, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
        let node_uptime = self.last_uptime.filter(|uptime| uptime.at.instant() == last.instant());
        Some(Run {
            at_seconds: last.as_seconds(),
            node_uptime_seconds: node_uptime.map(|uptime| uptime.seconds),
            uptime_seconds: None,
            boot: node_uptime.and_then(|uptime| uptime.boot),
        })
    }

    /// Whether it was updated after the snapshot, by the node's uptime where both know it: the clock may have been set.
    pub fn is_after(&self, snapshot: &Snapshot) -> bool {
        let Some(last) = self.last_cycle else { return false };
        let node = snapshot.summary.node.as_ref();
        let measured = node.and_then(|node| node.uptime_seconds.zip(node.boot_id));
        let own = self.last_uptime.filter(|uptime| uptime.at.instant() == last.instant());
        match (own.and_then(|own| Some((own.seconds, own.boot?))), measured) {
            (Some((own, boot)), Some((measured, boot_then)))
                if boot == boot_then && measured.total_cmp(&own).is_ne() =>
            {
                measured < own
            }
            _ => snapshot.summary.collection_start_time.instant() < last.instant(),
        }
    }

    /// How far ahead the clock was set since the last uptime; `None` if it was not, or that is unknown because the node
    /// was restarted.
    pub fn clock_step(&self, now: Uptime) -> Option<SignedDuration> {
        let last = self.last_uptime?;
        let passed = now.seconds - last.seconds;
        let is_other_boot = now.boot.zip(last.boot).is_some_and(|(now, before)| now != before);
        if is_other_boot || passed < 0.0 {
            return None;
        }
        let step = now.at.instant().duration_since(last.at.instant()).as_secs_f64() - passed;
        let tolerance = CLOCK_STEP_SECONDS.max(0.001 * passed);
        SignedDuration::try_from_secs_f64(step).ok().filter(|_| tolerance < step.abs())
    }

    /// Moves every time that something is measured from.
    pub fn move_times(&mut self, step: SignedDuration) {
        let alerts = self.alerts.values_mut().flat_map(BTreeMap::values_mut);
        let of_alerts = alerts.flat_map(|alert| {
            let clear_since = alert.firing.as_mut().map(|firing| &mut firing.clear_since);
            [&mut alert.over_since, &mut alert.no_data_since].into_iter().chain(clear_since)
        });
        let absences = self.containers.values_mut().map(|container| &mut container.absent_since);
        for time in of_alerts.chain(absences).chain([&mut self.last_cycle]).flatten() {
            *time = time.later_by(step);
        }
        if let Some(uptime) = &mut self.last_uptime {
            uptime.at = uptime.at.later_by(step);
        }
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
