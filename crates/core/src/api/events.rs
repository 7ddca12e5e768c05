//! Bodies of `GET /metrics/current` and `GET /events`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BoostInfo, JobInfo, LedgerEntry};
use crate::snapshot::{ActiveAlert, ContainerRecord, NodeRecord};
use crate::{RecordTime, Vmid};

/// Answer to `GET /metrics/current`: the newest record of the monitor. What could not be measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CurrentMetrics {
    /// When it was measured.
    pub taken: RecordTime,
    /// How long ago that was, in seconds; below 0 when the clock was put back since.
    pub age_seconds: f64,
    /// Whether it is so new that it tells the present (`metrics.max_age_seconds`).
    pub fresh: bool,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRecord>,
    /// The containers that ran, by id.
    pub containers: BTreeMap<Vmid, Box<ContainerRecord>>,
}

/// Answer to `GET /events` for those who do not ask for a stream: the newest events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventPage {
    /// The oldest first.
    pub events: Vec<EventInfo>,
    /// Whether there were others before them that are not kept any more.
    pub missed: bool,
    /// The newest event there is; `Last-Event-ID` for the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventInfo {
    /// Its name, for `Last-Event-ID`.
    pub id: String,
    /// When it was noticed.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", content = "data", rename_all = "lowercase")]
pub enum EventKind {
    /// The monitor measured.
    Snapshot(SnapshotEvent),
    /// A size was changed.
    Change(LedgerEntry),
    /// A job was asked for, is begun, or has ended; without its steps and its result.
    Job(JobInfo),
    /// A boost began, waits for its end, or has ended.
    Boost(BoostEvent),
    /// An alert of the monitor fires, or does not any more.
    Alert(AlertEvent),
}

/// A record of the monitor in short.
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
    /// The containers that ran, by id.
    pub containers: BTreeMap<Vmid, UsageEvent>,
}

/// What a container used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageEvent {
    /// CPU use in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// The same in percent of what the container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// Working set in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_usage_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_usage_mb: Option<f64>,
}

/// How a boost stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BoostState {
    /// It began.
    Began,
    /// Its time is over, but its end would hurt.
    Waiting,
    /// It has ended.
    Ended,
}

/// A boost that began or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoostEvent {
    /// How it stands.
    pub state: BoostState,
    /// The boost.
    pub boost: BoostInfo,
}

/// An alert that fires, or does not any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlertEvent {
    /// Whether it fires.
    pub firing: bool,
    /// The container; absent for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<Vmid>,
    /// The alert.
    pub alert: ActiveAlert,
}
