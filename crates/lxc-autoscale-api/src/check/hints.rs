//! What to do about a check that is not healthy.

use lxc_autoscale_core::api::HealthCheck;

use crate::backend::rest::{RestSetupError, TokenError};

/// What to do about a check of this name.
///
/// The checks are also those of `/health/check`, which tells a probe what is wrong; what to do about it concerns only
/// whoever is on the node.
pub(super) fn about(check: &HealthCheck) -> Option<&'static str> {
    Some(match check.name.as_str() {
        "node" => "`paths.proc` must be the node's procfs",
        "user" => {
            "run this as root; the service runs as root for pct (`install.sh --backend pct`), or as a user of its own for \
             Proxmox's REST API (`install.sh --backend rest`)"
        }
        "token" => {
            "leave `rest.token_file` empty: with `install.sh --backend rest` systemd passes the token to the service"
        }
        "pct" => {
            "`pct.path` must be the pct of a Proxmox node; elsewhere only Proxmox's REST API can be used"
        }
        "configuration" => {
            "see `systemctl status pve-cluster` and `pvecm status`; `paths.pve` must be where Proxmox's cluster file system is"
        }
        "running_state" => {
            "`paths.proc` and `paths.lxc` must be the node's; until then pct is asked, which takes longer"
        }
        "rest" => {
            "see `systemctl status pveproxy` on the node of `rest.url`; `rest.ca_file` or `rest.fingerprint` must match its \
             certificate, and `pveum user token list USER` must list the token"
        }
        "containers" => {
            "`rest.node` must be the name of a node, and the token needs VM.Audit to see its containers"
        }
        "privileges" => "the commands below grant what is missing",
        "metrics" => "see `systemctl status lxc_monitor`; until then no running container gets less memory",
        "audit" => {
            "the service must be able to write `audit.file`; until then every change is refused (503 `not_audited`)"
        }
        "keys" => {
            "the file must be the service user's own with mode 0600; until then no holder of a key is answered (500)"
        }
        "ml_config" => {
            "`configuration.ml_file` must be the file of lxc-autoscale-ml; it can also be edited on the node"
        }
        _ => return None,
    })
}

/// What to do if the back end cannot be opened.
pub(super) fn about_setup(error: &RestSetupError) -> &'static str {
    match error {
        RestSetupError::NoToken => {
            "make a token (docs/privileges.md) and run `install.sh --backend rest`, or set `rest.token_file`"
        }
        RestSetupError::ClosedToken => {
            "see `systemctl status lxc_autoscale_api` and GET /health/check, which the service answers with its own token"
        }
        RestSetupError::Token(TokenError::Read { .. }) => {
            "run this as root; if the file is not there, put the token into it (docs/privileges.md)"
        }
        RestSetupError::Token(TokenError::Open { .. } | TokenError::Form { .. }) => {
            "put the token into a file with mode 0600 (docs/privileges.md)"
        }
        RestSetupError::Tls(_) => {
            "set `rest.ca_file` to the certificate of the cluster's authority, or `rest.fingerprint` to that of the node"
        }
        RestSetupError::Fingerprint => "copy it from System > Certificates of the node",
        RestSetupError::NoNode => "`rest.node` is the name that Proxmox's interface shows",
    }
}
