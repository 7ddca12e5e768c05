//! Queries and bodies of `/ledger` and `/undo`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::Vmid;

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
