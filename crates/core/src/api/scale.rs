//! Bodies of `/scale/*`.

use serde::{Deserialize, Serialize};

use crate::{Cores, Mebibytes, Vmid, whole_number};

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
