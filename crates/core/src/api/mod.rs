//! Request and response bodies of the REST API.
//!
//! The envelope `{"status", "message", "data"}` and the field names of the requests are those of the product's first
//! description. Errors additionally have a `code`, which is stable and meant for programs. Requests with unknown
//! fields are refused: ignoring a misspelt field would make a change that nobody asked for.

use serde::{Deserialize, Serialize};

mod boosts;
mod clones;
mod configuration;
mod events;
mod health;
mod jobs;
mod ledger;
mod power;
mod removal;
mod resource;
mod scale;
mod snapshots;
mod status;

pub use boosts::{BoostInfo, BoostRequest};
pub use clones::{CloneCreated, CloneDeleted, CreateCloneRequest, DeleteCloneRequest};
pub use configuration::{
    ConfigCandidate, ConfigChange, ConfigChanged, ConfigInForce, ConfigInfo, ConfigOwner, ConfigPatch,
    ConfigProblem, ConfigReport, ConfigRequest, ConfigSetting, ConfigText, ConfigVerdict, MAX_CHANGES,
    MAX_KEY_CHARS,
};
pub use events::{
    AlertEvent, BoostEvent, BoostState, CurrentMetrics, EventInfo, EventKind, EventPage, SnapshotEvent,
    UsageEvent,
};
pub use health::{Health, HealthCheck, HealthState, RouteInfo};
pub use jobs::{JobInfo, JobState, JobStep};
pub use ledger::{LedgerEntry, LedgerPage, LedgerRequest, OriginalSize, SizeOf, UndoRequest, Undone};
pub use power::{Powered, ShutdownRequest};
pub use removal::{RemovalToConfirm, VolumeInfo};
pub use resource::{
    Cluster, ClusterNode, ClusterStatus, ContainerSettings, EXIT_NOTHING_KNOWN, KindOfLoad, PendingSetting,
    RawSetting, Why, WhyRequest,
};
pub use scale::{
    IncreaseStorageRequest, IncreasedStorage, Resized, ScaleCoresRequest, ScaleCpulimitRequest,
    ScaleRamRequest, ScaledCores, ScaledCpulimit, ScaledRam,
};
pub use snapshots::{
    LeftSnapshot, PruneRequest, Pruned, RolledBack, SnapshotCreated, SnapshotDeleted, SnapshotInfo,
    SnapshotList, SnapshotRequest, SnapshotState,
};
pub use status::{ContainerRequest, ContainerStatus, NodeRequest, NodeStatus};

/// The header with which a request for a change states its purpose, such as `decision 4711`. The purpose is stored in
/// the audit log and in the ledger.
pub const PURPOSE_HEADER: &str = "x-purpose";

/// The header with which a request for a change says for how many seconds it may wait for other changes of the same
/// container.
pub const QUEUE_TIMEOUT_HEADER: &str = "x-queue-timeout";

/// Fields of requests that have a second name, with that name. A request uses one of the two; answers use the first.
pub const TWO_NAMES: [(&str, &str); 3] =
    [("vm_id", "lxc_id"), ("new_vm_id", "new_lxc_id"), ("new_vm_name", "new_lxc_name")];

/// Whether a call succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did what was asked.
    Success,
    /// It failed, and nothing was changed unless the message says otherwise.
    Error,
}

/// The shape of every response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Envelope<T> {
    /// `success` or `error`.
    pub status: Status,
    /// One sentence for humans.
    pub message: String,
    /// The result; `null` in errors, except for a failed health check, which reports what failed.
    pub data: Option<T>,
    /// The error code; only in errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl<T> Envelope<T> {
    /// The response to a call that succeeded.
    pub fn success(message: impl Into<String>, data: T) -> Self {
        Self { status: Status::Success, message: message.into(), data: Some(data), code: None }
    }
}

impl Envelope<()> {
    /// The response to a call that failed.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: Status::Error, message: message.into(), data: None, code: Some(code.into()) }
    }
}
