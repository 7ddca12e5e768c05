//! Bodies of `/jobs`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::Vmid;

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
