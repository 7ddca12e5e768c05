//! Request and response bodies of the REST API.
//!
//! The envelope `{"status", "message", "data"}` and the field names of the requests are those of the product's
//! first description; `code` is added to errors, stable, for programs. Requests refuse unknown fields: a
//! misspelt field that is silently ignored is a change nobody asked for.

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

/// The header of a request that changes something which says what for, such as `decision 4711`; it is kept in the audit log
/// and in the ledger.
pub const PURPOSE_HEADER: &str = "x-purpose";

/// Fields of requests that go by a second name, too, with that name; a request uses one of the two. Answers have the
/// first.
pub const TWO_NAMES: [(&str, &str); 3] =
    [("vm_id", "lxc_id"), ("new_vm_id", "new_lxc_id"), ("new_vm_name", "new_lxc_name")];

/// Whether a call did what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Success,
    /// It did not, and nothing was changed unless the message says so.
    Error,
}

/// The shape of every answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Envelope<T> {
    /// `success` or `error`.
    pub status: Status,
    /// One sentence for people.
    pub message: String,
    /// What was asked for; `null` in errors, but for a failed health check, which says what failed.
    pub data: Option<T>,
    /// Names the kind of error; only in errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl<T> Envelope<T> {
    /// An answer to a call that did what was asked.
    pub fn success(message: impl Into<String>, data: T) -> Self {
        Self { status: Status::Success, message: message.into(), data: Some(data), code: None }
    }
}

impl Envelope<()> {
    /// An answer to a call that failed.
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
    /// Whole cores, at least 1.
    #[serde(deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 8192)))]
    pub cores: u32,
    /// The number it is taken to have, 0 for none; a container that has another is left as it is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "whole_number::deserialize_optional"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 0, max = 8192)))]
    pub expected: Option<u32>,
}

/// `POST /scale/cpulimit`: set the CPU quota.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ScaleCpulimitRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Cores, in hundredths; 0 for no limit.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 8192)))]
    pub cpulimit: f64,
    /// The limit it is taken to have, 0 for none; a container that has another is left as it is.
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
    /// MiB, at least 16.
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 1_073_741_824)))]
    pub memory: Mebibytes,
    /// The MiB it is taken to have; a container that has another size is left as it is.
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
    /// The snapshot.
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
    /// Remove it though it carries no mark of ours; takes `limits.destroy_any_container` in the configuration, too.
    #[serde(default)]
    pub any_container: bool,
    /// What the answer to the first request gave, where a removal takes two (`limits.confirm_destroy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub confirmation: Option<String>,
}

/// The query of `GET /snapshot/list`, `GET /resource/vm/status` and others, and what names one container only.
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
    /// The node; must be the one the server runs on.
    pub node_name: String,
}

/// What a resize did, as read back from the node afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resized<T> {
    /// The container.
    pub vm_id: Vmid,
    /// What it had; absent where the node's configuration named none.
    pub before: Option<T>,
    /// What it has now.
    pub after: Option<T>,
    /// `false` when it already had what was asked for and nothing was written.
    pub changed: bool,
}

/// Answer to `POST /scale/cores`.
pub type ScaledCores = Resized<Cores>;
/// Answer to `POST /scale/cpulimit`, in cores; no limit is absent.
pub type ScaledCpulimit = Resized<f64>;
/// Answer to `POST /scale/ram`, in MiB.
pub type ScaledRam = Resized<Mebibytes>;

/// Answer to `POST /scale/storage/increase`, in MiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IncreasedStorage {
    /// The size of the volume.
    #[serde(flatten)]
    pub size: Resized<Mebibytes>,
    /// Whether the file system on it has grown with it: `false` where the container still sees the size of before. Absent where
    /// that is not known, because the server ended meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_grown: Option<bool>,
}

/// Answer to `POST /snapshot/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotCreated {
    /// The container.
    pub vm_id: Vmid,
    /// Its new snapshot.
    pub snapshot_name: String,
}

/// Answer to `GET /snapshot/list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotList {
    /// The container.
    pub vm_id: Vmid,
    /// Its snapshots, in Proxmox's order: a snapshot before those that descend from it.
    pub snapshots: Vec<SnapshotInfo>,
}

/// One snapshot of a container (not to be confused with [`crate::snapshot::Snapshot`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was taken; absent where Proxmox does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<RecordTime>,
    /// The first line of its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The snapshot it descends from; absent for a first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the container's present state descends from this snapshot directly.
    pub current: bool,
}

/// Answer to `POST /snapshot/rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolledBack {
    /// The container.
    pub vm_id: Vmid,
    /// The snapshot it is back at; its cores and memory are those of the snapshot too.
    pub snapshot_name: String,
    /// Whether it ran before; Proxmox stops a container to roll it back.
    pub was_running: bool,
    /// Whether it runs now.
    pub running: bool,
}

/// Answer to `POST /clone/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CloneCreated {
    /// The container that was copied.
    pub vm_id: Vmid,
    /// The copy; it is stopped.
    pub new_vm_id: Vmid,
    /// The name that was asked for.
    pub requested_name: String,
    /// The host name it got: underscores, which Proxmox refuses, are hyphens.
    pub hostname: String,
    /// The tag that marks the copy as ours; `/clone/delete` removes only what carries it.
    pub tag: String,
    /// A temporary snapshot of the source that could not be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<String>,
}

/// Answer to `DELETE /clone/delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CloneDeleted {
    /// The container that is gone.
    pub vm_id: Vmid,
    /// Whether it ran and was stopped first.
    pub was_running: bool,
}

/// Answer to `GET /resource/vm/status` and `GET /resource/lxc/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerStatus {
    /// The container.
    pub vm_id: Vmid,
    /// What it is doing now.
    pub state: ContainerState,
    /// What Proxmox's configuration grants it.
    pub allocation: ContainerConfig,
    /// What it uses, by the monitor's newest record; absent when there is none that is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ContainerRecord>,
    /// Why `usage` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_missing: Option<String>,
}

/// Answer to `GET /resource/node/status`; what could not be read is absent and named in `missing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeStatus {
    /// Its host name.
    pub node_name: String,
    /// Seconds since it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// CPUs online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// CPU use over `cpu_window_seconds`, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// The same in percent of all CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// The time the CPU use was measured over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_window_seconds: Option<f64>,
    /// The 1, 5 and 15 minute load averages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_mb: Option<f64>,
    /// Memory that can be given out without swapping, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_mb: Option<f64>,
    /// Swap, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used_mb: Option<f64>,
    /// Pressure of the whole node; absent where the kernel has none.
    #[serde(default, skip_serializing_if = "PressureSet::is_empty")]
    pub pressure: PressureSet,
    /// Containers configured on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<u32>,
    /// How many of them run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_running: Option<u32>,
    /// Field name → why it is absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

/// How a part of the server, or all of it, is.
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

/// Answer to `GET /health/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// The worst of the checks.
    pub state: HealthState,
    /// Version of the server.
    pub version: String,
    /// Changes of containers that are under way or waiting.
    pub changes_in_progress: usize,
    /// What was looked at.
    pub checks: Vec<HealthCheck>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HealthCheck {
    /// What: `pct`, `configuration`, `running_state`, `metrics`.
    pub name: String,
    /// How it is.
    pub state: HealthState,
    /// What was found, for people.
    pub detail: String,
}

/// One entry of `GET /routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteInfo {
    /// HTTP method.
    pub method: String,
    /// Path, without query.
    pub path: String,
    /// The role it takes: `viewer`, `operator` or `admin`.
    pub role: String,
    /// What it does.
    pub description: String,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its containers.
    Queued,
    /// It is at work.
    Running,
    /// It did what was asked.
    Done,
    /// It did not; the message says whether anything remains.
    Failed,
    /// It was given up because somebody wanted that.
    Cancelled,
    /// What became of it cannot be told; the message says what was found.
    Unknown,
}

/// Something a job did on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobStep {
    /// When.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub at: Timestamp,
    /// What, for people.
    pub text: String,
}

/// Answer to `GET /jobs/{id}`, an entry of `GET /jobs`, and the answer to a long call with `Prefer: respond-async`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobInfo {
    /// Its number; the audit log calls it `change`.
    pub id: u64,
    /// How it stands.
    pub state: JobState,
    /// What is done, as a word: `create_clone`.
    pub kind: String,
    /// The same in words.
    pub summary: String,
    /// The containers.
    pub containers: Vec<Vmid>,
    /// Who asked: `uid:0`, `key:backup-job`.
    pub caller: String,
    /// When it was asked for.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub created: Timestamp,
    /// When its containers were free for it.
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
    /// Names the kind of error, as in every answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Query of `GET /ledger`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct LedgerRequest {
    /// Only this container; all when it is left out.
    #[serde(alias = "lxc_id", default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<Vmid>,
}

/// Which size of a container.
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
    /// What it was, in cores or MiB; absent where the configuration named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// What it is since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// Who: `uid:0`, `key:backup-job`, `outside` for a change that was not made through this server.
    pub caller: String,
    /// Why: `request`, `boost`, `end of boost`, `undo`, `rollback`, `noticed`; with what the request said that it was for:
    /// `request: decision 4711`.
    pub why: String,
    /// The change of the audit log.
    pub change: u64,
    /// Whether it can be undone.
    pub undoable: bool,
}

impl LedgerEntry {
    /// The reason of the beginning of a boost.
    pub const BOOST: &str = "boost";
    /// The reason of its end.
    pub const END_OF_BOOST: &str = "end of boost";

    /// Whether a boost began or ended with it; what follows a colon is the purpose that whoever asked named.
    pub fn is_by_boost(&self) -> bool {
        let reason = self.why.split_once(": ").map_or(self.why.as_str(), |(reason, _)| reason);
        [Self::BOOST, Self::END_OF_BOOST].contains(&reason)
    }
}

/// The size before the first change ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OriginalSize {
    /// The container.
    pub vm_id: Vmid,
    /// Which size.
    pub resource: SizeOf,
    /// In cores or MiB; absent where the configuration named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<f64>,
    /// When it was changed for the first time.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub until: Timestamp,
}

/// Answer to `GET /ledger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LedgerPage {
    /// The newest entries, the newest first.
    pub entries: Vec<LedgerEntry>,
    /// The sizes before the first change ever.
    pub originals: Vec<OriginalSize>,
}

/// `POST /undo`: take sizes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::one_or_all))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// The container; or else `all`.
    #[serde(alias = "lxc_id", default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<Vmid>,
    /// All containers that were ever changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// A time (RFC 3339), or `original`: the sizes before the first change ever.
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::MomentText"))]
    pub to: String,
}

/// What became of one size in `POST /undo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Undone {
    /// The container.
    pub vm_id: Vmid,
    /// Which size.
    pub resource: SizeOf,
    /// What it was to become; absent where the configuration named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// Whether it was changed; `false` also when it had that size.
    pub changed: bool,
    /// Names why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /boost`: more for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::needs_a_size))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct BoostRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// As many cores at least.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "whole_number::deserialize_optional"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1, max = 8192)))]
    pub cores: Option<u32>,
    /// As many MiB of memory at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 1_073_741_824)))]
    pub memory: Option<Mebibytes>,
    /// For as long.
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
    /// What it is raised to, in cores or MiB.
    pub size: f64,
    /// What it goes back to when no other boost of it is left; absent where the configuration named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<f64>,
    /// When it began.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub began: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "schema", schemars(with = "RecordTime"))]
    pub ends: Timestamp,
    /// Who asked.
    pub caller: String,
    /// Why it has not ended though its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}
