//! Request and response bodies of the REST API.
//!
//! The envelope `{"status", "message", "data"}` and the field names of the requests are those of the product's
//! first description; `code` is added to errors, stable, for programs. Requests refuse unknown fields: a
//! misspelt field that is silently ignored is a change nobody asked for.

use serde::{Deserialize, Serialize};

use crate::{Cores, Mebibytes, Vmid};

/// Whether a call did what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Success,
    /// It did not, and nothing was changed unless the message says so.
    Error,
}

/// The shape of every answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// `success` or `error`.
    pub status: Status,
    /// One sentence for people.
    pub message: String,
    /// What was asked for; `null` in errors.
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
#[serde(deny_unknown_fields)]
pub struct ScaleCoresRequest {
    /// The container.
    pub vm_id: Vmid,
    /// Whole cores, at least 1.
    pub cores: u32,
}

/// `POST /scale/ram`: set the memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRamRequest {
    /// The container.
    pub vm_id: Vmid,
    /// MiB, at least 16.
    pub memory: Mebibytes,
}

/// `POST /scale/storage/increase`: grow the root filesystem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncreaseStorageRequest {
    /// The container.
    pub vm_id: Vmid,
    /// GiB to add, at least 1.
    pub disk_size: u32,
}

/// `POST /snapshot/create` and `POST /snapshot/rollback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// The container.
    pub vm_id: Vmid,
    /// The snapshot.
    pub snapshot_name: String,
}

/// `POST /clone/create`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCloneRequest {
    /// The container to copy.
    pub vm_id: Vmid,
    /// The id of the copy.
    pub new_vm_id: Vmid,
    /// The host name of the copy.
    pub new_vm_name: String,
}

/// `DELETE /clone/delete`, and the query of `GET /snapshot/list` and `GET /resource/vm/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerRequest {
    /// The container.
    pub vm_id: Vmid,
}

/// Query of `GET /resource/node/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// The node; must be the one the server runs on.
    pub node_name: String,
}

/// What a resize did, as read back from the node afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
/// Answer to `POST /scale/ram`, in MiB.
pub type ScaledRam = Resized<Mebibytes>;
/// Answer to `POST /scale/storage/increase`, in MiB.
pub type IncreasedStorage = Resized<Mebibytes>;
