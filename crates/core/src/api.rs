//! Request and response bodies of the REST API.
//!
//! The envelope `{"status", "message", "data"}` and the field names of the requests are those of the product's first
//! description. Errors additionally have a `code`, which is stable and meant for programs. Requests with unknown
//! fields are refused: ignoring a misspelt field would make a change that nobody asked for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::container_config::ContainerConfig;
use crate::snapshot::{ContainerRecord, ContainerState, PressureSet};
use crate::whole_number;
use crate::{Cores, Mebibytes, RecordTime, Vmid};

mod configuration;
mod events;
mod power;
mod removal;
mod resource;
mod snapshots;

pub use configuration::{
    ConfigCandidate, ConfigChange, ConfigChanged, ConfigInForce, ConfigInfo, ConfigOwner, ConfigPatch,
    ConfigProblem, ConfigReport, ConfigRequest, ConfigSetting, ConfigText, ConfigVerdict, MAX_CHANGES,
    MAX_KEY_CHARS,
};
pub use events::{
    AlertEvent, BoostEvent, BoostState, CurrentMetrics, EventInfo, EventKind, EventPage, SnapshotEvent,
    UsageEvent,
};
pub use power::{Powered, ShutdownRequest};
pub use removal::{RemovalToConfirm, VolumeInfo};
pub use resource::{
    Cluster, ClusterNode, ClusterStatus, ContainerSettings, EXIT_NOTHING_KNOWN, PendingSetting, RawSetting,
    Why, WhyRequest,
};
pub use snapshots::{LeftSnapshot, PruneRequest, Pruned, SnapshotDeleted};

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

/// `POST /scale/cores`: set the number of cores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ScaleCoresRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Number of whole cores, at least 1.
    #[serde(deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 8192)))]
    pub cores: u32,
    /// The number it is expected to have, 0 for none; if it has another, it is left as it is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "whole_number::deserialize_optional"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 0, max = 8192)))]
    pub expected: Option<u32>,
}

/// `POST /scale/cpulimit`: set the limit of CPU time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ScaleCpulimitRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Limit in cores, with two decimals; 0 for no limit.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 8192)))]
    pub cpulimit: f64,
    /// The limit it is expected to have, 0 for none; if it has another, it is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 8192)))]
    pub expected: Option<f64>,
}

/// `POST /scale/ram`: set the memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ScaleRamRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Memory in MiB, at least 16.
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 1_073_741_824)))]
    pub memory: Mebibytes,
    /// The memory in MiB it is expected to have; if it has another size, it is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1_073_741_824)))]
    pub expected: Option<Mebibytes>,
}

/// `POST /scale/storage/increase`: grow the root filesystem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct IncreaseStorageRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// GiB to add, at least 1.
    #[serde(deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 131_072)))]
    pub disk_size: u32,
}

/// `POST /snapshot/create`, `POST /snapshot/rollback` and `DELETE /snapshot/delete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// The name of the snapshot.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(
            pattern = r"^(?!([Cc][Uu][Rr][Rr][Ee][Nn][Tt]|[Vv][Zz][Dd][Uu][Mm][Pp])$)[A-Za-z][A-Za-z0-9_-]{1,39}$"
        ))
    )]
    pub snapshot_name: String,
}

/// `POST /clone/create`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct CreateCloneRequest {
    /// The container to copy.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// The id of the copy.
    #[serde(alias = "new_lxc_id")]
    pub new_vm_id: Vmid,
    /// The host name of the copy.
    #[serde(alias = "new_lxc_name")]
    #[cfg_attr(
        feature = "schema",
        schemars(
            length(max = 255),
            regex(
                pattern = r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*$"
            )
        )
    )]
    pub new_vm_name: String,
}

/// `DELETE /clone/delete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct DeleteCloneRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Also remove a container that this server did not make; the configuration must allow that
    /// (`limits.destroy_any_container`).
    #[serde(default)]
    pub any_container: bool,
    /// The confirmation from the answer to the first request, if a removal needs two (`limits.confirm_destroy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub confirmation: Option<String>,
}

/// The query of `GET /snapshot/list`, `GET /resource/vm/status` and others that only name a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ContainerRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
}

/// Query of `GET /resource/node/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// The name of the node; must be the one the server runs on.
    pub node_name: String,
}

/// The result of a resize, as read back from the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resized<T> {
    /// The container.
    pub vm_id: Vmid,
    /// The value before; absent if the configuration had none.
    pub before: Option<T>,
    /// The value now.
    pub after: Option<T>,
    /// `false` if it already had the requested value and nothing was written.
    pub changed: bool,
}

/// Response of `POST /scale/cores`.
pub type ScaledCores = Resized<Cores>;
/// Response of `POST /scale/cpulimit`, in cores; absent means no limit.
pub type ScaledCpulimit = Resized<f64>;
/// Response of `POST /scale/ram`, in MiB.
pub type ScaledRam = Resized<Mebibytes>;

/// Response of `POST /scale/storage/increase`, in MiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IncreasedStorage {
    /// The size of the volume.
    #[serde(flatten)]
    pub size: Resized<Mebibytes>,
    /// Whether the file system on the volume has grown with it. `false` means that the container still sees the old
    /// size. Absent if that is not known, because the server ended meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_grown: Option<bool>,
}

/// Response of `POST /snapshot/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotCreated {
    /// The container.
    pub vm_id: Vmid,
    /// The new snapshot.
    pub snapshot_name: String,
}

/// Response of `GET /snapshot/list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotList {
    /// The container.
    pub vm_id: Vmid,
    /// Its snapshots in Proxmox's order, each before those that descend from it.
    pub snapshots: Vec<SnapshotInfo>,
}

/// One snapshot of a container (not to be confused with [`crate::snapshot::Snapshot`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was taken; absent if Proxmox does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<RecordTime>,
    /// The first line of its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The snapshot it descends from; absent if it descends from none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the container's present state descends from this snapshot directly.
    pub current: bool,
}

/// Response of `POST /snapshot/rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolledBack {
    /// The container.
    pub vm_id: Vmid,
    /// The snapshot it was rolled back to, which also restores its cores and memory.
    pub snapshot_name: String,
    /// Whether it was running before; Proxmox stops a container to roll it back.
    pub was_running: bool,
    /// Whether it is running now.
    pub running: bool,
}

/// Response of `POST /clone/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CloneCreated {
    /// The container that was copied.
    pub vm_id: Vmid,
    /// The copy; it is stopped.
    pub new_vm_id: Vmid,
    /// The requested name.
    pub requested_name: String,
    /// The host name of the copy: underscores, which Proxmox refuses, are replaced by hyphens.
    pub hostname: String,
    /// The tag that marks the copy as made here; `/clone/delete` normally removes only containers that carry it.
    pub tag: String,
    /// A temporary snapshot of the source that could not be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<String>,
}

/// Response of `DELETE /clone/delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CloneDeleted {
    /// The removed container.
    pub vm_id: Vmid,
    /// Whether it was running and had to be stopped first.
    pub was_running: bool,
}

/// Response of `GET /resource/vm/status` and `GET /resource/lxc/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerStatus {
    /// The container.
    pub vm_id: Vmid,
    /// Its current state.
    pub state: ContainerState,
    /// What Proxmox's configuration grants it.
    pub allocation: ContainerConfig,
    /// Its usage according to the monitor's newest record; absent if there is no current record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ContainerRecord>,
    /// Why `usage` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_missing: Option<String>,
}

/// Response of `GET /resource/node/status`. Values that could not be read are absent and named in `missing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeStatus {
    /// Its host name.
    pub node_name: String,
    /// Seconds since it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Number of online CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// CPU use over `cpu_window_seconds`, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// CPU use in percent of all CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// The period over which CPU use was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_window_seconds: Option<f64>,
    /// The load averages over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Total memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_mb: Option<f64>,
    /// Memory that can be given out without swapping, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_mb: Option<f64>,
    /// Total swap, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used_mb: Option<f64>,
    /// Pressure (PSI) of the whole node; absent if the kernel does not provide it.
    #[serde(default, skip_serializing_if = "PressureSet::is_empty")]
    pub pressure: PressureSet,
    /// Number of containers configured on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<u32>,
    /// Number of them that are running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_running: Option<u32>,
    /// Reason why a field is absent, by field name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

/// The health of the server, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// It works.
    Healthy,
    /// Containers can be changed, but something is missing.
    Degraded,
    /// Containers cannot be changed.
    Unhealthy,
}

/// Response of `GET /health/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// The worst of the checks.
    pub state: HealthState,
    /// Version of the server.
    pub version: String,
    /// Changes of containers that are running or waiting.
    pub changes_in_progress: usize,
    /// The individual checks.
    pub checks: Vec<HealthCheck>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HealthCheck {
    /// What was checked: `pct`, `configuration`, `running_state`, `metrics`.
    pub name: String,
    /// The result.
    pub state: HealthState,
    /// Details for humans.
    pub detail: String,
}

/// One entry of `GET /routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteInfo {
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The lowest role that may use it: `viewer`, `operator` or `admin`.
    pub role: String,
    /// What it does.
    pub description: String,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its containers.
    Queued,
    /// It is running.
    Running,
    /// It did what was asked.
    Done,
    /// It failed; the message says whether anything is left behind.
    Failed,
    /// It was cancelled on request.
    Cancelled,
    /// Its outcome cannot be determined; the message says what was found.
    Unknown,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobStep {
    /// When it was taken.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub at: Timestamp,
    /// What was done, for humans.
    pub text: String,
}

/// Response of `GET /jobs/{id}`, an entry of `GET /jobs`, and the response to a long call with `Prefer:
/// respond-async`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobInfo {
    /// Its number, which the audit log calls `change`.
    pub id: u64,
    /// Its state.
    pub state: JobState,
    /// What it does, as a word such as `create_clone`.
    pub kind: String,
    /// What it does, in words.
    pub summary: String,
    /// The containers it changes.
    pub containers: Vec<Vmid>,
    /// Who asked for it, such as `uid:0` or `key:backup-job`.
    pub caller: String,
    /// When it was asked for.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub created: Timestamp,
    /// When its containers were free and it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<RecordTime>"))]
    pub begun: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<RecordTime>"))]
    pub ended: Option<Timestamp>,
    /// Whether `DELETE /jobs/{id}` can stop it now.
    pub cancellable: bool,
    /// What it did so far.
    pub steps: Vec<JobStep>,
    /// What the call would have answered as `data`, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What the call would have answered as `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The error code, as in every response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Query of `GET /ledger`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct LedgerRequest {
    /// Only this container; all if omitted.
    #[serde(alias = "lxc_id", default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<Vmid>,
}

/// A size of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SizeOf {
    /// Number of cores.
    Cores,
    /// Limit of CPU time, in cores.
    Cpulimit,
    /// Memory, in MiB.
    Memory,
    /// Root filesystem, in MiB; it never shrinks.
    Rootfs,
}

/// A size that was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LedgerEntry {
    /// Its number.
    pub number: u64,
    /// When the change ended, or was noticed.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub at: Timestamp,
    /// The container.
    pub vm_id: Vmid,
    /// Which size.
    pub resource: SizeOf,
    /// The value before, in cores or MiB; absent if the configuration had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// The value afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// Who made the change, such as `uid:0` or `key:backup-job`; `outside` if it was not made through this server.
    pub caller: String,
    /// The reason: `request`, `boost`, `end of boost`, `undo`, `rollback` or `noticed`, followed by the purpose that
    /// the request stated, as in `request: decision 4711`.
    pub why: String,
    /// The number of the change in the audit log.
    pub change: u64,
    /// Whether it can be undone.
    pub undoable: bool,
}

impl LedgerEntry {
    /// The reason of an entry for a change that was requested as such.
    pub const REQUEST: &str = "request";
    /// The reason of an entry for the start of a boost.
    pub const BOOST: &str = "boost";
    /// The reason of an entry for the end of a boost.
    pub const END_OF_BOOST: &str = "end of boost";

    /// Whether the entry is the start or the end of a boost.
    pub fn is_by_boost(&self) -> bool {
        [Self::BOOST, Self::END_OF_BOOST].contains(&reason_and_purpose(&self.why).0)
    }

    /// The number of the decision of `lxc-autoscale-ml` that the change carried out, according to the purpose that its
    /// caller stated: `decision 4711`, or `plan applied, decision 4711`.
    pub fn decision(&self) -> Option<u64> {
        Self::decision_in(&self.why)
    }

    /// As [`LedgerEntry::decision`], for the `why` of an entry.
    pub fn decision_in(why: &str) -> Option<u64> {
        let (reason, purpose) = reason_and_purpose(why);
        let named = purpose.rsplit(", ").next()?.strip_prefix("decision ")?;
        named.parse().ok().filter(|_| reason == Self::REQUEST)
    }
}

/// The reason of an entry, and the purpose that the caller stated after a colon.
fn reason_and_purpose(why: &str) -> (&str, &str) {
    why.split_once(": ").unwrap_or((why, ""))
}

/// The size before the first change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OriginalSize {
    /// The container.
    pub vm_id: Vmid,
    /// Which size.
    pub resource: SizeOf,
    /// The size in cores or MiB; absent if the configuration had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<f64>,
    /// When it was first changed.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub until: Timestamp,
}

/// Response of `GET /ledger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LedgerPage {
    /// The newest entries, newest first.
    pub entries: Vec<LedgerEntry>,
    /// The sizes before the first change.
    pub originals: Vec<OriginalSize>,
}

/// `POST /undo`: return sizes to earlier ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::one_or_all))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// The container; without it, `all` must be true.
    #[serde(alias = "lxc_id", default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<Vmid>,
    /// Whether to undo the changes of all containers that were ever changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// A time (RFC 3339), or `original` for the sizes before the first change.
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::MomentText"))]
    pub to: String,
}

/// The result of `POST /undo` for one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Undone {
    /// The container.
    pub vm_id: Vmid,
    /// Which size.
    pub resource: SizeOf,
    /// The size to return to; absent if the configuration had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// Whether it was changed; `false` also if it already had that size.
    pub changed: bool,
    /// The error code, if it was not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /boost`: raise sizes for a limited time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::needs_a_size))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct BoostRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Minimum number of cores.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "whole_number::deserialize_optional"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1, max = 8192)))]
    pub cores: Option<u32>,
    /// Minimum memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 1_073_741_824)))]
    pub memory: Option<Mebibytes>,
    /// Duration in minutes.
    #[serde(deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 10_080)))]
    pub minutes: u32,
}

/// A boost of one size, as `GET /boost` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoostInfo {
    /// Its number.
    pub id: u64,
    /// The container.
    pub vm_id: Vmid,
    /// Which size.
    pub resource: SizeOf,
    /// The size it is raised to, in cores or MiB.
    pub size: f64,
    /// The size to return to when no other boost of this size is left; absent if the configuration had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<f64>,
    /// When it began.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub began: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub ends: Timestamp,
    /// Who asked for it.
    pub caller: String,
    /// Why it has not ended although its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}
