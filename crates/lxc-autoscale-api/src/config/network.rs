//! `[network]`: the listener for other machines.

use std::net::SocketAddr;
use std::path::PathBuf;

use lxc_autoscale_core::config::BrokenRule;
use serde::{Deserialize, Deserializer};

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Address and port for other machines; `None` if there is no such listener.
    #[serde(deserialize_with = "address_or_nothing")]
    pub listen: Option<SocketAddr>,
    /// The server's certificate, including intermediate certificates.
    pub certificate_file: PathBuf,
    /// The key of the certificate.
    pub key_file: PathBuf,
    /// Serve without TLS: keys and answers can then be read in transit.
    pub plain_http: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            listen: None,
            certificate_file: PathBuf::from("/etc/pve/local/pve-ssl.pem"),
            key_file: PathBuf::from("/etc/pve/local/pve-ssl.key"),
            plain_http: false,
        }
    }
}

impl NetworkConfig {
    pub(super) fn validate(&self) -> Result<(), BrokenRule> {
        for (path, key) in
            [(&self.certificate_file, "network.certificate_file"), (&self.key_file, "network.key_file")]
        {
            BrokenRule::unless(path.is_absolute(), key, "must be an absolute path")?;
        }
        Ok(())
    }
}

fn address_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| {
        serde::de::Error::custom(format!("`{text}` is not an address with a port, such as 192.168.1.10:5443"))
    };
    text.parse().map(Some).map_err(wrong)
}
