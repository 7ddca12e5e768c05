//! Bodies of `/power/*`.

use serde::{Deserialize, Serialize};

use crate::{Vmid, whole_number};

/// Default time for an orderly shutdown, in seconds; the same as Proxmox's.
const PATIENCE_SECONDS: u32 = 60;

/// `POST /power/shutdown` and `POST /power/reboot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::two_names))]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// The container.
    #[serde(alias = "lxc_id")]
    pub vm_id: Vmid,
    /// Seconds that it may take to shut down.
    #[serde(default = "patience", deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 3600)))]
    pub timeout: u32,
    /// Whether it is killed after that time; needs the role `admin`.
    #[serde(default)]
    pub force: bool,
}

fn patience() -> u32 {
    PATIENCE_SECONDS
}

/// Response of `POST /power/start`, `/power/stop`, `/power/shutdown` and `/power/reboot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Powered {
    /// The container.
    pub vm_id: Vmid,
    /// Whether it was running before.
    pub was_running: bool,
    /// Whether it is running now.
    pub running: bool,
    /// `false` if it already was in the requested state and nothing was done.
    pub changed: bool,
}
