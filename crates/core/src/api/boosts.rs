//! Bodies of `/boost`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SizeOf;
#[cfg(feature = "schema")]
use crate::RecordTime;
use crate::{Mebibytes, Vmid, whole_number};

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
