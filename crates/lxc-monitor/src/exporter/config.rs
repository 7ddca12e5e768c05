//! `[exporter]`: whether and where the measurements are served to Prometheus.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lxc_autoscale_core::config::{BrokenRule, Validate};
use serde::Deserialize;

/// Port of the exporter.
///
/// Prometheus' list of exporter ports, 9100 to 9999, is full, and every number in it is another exporter's. This
/// one lies outside of it, outside of what Proxmox, Ceph and Corosync listen on, and below the ports that Linux
/// hands out to clients (32768 on).
pub const DEFAULT_PORT: u16 = 15104;

/// Whether and where the measurements are served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExporterConfig {
    /// Whether `/metrics` is served at all.
    pub enabled: bool,
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Lets `listen` be an address that others on the network can reach.
    pub allow_network: bool,
    /// File that the bound address is written to; empty for none.
    pub address_file: PathBuf,
}

impl Default for ExporterConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            allow_network: false,
            address_file: PathBuf::new(),
        }
    }
}

impl Validate for ExporterConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        BrokenRule::unless(
            self.allow_network || self.listen.ip().to_canonical().is_loopback(),
            "exporter.listen",
            "must be a loopback address: the exporter asks nobody for a key, so whoever reaches it reads the names \
             and loads of all containers; set `exporter.allow_network = true` where that is meant",
        )?;
        let holds = self.address_file.as_os_str().is_empty() || self.address_file.is_absolute();
        BrokenRule::unless(holds, "exporter.address_file", "must be an absolute path, or empty")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        let config: ExporterConfig = toml::from_str(text).unwrap();
        let broken = config.validate().err().map(|broken| broken.key);
        assert_eq!(broken.as_deref(), want, "{text}");
    }

    #[test]
    fn only_loopback_is_listened_on_unless_the_network_is_meant() {
        check("", None);
        check("listen = '127.0.0.9:0'", None);
        check("listen = '[::1]:15104'", None);
        check("listen = '[::ffff:127.0.0.1]:15104'", None);
        for open in ["0.0.0.0:15104", "192.0.2.7:15104", "[::]:15104", "[::ffff:192.0.2.7]:15104"] {
            check(&format!("listen = '{open}'"), Some("exporter.listen"));
            check(&format!("listen = '{open}'\nallow_network = true"), None);
        }
        check("address_file = 'address'", Some("exporter.address_file"));
    }
}
