//! `backend` and `[rest]`: how containers are changed.

use std::path::PathBuf;
use std::time::Duration;

use lxc_autoscale_core::config::BrokenRule;
use lxc_autoscale_core::unit::Unit;
use serde::Deserialize;

use super::seconds;
use crate::backend::rest::Fingerprint;

/// The environment variable with which systemd names the directory of a unit's credentials (systemd.exec(5),
/// `LoadCredential=`).
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// How containers are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The REST API if there is a token for it, otherwise `pct`.
    #[default]
    Auto,
    /// The `pct` program, which needs root.
    Pct,
    /// Proxmox's REST API.
    Rest,
}

/// Where the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// In the file `rest.token_file`.
    File(PathBuf),
    /// In a file that systemd has passed to this process.
    Credential(PathBuf),
    /// In a file that systemd passes to the service, not to this process.
    Unit(PathBuf),
    /// Where only systemd can read it, which passes it to the service.
    Closed,
}

/// `[rest]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestConfig {
    /// The base URL of Proxmox's API.
    pub url: String,
    /// The node on which containers are looked for first; empty means the node this server runs on.
    pub node: String,
    /// File with the token; empty means none.
    pub token_file: PathBuf,
    /// Name of the systemd credential with the token, if there is a credential of that name.
    pub token_credential: String,
    /// Certificates of the authority that signed the node's certificate.
    pub ca_file: PathBuf,
    /// SHA-256 fingerprint of the only accepted certificate, instead of `ca_file`; empty means none.
    pub fingerprint: String,
    /// Time limit of calls that only read.
    pub query_timeout_seconds: u64,
    /// Time limit of configuration changes, starts and stops.
    pub change_timeout_seconds: u64,
    /// Time limit of tasks that copy or drop data: resize, snapshot, rollback, clone, destroy.
    pub long_timeout_seconds: u64,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self {
            url: "https://127.0.0.1:8006".to_owned(),
            node: String::new(),
            token_file: PathBuf::new(),
            token_credential: "proxmox_token".to_owned(),
            ca_file: PathBuf::from("/etc/pve/pve-root-ca.pem"),
            fingerprint: String::new(),
            query_timeout_seconds: 30,
            change_timeout_seconds: 90,
            long_timeout_seconds: 3600,
        }
    }
}

impl RestConfig {
    /// The token: `token_file` if set, otherwise the credential if systemd has passed it.
    pub fn token(&self) -> Option<TokenPlace> {
        if !self.token_file.as_os_str().is_empty() {
            return Some(TokenPlace::File(self.token_file.clone()));
        }
        if self.token_credential.is_empty() {
            return None;
        }
        let directory = PathBuf::from(std::env::var_os(CREDENTIALS_DIRECTORY)?);
        let passed = Some(directory.join(&self.token_credential)).filter(|path| path.exists());
        passed.map(TokenPlace::Credential)
    }

    /// The token that the service uses, asked in a shell: to that one systemd has passed nothing, so the unit says
    /// which file it passes to the service.
    pub fn token_of_service(&self, unit: &Unit) -> Option<TokenPlace> {
        let in_unit = || {
            let file = unit.credential(&self.token_credential)?;
            Some(file.map_or(TokenPlace::Closed, |file| TokenPlace::Unit(file.to_owned())))
        };
        self.token().or_else(in_unit)
    }

    /// Time limit of calls that only read.
    pub fn query_timeout(&self) -> Duration {
        Duration::from_secs(self.query_timeout_seconds)
    }

    /// Time limit of configuration changes, starts and stops.
    pub fn change_timeout(&self) -> Duration {
        Duration::from_secs(self.change_timeout_seconds)
    }

    /// Time limit of tasks that copy or drop data.
    pub fn long_timeout(&self) -> Duration {
        Duration::from_secs(self.long_timeout_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        let place = self.url.strip_prefix("https://").unwrap_or_default();
        let is_place = !place.is_empty() && !place.contains(['/', '?', '#', '@', ' ']);
        unless(is_place, "rest.url", "must be such as https://127.0.0.1:8006: the token is sent there")?;
        let is_name = self.node.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        unless(is_name, "rest.node", "must be the name of a node")?;
        let token = self.token_file.as_os_str().is_empty() || self.token_file.is_absolute();
        unless(token, "rest.token_file", "must be an absolute path")?;
        let credential = !self.token_credential.contains('/') && !self.token_credential.starts_with('.');
        unless(credential, "rest.token_credential", "must be the name of a credential")?;
        unless(self.ca_file.is_absolute(), "rest.ca_file", "must be an absolute path")?;
        let pinned = self.fingerprint.is_empty() || Fingerprint::parse(&self.fingerprint).is_some();
        unless(
            pinned,
            "rest.fingerprint",
            "must be 32 pairs of hexadecimal digits with colons between them",
        )?;
        seconds(self.query_timeout_seconds, "rest.query_timeout_seconds")?;
        seconds(self.change_timeout_seconds, "rest.change_timeout_seconds")?;
        seconds(self.long_timeout_seconds, "rest.long_timeout_seconds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_nowhere_but_to_proxmox() {
        for bad in
            ["http://127.0.0.1:8006", "https://", "https://pve:8006/api2", "https://me@pve:8006", "pve:8006"]
        {
            let config = RestConfig { url: bad.to_owned(), ..RestConfig::default() };
            assert!(config.validate().is_err(), "{bad}");
        }
        assert!(RestConfig::default().validate().is_ok());
    }

    #[test]
    fn without_a_file_there_is_no_token() {
        assert_eq!(RestConfig { token_credential: String::new(), ..RestConfig::default() }.token(), None);
        let config = RestConfig { token_file: PathBuf::from("/etc/token"), ..RestConfig::default() };
        assert_eq!(config.token(), Some(TokenPlace::File(PathBuf::from("/etc/token"))));
    }
}
