//! Bodies of `GET /metrics/current` and `GET /events`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BoostInfo, JobInfo, LedgerEntry};
use crate::snapshot::{ActiveAlert, ContainerRecord, NodeRecord};
use crate::{RecordTime, Vmid};

/// Response of `GET /metrics/current`: the newest record of the monitor. Values that could not be measured are
/// absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CurrentMetrics {
    /// When it was measured.
    pub taken: RecordTime,
    /// Its age in seconds; negative if the clock was set back since.
    pub age_seconds: f64,
    /// Whether it counts as current (`metrics.max_age_seconds`).
    pub fresh: bool,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRecord>,
    /// The containers that were running, by id.
    pub containers: BTreeMap<Vmid, Box<ContainerRecord>>,
}

/// Response of `GET /events` for clients that do not ask for a stream: the newest events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<EventInfo>,
    /// Whether there were earlier events that are no longer kept.
    pub missed: bool,
    /// The id of the newest event, to be sent as `Last-Event-ID` in the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventInfo {
    /// Its id, for `Last-Event-ID`.
    pub id: String,
    /// When it was noticed.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", content = "data", rename_all = "lowercase")]
pub enum EventKind {
    /// The monitor has taken a snapshot.
    Snapshot(SnapshotEvent),
    /// A size was changed.
    Change(LedgerEntry),
    /// A job was asked for, has begun, or has ended; without its steps and result.
    Job(JobInfo),
    /// A boost began, waits for its end, or has ended.
    Boost(BoostEvent),
    /// An alert of the monitor started or stopped firing.
    Alert(AlertEvent),
}

/// The summary of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotEvent {
    /// When it was measured.
    pub taken: RecordTime,
    /// CPU use of the node, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_cpu_cores_used: Option<f64>,
    /// Memory that the node can give out without swapping, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_memory_available_mb: Option<f64>,
    /// The containers that were running, by id.
    pub containers: BTreeMap<Vmid, UsageEvent>,
}

/// The usage of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageEvent {
    /// CPU use in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// CPU use in percent of what the container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// Working set in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_usage_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_usage_mb: Option<f64>,
}

/// The state of a boost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BoostState {
    /// It has begun.
    Began,
    /// Its time is over, but ending it now would do harm.
    Waiting,
    /// It has ended.
    Ended,
}

/// A boost that changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoostEvent {
    /// Its new state.
    pub state: BoostState,
    /// The boost.
    pub boost: BoostInfo,
}

/// An alert that started or stopped firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlertEvent {
    /// Whether it is firing.
    pub firing: bool,
    /// The container; absent for an alert of the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<Vmid>,
    /// The alert.
    pub alert: ActiveAlert,
}
