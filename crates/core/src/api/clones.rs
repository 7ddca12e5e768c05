//! Bodies of `/clone/*`.

use serde::{Deserialize, Serialize};

use crate::Vmid;

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
