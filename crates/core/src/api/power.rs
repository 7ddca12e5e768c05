//! Bodies of `/power/*`.

use serde::{Deserialize, Serialize};

use crate::{Vmid, whole_number};

/// How long an orderly stop may take, in seconds, where the request does not say: as Proxmox has it.
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
    /// Seconds that it is given to stop by itself.
    #[serde(default = "patience", deserialize_with = "whole_number::deserialize")]
    #[cfg_attr(feature = "schema", schemars(with = "u32", range(min = 1, max = 3600)))]
    pub timeout: u32,
    /// Whether it is killed when that time is over; takes the role `admin`.
    #[serde(default)]
    pub force: bool,
}

fn patience() -> u32 {
    PATIENCE_SECONDS
}

/// Answer to `POST /power/start`, `/power/stop`, `/power/shutdown` and `/power/reboot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Powered {
    /// The container.
    pub vm_id: Vmid,
    /// Whether it ran before.
    pub was_running: bool,
    /// Whether it runs now.
    pub running: bool,
    /// `false` when it was so already and nothing was done.
    pub changed: bool,
}
