//! Which container has an id.
//!
//! An id is free again once its container is destroyed, and what is known of the old container must not be done to
//! the new one. Proxmox gives a container no mark of its own that both back ends show: the host name is its owner's to
//! change, the name of its volume is used again for the next container with the id, and neither the file nor the API
//! tells when the container was made. What Proxmox does make at random for each container are the hardware addresses of
//! its network devices. They stay through renames, moves to another storage or node, and restores, so they decide
//! wherever a container had and has one. Without a network, only a container of which both the name and the root volume
//! are others counts as another one: each alone may change for the same container.

use lxc_autoscale_core::api::VolumeInfo;
use lxc_autoscale_core::container_config::ContainerConfig;
use serde::{Deserialize, Serialize};

/// The most hardware addresses that are remembered of a container.
const MOST_ADDRESSES: usize = 64;

/// What tells a container from another one that gets its id later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerIdentity {
    /// Hardware addresses of its network devices, in capitals.
    pub hardware_addresses: Vec<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// The volume of its root filesystem.
    pub root_volume: Option<String>,
}

impl ContainerIdentity {
    /// The identity of a container with these settings and hardware addresses.
    pub(super) fn new(
        config: &ContainerConfig,
        volumes: &[VolumeInfo],
        hardware_addresses: Vec<String>,
    ) -> Self {
        let root = volumes.iter().find(|volume| volume.name == "rootfs");
        Self {
            hardware_addresses,
            hostname: config.name.clone(),
            root_volume: root.map(|root| root.volume.clone()),
        }
    }

    /// Whether a container that looks like `now` may be the one that looked like this.
    pub fn may_be(&self, now: &Self) -> bool {
        let (before, after) = (&self.hardware_addresses, &now.hardware_addresses);
        if !before.is_empty() && !after.is_empty() {
            return before.iter().any(|address| after.contains(address));
        }
        self.hostname == now.hostname || self.root_volume == now.root_volume
    }

    /// What to remember of the same container from now on. Its former hardware addresses stay: a rollback may bring
    /// them back.
    #[must_use]
    pub(crate) fn renewed(&self, now: &Self) -> Self {
        let mut renewed = now.clone();
        let former =
            self.hardware_addresses.iter().filter(|address| !now.hardware_addresses.contains(address));
        renewed.hardware_addresses.extend(former.cloned());
        renewed.hardware_addresses.truncate(MOST_ADDRESSES);
        renewed
    }
}

/// The hardware addresses in the current section of a configuration.
pub(super) fn hardware_addresses(text: &str) -> Vec<String> {
    let current = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let settings = current.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    let networks = settings.filter(|(name, _)| is_network(name.trim()));
    let parts = networks.flat_map(|(_, value)| value.split(','));
    parts.filter_map(|part| part.trim().strip_prefix("hwaddr=")).map(str::to_ascii_uppercase).collect()
}

/// Whether a key names a network device, such as `net0`.
fn is_network(name: &str) -> bool {
    name.strip_prefix("net")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(addresses: &[&str], hostname: &str, volume: &str) -> ContainerIdentity {
        ContainerIdentity {
            hardware_addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            hostname: (!hostname.is_empty()).then(|| hostname.to_owned()),
            root_volume: (!volume.is_empty()).then(|| volume.to_owned()),
        }
    }

    #[test]
    fn the_addresses_in_force_are_read() {
        let text = "#net9: hwaddr=no\nhostname: net1\nnet0: name=eth0,bridge=vmbr0,hwaddr=bc:24:11:00:00:01,ip=dhcp\n\
                    net12: name=eth1, hwaddr=BC:24:11:00:00:02\nnetx: hwaddr=no\n\n[before]\nnet0: hwaddr=no\n";
        assert_eq!(hardware_addresses(text), ["BC:24:11:00:00:01", "BC:24:11:00:00:02"]);
    }

    #[test]
    fn addresses_decide_and_without_them_name_and_volume_together() {
        for (before, now, may_be) in [
            (identity(&["A"], "web", "v0"), identity(&["A"], "shop", "v1"), true),
            (identity(&["A", "B"], "web", "v0"), identity(&["C", "B"], "shop", "v1"), true),
            (identity(&["A"], "web", "v0"), identity(&["B"], "web", "v0"), false),
            (identity(&[], "web", "v0"), identity(&[], "shop", "v0"), true),
            (identity(&[], "web", "v0"), identity(&["B"], "web", "v1"), true),
            (identity(&["A"], "web", "v0"), identity(&[], "shop", "v1"), false),
            (identity(&[], "web", "v0"), identity(&[], "", ""), false),
        ] {
            assert_eq!(before.may_be(&now), may_be, "{before:?} {now:?}");
        }
    }

    #[test]
    fn an_address_that_a_rollback_brings_back_is_known() {
        let (before, now) = (identity(&["A"], "web", "v0"), identity(&["A", "B"], "web", "v0"));
        let later = before.renewed(&now).renewed(&identity(&["B"], "web", "v0"));
        assert!(later.may_be(&before), "{later:?}");
    }
}
