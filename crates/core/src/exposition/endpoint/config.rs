//! `[exporter]`: whether and where a daemon serves its metrics to Prometheus.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::config::{BrokenRule, Validate};

/// Whether and where metrics are served; by default at `PORT` of the loopback interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig<const PORT: u16> {
    /// Whether `/metrics` is served at all.
    pub enabled: bool,
    /// Address and port; port 0 stands for any free port.
    pub listen: SocketAddr,
    /// Allows `listen` to be an address that other machines can reach.
    pub allow_network: bool,
    /// File to which the bound address is written; empty for none.
    pub address_file: PathBuf,
}

impl<const PORT: u16> Default for EndpointConfig<PORT> {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            allow_network: false,
            address_file: PathBuf::new(),
        }
    }
}

/// The table as written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    enabled: Option<bool>,
    listen: Option<SocketAddr>,
    allow_network: Option<bool>,
    address_file: Option<PathBuf>,
}

impl<'de, const PORT: u16> Deserialize<'de> for EndpointConfig<PORT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (written, default) = (Written::deserialize(deserializer)?, Self::default());
        Ok(Self {
            enabled: written.enabled.unwrap_or(default.enabled),
            listen: written.listen.unwrap_or(default.listen),
            allow_network: written.allow_network.unwrap_or(default.allow_network),
            address_file: written.address_file.unwrap_or(default.address_file),
        })
    }
}

impl<const PORT: u16> Validate for EndpointConfig<PORT> {
    fn validate(&self) -> Result<(), BrokenRule> {
        BrokenRule::unless(
            self.allow_network || self.listen.ip().to_canonical().is_loopback(),
            "exporter.listen",
            "must be a loopback address: the exporter asks nobody for a key, so whoever reaches it reads what it \
             tells of all containers; set `exporter.allow_network = true` where that is meant",
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
        let config: EndpointConfig<15104> = toml::from_str(text).unwrap();
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
